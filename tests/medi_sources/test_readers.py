"""What comes out of each upstream layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from artifacts.errors import DatasetError
from medi_sources.readers import Dropped, Item, superni_definition
from tests.source_files import file, rows, source


def test_jsonl_list_takes_the_positions_of_the_roles(tmp_path: Path) -> None:
    path = file(tmp_path, "a.jsonl.gz", '["heron", "grey bird", "toad"]\n["wren", "small"]\n')
    first, second = rows("jsonl_list", path, neg=2)
    assert first == Item(0, "heron", ("grey bird",), ("toad",))
    assert second == Dropped(1, "wrong_fields", "neg: no position 2 in a list of 2")
    assert rows("jsonl_list", path, query=1, pos=0)[1] == Item(1, "small", ("wren",))


def test_jsonl_set_takes_objects_and_bare_lists(tmp_path: Path) -> None:
    path = file(tmp_path, "a.jsonl", '{"set": ["a heron", "one heron"]}\n["x", "y", "z"]\n[]\n')
    assert rows("jsonl_set", path) == [
        Item(0, "a heron", ("one heron",), is_set=True),
        Item(1, "x", ("y", "z"), is_set=True),
        Dropped(2, "wrong_fields", "set: empty"),
    ]


def test_query_pos_neg_needs_no_negatives(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "a.jsonl",
        '{"query": "q", "pos": ["p", "r"], "neg": ["n"]}\n{"query": "q", "pos": "p"}\n'
        '{"query": 3, "pos": ["p"]}\n{"pos": ["p"]}\n{"query": "q", "pos": ["p", null]}\n',
    )
    good, alone, ill_typed, missing, null = rows("jsonl_query_pos_neg", path)
    assert good == Item(0, "q", ("p", "r"), ("n",))
    assert alone == Item(1, "q", ("p",))
    assert ill_typed == Dropped(2, "wrong_fields", "query: expected a text, found the number 3")
    assert missing == Dropped(3, "wrong_fields", "query: missing, the row has pos")
    assert null == Dropped(4, "wrong_fields", "pos[1]: expected a text, found null")


def test_kilt_dpr_joins_title_and_text_with_one_space(tmp_path: Path) -> None:
    content = [
        {
            "question": "who nests in reeds",
            "positive_ctxs": [{"title": "Bittern", "text": " It nests in reeds."}],
            "hard_negative_ctxs": [{"title": "", "text": "Owls nest in barns."}],
        },
        {"question": "no passages"},
    ]
    path = file(tmp_path, "a.json", json.dumps(content, indent=1))
    assert rows("kilt_dpr", path)[0] == Item(
        0, "who nests in reeds", ("Bittern It nests in reeds.",), ("Owls nest in barns.",)
    )
    assert rows("kilt_dpr", path)[1].detail == "positive_ctxs: missing, the row has question"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    questions=st.lists(st.text(max_size=20), max_size=6),
    indent=st.sampled_from([None, 1]),
    chunk=st.integers(1, 9),
)
def test_a_list_read_in_pieces_is_the_list(
    tmp_path: Path, monkeypatch: Any, questions: list[str], indent: int | None, chunk: int
) -> None:
    """Dumps of many GB are read piece by piece: a border may fall anywhere, in a character too."""
    monkeypatch.setattr("medi_sources.readers.files._CHUNK", chunk)
    content = [{"question": each, "positive_ctxs": []} for each in questions]
    path = file(tmp_path, "a.json", json.dumps(content, indent=indent, ensure_ascii=False))
    assert [row.query for row in rows("kilt_dpr", path) if isinstance(row, Item)] == questions


def test_kilt_takes_each_page_title_once_in_order(tmp_path: Path) -> None:
    pages = [{"title": "Reed"}, {"title": "Marsh"}, {"title": "Reed"}]
    line = {"input": "where", "output": [{"answer": "x", "provenance": pages}, {"answer": "y"}]}
    path = file(tmp_path, "a.jsonl", json.dumps(line) + '\n{"input": "unanswered"}\n')
    assert rows("kilt", path) == [Item(0, "where", ("Reed", "Marsh")), Item(1, "unanswered")]


def test_pubmedqa_joins_contexts_and_goes_on_in_the_next_file(tmp_path: Path) -> None:
    one = file(tmp_path, "l.json", '{"1": {"QUESTION": "Is it?", "CONTEXTS": ["A.", "B."]}}')
    two = file(tmp_path, "a.json", '{"2": {"QUESTION": "And?", "CONTEXTS": []}, "3": []}')
    assert rows("pubmedqa", one, two)[:2] == [Item(0, "Is it?", ("A. B.",)), Item(1, "And?")]
    assert rows("pubmedqa", one, two)[2].row_id == 2


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.txt", "a.jsonl", "a.parquet"])
def test_columns_are_the_same_rows_from_every_format(tmp_path: Path, name: str) -> None:
    content = [{"id": "1", "title": "Heron", "body": "Wades."}]
    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(content), path)
    elif name.endswith(".jsonl"):
        file(tmp_path, name, json.dumps(content[0]) + "\n")
    else:
        mark = "," if ".csv" in name else "\t"
        lines = [mark.join(content[0]), mark.join(content[0].values())]
        file(tmp_path, name, "\ufeff" + "\r\n".join(lines) + "\r\n\r\n")
    assert rows("columns", path, query="title", pos="body") == [Item(0, "Heron", ("Wades.",))]


def test_columns_with_lists_nulls_and_negatives(tmp_path: Path) -> None:
    table = pa.table(
        {"q": ["a", "b", None], "p": [["x", "y"], None, ["z"]], "n": ["no", None, "no"]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    first, second, third = rows("columns", tmp_path / "a.parquet", query="q", pos="p", neg="n")
    assert first == Item(0, "a", ("x", "y"), ("no",))
    assert second == Item(1, "b")
    assert third == Dropped(2, "wrong_fields", "q: expected a text, found null")


def test_a_lone_quote_in_a_tsv_does_not_swallow_rows(tmp_path: Path) -> None:
    path = file(tmp_path, "a.tsv", 'q\tp\tmore\n"one\tx\t\ntwo\ty\nthree\n4\t5\t6\t7\n')
    assert rows("columns", path, query="q", pos="p") == [
        Item(0, '"one', ("x",)),
        Item(1, "two", ("y",)),
        Dropped(2, "wrong_fields", "1 cells under a header of 3"),
        Dropped(3, "wrong_fields", "4 cells under a header of 3"),
    ]


def test_a_quoted_csv_cell_may_hold_line_ends_and_be_long(tmp_path: Path) -> None:
    long = "word " * 40_000
    path = file(tmp_path, "a.csv", f'q,p\n"one\n\nline","{long}"\n')
    assert rows("columns", path, query="q", pos="p") == [Item(0, "one\n\nline", (long,))]


def test_a_quoted_tsv_and_an_unquoted_csv_are_read_where_the_record_says_so(tmp_path: Path) -> None:
    tsv = file(tmp_path, "a.tsv", 'q\tp\n"one\nline"\t"a ""b"" c"\n')
    got = rows("columns", tsv, query="q", pos="p", format="tsv", quoted=True)
    assert got == [Item(0, "one\nline", ('a "b" c',))]
    csv = file(tmp_path, "a.csv", 'q,p\n"one,two"\n')
    got = rows("columns", csv, query="q", pos="p", format="csv", quoted=False)
    assert got == [Item(0, '"one', ('two"',))]


def test_a_file_without_header_or_suffix_is_read_as_the_record_says(tmp_path: Path) -> None:
    path = file(tmp_path, "train", '3, "Heron, wading", "In reeds."\n1,"Owl"\n')
    roles = {"query": "title", "pos": "text", "format": "csv", "header": ["label", "title", "text"]}
    assert rows("columns", path, **roles) == [
        Item(0, "Heron, wading", ("In reeds.",)),
        Dropped(1, "wrong_fields", "2 cells under a header of 3"),
    ]


def test_a_json_list_of_rows_is_read(tmp_path: Path) -> None:
    path = file(tmp_path, "a.json", '[{"q": "who",\n "p": ["x", "y"]},\n 3]')
    first, second = rows("columns", path, query="q", pos="p", format="json_list")
    assert first == Item(0, "who", ("x", "y"))
    assert second.row_id == 1 and isinstance(second, Dropped)


OUTPUTS = [{"answer": "reeds"}, {"page": "Marsh"}, {"answer": None}, {"answer": "bogs"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_dotted_name_leads_into_objects_and_through_lists(tmp_path: Path, name: str) -> None:
    content = [{"ask": {"text": "where"}, "output": OUTPUTS}, {"ask": {"text": "?"}}, {"ask": None}]
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(content), tmp_path / name)
    else:
        full = [{"output": None, **each} for each in content]
        file(tmp_path, name, "\n".join(map(json.dumps, full)))
    got = rows("columns", tmp_path / name, query="ask.text", pos="output.answer")
    assert got == [
        Item(0, "where", ("reeds", "bogs")),
        Item(1, "?"),
        Dropped(2, "wrong_fields", "ask.text: expected a text, found null"),
    ]


def test_a_key_that_holds_a_dot_is_that_key(tmp_path: Path) -> None:
    line = {"q.a": "who", "q": {"a": "how"}, "p": "x"}
    path = file(tmp_path, "a.jsonl", json.dumps(line))
    assert rows("columns", path, query="q.a", pos="p") == [Item(0, "who", ("x",))]


@pytest.mark.parametrize("name, same", [("a.tsv", "1"), ("a.jsonl", "1"), ("b.jsonl", "true")])
def test_only_rows_with_the_label_asked_for_are_pairs(tmp_path: Path, name: str, same: str) -> None:
    """Else a contradiction would be read as a positive."""
    if name == "a.tsv":
        file(tmp_path, name, "a\tb\tsame\nheron\ttoad\t0\nheron\twader\t1\n")
    else:
        no = "0" if same == "1" else "false"
        lines = [f'{{"a": "heron", "b": "toad", "same": {no}}}']
        file(tmp_path, name, "\n".join([*lines, f'{{"a": "heron", "b": "wader", "same": {same}}}']))
    other, pair = rows("columns", tmp_path / name, query="a", pos="b", where={"same": same})
    assert isinstance(other, Dropped) and other.reason == "no_positive"
    assert pair == Item(1, "heron", ("wader",))


@pytest.mark.parametrize(
    "roles, message",
    [
        ({"header": ["q", "p"]}, "header and quoted need format: csv or format: tsv"),
        ({"quoted": True, "format": "jsonl"}, "header and quoted need format: csv"),
        ({"header": ["q", "x"], "format": "csv"}, "header has no column p"),
        ({"format": "xml"}, "Input should be 'parquet'"),
    ],
)
def test_columns_that_contradict_their_format_are_refused(
    roles: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        source("columns", query="q", pos="p", **roles)


def test_fields_at_their_default_stay_out_of_the_keys_of_artifacts() -> None:
    """A dump that grows with medi would build every dataset anew."""
    columns = source("columns", query="q", pos="p").reader.model_dump(mode="json")
    assert columns == {"layout": "columns", "query": "q", "pos": "p", "neg": None}
    lines = source("parallel_lines").reader.model_dump(mode="json")
    assert lines == {"layout": "parallel_lines"}
    for reader in (
        source("parallel_lines", ordered=True).reader,
        source("columns", query="q", pos="p", format="tsv", quoted=False, header=["q", "p"]).reader,
    ):
        again = source(**reader.model_dump(mode="json")).reader
        assert again == reader and again.model_dump() != lines


def test_squad_gives_each_question_its_paragraph(tmp_path: Path) -> None:
    paragraph = {"context": "Herons wade.", "qas": [{"question": "Who?"}, {"question": "How?"}]}
    unanswered = {"context": "c", "qas": [{"question": "Why?", "is_impossible": True}, {}]}
    content = {"data": [{"paragraphs": [paragraph]}, {}, {"paragraphs": [unanswered]}]}
    got = rows("squad", file(tmp_path, "a.json", json.dumps(content)))
    assert got[:2] == [Item(0, "Who?", ("Herons wade.",)), Item(1, "How?", ("Herons wade.",))]
    assert [(row.row_id, row.reason) for row in got[2:] if isinstance(row, Dropped)] == [
        (2, "wrong_fields"),
        (3, "no_positive"),
        (4, "wrong_fields"),
    ]


def test_parallel_lines_align_several_files(tmp_path: Path) -> None:
    one = file(tmp_path, "1.en.gz", "a heron\n\nan owl\n\n")
    two = file(tmp_path, "2.en", b"one heron\n\n\xff\n")
    assert rows("parallel_lines", one, two) == [
        Item(0, "a heron", ("one heron",), is_set=True),
        Item(1, "", ("",), is_set=True),
        Dropped(2, "invalid_utf8", "at byte 0 of the line"),
    ]


def test_ordered_lines_are_a_query_and_its_positives(tmp_path: Path) -> None:
    """A summary and its article are no two texts of one kind."""
    one = file(tmp_path, "a.target", "short\n")
    two = file(tmp_path, "a.source", "long and wide\n")
    assert rows("parallel_lines", one, two, ordered=True) == [Item(0, "short", ("long and wide",))]


def test_parallel_lines_refuse_files_that_are_not_aligned(tmp_path: Path) -> None:
    one = file(tmp_path, "one.txt", "a\nb\n")
    two = file(tmp_path, "two.txt", "a\nb\nc\n")
    with pytest.raises(DatasetError, match=r"one\.txt ends before line 3 and two\.txt does not"):
        rows("parallel_lines", two, one)


TASK = {
    "Definition": ["Name the", " bird. "],
    "Instances": [
        {"id": "t-1", "input": "grey and tall", "output": ["heron", "heron", "egret"]},
        {"input": "early schema", "output": "owl"},
        {"input": "none", "output": []},
    ],
}


def test_superni_reads_both_schemas(tmp_path: Path) -> None:
    path = file(tmp_path, "task1.json", json.dumps(TASK))
    assert rows("superni", path) == [
        Item(0, "grey and tall", output="heron\negret"),
        Item(1, "early schema", output="owl"),
        Dropped(2, "wrong_fields", "output: empty"),
    ]
    assert superni_definition(path) == "Name the bird."
    early = file(tmp_path, "task2.json", json.dumps({**TASK, "Definition": "Name it."}))
    assert superni_definition(early) == "Name it."


@pytest.mark.parametrize("definition", [None, "", [3]])
def test_a_task_without_definition_is_named(tmp_path: Path, definition: Any) -> None:
    path = file(tmp_path, "task3.json", json.dumps({**TASK, "Definition": definition}))
    with pytest.raises(DatasetError, match=r"task3\.json"):
        superni_definition(path)
