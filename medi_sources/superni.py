"""Pairs out of one Super-NaturalInstructions task (paper section 2.3).

With x an input and y its output, E the encoder, and all of query, positive and negative inputs:

- classification: by cos(E(x_i), E(x_j)) the most similar input with the same label is the
  positive, the most similar one with another label the hard negative;
- generation: s_pos = cos(E(x_i), E(x_j)) + cos(E(y_i), E(y_j)), the highest is the positive;
  s_neg = cos(E(x_i), E(x_j)) - cos(E(y_i), E(y_j)), the highest is the hard negative.

In both an input whose output equals the query's is never a negative of it, so a task whose
outputs are all the same gives no pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from artifacts.encoder import Encode, Vectors
from artifacts.errors import InputError
from artifacts.text import normalise

Kind = Literal["classification", "generation"]
_Ints = npt.NDArray[np.int64]
_Grid = npt.NDArray[np.float64]  # whole multiples of 2**-24, in units of it
_Scores = npt.NDArray[np.int32]  # in units of 1e-4

_MOST_LABELS = 32
_LEAST_PER_LABEL = 5
_GRID = 2.0**24
_SCALE = 10_000
_CELL_BYTES = 32  # three float64, an int32 and a bool for each score of a block
_NEVER = np.iinfo(np.int32).min


@dataclass(frozen=True)
class Instance:
    """One distinct input of a task."""

    row_id: int
    input: str
    output: str


@dataclass(frozen=True)
class Partners:
    """Positions of an instance's positive and negatives (best first); None = there is no such."""

    positive: int | None
    negatives: tuple[int, ...]


@dataclass(frozen=True)
class TaskPairs:
    """`partners[i]` belongs to the i-th instance."""

    kind: Kind
    labels: int  # distinct outputs
    partners: list[Partners]


def task_kind(outputs: Sequence[str]) -> tuple[Kind, int]:
    """The kind of a task from its outputs, one per distinct input, and how many are distinct.

    Classification: at most 32 distinct outputs, each met 5 times on average or more. The paper
    says only "a small closed label set".
    """
    labels = len({normalise(output) for output in outputs})
    closed = labels <= _MOST_LABELS and len(outputs) >= _LEAST_PER_LABEL * labels
    return ("classification" if closed else "generation"), labels


def superni_pairs(
    instances: Sequence[Instance], encode: Encode, negatives: int, memory_mib: float
) -> TaskPairs:
    """Positive and up to `negatives` hard negatives of each instance.

    `instances` have distinct inputs. Scores are rounded to 1e-4 before they decide, ties go to
    the first instance. The scores take up to `memory_mib` at once, which never changes a result;
    besides them there are one or two float64 matrices of len(instances) x dim.

    Raises InputError where `memory_mib` does not hold the scores of one instance.
    """
    rows_at_once = _rows_at_once(len(instances), memory_mib)
    kind, labels = task_kind([each.output for each in instances])
    label = _label_numbers(instances)
    x = _on_grid(encode([each.input for each in instances]))
    y = None if kind == "classification" else _output_vectors(instances, label, encode)
    partners: list[Partners] = []
    for start in range(0, len(instances), rows_at_once):
        rows = np.arange(start, min(start + rows_at_once, len(instances)))
        partners += _block_partners(rows, x, y, label, negatives)
    return TaskPairs(kind, labels, partners)


def _rows_at_once(instances: int, memory_mib: float) -> int:
    one_mib = instances * _CELL_BYTES / 2**20
    if memory_mib < one_mib:
        raise InputError(
            f"superni_memory_mib {memory_mib:g} is too small for a task of {instances} instances: "
            f"the scores of one take {one_mib:.3g} MiB"
        )
    return int(memory_mib / one_mib)


def _label_numbers(instances: Sequence[Instance]) -> _Ints:
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(normalise(each.output), len(numbers)) for each in instances],
        dtype=np.int64,
    )


def _output_vectors(instances: Sequence[Instance], label: _Ints, encode: Encode) -> _Grid:
    """Vectors of the outputs, each distinct output encoded once."""
    _, first = np.unique(label, return_index=True)
    return _on_grid(encode([instances[i].output for i in first]))[label]


def _on_grid(vectors: Vectors) -> _Grid:
    """On this grid products of unit vectors sum exactly, whatever the block or the thread."""
    grid = vectors.astype(np.float64)
    grid *= _GRID
    return np.rint(grid, out=grid)


def _block_partners(
    rows: _Ints, x: _Grid, y: _Grid | None, label: _Ints, negatives: int
) -> list[Partners]:
    inputs = x[rows] @ x.T
    outputs = None if y is None else y[rows] @ y.T
    same_label = label[rows][:, None] == label[None, :]
    s_pos = _rounded(inputs.copy() if outputs is None else inputs + outputs)
    s_pos[np.arange(len(rows)), rows] = _NEVER
    if outputs is None:
        s_pos[~same_label] = _NEVER
    positive = _take_best(s_pos)
    del s_pos
    s_neg = _rounded(inputs if outputs is None else np.subtract(inputs, outputs, out=inputs))
    s_neg[same_label] = _NEVER
    s_neg[np.flatnonzero(positive >= 0), positive[positive >= 0]] = _NEVER
    best = np.stack([_take_best(s_neg) for _ in range(negatives)], axis=1)
    return [
        Partners(int(p) if p >= 0 else None, tuple(int(n) for n in ns if n >= 0))
        for p, ns in zip(positive, best, strict=True)
    ]


def _rounded(scores: _Grid) -> _Scores:
    """Scores in units of 1e-4; `scores` are overwritten."""
    scores *= _SCALE / _GRID**2
    return np.rint(scores, out=scores).astype(np.int32)


def _take_best(scores: _Scores) -> _Ints:
    """Column of each row's best score, the first among equals, -1 for none; it is taken out."""
    best = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    found = scores[rows, best] != _NEVER
    scores[rows, best] = _NEVER
    return np.where(found, best, -1)
