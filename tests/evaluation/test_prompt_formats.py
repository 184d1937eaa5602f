"""Prompt retrieval's records and files: what a row becomes, and which rows are refused."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from artifacts.errors import DatasetError
from evaluation.catalog import load_catalog
from evaluation.paper import PROMPT_11
from evaluation.prompt_layouts import load_examples, read_examples
from evaluation.prompts import Example, PromptFormat, PromptOptions

PAIRS = PromptFormat(
    input="{first}\n{second}\nSame?",
    answer="{label}",
    embed="{first} {second}",
    labels={"0": "no", "1": "yes"},
)
ENDINGS = PromptFormat(input="{topic}: {start}", answer="{label}", choices="endings")
FREE = PromptFormat(input="Q: {q}\nA:", answer="{a}")


def _write(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_labels_are_read_and_said_in_words() -> None:
    row = {"first": "a  b\n", "second": "c", "label": 1, "idx": 7}
    assert PAIRS.example(row) == Example("a b\nc\nSame?", "yes", "a b c", ("no", "yes"))


def test_choices_are_the_rows_own() -> None:
    row = {"topic": "sea", "start": "a ship", "endings": ["sinks.", " sails."], "label": "1"}
    assert ENDINGS.example(row) == Example(
        "sea: a ship", "sails.", "sea: a ship", ("sinks.", "sails.")
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["Yes."], "Yes."),
        (["a", ["b", 2]], "a, b, 2"),
        ({"hotel-area": "north", "hotel-stars": "4"}, "hotel-area: north, hotel-stars: 4"),
        ({}, "none"),
        ([], "none"),
        (3.5, "3.5"),
    ],
)
def test_lists_and_objects_read_as_text(value: Any, text: str) -> None:
    assert FREE.example({"q": "x", "a": value}).answer == text


def test_a_value_is_no_template() -> None:
    """Braces in upstream text must stay what they are."""
    assert FREE.example({"q": "{a} {b.__class__}", "a": "{q}"}).input == "Q: {a} {b.__class__}\nA:"


@pytest.mark.parametrize(
    "template",
    [
        "{q.__class__}",
        "{q[0]}",
        "{q!r}",
        "{q:>9}",
        "{}",
        "{0}",
        "{q",
        "q}",
        "{{q}} {q}",
        "no column",
    ],
)
@pytest.mark.parametrize("field", ["input", "answer", "embed"])
def test_templates_name_columns_and_nothing_else(field: str, template: str) -> None:
    record = {"input": "{q}", "answer": "{a}", field: template}
    with pytest.raises(ValidationError, match="must name a column"):
        PromptFormat.model_validate(record)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"labels": {0: "no", 1: "yes"}, "choices": "endings"}, "not both"),
        ({"labels": {0: "no", 1: "no"}}, "text of its own"),
        ({"labels": {0: "no", 1: ""}}, "text of its own"),
        ({"labels": {0: "no"}}, "at least 2"),
        ({"column": "q"}, "Extra inputs"),
    ],
)
def test_a_record_that_means_nothing_is_refused(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        PromptFormat.model_validate({"input": "{q}", "answer": "{a}", **more})


@pytest.mark.parametrize(
    ("form", "row", "problem"),
    [
        (PAIRS, {"first": "a", "label": 1}, "no column 'second' among first, label"),
        (PAIRS, {}, "no column 'first' among none"),
        (PAIRS, {"first": "a", "second": "b", "label": 2}, r"label '2' is none of .* \(0, 1\)"),
        (PAIRS, {"first": "a", "second": None, "label": 1}, "null"),
        (FREE, {"q": "x", "a": " "}, "empty"),
        (ENDINGS, {"topic": "t", "start": "s", "label": 0}, "no column 'endings'"),
        (
            ENDINGS,
            {"topic": "t", "start": "s", "label": 2, "endings": ["a", "b"]},
            "answer '2' is no index of its 2 choices",
        ),
        (ENDINGS, {"topic": "t", "start": "s", "label": 0, "endings": ["a", ""]}, "no list of two"),
        (ENDINGS, {"topic": "t", "start": "s", "label": 0, "endings": "ab"}, "no list of two"),
        (FREE, ["q", "a"], "a list, not an object"),
    ],
)
def test_a_row_not_of_the_format_is_named(
    tmp_path: Path, form: PromptFormat, row: Any, problem: str
) -> None:
    good = {"first": "a", "second": "b", "label": 0, "q": "x", "a": "y"}
    good |= {"topic": "t", "start": "s", "endings": ["a", "b"]}
    path = _write(tmp_path / "rows.json", [good, row])
    with pytest.raises(DatasetError, match=rf"^rows.json, row 2: .*{problem}"):
        read_examples(path, "prompt_json", form)


def test_the_three_layouts_hold_the_same_rows(tmp_path: Path) -> None:
    rows = [{"q": "who, what?", "a": 'the "tide"'}, {"q": "where\u2028there", "a": "é"}]
    listed = _write(tmp_path / "a.json", rows)
    lines = tmp_path / "a.jsonl"
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n\n" for row in rows)
    lines.write_text(text, encoding="utf-8")
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["a", "q"])
        writer.writeheader()
        writer.writerows(rows)
    expected = [FREE.example(row) for row in rows]
    assert read_examples(listed, "prompt_json", FREE) == expected
    assert read_examples(lines, "prompt_jsonl", FREE) == expected
    assert read_examples(tmp_path / "a.csv", "prompt_csv", FREE) == expected


def test_rows_may_stand_within_an_object(tmp_path: Path) -> None:
    form = FREE.model_copy(update={"rows": "Instances"})
    path = _write(tmp_path / "task.json", {"Source": ["x"], "Instances": [{"q": "x", "a": ["y"]}]})
    assert read_examples(path, "prompt_json", form) == [Example("Q: x\nA:", "y", "Q: x\nA:")]
    with pytest.raises(DatasetError, match=r"^task.json: no list of rows$"):
        read_examples(path, "prompt_json", FREE)
    other = _write(tmp_path / "other.json", [{"q": "x", "a": "y"}])
    with pytest.raises(DatasetError, match=r"^other.json: no list of rows under 'Instances'$"):
        read_examples(other, "prompt_json", form)


@pytest.mark.parametrize(
    ("layout", "content", "problem"),
    [
        ("prompt_json", b"[{", "file: not JSON"),
        ("prompt_json", b"\xff[]", "file: not utf-8"),
        ("prompt_jsonl", b'{"q": "x", "a": "y"}\n\n{"q"', "file, row 3: not JSON"),
        ("prompt_jsonl", b'{"q": "x", "a": "y"}\n7', "file, row 2: a int, not an object"),
        ("prompt_csv", b"q,a\nx,y\nx\n", "file, row 2: not as many cells"),
        ("prompt_csv", b"q,a\nx,y,z\n", "file, row 1: not as many cells"),
        ("prompt_csv", b"q,b\nx,y\n", "file, row 1: no column 'a' among q, b"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, layout: Any, content: bytes, problem: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=f"^{problem}"):
        read_examples(path, layout, FREE)


@settings(deadline=None)
@given(
    asked=st.lists(st.integers(0, 30), min_size=6, max_size=40),
    shuffled=st.randoms(use_true_random=False),
)
def test_a_single_file_is_split_by_its_texts_alone(
    tmp_path_factory: pytest.TempPathFactory, asked: list[int], shuffled: Any
) -> None:
    """No question on both sides, none lost, and the order of the file makes no difference."""
    assume(len(set(asked)) > 3)
    folder = tmp_path_factory.mktemp("split")
    rows = [{"q": str(number), "a": f"answer {number}"} for number in asked]
    options = PromptOptions(test_rows=3)
    train, test = load_examples([_write(folder / "a.json", rows)], "prompt_json", FREE, options)
    assert len(test) == 3
    assert Counter(row.input for row in (*train, *test)) == Counter(
        f"Q: {number}\nA:" for number in set(asked)
    )
    shuffled.shuffle(rows)
    again = load_examples([_write(folder / "b.json", rows)], "prompt_json", FREE, options)
    assert [set(part) for part in again] == [set(train), set(test)]


def test_of_too_many_rows_some_are_taken_in_their_order(tmp_path: Path) -> None:
    files = [
        _write(tmp_path / f"{part}.json", [{"q": f"{part} {i}", "a": "x"} for i in range(50)])
        for part in ("train", "test")
    ]
    whole = load_examples(files, "prompt_json", FREE, PromptOptions())
    assert [len(part) for part in whole] == [50, 50]
    some = load_examples(files, "prompt_json", FREE, PromptOptions(train_rows=20, test_rows=5))
    assert [len(part) for part in some] == [20, 5]
    for part, all_rows in zip(some, whole, strict=True):
        assert part == [row for row in all_rows if row in part]
        assert part != all_rows[: len(part)]


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ([3, 1], "0.json, 1.json: 3 rows to choose examples from and 1 to answer"),
        ([0, 3], "0.json, 1.json: 0 rows to choose"),
        ([3], "0.json: 0 rows to choose examples from and 3 to answer"),
        ([3, 3, 3], "3 files instead of two"),
    ],
)
def test_too_few_rows_or_too_many_files(tmp_path: Path, sizes: list[int], problem: str) -> None:
    files = [
        _write(tmp_path / f"{i}.json", [{"q": f"{i} {j}", "a": "x"} for j in range(size)])
        for i, size in enumerate(sizes)
    ]
    with pytest.raises(DatasetError, match=f"^{problem}"):
        load_examples(files, "prompt_json", FREE, PromptOptions())


def test_the_catalog_has_the_papers_eleven() -> None:
    """Labels without a word in common: else ROUGE-L would reward a wrong one."""
    tasks = {n: t for n, t in load_catalog().items() if t.category == "Prompt retrieval"}
    assert {name for name in tasks if not name.startswith("Sample")} == set(PROMPT_11)
    for name, task in tasks.items():
        assert task.metric == "rouge_l" and task.prompt is not None
        words = Counter(
            word
            for text in (task.prompt.labels or {}).values()
            for word in set(re.findall(r"\w+", text.lower()))
        )
        assert max(words.values(), default=1) == 1, name
