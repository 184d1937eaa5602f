"""The tokens of one dataset as an artifact: each text tokenised once, read through memory maps.

table.json      in-batch flag, pairs of instructions, padding id, heads
ids.npy         ids of all distinct texts, end to end: uint16, int32 for large vocabularies
offsets.npy     int64 [T + 1]: where each text's ids start
heads.npy       int32 [T]: the head of each text
row_ids.npy     int64 [R]
texts_RS.npy    int32 [R, S]: the text in each slot (query, positive, negatives)
lengths_RS.npy  int32 [R, S]
keys_RS.npy     int64 [R, S]

A head is what stands in front of a text's ids, and how many tokens are left out of the mean: the
instruction's ids and their number. Where instruction and text, tokenised as one, do not begin with
the instruction's ids (one without a space at its end, say), the text holds all ids itself and its
head is that number alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from artifacts.keys import Spec
from artifacts.text import normalise
from training.chunks import Indices
from training.data import in_batch_negatives, row_batches, shard_hashes
from training.options import TrainingOptions

if TYPE_CHECKING:
    from training.tokens import TokenBatch, Tokeniser

STAGE = "tokens"
VERSION = 1
Head = tuple[tuple[int, ...], int]


class TokenTable:
    """A tokens artifact: R rows with S = 2 + negatives texts each.

    The ids are memory-mapped. The rest is read: it is small, and mapping it too would take more
    open files for MEDI's 330 datasets than a process may have.

    instructions  distinct (query instruction, document instruction) pairs that rows have
    row_ids       int64 [R], as in the MEDI folder
    lengths_RS    int32 [R, S], tokens: instruction and special tokens included
    keys_RS       int64 [R, S], equal for texts of the dataset that normalise to the same
    """

    def __init__(self, folder: Path, dataset: str) -> None:
        table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
        self.dataset = dataset
        self.in_batch_negatives: bool = table["in_batch_negatives"]
        self.instructions = [(query, document) for query, document in table["instructions"]]
        self.row_ids = np.load(folder / "row_ids.npy")
        self.lengths_RS = np.load(folder / "lengths_RS.npy")
        self.keys_RS = np.load(folder / "keys_RS.npy")
        self._texts_RS = np.load(folder / "texts_RS.npy")
        self._ids = np.asarray(np.load(folder / "ids.npy", mmap_mode="r"))
        self._offsets = np.load(folder / "offsets.npy")
        self._head_of = np.load(folder / "heads.npy")
        self._heads = [(np.array(ids, np.int64), masked) for ids, masked in table["heads"]]
        self._pad: int = table["pad"]

    def __len__(self) -> int:
        return len(self.row_ids)

    def collate(self, rows_N: Indices, slots_N: Indices) -> TokenBatch:
        """The text in slot `slots_N[i]` of row `rows_N[i]`, padded right to the longest of N."""
        from training.tokens import pad_right  # torch: planning, which only wants keys, has none

        texts_N = self._texts_RS[rows_N, slots_N]
        heads_N = [self._heads[head] for head in self._head_of[texts_N]]
        ids = [
            np.concatenate([head, self._ids[self._offsets[text] : self._offsets[text + 1]]])
            for text, (head, _) in zip(texts_N, heads_N, strict=True)
        ]
        return pad_right(ids, [masked for _, masked in heads_N], self._pad)


def tokens_spec(medi: Path, dataset: str, encoder_key: str, options: TrainingOptions) -> Spec:
    """What a dataset's tokens are made of: its shards, its flag, the tokenizer, what is read.

    Raises InputError where the folder is none of MEDI's or a shard is missing.
    """
    params = {
        "shards": shard_hashes(medi, dataset),
        "in_batch_negatives": in_batch_negatives(medi, dataset),
        "max_length": options.max_length,
        "negatives": options.negatives,
    }
    return Spec(STAGE, dataset, VERSION, params, {"encoder": encoder_key})


def write_tokens(
    medi: Path, dataset: str, tokeniser: Tokeniser, options: TrainingOptions, folder: Path
) -> dict[str, Any]:
    """Tokenises a dataset into `folder`; returns its counts: rows, distinct texts, tokens of rows.

    Holds the texts of a thousand rows at a time. Raises InputError as `row_batches` does.
    """
    slots = 2 + options.negatives
    pairs: dict[tuple[str, str], None] = {}
    row_ids = [np.empty(0, np.int64)]
    texts_RS, keys_RS = [np.empty((0, slots), np.int32)], [np.empty((0, slots), np.int64)]
    with (folder / "ids.npy").open("wb") as file:
        writer = _TextWriter(tokeniser, file)
        for batch in row_batches(medi, dataset, options.negatives):
            rows = batch.to_pydict()
            pairs.update(_pairs(rows))
            texts = _texts(rows, options.negatives)
            row_ids.append(np.array(rows["row_id"], np.int64))
            texts_RS.append(writer.add(texts).reshape(-1, slots))
            keys_RS.append(_keys([text for _, text in texts]).reshape(-1, slots))
        lengths_T = writer.finish(folder)
    table = {
        "in_batch_negatives": in_batch_negatives(medi, dataset),
        "instructions": list(pairs),
        "pad": tokeniser.pad,
        "heads": list(writer.heads),
    }
    text = json.dumps(table, ensure_ascii=False)
    (folder / "table.json").write_text(text + "\n", encoding="utf-8")
    all_RS = np.concatenate(texts_RS)
    lengths_RS = lengths_T[all_RS]
    np.save(folder / "row_ids.npy", np.concatenate(row_ids))
    np.save(folder / "texts_RS.npy", all_RS)
    np.save(folder / "keys_RS.npy", np.concatenate(keys_RS))
    np.save(folder / "lengths_RS.npy", lengths_RS)
    return {"rows": len(all_RS), "texts": len(lengths_T), "tokens": int(lengths_RS.sum())}


class _TextWriter:
    """Gives each distinct (instruction, text) a number, and appends the ids of new ones to a file.

    The file is a .npy whose length is put into its header at the end.
    """

    def __init__(self, tokeniser: Tokeniser, file: BinaryIO) -> None:
        self.heads: dict[Head, int] = {}
        self._tokeniser = tokeniser
        self._file = file
        self._dtype = np.dtype("<u2" if tokeniser.vocabulary <= 2**16 else "<i4")
        self._numbers: dict[bytes, int] = {}
        self._lengths: list[int] = []
        self._head_of: list[int] = []
        self._write_header(0)

    def add(self, texts: Sequence[tuple[str, str]]) -> npt.NDArray[np.int32]:
        """The number of each (instruction, text)."""
        numbers, new = [], []
        for instruction, text in texts:
            digest = _digest(f"{len(instruction)} {instruction}{text}", 16)
            if digest not in self._numbers:
                self._numbers[digest] = len(self._numbers)
                new.append((instruction, text))
            numbers.append(self._numbers[digest])
        instructions = [instruction for instruction, _ in new]
        tokens = self._tokeniser.tokens(instructions, [text for _, text in new])
        for instruction, one in zip(instructions, tokens, strict=True):
            self._append(one.ids, self._tokeniser.instruction(instruction))
        return np.array(numbers, np.int32)

    def finish(self, folder: Path) -> npt.NDArray[np.int32]:
        """Writes offsets and heads; the length of each text, its instruction included."""
        stored_T = np.array(self._lengths, np.int64)
        heads_T = np.array(self._head_of, np.int32)
        offsets = np.concatenate([[0], stored_T.cumsum()])
        self._file.seek(0)
        self._write_header(int(offsets[-1]))
        np.save(folder / "offsets.npy", offsets)
        np.save(folder / "heads.npy", heads_T)
        in_front = np.array([len(ids) for ids, _ in self.heads], np.int64)
        return (stored_T + in_front[heads_T]).astype(np.int32)

    def _append(self, ids: tuple[int, ...], instruction: tuple[int, ...]) -> None:
        masked = len(instruction)
        apart = ids[:masked] == instruction
        head = (instruction if apart else (), masked)
        self._head_of.append(self.heads.setdefault(head, len(self.heads)))
        rest = ids[masked:] if apart else ids
        self._lengths.append(len(rest))
        self._file.write(np.array(rest, self._dtype).tobytes())

    def _write_header(self, length: int) -> None:
        """numpy leaves room for a length of any digits, so that the second fits over the first."""
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _pairs(rows: Mapping[str, Any]) -> dict[tuple[str, str], None]:
    both = zip(rows["query_instruction"], rows["doc_instruction"], strict=True)
    return dict.fromkeys(both)


def _texts(rows: Mapping[str, Any], negatives: int) -> list[tuple[str, str]]:
    """(instruction, text) of each slot, row by row."""
    texts: list[tuple[str, str]] = []
    for i, negs in enumerate(rows["neg"]):
        document = rows["doc_instruction"][i]
        texts.append((rows["query_instruction"][i], rows["query"][i]))
        texts += [(document, text) for text in (rows["pos"][i], *negs[:negatives])]
    return texts


def _keys(texts: Sequence[str]) -> Indices:
    """Equal where texts normalise to the same: a hash of 64 bits."""
    digests = b"".join(_digest(normalise(text), 8) for text in texts)
    return np.frombuffer(digests, "<i8").astype(np.int64)


def _digest(text: str, size: int) -> bytes:
    return blake2b(text.encode(), digest_size=size).digest()
