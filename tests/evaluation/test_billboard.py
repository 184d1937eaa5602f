"""Billboard's score (paper, section 5), against values worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.models import ModelRef
from artifacts.store import Store
from evaluation.billboard import largest_cosines
from evaluation.records import EvalTask, EvaluationOptions
from evaluation.run import Asked, evaluate_task


def test_the_nearest_reference_counts_and_length_does_not() -> None:
    vectors = np.array([[2, 0], [0, 7], [3, 3], [-1, 0]], dtype=np.float32)
    scores = largest_cosines(vectors, [0, 0, 1], [[1, 2], [3], [1]])
    assert scores == pytest.approx([math.sqrt(0.5), -1.0, 1.0], abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1, 1, width=32)] * 3), min_size=3, max_size=6))
def test_one_more_reference_never_lowers_a_score(vectors: list[tuple[float, ...]]) -> None:
    matrix = np.array(vectors, dtype=np.float32)
    rows = list(range(1, len(vectors)))
    (few,) = largest_cosines(matrix, [0], [rows[:-1]])
    (all_,) = largest_cosines(matrix, [0], [rows])
    assert all_ >= few - 1e-6


def test_the_task_is_the_correlation_over_all_judged_texts(
    tmp_path: Path,
    save_model: Callable[..., ModelRef],
    eval_task: Callable[..., EvalTask],
) -> None:
    """Three captions at cosine 1, 0 and 0.8 to their nearest reference, judged 5, 1 and 3.

    Means 0.6 and 3; covariance 0.4*2 + 0.6*2 + 0.2*0 = 2.0; norms sqrt(0.56) and sqrt(8).
    """
    model = save_model(tmp_path / "m", {"east": (1, 0), "north": (0, 1), "mixed": (0.8, 0.6)})
    captions = [("a", "east", 5.0), ("b", "east", 1.0), ("a", "mixed", 3.0)]
    references = {"a": ["east", "east east"], "b": ["north"]}
    judged = tmp_path / "judged.jsonl"
    judged.write_text(
        "".join(
            json.dumps({"seg_id": seg, "hyp": hyp, "human_score": score}) + "\n"
            for seg, hyp, score in captions
        )
    )
    refs = tmp_path / "refs.jsonl"
    refs.write_text(
        "".join(json.dumps({"seg_id": s, "refs": r}) + "\n" for s, r in references.items())
    )
    asked = Asked(eval_task("billboard"), model, None, EvaluationOptions())
    result = evaluate_task(asked, [judged, refs], tmp_path / "out", Store(tmp_path / "store"))
    assert result["score"] == pytest.approx(2.0 / math.sqrt(0.56 * 8), abs=1e-4)
