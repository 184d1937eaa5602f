"""The training benchmark compares like with like, and prints what it measured."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from benchmarks.training_meter import Meter
from benchmarks.training_peers import TEMPERATURE, looped_loss, symmetric_loss
from benchmarks.training_rows import read_medi, write_medi
from benchmarks.training_speed import LOSS, ROOT
from training.data import datasets_of, load_rows
from training.loss import Batch, contrastive_losses
from training.options import Loss, TrainingOptions


def _embeddings(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    q_BD, p_BD, n_BD = (torch.randn(rows, 8, generator=random) for _ in range(3))
    return normalize(q_BD), normalize(p_BD), normalize(n_BD)


def _ours(embeddings: tuple[Tensor, Tensor, Tensor], loss: Loss) -> Tensor:
    q_BD, p_BD, n_BD = embeddings
    keys_3B = torch.arange(3 * len(q_BD)).view(3, -1)
    batch = Batch(q_BD, p_BD, n_BD.unsqueeze(1), keys_3B[0], keys_3B[1], keys_3B[2].unsqueeze(1))
    options = TrainingOptions(loss=loss, temperature=TEMPERATURE)
    return contrastive_losses(batch, slice(0, len(q_BD)), options, in_batch=True).mean()


@pytest.mark.parametrize("rows", [1, 5])
def test_every_trainer_has_the_loss_that_is_said(rows: int) -> None:
    """Else a faster one might be so by learning something else."""
    embeddings = _embeddings(rows)
    theirs = symmetric_loss(nn.Identity()).compute_loss_from_embeddings([*embeddings], None)
    assert LOSS == "paper"
    torch.testing.assert_close(2 * theirs, _ours(embeddings, "paper"))
    torch.testing.assert_close(looped_loss(*embeddings), _ours(embeddings, "released"))


def test_rows_are_a_medi_folder_and_both_sides_read_the_same(tmp_path: Path) -> None:
    found = write_medi(tmp_path, tmp_path / "no-data", 40, 8)
    theirs = read_medi(tmp_path)
    assert found["rows"] == sum(len(columns["query"]) for columns in theirs.values())
    assert datasets_of(tmp_path) == sorted(theirs) and len(theirs) == found["datasets"] > 1
    for name, columns in theirs.items():
        assert load_rows(tmp_path, name)["query"].to_pylist() == columns["query"]
        for query, positive, negatives in zip(
            columns["query"], columns["pos"], columns["neg"], strict=True
        ):
            assert len({query, positive, *negatives}) == 3


@pytest.mark.real
def test_real_rows_are_a_fifth_questions_and_tasks_of_equal_size(
    tmp_path: Path, real_data: Path
) -> None:
    write_medi(tmp_path, real_data, 640, 16)
    sizes = {name: len(columns["query"]) for name, columns in read_medi(tmp_path).items()}
    assert sizes.pop("squad_pairs") == 128
    assert list(sizes.values()) == [64] * 8


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return (input_ids * self.weight).sum()


def _train(encoder: nn.Module, steps: int) -> None:
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    for _ in range(steps):
        mask_BL = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
        encoder.forward(input_ids=mask_BL, attention_mask=mask_BL).backward()
        optimizer.step()


def test_the_meter_counts_what_the_encoder_computes_after_the_warm_up() -> None:
    encoder, meter = _Encoder(), Meter("cpu", warmup=1, last=3, texts_a_row=2)
    meter.watch(encoder)
    with pytest.raises(ValueError, match="after 0 steps, not 3"):
        meter.figures()
    _train(encoder, steps=4)  # the fourth is none of the steps asked for
    found = meter.figures()
    assert (found["steps"], found["rows"], found["efficiency"]) == (2, 2, 5 / 8)
    assert found["length"] == 17 / 5
    assert found["tokens_a_second"] == pytest.approx(5 * found["rows_a_second"])


@pytest.mark.slow
def test_a_small_run_trains_the_same_rows_with_every_trainer(tmp_path: Path) -> None:
    contenders = ["medi", "by length", "padded"]
    command = [sys.executable, "-m", "benchmarks.training_speed", "--small", "--contenders"]
    surroundings = {**os.environ, "MEDI_REAL_DATA": str(tmp_path), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*command, *contenders], cwd=ROOT, env=surroundings, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert re.search(r"^20\d\d-\d\d-\d\d, .*, \d+ cores, one thread, cpu$", run.stdout, re.M)
    assert "tokens and batch plan of medi, made once" in run.stdout
    cells = {
        title: _cells(run.stdout, title, len(contenders)) for title in ("rows", "CPU ms a row")
    }
    ours, trainer, padded = cells["rows"]
    assert ours == trainer > padded > 0
    assert min(cells["CPU ms a row"]) > 0
    ours, trainer, padded = _cells(run.stdout, "real / computed", len(contenders))
    assert 1 >= min(ours, trainer) > 4 * padded > 0


def _cells(table: str, title: str, count: int) -> list[float]:
    line = re.search(rf"^{re.escape(title)} +(.+)$", table, re.M)
    assert line is not None, table
    return [float(cell.replace(",", "")) for cell in line[1].split()[:count]]
