"""Decontamination: evaluation texts among the queries and documents of a dataset.

A text leaks where, letter case, punctuation and white space aside, it is an evaluation text
("exact") or shares a run of 13 words with one ("ngram"). Both are compared by 64-bit hashes of
whole batches, so that millions of rows take minutes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from artifacts.row import LEAKS
from artifacts.text import normalise

VERSION = 1
_INSIDE_A_WORD = r"['\x{2019}\p{Cf}\p{M}]"  # dont, don't; soft hyphens, accents on their own
_NOT_A_WORD = r"[^\pL\pN]+"
_LONG = 30  # letters: so long a text is somebody's, in however few words
_SIDES = ("query", "pos", "neg")
_BATCH = 20_000  # texts whose words are held at once
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd: no word's share of a run's hash is lost

_Hashes = npt.NDArray[np.uint64]
_Ints = npt.NDArray[np.int64]


class DecontaminationOptions(BaseModel):
    """Which evaluation tasks must not be trained on; without tasks nothing is looked for.

    `remove` takes leaking rows out of the published data, `report` only lists them. Texts of fewer
    than `least_words` words and 30 letters are nobody's property ("thank you") and never leak.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = ()
    ngram: int = Field(default=13, ge=2)
    least_words: int = Field(default=3, ge=1)
    action: Literal["remove", "report"] = "remove"


@dataclass(frozen=True)
class _Words:
    """The words of a batch of texts: `hashes[bounds[i]:bounds[i + 1]]` are those of text i."""

    hashes: _Hashes
    bounds: _Ints
    joined: pa.Array  # the words of each text with one space between

    @property
    def counts(self) -> _Ints:
        return np.diff(self.bounds)

    def telling(self, least: int) -> npt.NDArray[np.bool_]:
        """Which texts are long enough to be somebody's."""
        letters: npt.NDArray[np.int64] = pc.utf8_length(self.joined).to_numpy()
        return (self.counts >= least) | (letters >= _LONG)

    def runs(self, n: int) -> tuple[_Hashes, _Ints]:
        """Hash and first word of every run of `n` words inside one text."""
        last = len(self.hashes) - n + 1
        if last <= 0:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        mixed = np.zeros(last, np.uint64)
        for k in range(n):
            mixed = mixed * _BASE + self.hashes[k : k + last]
        left = np.repeat(self.bounds[1:], self.counts)[:last] - np.arange(last)
        starts = np.flatnonzero(left >= n)
        return mixed[starts], starts


@dataclass(frozen=True)
class _Hit:
    text: int
    task: int
    kind: str
    words: str  # what both texts have


@dataclass(frozen=True)
class _Texts:
    """Queries, positives and negatives of a table: the i-th is `distinct[codes[i]]`."""

    distinct: pa.Array
    codes: _Ints
    row_ids: _Ints
    sides: npt.NDArray[np.int8]
    positions: _Ints  # of a negative in its row; 0 for the others

    @classmethod
    def of(cls, rows: pa.Table) -> _Texts:
        large = pa.large_list(pa.large_string())
        negatives = rows.column("neg").cast(large).combine_chunks()
        parent = pc.list_parent_indices(negatives).to_numpy()
        lengths = pc.list_value_length(negatives).to_numpy()
        first = np.concatenate([[0], np.cumsum(lengths)])
        columns = [
            rows.column("query"),
            rows.column("pos"),
            pa.chunked_array([negatives.flatten()]),
        ]
        texts = pa.chunked_array(
            [chunk for column in columns for chunk in column.cast(pa.large_string()).chunks],
            pa.large_string(),
        )
        coded = texts.combine_chunks().dictionary_encode()
        index = np.arange(rows.num_rows)
        owners = np.concatenate([index, index, parent])
        sides = np.repeat(np.arange(3, dtype=np.int8), [len(index), len(index), len(parent)])
        positions = np.concatenate([0 * index, 0 * index, np.arange(len(parent)) - first[parent]])
        order = np.lexsort((positions, sides, owners))
        row_ids = rows.column("row_id").to_numpy()[owners]
        codes = coded.indices.to_numpy().astype(np.int64)
        return cls(coded.dictionary, codes[order], row_ids[order], sides[order], positions[order])

    def where(self, found: Collection[int]) -> _Ints:
        """The places of the distinct texts of these numbers."""
        return np.flatnonzero(np.isin(self.codes, list(found)))

    def place(self, at: int) -> dict[str, Any]:
        return {
            "row_id": int(self.row_ids[at]),
            "side": _SIDES[self.sides[at]],
            "position": int(self.positions[at]),
        }


