"""Which rows are usable, why not, and what is left of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.text import normalise
from medi_sources.clean import CleaningOptions, clean, fault
from medi_sources.readers import Dropped, Item

OPTIONS = CleaningOptions()
texts = st.text(max_size=30)


@given(texts)
def test_normal_form_is_its_own_normal_form(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    "one, other",
    [
        ("Grey  Heron", "grey heron"),
        ("\u00a0heron\n", "heron"),
        ("ﬁsh", "FISH"),
        ("Straße", "STRASSE"),
        ("cafe\u0301", "caf\u00e9"),
        ("１２", "12"),
    ],
)
def test_the_same_text_in_other_dress(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


def test_different_texts_stay_different() -> None:
    assert normalise("a heron.") != normalise("a heron")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "empty"),
        ("x", "too_short"),
        ("x" * 100_001, "too_long"),
        ("a\0b", "nul_byte"),
        ("half \ud83d of a pair", "invalid_utf8"),
        ("---- ... !!!", "non_text"),
        ("\u200b\u200b", "non_text"),
        ("😀😀😀", "non_text"),
        ("x" + "-" * 100, "non_text"),
        ("12", None),
        ("鷺は水の中", None),
        ("पक्षी उड़ता है", None),
        ("for (;;) { i++; }", None),
        ("- " * 200 + "a long list of short words " * 10, None),
    ],
)
def test_what_counts_as_a_text(text: str, reason: str | None) -> None:
    assert fault(text, OPTIONS) == reason


@given(st.text(alphabet="ab-. \n", max_size=300))
def test_the_share_of_letters_decides_whatever_their_order(text: str) -> None:
    text = text.strip() or "ab"
    letters = sum(each.isalnum() for each in text)
    visible = sum(not each.isspace() for each in text)
    expected = "too_short" if len(text) < 2 else "non_text" if letters < 0.1 * visible else None
    assert fault(text, OPTIONS) == expected


def test_white_space_at_the_ends_goes_and_nothing_else() -> None:
    item = clean(Item(3, " A  heron\n", ("\tGrey,  TALL ",), (" An owl ",)), OPTIONS)
    assert item == Item(3, "A  heron", ("Grey,  TALL",), ("An owl",))


@pytest.mark.parametrize(
    "item, reason",
    [
        (Item(0, "", ("good",)), "empty"),
        (Item(0, "query", ("...",)), "non_text"),
        (Item(0, "query", ()), "no_positive"),
        (Item(0, "A Heron", ("a  heron",)), "query_is_positive"),
        (Item(0, "one", ("ONE",), is_set=True), "query_is_positive"),
        (Item(0, "one", (), is_set=True), "no_positive"),
        (Item(0, "one", ("",), is_set=True), "empty"),
        (Item(0, "input", output=" "), "empty"),
        (Item(0, "input", output="\ud800"), "invalid_utf8"),
    ],
)
def test_rows_without_a_pair_say_why(item: Item, reason: str) -> None:
    dropped = clean(item, OPTIONS)
    assert isinstance(dropped, Dropped) and dropped.reason == reason


@pytest.mark.parametrize(
    "item, detail",
    [
        (Item(0, "query", ("", "!!")), "positive: 0 characters, ''"),
        (Item(0, "!" * 99, ("good",)), f"query: 99 characters, {'!' * 60!r}"),
        (Item(0, "A Heron", ("a  heron",)), "query: 7 characters, 'A Heron'"),
        (Item(0, " one", ("ONE ",), is_set=True), "query: 3 characters, 'one'"),
        (Item(0, "?", output="A"), "input: 1 characters, '?'"),
        (Item(0, "input", output=" "), "output: 0 characters, ''"),
    ],
)
def test_a_dropped_row_quotes_the_text_that_is_wrong(item: Item, detail: str) -> None:
    dropped = clean(item, OPTIONS)
    assert isinstance(dropped, Dropped) and dropped.detail == detail


def test_a_bad_text_costs_the_row_only_if_no_other_is_left() -> None:
    item = clean(Item(0, "query", ("", "right", "Right", "query"), ("!!", "wrong")), OPTIONS)
    assert item == Item(0, "query", ("right",), ("wrong",))
    a_set = clean(Item(0, "", ("one", "two"), is_set=True), OPTIONS)
    assert a_set == Item(0, "one", ("two",), is_set=True)


def test_a_superni_output_may_be_one_letter() -> None:
    assert clean(Item(0, "input", output="A"), OPTIONS) == Item(0, "input", output="A")


@given(st.builds(Item, st.just(1), texts, st.lists(texts, max_size=4).map(tuple)))
def test_cleaning_twice_is_cleaning_once(item: Item) -> None:
    once = clean(item, OPTIONS)
    if isinstance(once, Item):
        assert clean(once, OPTIONS) == once
        assert normalise(once.query) not in map(normalise, once.positives)
