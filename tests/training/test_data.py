"""A wrong or half-copied folder must be named before hours of training, not after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.errors import InputError
from artifacts.keys import sha256_file
from artifacts.row import MEDI
from tests.token_texts import SHARD, write_manifest
from training.data import (
    datasets_of,
    in_batch_negatives,
    load_rows,
    manifest_key,
    row_batches,
    shard_hashes,
)


def test_reads_all_rows_of_all_shards_in_order(medi: Path, tmp_path: Path) -> None:
    table = pq.read_table(medi / "data/beta" / SHARD)
    folder = tmp_path / "data" / "beta"
    folder.mkdir(parents=True)
    pq.write_table(table.slice(0, 5), folder / "train-00000-of-00002.parquet")
    pq.write_table(table.slice(5), folder / "train-00001-of-00002.parquet")
    rows = load_rows(tmp_path, "beta")
    assert rows["row_id"].to_pylist() == list(range(21))
    assert rows["query"].to_pylist() == table["query"].to_pylist()
    assert rows["doc_instruction"][0].as_py() == "Represent the beta document for retrieval: "


def test_a_large_dataset_is_read_piece_by_piece(
    medi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """175,000 rows of text at once would not fit beside a model."""
    whole = load_rows(medi, "alpha")
    monkeypatch.setattr("training.data.BATCH_ROWS", 7)
    assert [batch.num_rows for batch in row_batches(medi, "alpha", 1)] == [7] * 5 + [5]
    assert load_rows(medi, "alpha").equals(whole)


def test_reads_what_the_datasets_library_wrote_again(medi: Path, tmp_path: Path) -> None:
    """Plain strings in place of dictionaries, large strings: the same rows."""
    table = pq.read_table(medi / "data/beta" / SHARD)
    plain = table.cast(
        pa.schema(
            [
                pa.field(f.name, pa.large_string() if pa.types.is_dictionary(f.type) else f.type)
                for f in MEDI
            ]
        )
    )
    (tmp_path / "data/beta").mkdir(parents=True)
    pq.write_table(plain, tmp_path / "data/beta" / SHARD)
    assert load_rows(tmp_path, "beta").equals(load_rows(medi, "beta"))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no MEDI folder"):
        datasets_of(tmp_path)
    (tmp_path / "data" / "x").mkdir(parents=True)
    with pytest.raises(InputError, match="no Parquet files"):
        load_rows(tmp_path, "x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"format": 2, "datasets": {}}', r"manifest\.json: format 2, .* reads 1"),
        ('{"datasets": {}}', "format None"),
        ("[]", "format None"),
        ('{"format": 1', "is no JSON"),
    ],
)
def test_a_folder_of_another_version_is_refused(
    text: str, says: str, tmp_path: Path, write_medi: Callable[..., Path]
) -> None:
    medi = write_medi(tmp_path, {"a": 3})
    (medi / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=says):
        datasets_of(medi)


def test_what_the_manifest_lists_must_be_there(
    tmp_path: Path, write_medi: Callable[..., Path]
) -> None:
    """A folder copied by half must not pass for a smaller one."""
    medi = write_medi(tmp_path, {"a": 3, "b": 3})
    folder = medi / "data/b"
    (folder / SHARD).rename(folder / "train-00000-of-00002.parquet")
    (medi / "data/a" / SHARD).rename(folder / "train-00001-of-00002.parquet")
    write_manifest(medi)
    assert datasets_of(medi) == ["a", "b"]
    for name in ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"):
        (folder / name).rename(medi / name)
        with pytest.raises(InputError, match=rf"data/b lacks {name}"):
            load_rows(medi, "b")
        (medi / name).rename(folder / name)
    folder.rename(medi / "b")
    with pytest.raises(InputError, match="lacks data/b, which its"):
        datasets_of(medi)


def test_a_shard_that_was_changed_is_named(tmp_path: Path, write_medi: Callable[..., Path]) -> None:
    """Its tokens would be kept under the key of the file that was published."""
    medi = write_medi(tmp_path, {"a": 3})
    write_manifest(medi)
    assert load_rows(medi, "a").num_rows == 3
    path = medi / "data/a" / SHARD
    pq.write_table(pq.read_table(path).slice(0, 2), path)
    with pytest.raises(InputError, match=rf"{SHARD} is not the file that .* lists"):
        load_rows(medi, "a")


def test_a_missing_shard_is_named(tmp_path: Path, write_medi: Callable[..., Path]) -> None:
    folder = write_medi(tmp_path, {"a": 3}) / "data/a"
    (folder / SHARD).rename(folder / "train-00001-of-00002.parquet")
    with pytest.raises(InputError, match=r"lacks train-00000-of-00002\.parquet"):
        load_rows(tmp_path, "a")


def test_a_missing_column_a_null_and_a_broken_file_are_named(
    tmp_path: Path, write_medi: Callable[..., Path]
) -> None:
    path = write_medi(tmp_path, {"a": 3}) / "data/a" / SHARD
    table = pq.read_table(path)
    pq.write_table(table.drop_columns("pos"), path)
    with pytest.raises(InputError, match="has no column 'pos'"):
        load_rows(tmp_path, "a")
    nulls = pa.array(["x", None, "y"])
    where = table.schema.get_field_index("pos")
    pq.write_table(table.set_column(where, "pos", nulls), path)
    with pytest.raises(InputError, match="column 'pos': 1 nulls"):
        load_rows(tmp_path, "a")
    path.write_bytes(b"not Parquet")
    with pytest.raises(InputError, match="cannot be read as MEDI rows"):
        load_rows(tmp_path, "a")
    pq.write_table(table, path)
    path.write_bytes(path.read_bytes()[:100] + b"?" * 100 + path.read_bytes()[200:])
    with pytest.raises(InputError, match="cannot be read as MEDI rows"):
        load_rows(tmp_path, "a")


def test_a_negative_that_is_null_is_named(tmp_path: Path, write_medi: Callable[..., Path]) -> None:
    path = write_medi(tmp_path, {"a": 2}) / "data/a" / SHARD
    rows = pq.read_table(path).to_pylist()
    rows[1]["neg"] = [None]
    pq.write_table(pa.Table.from_pylist(rows, schema=MEDI), path)
    with pytest.raises(InputError, match="column 'neg': 1 nulls"):
        load_rows(tmp_path, "a")


def test_a_row_with_too_few_negatives_is_named(medi: Path) -> None:
    with pytest.raises(InputError, match="alpha, row_id 0: 1 negatives where training uses 2"):
        load_rows(medi, "alpha", negatives=2)


def test_what_the_manifest_says_of_a_dataset(
    tmp_path: Path, write_medi: Callable[..., Path]
) -> None:
    medi = write_medi(tmp_path, {"a": 3, "b": 3, "new": 3})
    hashes = {SHARD: sha256_file(medi / "data/a" / SHARD)}
    assert manifest_key(medi) is None
    assert in_batch_negatives(medi, "a")
    assert shard_hashes(medi, "a") == hashes
    flags = {"a": {"in_batch_negatives": False}, "b": {"in_batch_negatives": True}}
    write_manifest(medi, datasets=flags)
    assert manifest_key(medi) == "4fd1"
    assert [in_batch_negatives(medi, name) for name in ("a", "b", "new")] == [False, True, True]
    write_manifest(medi)
    assert shard_hashes(medi, "a") == hashes
