"""The curve kept with a model must be the same whatever the run logged beside it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curve import curve_of, on_curve


def entry(step: int, **more: Any) -> dict[str, Any]:
    fixed = {"dataset": "alpha", "loss": 1 / step, "lr": 1e-5 / 3, "grad_norm": 2 / 3}
    return {"step": step, "seconds": 0.5 * step, "memory_mib": 9, **fixed, **more}


@given(st.integers(1, 100_000))
def test_a_curve_has_its_ends_and_a_few_hundred_points(steps: int) -> None:
    points = [step for step in range(1, steps + 1) if on_curve(step, steps)]
    assert (points[0], points[-1]) == (1, steps)
    assert min(steps, 200) <= len(points) <= 402


@pytest.mark.parametrize("log_every", [1, 7, 100])
def test_how_often_a_run_logs_is_not_in_the_curve(log_every: int) -> None:
    steps = 1500
    scores = {"accuracy": 0.5, "ndcg_at_10": 0.25, "rows": 9, "datasets": {"alpha": {}}}
    log = [
        entry(step, **({"held_out": scores} if step == 601 else {}))
        for step in range(1, steps + 1)
        if step % log_every == 0 or on_curve(step, steps) or step == 601
    ]
    curve = curve_of(log, steps)
    assert [point["step"] for point in curve] == [
        step for step in range(1, steps + 1) if on_curve(step, steps) or step == 601
    ]
    assert curve[0] == {
        "step": 1, "dataset": "alpha", "loss": 1.0, "lr": 3.33333e-06, "grad_norm": 0.6667
    }  # fmt: skip
    scored = [point for point in curve if "held_out" in point]
    assert [point["held_out"] for point in scored] == [{"accuracy": 0.5, "ndcg_at_10": 0.25}]