class EvaluationTexts:
    """The texts of evaluation tasks, to look texts up in.

    Memory: 10 bytes for every text and every run of `ngram` words, 45 while it is made.
    """

    def __init__(self, texts: Mapping[str, pa.Array], options: DecontaminationOptions) -> None:
        self.tasks = list(texts)
        self._options = options
        whole: list[tuple[int, _Hashes]] = []
        runs: list[tuple[int, _Hashes]] = []
        for number, array in enumerate(texts.values()):
            for words in _batches(array):
                whole.append((number, _hash(words.joined)[words.telling(options.least_words)]))
                runs.append((number, words.runs(options.ngram)[0]))
        self._whole, self._runs = _Table(whole), _Table(runs)

    def leaks(self, dataset: str, rows: pa.Table) -> pa.Table:
        """LEAKS of a table with columns row_id, query, pos and neg, in the order of its rows."""
        texts = _Texts.of(rows)
        found: dict[int, list[_Hit]] = {}
        for number, words in enumerate(_batches(texts.distinct)):
            for hit in self._found(words):
                found.setdefault(number * _BATCH + hit.text, []).append(hit)
        lines = [
            {"dataset": dataset, **texts.place(at), "task": self.tasks[hit.task],
             "kind": hit.kind, "text": hit.words}
            for at in texts.where(found)
            for hit in found[int(texts.codes[at])]
        ]  # fmt: skip
        return pa.Table.from_pylist(lines, schema=LEAKS)

    def _found(self, words: _Words) -> Iterator[_Hit]:
        """Every leak among the texts of a batch, each text and task once."""
        seen: set[tuple[int, int]] = set()
        telling = words.telling(self._options.least_words)
        for text, task in self._whole.hits(_hash(words.joined)):
            if telling[text]:
                seen.add((text, task))
                yield _Hit(text, task, "exact", words.joined[text].as_py())
        runs, starts = words.runs(self._options.ngram)
        for run, task in self._runs.hits(runs):
            text = int(np.searchsorted(words.bounds, starts[run], side="right")) - 1
            if (text, task) not in seen:
                seen.add((text, task))
                first = int(starts[run] - words.bounds[text])
                said = words.joined[text].as_py().split(" ")
                run_words = " ".join(said[first : first + self._options.ngram])
                yield _Hit(text, task, "ngram", run_words)


class _Table:
    """Hashes, each with the tasks it is from."""

    def __init__(self, parts: list[tuple[int, _Hashes]]) -> None:
        hashes = np.concatenate([part for _, part in parts] or [np.empty(0, np.uint64)])
        tasks = np.repeat(
            np.array([task for task, _ in parts], np.int16), [len(part) for _, part in parts]
        )
        order = np.lexsort((tasks, hashes))
        hashes, tasks = hashes[order], tasks[order]
        first = np.ones(len(hashes), bool)
        first[1:] = (hashes[1:] != hashes[:-1]) | (tasks[1:] != tasks[:-1])
        self._hashes, self._tasks = hashes[first], tasks[first]

    def hits(self, hashes: _Hashes) -> Iterator[tuple[int, int]]:
        """(position in `hashes`, task) wherever a hash is in the table."""
        low = np.searchsorted(self._hashes, hashes, side="left")
        high = np.searchsorted(self._hashes, hashes, side="right")
        for i in np.flatnonzero(high > low):
            for at in range(low[i], high[i]):
                yield int(i), int(self._tasks[at])


def without_leaks(rows: pa.Table, leaks: pa.Table) -> pa.Table:
    """MEDI rows of one dataset without those whose query or positive leaks.

    A leaking negative is taken out of its row; a row whose negatives all leak goes too.
    """
    gone: set[int] = set()
    negatives: dict[int, set[int]] = {}
    for leak in leaks.select(["row_id", "side", "position"]).to_pylist():
        if leak["side"] == "neg":
            negatives.setdefault(leak["row_id"], set()).add(leak["position"])
        else:
            gone.add(leak["row_id"])
    row_ids = rows.column("row_id").to_pylist()
    counts = pc.list_value_length(rows.column("neg")).to_pylist()
    for row_id, count in zip(row_ids, counts, strict=True):
        if row_id in negatives and len(negatives[row_id]) == count:
            gone.add(row_id)
    for name in ("neg", "neg_score"):
        values = rows.column(name).to_pylist()
        for i, row_id in enumerate(row_ids):
            if row_id in negatives and values[i] is not None:
                values[i] = [v for j, v in enumerate(values[i]) if j not in negatives[row_id]]
        at = rows.schema.get_field_index(name)
        field = rows.schema.field(at)
        rows = rows.set_column(at, field, pa.array(values, field.type))
    return rows.filter(pa.array([row_id not in gone for row_id in row_ids]))


def _batches(texts: pa.Array) -> Iterator[_Words]:
    for start in range(0, len(texts), _BATCH):
        yield _words(texts.slice(start, _BATCH))


def _words(texts: pa.Array) -> _Words:
    plain = pa.array([normalise(text) for text in texts.to_pylist()], pa.large_string())
    whole = pc.replace_substring_regex(plain, _INSIDE_A_WORD, "")
    joined = pc.utf8_trim(pc.replace_substring_regex(whole, _NOT_A_WORD, " "), " ")
    lists = pc.split_pattern(joined, " ")
    empty = pc.equal(joined, "").to_numpy(zero_copy_only=False)
    counts = np.where(empty, 0, pc.list_value_length(lists).to_numpy())
    flat = lists.flatten()
    flat = flat.filter(pc.not_equal(flat, ""))  # of a text without words
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    coded = flat.dictionary_encode()
    return _Words(_hash(coded.dictionary)[coded.indices.to_numpy()], bounds, joined)


def _hash(texts: pa.Array) -> _Hashes:
    import pandas as pd  # here: planning needs no more of this file than its options

    strings = np.array(texts.to_pylist(), dtype=object)
    return pd.util.hash_array(strings, categorize=False) if len(strings) else np.empty(0, np.uint64)
