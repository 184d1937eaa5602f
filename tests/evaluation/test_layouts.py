"""Reading evaluation data: a misread file is a wrong score that looks like a right one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import DatasetError
from evaluation.layouts import (
    Judged,
    Labelled,
    Pair,
    message_body,
    read_billboard,
    read_label_lines,
    read_newsgroups,
    read_squad,
    read_sts_tsv,
    read_stsb_csv,
    split_rows,
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_file(content: str | bytes, name: str = "file") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def test_stsb_csv_keeps_commas_and_quotes_inside_sentences(write: Callable[..., Path]) -> None:
    path = write('"A ship, at sea","He said ""stop"".",2.5\nBread.,Flour.,0\n')
    assert read_stsb_csv([path]) == [
        Pair("A ship, at sea", 'He said "stop".', 2.5),
        Pair("Bread.", "Flour.", 0.0),
    ]


def test_sts_lines_without_a_score_are_no_gold_and_quotes_are_plain_text(
    write: Callable[..., Path],
) -> None:
    first = write('4.2\t"An open quote\tA tide.\n\tnever\tjudged\n', "a")
    second = write("0\tx\ty\x85z\n", "b")  # \x85 would end a line for str.splitlines
    assert read_sts_tsv([first, second]) == [
        Pair('"An open quote', "A tide.", 4.2),
        Pair("x", "y\x85z", 0.0),
    ]


def test_label_lines_are_latin_1_coarse_and_distinct(write: Callable[..., Path]) -> None:
    line = "LOC:city Where is the caf\xe9 ?\n"
    path = write((line + "NUM:date When ?\n" + line).encode("latin-1"))
    assert read_label_lines([path]) == [
        Labelled("LOC", "Where is the caf\xe9 ?"),
        Labelled("NUM", "When ?"),
    ]


ROWS = st.lists(
    st.builds(Labelled, st.sampled_from("AB"), st.text(min_size=1)),
    min_size=2,
    unique_by=lambda row: row.text,
)


@settings(deadline=None)
@given(ROWS, st.data())
def test_a_split_leaves_nothing_out_and_depends_on_no_order(
    rows: list[Labelled], data: st.DataObject
) -> None:
    test = data.draw(st.integers(1, len(rows) - 1))
    train, chosen = split_rows(rows, test)
    assert len(chosen) == test
    assert set(train) | set(chosen) == set(rows)
    assert not set(train) & set(chosen)
    again = split_rows(data.draw(st.permutations(rows)), test)
    assert set(again[1]) == set(chosen)


def test_a_split_that_leaves_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(DatasetError, match="2 test rows of 2"):
        split_rows([Labelled("A", "x"), Labelled("B", "y")], 2)


def test_a_message_is_what_its_author_wrote() -> None:
    message = (
        "From: a@example.org\nSubject: tides\n\n"
        "In article <1@x> someone writes:\n> old words\n| older words\nThe tide is low.\n"
        "> more old words\nBring a ship.\n\n--\nA. Sailor, the harbour\n"
    )
    assert message_body(message) == "The tide is low.\nBring a ship."
    assert message_body("Subject: x\r\n\r\nOne line.\r\n") == "One line."
    assert message_body("Subject: x\n\n> all quoted\n") == ""


def test_newsgroups_take_the_group_from_the_folder_and_skip_what_is_no_message(
    data: dict[str, list[Path]],
) -> None:
    rows = read_newsgroups(data["newsgroups_tar"])
    assert len(rows) == 12
    assert {row.label for row in rows} == {"group0", "group1", "group2"}
    assert Labelled("group0", "wave") in rows


def test_squad_gives_distinct_paragraphs_and_each_question_its_own(
    write: Callable[..., Path],
) -> None:
    asked = [("q0", "How?", "First."), ("q1", "Why?", "Second."), ("q2", "Who?", "First.")]
    paragraphs = [{"context": c, "qas": [{"id": i, "question": q}]} for i, q, c in asked]
    found = read_squad([write(json.dumps({"data": [{"paragraphs": paragraphs}]}))])
    assert found.paragraphs == ["First.", "Second."]
    assert [(q.id, found.paragraphs[q.paragraph]) for q in found.questions] == [
        ("q0", "First."),
        ("q1", "Second."),
        ("q2", "First."),
    ]


def test_billboard_joins_judged_texts_to_the_references_of_their_source(
    write: Callable[..., Path],
) -> None:
    judged = write('{"seg_id": "7", "hyp": "A ship.", "human_score": 3.5, "SYS": "x"}\n', "judged")
    references = write('{"seg_id": "7", "refs": ["A boat.", "One ship."]}\n', "references")
    assert read_billboard([judged, references]) == [
        Judged("A ship.", ("A boat.", "One ship."), 3.5)
    ]
    judged.write_text('{"seg_id": "8", "hyp": "A ship.", "human_score": 3.5}\n')
    with pytest.raises(DatasetError, match=r"judged, line 1: seg_id '8' has no references"):
        read_billboard([judged, references])


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_stsb_csv, "a,b,1\nonly,two\n", "line 2: 2 columns"),
        (read_stsb_csv, "a,b,good\n", "line 1: score 'good' is not a number"),
        (read_sts_tsv, "1\ta\tb\tc\n", "line 1: 4 columns"),
        (read_sts_tsv, b"1\t\xff\tb\n", "not utf-8"),
        (read_label_lines, "LOC:city Where?\nno label here\n", "line 2: not 'COARSE:fine text'"),
        (read_newsgroups, "not an archive", "not a readable tar.gz"),
        (read_squad, '{"data": [{"title": "x"}]}', "not SQuAD v1.1 JSON"),
        (read_squad, "{", "not SQuAD v1.1 JSON"),
    ],
)
def test_a_broken_file_is_named_with_its_line(
    write: Callable[..., Path], read: Callable[..., object], content: str | bytes, message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as raised:
        read([write(content, "broken.txt")])
    assert str(raised.value).startswith("broken.txt")
