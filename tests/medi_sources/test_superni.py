"""Super-NI pairs against the formulas of the paper's section 2.3, written out one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.encoder import Encode, Vectors
from artifacts.errors import InputError
from medi_sources import superni
from medi_sources.superni import Instance, superni_pairs, task_kind


def hashed(texts: Sequence[str]) -> Vectors:
    """A stand-in encoder: a vector drawn by each text, in coarse steps so that scores tie."""
    rows = [np.random.default_rng(list(text.encode())).integers(-3, 4, 6) for text in texts]
    return np.array(rows, dtype=np.float32).reshape(len(texts), 6) / np.float32(8)


def instances(outputs: Sequence[str]) -> list[Instance]:
    return [Instance(10 + i, f"input {i}", output) for i, output in enumerate(outputs)]


def expected(
    task: Sequence[Instance], closed: bool, n: int, encode: Encode = hashed
) -> list[tuple[int | None, tuple[int, ...]]]:
    """The formulas, one score at a time, in float64."""
    x = encode([each.input for each in task]).astype(np.float64)
    y = encode([each.output for each in task]).astype(np.float64)
    pairs = []
    for i in range(len(task)):
        others = [j for j in range(len(task)) if j != i]
        same = {j for j in others if task[j].output == task[i].output}
        cos_y = {j: 0.0 if closed else float(y[i] @ y[j]) for j in others}
        s_pos = {j: round((float(x[i] @ x[j]) + cos_y[j]) * 1e4) for j in others}
        s_neg = {j: round((float(x[i] @ x[j]) - cos_y[j]) * 1e4) for j in others}
        right = [j for j in others if j in same or not closed]
        positive = min(right, key=lambda j: (-s_pos[j], j), default=None)
        wrong = [j for j in others if j not in same and j != positive]
        pairs.append((positive, tuple(sorted(wrong, key=lambda j: (-s_neg[j], j))[:n])))
    return pairs


@pytest.mark.parametrize("kind", ["classification", "generation"])
@settings(max_examples=30)
@given(data=st.data(), negatives=st.integers(1, 5), rows_at_once=st.integers(1, 64))
def test_pairs_are_the_papers_in_whatever_memory(
    kind: str, data: st.DataObject, negatives: int, rows_at_once: int
) -> None:
    labels = range(1, 5) if kind == "classification" else range(9, 30)
    some = data.draw(st.lists(st.sampled_from(labels), max_size=40))
    # Closed: 4 labels of 24 instances or more. Open: 21 labels of 61 instances at most.
    outputs = [str(each) for each in [*labels, *some]] + ["1"] * 20 * (kind == "classification")
    task = instances(data.draw(st.permutations(outputs)))
    memory_mib = rows_at_once * len(task) * superni._CELL_BYTES / 2**20
    got = superni_pairs(task, hashed, negatives, memory_mib)
    assert got.kind == kind
    pairs = [(each.positive, each.negatives) for each in got.partners]
    assert pairs == expected(task, kind == "classification", negatives)


def alike(texts: Sequence[str]) -> Vectors:
    """Vectors so much alike that a score's last digit decides; float64 sums their products
    exactly (each is a whole multiple of 2**-16), float32 does not."""
    noise = [np.random.default_rng(list(text.encode())).normal(size=64) for text in texts]
    return np.rint((0.125 + 0.001 * np.array(noise)) * 2**16).astype(np.float32) / np.float32(2**16)


@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_scores_that_differ_little_are_the_papers_too(kind: str) -> None:
    task = instances([str(i % 3) if kind == "classification" else f"o{i}" for i in range(150)])
    for memory_mib in (0.005, 0.1, 8):
        got = superni_pairs(task, alike, 8, memory_mib)
        assert got.kind == kind
        pairs = [(each.positive, each.negatives) for each in got.partners]
        assert pairs == expected(task, kind == "classification", 8, alike)


def test_memory_for_less_than_one_instance_is_refused_with_both_numbers() -> None:
    with pytest.raises(InputError) as error:
        superni_pairs(instances(["a"] * 1000), hashed, 1, 0.01)
    assert str(error.value) == (
        "superni_memory_mib 0.01 is too small for a task of 1000 instances: "
        "the scores of one take 0.0305 MiB"
    )


@pytest.mark.parametrize(
    "outputs, kind",
    [
        (["yes", "no"] * 5, "classification"),
        (["Yes", "yes ", "NO", "no"] * 3, "classification"),
        (["yes", "no"] * 4 + ["maybe"], "generation"),
        ([str(i % 32) for i in range(160)], "classification"),
        ([str(i % 33) for i in range(1000)], "generation"),
        ([f"answer {i}" for i in range(50)], "generation"),
    ],
)
def test_a_small_closed_label_set_makes_a_classification(outputs: list[str], kind: str) -> None:
    assert task_kind(outputs)[0] == kind


def test_ties_go_to_the_first_instance() -> None:
    def same(texts: Sequence[str]) -> Vectors:
        return np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (len(texts), 1))

    task = instances(["a", "b"] * 5)
    first = superni_pairs(task, same, 2, 8).partners
    assert (first[0].positive, first[0].negatives) == (2, (1, 3))
    assert (first[5].positive, first[5].negatives) == (1, (0, 2))


def test_scores_that_differ_by_float_noise_are_ties() -> None:
    """Another machine's last bit must not choose another positive."""

    def nearly(texts: Sequence[str]) -> Vectors:
        angle = np.array([0.0, 0.5, 0.5 - 1e-7, 1.2] + [2.0] * (len(texts) - 4))
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)

    task = instances(["a", "a", "a"] + ["b"] * 9)
    assert superni_pairs(task, nearly, 1, 8).partners[0].positive == 1


def test_one_output_for_all_gives_no_negative() -> None:
    """Nothing in such a task is wrong for a query: a negative would be a false one."""
    task = superni_pairs(instances(["same"] * 12), hashed, 3, 8)
    assert all(each.negatives == () for each in task.partners)
    assert all(each.positive is not None for each in task.partners)


def test_outputs_all_different_make_a_generation_task() -> None:
    task = superni_pairs(instances([f"output {i}" for i in range(12)]), hashed, 3, 8)
    assert (task.kind, task.labels) == ("generation", 12)
    assert all(len(each.negatives) == 3 for each in task.partners)


def test_a_label_met_once_has_no_positive() -> None:
    task = superni_pairs(instances(["a"] * 8 + ["b"] * 8 + ["c"]), hashed, 1, 8)
    assert task.kind == "classification"
    assert task.partners[16].positive is None


def test_two_instances_cannot_be_positive_and_negative_at_once() -> None:
    task = superni_pairs(instances(["a", "b"]), hashed, 2, 8)
    assert [(each.positive, each.negatives) for each in task.partners] == [(1, ()), (0, ())]
