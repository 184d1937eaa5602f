"""What becomes of broken rows and of files that cannot be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.errors import DatasetError
from medi_sources.clean import CleaningOptions, clean
from medi_sources.readers import Dropped, Item
from tests.source_files import file, rows


def test_bad_lines_are_dropped_with_their_reason_and_the_rest_is_read(tmp_path: Path) -> None:
    deep = b"[" * 100_000
    lines = [b'["a", "b"]', b"{nope", b"", b'["\xff", "b"]', b'["a\0", "b"]', deep, b'"text"']
    path = file(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\n\n \n")
    got = rows("jsonl_list", path)
    assert got[0] == Item(0, "a", ("b",))
    assert [row.reason for row in got[1:] if isinstance(row, Dropped)] == [
        "malformed",
        "malformed",
        "invalid_utf8",
        "nul_byte",
        "malformed",
        "wrong_fields",
    ]


@pytest.mark.parametrize("layout, name", [("kilt_dpr", "a.json"), ("columns", "a.csv")])
def test_invalid_utf8_in_a_file_read_as_a_whole_costs_one_row(
    tmp_path: Path, layout: str, name: str
) -> None:
    passage = b'{"question": "%s", "positive_ctxs": [{"text": "a bird"}]}'
    content = {
        "kilt_dpr": b"["
        + b", ".join(passage % each for each in (b"who", b"\xff\xfe", b"how"))
        + b"]",
        "columns": b"q,p\nwho,a bird\n\xff\xfe,a bird\nhow,a bird\n",
    }[layout]
    roles = {"query": "q", "pos": "p"} if layout == "columns" else {}
    items = rows(layout, file(tmp_path, name, content), **roles)
    cleaned = [clean(item, CleaningOptions()) for item in items if isinstance(item, Item)]
    assert [getattr(each, "reason", "used") for each in cleaned] == ["used", "invalid_utf8", "used"]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    """A text may hold U+2028 or a form feed, which str.splitlines would break at."""
    path = file(tmp_path, "a.jsonl", '["a\u2028b", "c\u0085d"]\n')
    assert rows("jsonl_list", path) == [Item(0, "a\u2028b", ("c\u0085d",))]


def test_row_ids_run_over_all_files(tmp_path: Path) -> None:
    one = file(tmp_path, "1.jsonl", '["a", "b"]\nbad\n\n')
    two = file(tmp_path, "2.jsonl", '["c", "d"]')
    assert [row.row_id for row in rows("jsonl_list", one, two)] == [0, 1, 2]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80) | st.text(alphabet='[]{}",:ab\n\\u', max_size=40))
@pytest.mark.parametrize(
    "layout, roles",
    [
        ("jsonl_list", {}),
        ("jsonl_set", {}),
        ("jsonl_query_pos_neg", {}),
        ("kilt", {}),
        ("kilt_dpr", {}),
        ("pubmedqa", {}),
        ("squad", {}),
        ("superni", {}),
        ("parallel_lines", {}),
        ("parallel_lines", {"ordered": True}),
        ("columns", {"query": "a", "pos": "b"}),
        ("columns", {"query": "a.b", "pos": "b.a", "where": {"b": "a"}}),
        ("columns", {"query": "a", "pos": "b", "format": "json_list"}),
        ("columns", {"query": "a", "pos": "b", "format": "tsv", "quoted": True}),
        ("columns", {"query": "a", "pos": "b", "format": "csv", "header": ["a", "b"]}),
    ],
)
def test_whatever_a_file_holds_only_dataset_errors_are_raised(
    tmp_path: Path, layout: str, roles: dict[str, Any], content: str | bytes
) -> None:
    for name in ("f.json", "f.csv", "f.parquet") if layout == "columns" else ("f.json",):
        try:
            got = rows(layout, file(tmp_path, name, content), **roles)
        except DatasetError as error:
            assert name in str(error)
        else:
            assert [row.row_id for row in got] == list(range(len(got)))
            pa.array([row.detail for row in got if isinstance(row, Dropped)], pa.string())


@pytest.mark.parametrize("layout", ["jsonl_list", "parallel_lines", "kilt_dpr", "pubmedqa"])
def test_a_gzip_file_cut_short_is_no_shorter_file(tmp_path: Path, layout: str) -> None:
    whole = gzip.compress(b'["a", "b"]\n' * 10_000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(DatasetError, match=r"cut\.jsonl\.gz: expected a whole gzip file"):
        rows(layout, tmp_path / "cut.jsonl.gz")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz", "a.parquet"])
def test_missing_columns_are_named_with_those_found(tmp_path: Path, name: str) -> None:
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"title": ["x"], "body": ["y"]}), tmp_path / name)
    else:
        file(tmp_path, name, "title,body\n".replace(",", "," if ".csv" in name else "\t"))
    with pytest.raises(DatasetError, match=r"expected the columns title, text, found title, body"):
        rows("columns", tmp_path / name, query="title", pos="text")


@pytest.mark.parametrize("name", ["a.xlsx", "train", "a.parquet.gz"])
def test_a_file_of_unknown_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=rf"{name}: expected .*\.parquet.* reader's format"):
        rows("columns", file(tmp_path, name, "x"), query="a", pos="b")


def test_a_file_of_another_format_than_declared_is_refused(tmp_path: Path) -> None:
    lines = file(tmp_path, "a.jsonl", '{"a": "x", "b": "y"}\n')
    for said, found in (("parquet", "a Parquet file"), ("csv", "columns a, b"), ("json_list", "0")):
        with pytest.raises(DatasetError, match=rf"a\.jsonl: expected .*{found}"):
            rows("columns", lines, query="a", pos="b", format=said)


def test_a_json_list_cut_short_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, "cut.json", '[{"a": "x", "b": "y"}, {"a": "x", "b"')
    with pytest.raises(DatasetError, match=r"cut\.json: expected a JSON list .* at element 1"):
        rows("columns", path, query="a", pos="b", format="json_list")


@pytest.mark.parametrize(
    "row, detail",
    [
        ({"a": "x", "b": {"d": "y"}}, "c: missing, the row has d"),
        ({"a": "x", "b": [{"d": "y"}]}, "c: missing, the row has d"),
        ({"a": "x", "b": ["y"]}, "row: expected an object with 'c', found a text"),
        ({"a": "x", "b": {"c": 3}}, "b.c: expected a list of texts, found the number 3"),
        ({"a": "x", "b": [{"c": ["y", 3]}]}, "b.c[1]: expected a text, found the number 3"),
        ({"a": ["x"], "b": {"c": "y"}}, "a: expected a text, found a list"),
        ({"b": {"c": "y"}}, "a: missing, the row has b"),
    ],
)
def test_a_dotted_name_that_leads_nowhere_costs_the_row(
    tmp_path: Path, row: dict[str, Any], detail: str
) -> None:
    [got] = rows("columns", file(tmp_path, "a.jsonl", json.dumps(row)), query="a", pos="b.c")
    assert got == Dropped(0, "wrong_fields", detail)


def test_invalid_utf8_in_parquet_costs_one_row(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"\xff\xfe", b"fine"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"q": texts, "p": ["x", "y", "z"]}), tmp_path / "a.parquet")
    got = rows("columns", tmp_path / "a.parquet", query="q", pos="p")
    assert [type(row) for row in got] == [Item, Dropped, Item]
    assert isinstance(got[1], Dropped) and got[1].reason == "invalid_utf8"


@pytest.mark.parametrize("layout", ["superni", "squad", "pubmedqa", "kilt_dpr"])
def test_json_of_another_layout_is_refused(tmp_path: Path, layout: str) -> None:
    other = '["x"]' if layout == "pubmedqa" else '{"Tasks": []}'
    with pytest.raises(DatasetError, match=r"other\.json: expected .*, found"):
        rows(layout, file(tmp_path, "other.json", other))
