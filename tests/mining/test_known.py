"""A text that is known to be right must not come back as a negative, however it is written."""

from __future__ import annotations

import pytest

from mining.known import Keys, Known, Through


def _row(query: str, pos: str, *known: str) -> dict[str, object]:
    return {"query": query, "pos": pos, "known_pos": [pos, *known]}


def _known(
    rows: list[dict[str, object]], query: str, symmetric: bool, through: Through = "query"
) -> list[str]:
    keys = Keys()
    right = Known(rows, symmetric, through, keys).right_for(keys[query])
    texts = dict.fromkeys(str(text) for row in rows for text in (row["query"], row["pos"]))
    return [text for text in (*texts, "stranger") if right(keys[text])]


def test_rows_of_one_query_share_what_they_know() -> None:
    rows = [_row("Who swam?", "An otter", "a seal"), _row("who  SWAM?", "A duck")]
    keys = Keys()
    right = Known(rows, False, "query", keys).right_for(keys["WHO swam?"])
    known = ["who swam?", "an OTTER", "A Seal", "a  duck"]
    assert all(right(keys[text]) for text in known)
    assert not right(keys["an otter!"])


def test_in_pairs_of_unlike_texts_the_answer_does_not_know_its_question() -> None:
    """Two questions that one passage answers are two: one's other answers may be wrong for both."""
    rows = [_row("who swims", "of otters"), _row("who dives", "of otters", "of ducks")]
    for through in ("query", "positive", "group"):
        assert _known(rows, "who swims", False, through) == ["who swims", "of otters"]
        assert _known(rows, "of otters", False, through) == ["of otters"]


_CHAIN = [_row("a", "b"), _row("b", "c"), _row("c", "d")]


@pytest.mark.parametrize(
    ("through", "known_to_a", "known_to_b"),
    [("query", "ab", "abc"), ("positive", "abc", "abcd"), ("group", "abcd", "abcd")],
)
def test_how_far_duplicates_of_duplicates_are_known(
    through: Through, known_to_a: str, known_to_b: str
) -> None:
    assert "".join(_known(_CHAIN, "a", True, through)) == known_to_a
    assert "".join(_known(_CHAIN, "b", True, through)) == known_to_b


@pytest.mark.parametrize("through", ["positive", "group"])
def test_rows_that_share_a_positive_know_each_other(through: Through) -> None:
    rows = [_row("a", "x"), _row("b", "x"), _row("c", "y")]
    assert _known(rows, "a", True, through) == ["a", "x", "b"]


def test_a_query_of_no_row_knows_itself_alone() -> None:
    for through in ("query", "positive", "group"):
        assert _known(_CHAIN, "stranger", True, through) == ["stranger"]
