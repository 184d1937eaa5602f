"""The rules of selection, each alone, and all of them against one row after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.text import normalise
from mining.choose import order_of_ranks, random_rows, score_bound
from mining.mine import mine
from mining.options import MiningOptions
from tests.mining_pairs import ROWS_OF_WORDS, bag_of_words, by_number, make_pairs, options


def _numbered(pos: str, *others: str, **fields: Any) -> pa.Table:
    """Row 0 to look at; every other text is the positive of a row of its own."""
    first = {"query": "first", "pos": pos, **fields}
    return make_pairs(first, *({"query": f"row {text}", "pos": text} for text in others))


def _negatives(pairs: pa.Table, chosen: MiningOptions, symmetric: bool = False) -> list[str]:
    texts: list[str] = mine(pairs, symmetric, by_number, chosen).table.to_pylist()[0]["neg"]
    return texts


_SPREAD = _numbered("0.9", "0.95", "0.88", "0.8", "0.7", "0.6", "0.5")


def test_the_rank_window() -> None:
    """Its ranks are those of the search: the positive has one, the query itself has none."""
    assert _negatives(_SPREAD, options(negatives=2, margin=None)) == ["0.95", "0.88"]
    window = options(negatives=2, margin=None, first_rank=4, candidates=5)
    assert _negatives(_SPREAD, window) == ["0.8", "0.7"]
    assert mine(_SPREAD, False, by_number, window).counts["excluded"]["rank"] == 3 * 7


def test_the_score_window() -> None:
    assert _negatives(_SPREAD, options(margin=None, max_score=0.7)) == ["0.7"]
    drop = {"negatives": 2, "margin": None, "too_few": "drop"}
    assert _negatives(_SPREAD, options(**drop, max_score=0.8, min_score=0.7)) == ["0.8", "0.7"]
    result = mine(_SPREAD, False, by_number, options(**drop, max_score=0.7, min_score=0.7))
    assert result.counts["dropped"] == {"too_few_negatives": 7}
    assert result.dropped["detail"][0].as_py() == "1 of 2 negatives found"
    assert result.counts["excluded"]["max_score"] > 0 < result.counts["excluded"]["min_score"]


def test_the_margin_can_be_switched_off() -> None:
    assert _negatives(_SPREAD, options(margin=None)) == ["0.95"]
    assert _negatives(_SPREAD, options(margin=1.0)) == ["0.88"]
    assert _negatives(_SPREAD, options()) == ["0.8"]


def test_a_duplicate_of_a_duplicate_is_no_negative() -> None:
    chain = make_pairs(
        {"query": "can otters swim", "pos": "do otters swim"},
        {"query": "do otters swim", "pos": "otters swim do they"},
        {"query": "can otters fly", "pos": "have otters wings"},
    )
    chosen = [options(margin=None, known=known) for known in ("query", "positive")]
    found = [mine(chain, True, bag_of_words, each).table["neg"][0].as_py() for each in chosen]
    assert found == [["otters swim do they"], ["can otters fly"]]


@pytest.mark.parametrize(("last", "kept"), [(1, False), (2, True), (50, True)])
def test_a_row_whose_positive_is_not_near_enough_is_dropped(last: int, kept: bool) -> None:
    pairs = _numbered("0.9", "0.95", "0.8", "0.7")
    result = mine(pairs, False, by_number, options(margin=None, consistency=last))
    assert (0 in result.table["row_id"].to_pylist()) == kept
    if not kept:
        assert result.dropped.to_pylist()[0] == {
            "row_id": 0,
            "reason": "inconsistent",
            "detail": "positive scores 0.9000, the text of rank 1 0.9500",
        }


def test_a_positive_that_ties_is_near_enough() -> None:
    pairs = _numbered("0.9", "0.9 a", "0.9 b", "0.2")
    result = mine(pairs, False, by_number, options(margin=None, consistency=1))
    assert result.table["row_id"].to_pylist() == [0, 1, 2]


def test_the_query_itself_is_not_nearer_than_its_positive() -> None:
    """In a symmetric dataset it is in the corpus, with a cosine of 1."""
    pairs = make_pairs(
        {"query": "otters swim fast", "pos": "otters swim"},
        {"query": "giraffes are tall", "pos": "a tall giraffe"},
    )
    result = mine(pairs, True, bag_of_words, options(consistency=1))
    assert result.table.num_rows == 2


def test_consistency_is_asked_of_native_rows_and_not_of_superni_rows() -> None:
    for marked, kept in (("native", False), ("mined", True)):
        pairs = _numbered("0.5", "0.9", "0.8", neg=["0.3"], negatives=marked)
        result = mine(pairs, False, by_number, options(margin=None, consistency=2))
        assert (0 in result.table["row_id"].to_pylist()) == kept


_MANY = _numbered("0.99", *(f"0.{i}" for i in range(10, 90)))


def test_a_random_choice_is_seeded_and_stays_in_its_window() -> None:
    def chosen(**fields: Any) -> MiningOptions:
        window = {"first_rank": 11, "candidates": 40, "choice": "random"}
        return options(**{"negatives": 4, "margin": None, **window, **fields})

    found = [_negatives(_MANY, chosen(seed=seed)) for seed in range(8)]
    assert len({tuple(texts) for texts in found}) == 8
    ranked = sorted((f"0.{i}" for i in range(10, 90)), reverse=True)
    assert {text for texts in found for text in texts} <= set(ranked[9:39])
    reordered = _MANY.take(np.random.default_rng(0).permutation(_MANY.num_rows))
    assert _negatives(reordered, chosen(seed=0)) == found[0]


def test_rules_outside_a_random_choice_move_nothing_in_it() -> None:
    """One more rule takes away what breaks it, and reshuffles nothing."""
    wide = {"negatives": 10, "margin": None, "choice": "random", "too_few": "drop"}
    free = _negatives(_MANY, options(**wide))
    bound = _negatives(_MANY, options(**wide, max_score=0.7))
    assert bound[: sum(float(text) <= 0.7 for text in free)] == [
        text for text in free if float(text) <= 0.7
    ]


def test_random_negatives_can_be_told_from_mined_ones() -> None:
    pairs = _numbered("0.9", *(f"0.{i}" for i in range(10, 60)), neg=["0.05"], negatives="native")
    chosen = options(negatives=6, candidates=6, first_rank=1, min_score=0.57, native="add")
    result = mine(pairs, False, by_number, chosen)
    row = result.table.to_pylist()[0]
    random = [each["position"] for each in result.random.to_pylist() if each["row_id"] == 0]
    assert row["neg"][:4] == ["0.05", "0.59", "0.58", "0.57"]
    assert random == list(range(4, len(row["neg"]))) != []
    assert result.counts["randomly_completed"] == len(result.random["row_id"].unique())


def test_without_completion_nothing_is_random() -> None:
    narrow = {"negatives": 3, "candidates": 3}
    completed = mine(_SPREAD, False, by_number, options(**narrow))
    dropped = mine(_SPREAD, False, by_number, options(**narrow, too_few="drop"))
    assert completed.random.num_rows > 0 == dropped.random.num_rows


def test_rows_taken_together_or_apart_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = options(negatives=4, choice="random", first_rank=3, candidates=9)
    whole = mine(_MANY, False, by_number, chosen)
    monkeypatch.setattr("mining.pick._ROWS_AT_ONCE", 2)
    apart = mine(_MANY, False, by_number, chosen)
    assert apart.table.equals(whole.table) and apart.random.equals(whole.random)
    assert apart.counts == whole.counts


def _one_by_one(
    pairs: pa.Table, symmetric: bool, chosen: MiningOptions, veto: Callable[[str, str], float]
) -> dict[int, tuple[list[str], int]]:
    """row_id -> negatives and how many of them are not random, as the docs say it, slowly."""
    rows = pairs.to_pylist()
    corpus: dict[str, str] = {}
    for row in rows:
        for text in (row["pos"], *([row["query"]] if symmetric else [])):
            corpus.setdefault(normalise(text), text)
    texts = list(corpus.values())

    def cosine(left: str, right: str) -> float:
        one, other = bag_of_words([left, right]).astype(np.float64)
        return round(float(one @ other), 4)

    right: dict[str, set[str]] = {normalise(row["query"]): set() for row in rows}
    for row in rows:
        known = {normalise(text) for text in (row["query"], *row["known_pos"])}
        right[normalise(row["query"])] |= known
        for text in known if symmetric else ():
            right.setdefault(text, set()).update({text, normalise(row["query"])})

    def allowed(row: dict[str, Any], text: str, random: bool) -> bool:
        known = right[normalise(row["query"])]
        if symmetric and known & right.get(normalise(text), set()):
            return False
        score, pos_score = cosine(row["query"], text), cosine(row["query"], row["pos"])
        return (
            normalise(text) not in known
            and (chosen.margin is None or score < score_bound(pos_score, chosen.margin))
            and (chosen.max_score is None or score <= chosen.max_score)
            and (random or chosen.min_score is None or score >= chosen.min_score)
            and veto(row["query"], text)
            < score_bound(veto(row["query"], row["pos"]), chosen.veto_margin)
        )

    found = {}
    for row in rows:
        others = [text for text in texts if normalise(text) != normalise(row["query"])]
        ranked = sorted(others, key=lambda text: (-cosine(row["query"], text), texts.index(text)))
        last = chosen.consistency
        if last and last <= len(ranked):
            nearer = cosine(row["query"], ranked[last - 1])
            if nearer > cosine(row["query"], row["pos"]):
                continue
        tried = [ranked[rank - 1] for rank in order_of_ranks(chosen, row["row_id"])
                 if rank <= len(ranked)]  # fmt: skip
        mined = [text for text in tried if allowed(row, text, False)][: chosen.negatives]
        drawn = random_rows(len(texts), chosen.candidates, chosen.seed, row["row_id"])
        more = [texts[i] for i in drawn if texts[i] not in mined]
        random = [text for text in more if allowed(row, text, True)] * (chosen.too_few == "random")
        negatives = (mined + random)[: chosen.negatives]
        if negatives and (chosen.too_few == "random" or len(mined) == chosen.negatives):
            found[row["row_id"]] = (negatives, len(mined))
    return found


_OPTIONS = st.builds(
    lambda **fields: options(**fields, veto="by letters", veto_margin=0.9),
    negatives=st.integers(1, 3),
    first_rank=st.integers(1, 3),
    candidates=st.integers(5, 9),
    margin=st.sampled_from([None, 0.8, 0.95, 1.0]),
    min_score=st.sampled_from([None, -0.1]),
    max_score=st.sampled_from([None, 0.5]),
    choice=st.sampled_from(["top", "random"]),
    consistency=st.sampled_from([None, 1, 3, 30]),
    too_few=st.sampled_from(["random", "drop"]),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(ROWS_OF_WORDS, min_size=1, max_size=9), st.booleans(), _OPTIONS)
def test_many_rows_at_once_get_what_one_by_one_they_would(
    rows: list[dict[str, Any]], symmetric: bool, chosen: MiningOptions
) -> None:
    pairs = make_pairs(*rows)

    def letters(query: str, text: str) -> float:
        return len(set(query) & set(text)) / len(set(query) | set(text))

    result = mine(
        pairs,
        symmetric,
        bag_of_words,
        chosen,
        lambda asked: [letters(query, text) for query, text in asked],
    )
    random = result.random["row_id"].to_pylist()
    found = {
        row["row_id"]: (row["neg"], len(row["neg"]) - random.count(row["row_id"]))
        for row in result.table.to_pylist()
    }
    assert found == _one_by_one(pairs, symmetric, chosen, lambda q, t: round(letters(q, t), 4))
    assert result.table.num_rows + result.dropped.num_rows == len(rows) == result.counts["rows_in"]
