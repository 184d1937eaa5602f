"""A wrong or half-copied folder must be named before hours of training, not after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.errors import InputError
from artifacts.row import MEDI
from training.data import load_rows, manifest_key


def test_reads_all_rows_of_all_shards_in_order(medi: Path, tmp_path: Path) -> None:
    table = pq.read_table(medi / "data/beta/train-00000-of-00001.parquet")
    folder = tmp_path / "data" / "beta"
    folder.mkdir(parents=True)
    pq.write_table(table.slice(0, 5), folder / "train-00000-of-00002.parquet")
    pq.write_table(table.slice(5), folder / "train-00001-of-00002.parquet")
    rows = load_rows(tmp_path)["beta"]
    assert rows["row_id"].to_pylist() == list(range(21))
    assert rows["query"].to_pylist() == table["query"].to_pylist()
    assert rows["doc_instruction"][0].as_py() == "Represent the beta document for retrieval: "


def test_reads_what_the_datasets_library_wrote_again(medi: Path, tmp_path: Path) -> None:
    """Plain strings in place of dictionaries, large strings: the same rows."""
    table = pq.read_table(medi / "data/beta/train-00000-of-00001.parquet")
    plain = table.cast(
        pa.schema(
            [
                pa.field(f.name, pa.large_string() if pa.types.is_dictionary(f.type) else f.type)
                for f in MEDI
            ]
        )
    )
    (tmp_path / "data/beta").mkdir(parents=True)
    pq.write_table(plain, tmp_path / "data/beta/train-00000-of-00001.parquet")
    assert load_rows(tmp_path)["beta"].equals(load_rows(medi)["beta"])


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no MEDI folder"):
        load_rows(tmp_path)
    (tmp_path / "data" / "x").mkdir(parents=True)
    with pytest.raises(InputError, match="no Parquet files"):
        load_rows(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path, write_medi: Callable[..., Path]) -> None:
    folder = write_medi(tmp_path, {"a": 3}) / "data/a"
    (folder / "train-00000-of-00001.parquet").rename(folder / "train-00001-of-00002.parquet")
    with pytest.raises(InputError, match=r"lacks train-00000-of-00002\.parquet"):
        load_rows(tmp_path)


def test_a_missing_column_a_null_and_a_broken_file_are_named(
    tmp_path: Path, write_medi: Callable[..., Path]
) -> None:
    path = write_medi(tmp_path, {"a": 3}) / "data/a/train-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns("pos"), path)
    with pytest.raises(InputError, match="has no column 'pos'"):
        load_rows(tmp_path)
    nulls = pa.array(["x", None, "y"])
    where = table.schema.get_field_index("pos")
    pq.write_table(table.set_column(where, "pos", nulls), path)
    with pytest.raises(InputError, match="column 'pos': 1 nulls"):
        load_rows(tmp_path)
    path.write_bytes(b"not Parquet")
    with pytest.raises(InputError, match="cannot be read as MEDI rows"):
        load_rows(tmp_path)


def test_a_row_with_too_few_negatives_is_named(medi: Path) -> None:
    with pytest.raises(InputError, match="alpha, row_id 0: 1 negatives where training uses 2"):
        load_rows(medi, negatives=2)


def test_a_folder_without_rows_is_refused(tmp_path: Path, write_medi: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="no rows in any of its 1 datasets"):
        load_rows(write_medi(tmp_path, {"a": 0}))


def test_the_manifests_key_is_found(tmp_path: Path) -> None:
    assert manifest_key(tmp_path) is None
    (tmp_path / "manifest.json").write_text('{"build": {"key": "4fd1"}}')
    assert manifest_key(tmp_path) == "4fd1"
