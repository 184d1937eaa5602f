"""Decontamination against a plain search: what leaks is found, what does not is not."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.row import MEDI, MINED
from artifacts.text import normalise
from medi_sources.leaks import DecontaminationOptions, EvaluationTexts, without_leaks

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"


def mined(*rows: tuple[str, str, list[str]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"row_id": 10 * i, "query": query, "pos": pos, "neg": neg, "pos_score": 0.9,
             "neg_score": [0.5] * len(neg), "negatives": "mined"}
            for i, (query, pos, neg) in enumerate(rows)
        ],
        schema=MINED,
    )  # fmt: skip


def leaks(
    table: pa.Table, texts: dict[str, list[str]], **options: Any
) -> list[tuple[int, str, int, str, str]]:
    index = EvaluationTexts(
        {task: pa.array(lines, pa.string()) for task, lines in texts.items()},
        DecontaminationOptions(**options),
    )
    found = index.leaks("set", table).to_pylist()
    return [(r["row_id"], r["side"], r["position"], r["task"], r["kind"]) for r in found]


def test_exact_leaks_are_found_whatever_case_space_and_punctuation() -> None:
    table = mined(
        ("Where is the  harbour?", "a", ["b"]), ("x", "WHERE is the harbour", ["c", "où est-il là"])
    )
    found = leaks(table, {"T": ["where is the harbour ?"], "U": ["Où, est il; là!"]})
    assert found == [
        (0, "query", 0, "T", "exact"),
        (10, "pos", 0, "T", "exact"),
        (10, "neg", 1, "U", "exact"),
    ]


def test_thirteen_words_in_a_row_leak_and_twelve_do_not() -> None:
    table = mined(
        (f"so {LONG} it goes", "a", ["b"]), (LONG.rsplit(" ", 1)[0] + " other", "c", ["d"])
    )
    assert leaks(table, {"T": [f"he counted {LONG} and left"]}) == [(0, "query", 0, "T", "ngram")]


def test_a_run_does_not_cross_from_one_text_into_the_next() -> None:
    first, second = LONG.split(" seven ")
    assert leaks(mined((first, "seven " + second, ["z"])), {"T": [LONG]}) == []
    assert leaks(mined((LONG, "b", ["z"])), {"T": [first, "seven " + second]}) == []


def test_a_text_of_two_words_is_nobodys_property() -> None:
    table = mined(("Thank you!", "not at all", ["...", ""]))
    texts = {"T": ["thank you", "", "?!", "not at all"]}
    assert leaks(table, texts) == [(0, "pos", 0, "T", "exact")]
    assert leaks(table, texts, least_words=2)[0] == (0, "query", 0, "T", "exact")


def test_a_long_text_leaks_in_however_few_words() -> None:
    """Scripts without spaces have one word a text."""
    long, short = "語" * 30, "語" * 29
    found = leaks(mined((long, short, ["x"])), {"T": [long + "。", short]})
    assert found == [(0, "query", 0, "T", "exact")]


def test_hidden_characters_and_apostrophes_hide_nothing() -> None:
    table = mined(("I don\u2019t know the cap\u00adital", "I dont know the capital", ["z"]))
    found = leaks(table, {"T": ["I don't know the\u200b capital"]})
    assert [side for _, side, *_ in found] == ["query", "pos"]


def test_every_task_that_has_the_text_is_named() -> None:
    found = leaks(
        mined(("the same text here", "b", ["c"])), {t: ["The same text here"] for t in "TU"}
    )
    assert [task for *_, task, _ in found] == ["T", "U"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_a_plain_search(data: st.DataObject) -> None:
    words = st.lists(
        st.sampled_from(["a", "b", "c.", "D", "é", "-", "d'", "_", "a\u00adb", "e\u0301", "語"]),
        max_size=8,
    )
    text = words.map(" ".join)
    rows = data.draw(st.lists(st.tuples(text, text, st.lists(text, max_size=3)), max_size=5))
    texts = {task: data.draw(st.lists(text, max_size=4)) for task in ("T", "U")}
    expected = []
    for i, (query, pos, neg) in enumerate(rows):
        sides = [("query", 0, query), ("pos", 0, pos), *(("neg", j, t) for j, t in enumerate(neg))]
        for side, position, said in sides:
            for task, lines in texts.items():
                if kind := _plain(said, lines, n=4, least=2):
                    expected.append((10 * i, side, position, task, kind))
    assert sorted(leaks(mined(*rows), texts, ngram=4, least_words=2)) == sorted(expected)


def _plain(text: str, lines: list[str], n: int, least: int) -> str | None:
    def words(said: str) -> list[str]:
        kept = [c for c in normalise(said) if unicodedata.category(c)[0] != "M"]
        kept = [c for c in kept if unicodedata.category(c) != "Cf" and c not in "'\u2019"]
        return re.findall(r"[^\W_]+", "".join(kept))

    def runs(said: list[str]) -> set[tuple[str, ...]]:
        return {tuple(said[i : i + n]) for i in range(len(said) - n + 1)}

    mine = words(text)
    if len(mine) >= least and any(words(line) == mine for line in lines):
        return "exact"
    return "ngram" if any(runs(mine) & runs(words(line)) for line in lines) else None


def medi(table: pa.Table) -> pa.Table:
    from artifacts.shards import medi_table

    return medi_table(table, "set", "Represent the query: ", "Represent the text: ")


def test_leaking_rows_and_negatives_are_taken_out_and_nothing_else() -> None:
    table = medi(
        mined(
            ("leak of query", "p", ["n"]),
            ("q", "leak of positive", ["n"]),
            ("q", "p", ["leak of negative", "kept"]),
            ("q", "p", ["leak of negative"]),
            ("q", "p", ["n"]),
        )
    )
    options = DecontaminationOptions()
    texts = pa.array(["leak of query", "leak of positive", "leak of negative"])
    found = EvaluationTexts({"T": texts}, options).leaks("set", table)
    left = without_leaks(table, found)
    assert left.schema == MEDI
    assert left.column("row_id").to_pylist() == [20, 40]
    assert left.column("neg").to_pylist() == [["kept"], ["n"]]
    assert left.column("neg_score").to_pylist() == [[0.5], [0.5]]


def test_rows_without_scores_stay_without() -> None:
    rows = mined(("leak of query", "p", ["n"]), ("q", "p", ["a", "leak of negative"]))
    at = rows.schema.get_field_index("neg_score")
    field = rows.schema.field(at)
    table = medi(rows.set_column(at, field, pa.nulls(2, field.type)))
    texts = pa.array(["leak of query", "leak of negative"])
    found = EvaluationTexts({"T": texts}, DecontaminationOptions()).leaks("set", table)
    assert without_leaks(table, found).column("neg_score").to_pylist() == [None]
