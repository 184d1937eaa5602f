"""Tokens are written once and read for weeks: each must be what the tokenizer says today."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts.errors import InputError
from artifacts.store import Store
from artifacts.text import normalise
from tests.token_texts import (
    INSTRUCTIONS,
    SHARD,
    TEXTS,
    byte_level,
    medi_row,
    write_manifest,
    write_shard,
)
from training.data import load_rows
from training.encoder import load_tokeniser
from training.options import TrainingOptions
from training.plan import Plan
from training.prepare import prepare
from training.token_store import TokenTable, tokens_spec, write_tokens
from training.tokens import Tokeniser

OPTIONS = TrainingOptions(max_length=40)


@pytest.fixture(params=["tiny_t5", "tiny_bert", "byte_level"])
def tokeniser(request: pytest.FixtureRequest) -> Tokeniser:
    if request.param == "byte_level":
        return Tokeniser(byte_level(), 40)
    return load_tokeniser(request.getfixturevalue(request.param), 40)


def odd_rows(negatives: int) -> list[Any]:
    """Each instruction with each text, on both sides."""
    n = len(TEXTS)
    return [
        medi_row(
            i * n + j,
            (instruction, text),
            (INSTRUCTIONS[i - 1], TEXTS[j - 1]),
            [TEXTS[j - 2 - k] for k in range(negatives)],
        )
        for i, instruction in enumerate(INSTRUCTIONS)
        for j, text in enumerate(TEXTS)
    ]


def table_of(
    medi: Path, dataset: str, tokeniser: Tokeniser, folder: Path, options: TrainingOptions = OPTIONS
) -> TokenTable:
    folder.mkdir()
    write_tokens(medi, dataset, tokeniser, options, folder)
    return TokenTable(folder, dataset)


def slots_of(row: Any) -> list[tuple[str, str]]:
    documents = [(row["doc_instruction"], text) for text in [row["pos"], *row["neg"]]]
    return [(row["query_instruction"], row["query"]), *documents]


@pytest.mark.parametrize("negatives", [1, 3])
def test_stored_tokens_are_the_tokenizers_own(
    negatives: int, tokeniser: Tokeniser, tmp_path: Path
) -> None:
    """Also where instruction and text do not tokenise apart, and where a text is cut."""
    rows = odd_rows(negatives)
    medi = write_shard(tmp_path, "odd", rows)
    options = TrainingOptions(max_length=40, negatives=negatives)
    table = table_of(medi, "odd", tokeniser, tmp_path / "tokens", options)
    texts = [text for row in rows for text in slots_of(row)]
    rows_N = np.arange(len(rows)).repeat(2 + negatives)
    slots_N = np.tile(np.arange(2 + negatives), len(rows))
    theirs = tokeniser.batch(*zip(*texts, strict=True))
    for ours, expected in zip(table.collate(rows_N, slots_N), theirs, strict=True):
        assert ours.dtype == expected.dtype
        assert ours.tolist() == expected.tolist()
    assert table.lengths_RS.reshape(-1).tolist() == theirs.attention_BL.sum(dim=1).tolist()
    assert table.row_ids.tolist() == [row["row_id"] for row in rows]
    assert len(table) == len(rows)


def test_a_batch_is_as_long_as_its_own_longest_text(tiny_t5: str, tmp_path: Path) -> None:
    medi = write_shard(tmp_path, "odd", odd_rows(1))
    table = table_of(medi, "odd", load_tokeniser(tiny_t5, 40), tmp_path / "tokens")
    rows_N, slots_N = np.array([30, 31]), np.array([0, 0])
    batch = table.collate(rows_N, slots_N)
    assert batch.ids_BL.shape == (2, table.lengths_RS[rows_N, slots_N].max())
    assert batch.ids_BL.shape[1] < 40


def test_each_text_is_tokenised_once(
    medi: Path, tiny_t5: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    tokens = Tokeniser.tokens

    def counted(self: Tokeniser, instructions: Sequence[str], texts: Sequence[str]) -> Any:
        asked.extend(zip(instructions, texts, strict=True))
        return tokens(self, instructions, texts)

    monkeypatch.setattr(Tokeniser, "tokens", counted)
    rows = [
        row | {"dataset": "alpha", "negatives": "mined"}
        for row in load_rows(medi, "alpha").to_pylist()
    ]
    twice = write_shard(tmp_path, "alpha", [*rows, *rows])
    folder = tmp_path / "tokens"
    folder.mkdir()
    counts = write_tokens(twice, "alpha", load_tokeniser(tiny_t5, 40), OPTIONS, folder)
    assert sorted(asked) == sorted({text for row in rows for text in slots_of(row)})
    lengths = TokenTable(folder, "alpha").lengths_RS
    assert counts == {"rows": 80, "texts": len(asked), "tokens": lengths.sum()}


def test_ids_take_two_bytes_and_instructions_are_kept_once(
    medi: Path, tiny_t5: str, tmp_path: Path
) -> None:
    tokeniser = load_tokeniser(tiny_t5, 40)
    table_of(medi, "alpha", tokeniser, tmp_path / "tokens")
    ids = np.load(tmp_path / "tokens/ids.npy", mmap_mode="r")
    assert ids.dtype == np.uint16
    rows = load_rows(medi, "alpha").to_pylist()
    texts = sorted({text for row in rows for text in slots_of(row)})
    tokens = tokeniser.tokens(*zip(*texts, strict=True))
    assert len(ids) == sum(len(text.ids) - text.instruction_length for text in tokens)


def test_ids_of_a_large_vocabulary_are_not_cut_to_two_bytes(
    medi: Path, tiny_t5: str, tmp_path: Path
) -> None:
    tokeniser = load_tokeniser(tiny_t5, 40)
    monkeypatched = tokeniser.tokens
    tokeniser.vocabulary = 250_002
    tokeniser.tokens = (
        lambda a, b: [  # type: ignore[method-assign]
            type(t)((*t.ids[:-1], 250_001), t.instruction_length) for t in monkeypatched(a, b)
        ]
    )
    table = table_of(medi, "alpha", tokeniser, tmp_path / "tokens")
    assert table.collate(np.array([3]), np.array([1])).ids_BL[0, -1] == 250_001
    assert np.load(tmp_path / "tokens/ids.npy").dtype == np.int32


def test_texts_that_normalise_to_the_same_have_one_key(tiny_t5: str, tmp_path: Path) -> None:
    """What the loss masks, and what may not be held out, hangs on it."""
    texts = ["A  cat", "a cat ", "A cat.", "Ａ cat", "İstanbul", "i̇stanbul", ""]
    rows = [medi_row(i, ("", t), ("x: ", texts[i - 1]), [t]) for i, t in enumerate(texts)]
    medi = write_shard(tmp_path, "odd", rows)
    table = table_of(medi, "odd", load_tokeniser(tiny_t5, 40), tmp_path / "tokens")
    all_texts = [text for row in rows for _, text in slots_of(row)]
    keys = table.keys_RS.reshape(-1)
    assert table.keys_RS.dtype == np.int64
    for text, key in zip(all_texts, keys, strict=True):
        same = [normalise(other) == normalise(text) for other in all_texts]
        assert (keys == key).tolist() == same


def test_the_instructions_are_the_rows_own(medi: Path, tiny_t5: str, tmp_path: Path) -> None:
    tokeniser = load_tokeniser(tiny_t5, 40)
    table = table_of(medi, "alpha", tokeniser, tmp_path / "alpha")
    assert table.instructions == [
        (
            "Represent the alpha question for retrieval: ",
            "Represent the alpha document for retrieval: ",
        )
    ]
    odd = table_of(write_shard(tmp_path, "odd", odd_rows(1)), "odd", tokeniser, tmp_path / "tokens")
    pairs = [(INSTRUCTIONS[i], INSTRUCTIONS[i - 1]) for i in range(len(INSTRUCTIONS))]
    assert odd.instructions == pairs
    assert odd.in_batch_negatives


def test_the_manifests_flag_goes_with_the_tokens(
    tiny_t5: str, tmp_path: Path, write_medi: Callable[..., Path]
) -> None:
    medi = write_medi(tmp_path, {"a": 3})
    write_manifest(medi, datasets={"a": {"in_batch_negatives": False}})
    table = table_of(medi, "a", load_tokeniser(tiny_t5, 40), tmp_path / "tokens")
    assert table.in_batch_negatives is False


def test_the_same_rows_have_the_same_bytes(
    medi: Path, tiny_t5: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows are read at once."""
    files = []
    for name, rows in (("one", 1024), ("two", 3)):
        monkeypatch.setattr("training.data.BATCH_ROWS", rows)
        table_of(medi, "alpha", load_tokeniser(tiny_t5, 40), tmp_path / name)
        files.append({p.name: p.read_bytes() for p in sorted((tmp_path / name).iterdir())})
    assert files[0] == files[1]


