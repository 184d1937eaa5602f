"""The training itself, in this process: DeepSpeed must do what a plain torch loop does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st
from safetensors.torch import load_file

from artifacts.errors import InputError
from tests.training_runs import assert_equals_plain, exported_weights, files_of, records
from training.errors import TrainingDiverged
from training.options import TrainingJob
from training.plan import Plan

Job = Callable[..., TrainingJob]
Run = Callable[[TrainingJob], TrainingJob]
Plain = Callable[[TrainingJob], tuple[dict[str, torch.Tensor], list[tuple[float, float]]]]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"zero_stage": 1},
        {"zero_stage": 2},
        {"zero_stage": 3},
        {"chunk_tokens": 64},
        {"chunk_tokens": 200, "zero_stage": 3},
        {"chunk_tokens": 64, "gradcache": True},
        {"gradient_checkpointing": True},
        {"zero_stage": 2, "offload": "optimizer"},
        {"zero_stage": 3, "offload": "parameters"},
    ],
    ids=str,
)
def test_equals_a_plain_torch_loop(
    given: dict[str, Any], job: Job, run_here: Run, plain_run: Plain
) -> None:
    """Schedule, clipping, weight decay, batches and chunks are all in it."""
    done = run_here(job(weight_decay=0.1, gradient_clipping=0.5, **given))
    assert_equals_plain(done, *plain_run(done))
    assert max(record["grad_norm"] for record in records(done)) > 0.5  # the clipping had work


def test_same_job_same_bytes(job: Job, run_here: Run, tiny_bert: str) -> None:
    """Dropout included."""
    first, again, other = (
        run_here(job(name, encoder=tiny_bert, max_length=32, seed=seed, held_out=0.2))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert files_of(first.out) == files_of(again.out)
    weights = [job.out / "model.safetensors" for job in (first, other)]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_learns_what_is_there_to_learn(job: Job, run_here: Run) -> None:
    options = {"learning_rate": 1e-2, "temperature": 0.1, "held_out": 0.2, "evaluate_every": 30}
    done = run_here(job(steps=60, batch_rows=16, **options))
    logged = records(done)
    losses = [record["loss"] for record in logged]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    scores = {r["step"]: r["held_out"]["ndcg_at_10"] for r in logged if "held_out" in r}
    assert list(scores) == [30, 60]
    assert scores[60] > 0.5


def test_the_log_says_what_was_done(job: Job, run_here: Run) -> None:
    done = run_here(job(steps=7, log_every=3, called="someone/encoder"))
    logged = [record for record in records(done) if record["step"] in (3, 6, 7)]
    plan = Plan(done.plan)
    rows = [len(plan.batch(step).rows) for step in range(1, 8)]
    assert sum(record["rows"] for record in records(done)) == sum(rows)
    assert all(0 < r["tokens"] <= r["tokens_computed"] for r in logged)
    assert all(0.5 < r["padding_efficiency"] <= 1 and r["tokens_per_second"] > 0 for r in logged)
    assert [round(record["lr"], 6) for record in logged] == [0.000833, 0.000333, 0.000167]
    assert logged[-1]["losses"][logged[-1]["dataset"]] == logged[-1]["loss"]
    assert json.loads((done.work / "result.json").read_text())["loss_last"] == logged[-1]["loss"]
    assert done.encoder not in (done.out / "README.md").read_text()


def test_bf16_trains_fp32_weights(job: Job, run_here: Run) -> None:
    exact, rounded = run_here(job("fp32")), run_here(job("bf16", precision="bf16"))
    weights = load_file(rounded.out / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    losses = [records(done)[0]["loss"] for done in (exact, rounded)]
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.05)


def test_the_best_step_is_exported(job: Job, run_here: Run) -> None:
    """A learning rate that spoils the model at the end must not spoil what a user gets."""
    options = {"steps": 12, "held_out": 0.2, "evaluate_every": 3, "batch_rows": 16}
    best = run_here(job("best", export="best", learning_rate=1.0, **options))
    last = run_here(job("last", learning_rate=1.0, **options))
    scored = {r["step"]: r["held_out"]["ndcg_at_10"] for r in records(best) if "held_out" in r}
    step = max(scored, key=lambda step: scored[step])
    assert step != 12
    kept = load_file(best.work / "checkpoints" / f"step-{step:08d}" / "encoder.safetensors")
    for name, weight in exported_weights(best).items():
        torch.testing.assert_close(weight, kept[name], rtol=0, atol=0)
    assert json.loads((best.out / "medi.json").read_text())["step"] == step
    assert files_of(best.out)["model.safetensors"] != files_of(last.out)["model.safetensors"]


@for_all(st.integers(1, 60), st.floats(0, 0.99))
def test_no_step_is_without_effect(steps: int, warmup_ratio: float) -> None:
    """A rate of 0 in the first or the last step would be a step for nothing."""
    from training.engine import learning_rate_factor

    rates = [learning_rate_factor(done, steps, warmup_ratio) for done in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(max(rates))
    assert rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)
    assert learning_rate_factor(steps, steps, warmup_ratio) <= 1  # asked for after the last step


def test_a_loss_that_is_no_number_stops_the_training(job: Job, run_here: Run) -> None:
    """It says where, and leaves a checkpoint from before."""
    options = {"learning_rate": 1e30, "gradient_clipping": 1e30, "batch_rows": 4}
    broken = job(checkpoint_every=1, **options)
    with pytest.raises(TrainingDiverged, match=r"stopped at step \d: .* '(alpha|beta)', row_id"):
        run_here(broken)
    assert not broken.out.exists()
    assert (broken.work / "checkpoints" / "step-00000001" / "manifest.json").is_file()


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_what_is_no_number_never_reaches_the_weights(
    part: str, zero_stage: int, job: Job, run_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import loop, step

    seen = []
    honest_loss, honest_step = step.device_loss, loop.apply_step

    def loss(x_MD: torch.Tensor, *given: Any) -> torch.Tensor:
        if part == "loss":
            return honest_loss(x_MD, *given) * torch.nan
        x_MD.register_hook(lambda gradient: gradient * torch.inf)
        return honest_loss(x_MD, *given)

    def apply_step(engine: Any, *given: Any) -> tuple[float, float]:
        before = loop.whole_weights(engine, engine.module)
        values = honest_step(engine, *given)
        seen.append((before, loop.whole_weights(engine, engine.module)))
        return values

    monkeypatch.setattr(step, "device_loss", loss)
    monkeypatch.setattr(loop, "apply_step", apply_step)
    broken = job(zero_stage=zero_stage, weight_decay=0.5)
    with pytest.raises(TrainingDiverged) as raised:
        run_here(broken)
    assert raised.value.step == 1
    assert raised.value.row_ids == Plan(broken.plan).batch(1).rows.tolist()
    ((before, after),) = seen
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_bad_input_is_told_before_the_training(job: Job, run_here: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot load the encoder"):
        run_here(job().model_copy(update={"encoder": str(tmp_path)}))
    with pytest.raises(InputError, match="is for 2 devices, and 1 train"):
        run_here(job("two", processes=2))
    with pytest.raises(InputError, match=r"offload 'parameters' with zero_stage 2; valid .* \[3\]"):
        run_here(job("host", zero_stage=2, offload="parameters"))
