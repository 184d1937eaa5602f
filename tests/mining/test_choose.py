"""The rules that keep right answers out of the negatives."""

from __future__ import annotations

import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from mining.choose import Limits, order_of_ranks, random_rows, score_bound
from mining.options import MiningOptions

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


@given(_TICKS, _TICKS, _TICKS, _TICKS)
def test_a_score_at_the_edge_of_its_window_is_inside(
    pos: int, score: int, least: int, most: int
) -> None:
    least, most = sorted((least, most))
    options = MiningOptions(margin=None, min_score=least / 10_000, max_score=most / 10_000)
    rule = Limits.of(pos / 10_000, options).broken_by(score / 10_000)
    assert rule == ("max_score" if score > most else "min_score" if score < least else None)


def test_without_rules_every_score_is_allowed() -> None:
    limits = Limits.of(0.3, MiningOptions(margin=None))
    assert limits.broken_by(1.0) is limits.broken_by(-1.0) is None


@given(st.integers(0, 200), st.integers(0, 300), st.integers(), st.integers(0))
def test_random_rows_are_distinct_and_inside(size: int, count: int, seed: int, row: int) -> None:
    drawn = random_rows(size, count, seed, row)
    assert len(set(drawn)) == len(drawn) == min(size, count)
    assert set(drawn) <= set(range(size))
    assert drawn == random_rows(size, count, seed, row)


def test_random_rows_differ_by_row_and_by_seed() -> None:
    draws = {tuple(random_rows(1000, 8, seed, row)) for seed in (0, 1) for row in (0, 1, 11)}
    assert len(draws) == 6


@given(st.integers(1, 20), st.integers(0, 30), st.integers(), st.integers(0))
def test_a_random_choice_tries_the_ranks_of_the_window_in_another_order(
    first: int, more: int, seed: int, row: int
) -> None:
    fields = {"first_rank": first, "candidates": first + more, "negatives": 1, "seed": seed}
    top = order_of_ranks(MiningOptions(**fields), row)
    drawn = order_of_ranks(MiningOptions(**fields, choice="random"), row)
    assert top == sorted(drawn) == list(range(first, first + more + 1))
    assert drawn == order_of_ranks(MiningOptions(**fields, choice="random"), row)


def test_random_choices_differ_by_row_and_by_seed() -> None:
    orders = {
        tuple(order_of_ranks(MiningOptions(choice="random", seed=seed), row))
        for seed in (0, 1)
        for row in (0, 1, 11)
    }
    assert len(orders) == 6