def test_a_dataset_without_rows_is_an_empty_table(
    tiny_t5: str, tmp_path: Path, write_medi: Callable[..., Path]
) -> None:
    medi = write_medi(tmp_path, {"a": 0})
    table = table_of(medi, "a", load_tokeniser(tiny_t5, 40), tmp_path / "tokens")
    assert (len(table), table.lengths_RS.shape, table.instructions) == (0, (0, 3), [])


def test_tokens_are_made_again_where_they_would_differ(
    tmp_path: Path, write_medi: Callable[..., Path]
) -> None:
    medi = write_medi(tmp_path, {"a": 3, "b": 4})
    write_manifest(medi)
    key = tokens_spec(medi, "a", "e", OPTIONS).key

    def other(encoder: str = "e", dataset: str = "a", **given: Any) -> str:
        options = TrainingOptions.model_validate({"max_length": 40, **given})
        return tokens_spec(medi, dataset, encoder, options).key

    assert other(batch_rows=3, seed=4, held_out=0.1, loss="gte") == key
    keys = [key, other("f"), other(dataset="b"), other(max_length=41), other(negatives=2)]
    (medi / "manifest.json").unlink()
    assert other() == key  # the shard is the same, whoever hashed it
    flag = {"a": {"in_batch_negatives": False}}
    write_manifest(medi, datasets=flag)
    keys.append(other())
    (medi / "manifest.json").unlink()
    (medi / "data/a" / SHARD).write_bytes((medi / "data/b" / SHARD).read_bytes())
    keys.append(other())
    assert len(set(keys)) == len(keys)


