"""The training itself, in this process: DeepSpeed must do what a plain torch loop does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from artifacts.errors import InputError
from training.options import TrainingJob
from training.plan import plan_batches

Job = Callable[..., TrainingJob]
Run = Callable[[TrainingJob], TrainingJob]
Plain = Callable[[TrainingJob, int], dict[str, torch.Tensor]]


def records(job: TrainingJob) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.work / "log.jsonl").read_text().splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("given", [{}, {"zero_stage": 1}, {"zero_stage": 2}])
def test_equals_a_plain_torch_loop(
    given: dict[str, Any], job: Job, run_here: Run, plain_weights: Plain
) -> None:
    """Schedule, clipping, weight decay, batches and three forwards a step are all in it."""
    done = run_here(job(weight_decay=0.1, gradient_clipping=0.5, **given))
    expected = plain_weights(done, 1)
    weights = load_file(done.out / "model.safetensors")
    weights |= {"dense": load_file(done.out / "2_Dense" / "model.safetensors")["linear.weight"]}
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=2e-5)
    norms = [record["grad_norm"] for record in records(done)]
    assert max(norms) > 0.5  # the clipping had work to do


def test_same_job_same_bytes(job: Job, run_here: Run, tiny_bert: str) -> None:
    """Dropout included."""
    first, again, other = (
        run_here(job(name, encoder=tiny_bert, max_length=32, seed=seed))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert files_of(first.out) == files_of(again.out)
    weights = [job.out / "model.safetensors" for job in (first, other)]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_learns_what_is_there_to_learn(job: Job, run_here: Run) -> None:
    done = run_here(job(steps=60, batch_rows=16, learning_rate=1e-2, temperature=0.1))
    losses = [record["loss"] for record in records(done)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_the_log_says_what_was_done(job: Job, run_here: Run) -> None:
    done = run_here(job(steps=7, log_every=3, called="someone/encoder"))
    logged = records(done)
    assert [record["step"] for record in logged] == [3, 6, 7]
    plan = plan_batches({"alpha": 40, "beta": 21}, 8, 1, 7, seed=0)
    rows = [len(batch.rows) for batch in plan]
    assert [record["rows"] for record in logged] == [sum(rows[:3]), sum(rows[3:6]), rows[6]]
    assert all(record["dataset"] in ("alpha", "beta") for record in logged)
    assert all(0 < record["tokens"] <= record["tokens_computed"] for record in logged)
    assert [round(record["lr"], 6) for record in logged] == [0.000833, 0.000333, 0.000167]
    assert json.loads((done.work / "result.json").read_text())["loss_last"] == logged[-1]["loss"]
    record = json.loads((done.out / "medi.json").read_text())
    assert record["base_encoder"] == "someone/encoder"
    assert done.encoder not in (done.out / "README.md").read_text()
    assert record["options"] == done.options.model_dump(mode="json")
    prompts = json.loads((done.out / "config_sentence_transformers.json").read_text())["prompts"]
    assert set(prompts) == {"query", "document"}  # names that mteb and encode_query know
    assert record["instructions"]["beta"] == [
        "Represent the beta question for retrieval: ",
        "Represent the beta document for retrieval: ",
    ]


def test_bf16_trains_fp32_weights(job: Job, run_here: Run) -> None:
    done = run_here(job(precision="bf16"))
    weights = load_file(done.out / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_a_loss_that_is_no_number_stops_the_training(job: Job, run_here: Run) -> None:
    broken = job(learning_rate=1e30, gradient_clipping=1e30, batch_rows=4)
    with pytest.raises(RuntimeError, match=r"stopped at step \d: .* '(alpha|beta)', row_id \[\d"):
        run_here(broken)
    assert not broken.out.exists()


def test_bad_input_is_told_before_the_training(job: Job, run_here: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot load the encoder"):
        run_here(job(encoder=str(tmp_path)))
    with pytest.raises(InputError, match="training uses 3"):
        run_here(job("other", negatives=3))
