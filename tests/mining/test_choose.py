"""The rules that keep right answers out of the negatives."""

from __future__ import annotations

import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from mining.choose import choose, known_positives, random_rows, score_bound

_TICKS = st.integers(-10_000, 10_000)
_MARGINS = st.integers(1, 1000)


@given(_TICKS, _MARGINS, st.integers(-1, 1))
def test_the_margin_decides_as_on_paper(pos: int, margin: int, off: int) -> None:
    """Float noise at the border would let in, or drop, negatives that the written scores do not."""
    p, m = Decimal(pos) / 10_000, Decimal(margin) / 1000
    bound = p - (1 - m) * abs(p)
    neg = math.floor(bound * 10_000) + off
    assert (neg / 10_000 < score_bound(pos / 10_000, margin / 1000)) == (neg < bound * 10_000)


@given(_TICKS, _MARGINS)
def test_no_negative_reaches_its_positive(pos: int, margin: int) -> None:
    """A plain product margin * p would, for p < 0, admit texts nearer than the positive."""
    assert score_bound(pos / 10_000, margin / 1000) <= pos / 10_000


@given(
    st.lists(st.tuples(st.integers(0, 30), _TICKS.map(lambda tick: tick / 10_000)), max_size=30),
    st.sets(st.integers(0, 30)),
    _TICKS.map(lambda tick: tick / 10_000),
    st.integers(1, 6),
)
def test_choose_takes_the_first_allowed(
    candidates: list[tuple[int, float]], known: set[int], bound: float, need: int
) -> None:
    allowed = [(row, score) for row, score in candidates if row not in known and score < bound]
    choice = choose(candidates, known.__contains__, bound, need)
    assert list(zip(choice.rows, choice.scores, strict=True)) == allowed[:need]
    if len(allowed) < need:
        assert sum(choice.passed_over.values()) == len(candidates) - len(allowed)


@given(st.integers(0, 200), st.integers(0, 300), st.integers(), st.integers(0))
def test_random_rows_are_distinct_and_inside(size: int, count: int, seed: int, row: int) -> None:
    drawn = random_rows(size, count, seed, row)
    assert len(set(drawn)) == len(drawn) == min(size, count)
    assert set(drawn) <= set(range(size))
    assert drawn == random_rows(size, count, seed, row)


def test_random_rows_differ_by_row_and_by_seed() -> None:
    draws = {tuple(random_rows(1000, 8, seed, row)) for seed in (0, 1) for row in (0, 1, 11)}
    assert len(draws) == 6


def _row(query: str, pos: str, *known: str) -> dict[str, object]:
    return {"query": query, "pos": pos, "known_pos": [pos, *known]}


def test_rows_of_one_query_share_what_they_know() -> None:
    rows = [_row("Who swam?", "An otter", "a seal"), _row("who  SWAM?", "A duck")]
    assert known_positives(rows, symmetric=False) == {
        "who swam?": {"who swam?", "an otter", "a seal", "a duck"}
    }


def test_symmetric_rows_count_both_ways() -> None:
    """A question that is another's duplicate must not be that other's negative."""
    rows = [_row("Can otters swim?", "Do otters swim?"), _row("Do otters swim?", "Otters: swim?")]
    known = known_positives(rows, symmetric=True)
    assert known["do otters swim?"] == {"do otters swim?", "can otters swim?", "otters: swim?"}
