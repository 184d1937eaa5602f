"""More devices must mean more candidates, and otherwise the training of one device."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor
from torch.nn.functional import normalize

from training.gather import gather_batch
from training.loss import Batch, contrastive_losses
from training.options import Loss, TrainingOptions

COUNTS = [(3, 2), (1, 4), (0, 5), (5, 0)]  # rows of the two devices
WORLD = 2


def all_rows() -> Batch:
    """Five rows with two negatives, some texts of which are the same."""
    random = torch.Generator().manual_seed(0)
    shapes = [(5, 4), (5, 4), (5, 2, 4)]
    x = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes]
    keys = [torch.randint(6, shape[:-1], generator=random) for shape in shapes]
    return Batch(*(normalize(each, dim=-1) for each in x), *keys)


def leaves(rows: slice) -> Batch:
    x = [each[rows].clone().requires_grad_() for each in all_rows()[:3]]
    return Batch(*x, *(each[rows] for each in all_rows()[3:]))


def options_of(loss: Loss) -> TrainingOptions:
    return TrainingOptions(loss=loss, temperature=0.1, mask=("text", "group"))


def device(rank: int, folder: str) -> None:
    """What a device computes, for every case: its losses, its gradients, what it gathered."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORLD)
    found: dict[Any, Any] = {}
    for counts in COUNTS:
        rows = slice(0, counts[0]) if rank == 0 else slice(counts[0], 5)
        for loss in get_args(Loss):
            mine = leaves(rows)
            batch, own = gather_batch(mine, counts)
            losses = contrastive_losses(batch, own, options_of(loss), in_batch=True)
            (losses.sum() / sum(counts) * WORLD).backward()
            found[counts, loss] = losses.detach(), [each.grad for each in mine[:3]]
        found[counts] = [each.detach() for each in batch], own
    try:
        gather_batch(leaves(slice(0, 1)), (3, 2))
    except ValueError as error:
        found["error"] = str(error)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    folder = tmp_path_factory.mktemp("devices")
    multiprocessing.spawn(device, (str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]


@pytest.mark.parametrize("counts", COUNTS)
def test_every_device_holds_all_rows_in_order(
    counts: tuple[int, int], devices: list[dict[Any, Any]]
) -> None:
    for rank, expected in enumerate([slice(0, counts[0]), slice(counts[0], 5)]):
        batch, own = devices[rank][counts]
        assert own == expected
        for gathered, whole in zip(batch, all_rows(), strict=True):
            assert torch.equal(gathered, whole)


@pytest.mark.parametrize("loss", get_args(Loss))
@pytest.mark.parametrize("counts", COUNTS)
def test_two_devices_make_the_gradients_of_one(
    counts: tuple[int, int], loss: Loss, devices: list[dict[Any, Any]]
) -> None:
    """As DeepSpeed averages them: each device's gradient / number of devices, summed."""
    whole = leaves(slice(0, 5))
    losses = contrastive_losses(whole, slice(0, 5), options_of(loss), in_batch=True)
    losses.mean().backward()
    of_devices, gradients = zip(*(found[counts, loss] for found in devices), strict=True)
    torch.testing.assert_close(torch.cat(of_devices), losses.detach())
    for expected, parts in zip(whole[:3], zip(*gradients, strict=True), strict=True):
        got: Tensor = torch.cat(parts) / WORLD
        torch.testing.assert_close(got, expected.grad)


def test_one_device_has_nothing_to_gather() -> None:
    batch = leaves(slice(0, 5))
    assert gather_batch(batch, [5]) == (batch, slice(0, 5))


def test_rows_that_the_others_do_not_expect_are_refused(devices: list[dict[Any, Any]]) -> None:
    """They would make all devices wait for each other for ever, or mix up their rows."""
    assert [found["error"] for found in devices] == [
        "rank 0 has 1 rows, but counts says (3, 2)",
        "rank 1 has 1 rows, but counts says (3, 2)",
    ]