def test_prepare_makes_tokens_and_plan_once(
    medi: Path, tiny_t5: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    options = TrainingOptions(steps=9, batch_rows=8, max_length=40)
    tokens, plan = prepare(medi, tiny_t5, options, store, 2)
    assert sorted(tokens) == ["alpha", "beta"]
    assert tokens["alpha"].parent == store.root / "tokens/alpha"
    assert plan.parent == store.root / "plan/model"
    assert (Plan(plan).steps, Plan(plan).world_size) == (9, 2)
    monkeypatch.setattr("training.prepare.load_tokeniser", None)  # what is there needs none
    assert prepare(medi, tiny_t5, options, store, 2) == (tokens, plan)
    assert prepare(medi, tiny_t5, options, store, 1)[1] != plan


def test_a_broken_shard_leaves_no_tokens(
    tiny_t5: str, tmp_path: Path, write_medi: Callable[..., Path]
) -> None:
    medi = write_medi(tmp_path / "medi", {"a": 3, "b": 3})
    (medi / "data/b" / SHARD).write_bytes(b"not Parquet")
    store = Store(tmp_path / "store")
    with pytest.raises(InputError, match=f"data/b/{SHARD} cannot be read"):
        prepare(medi, tiny_t5, OPTIONS, store, 1)
    assert [path.parent.name for path in store.artifacts()] == ["a"]
