"""One step: chunks, shares and GradCache must change nothing about what is learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training_runs import assert_equals_plain, exported_weights, records, run
from training.loss import Batch, contrastive_losses
from training.options import TrainingJob, TrainingOptions
from training.plan import PlannedBatch
from training.step import Share, device_loss, share_of
from training.token_store import TokenTable

Job = Callable[..., TrainingJob]
Run = Callable[[TrainingJob], TrainingJob]
Plain = Callable[[TrainingJob], tuple[dict[str, torch.Tensor], list[tuple[float, float]]]]


@pytest.fixture(scope="module")
def table(medi: Path, tiny_t5: str, store: Any) -> TokenTable:
    from training.prepare import prepare

    tokens, _ = prepare(medi, tiny_t5, TrainingOptions(steps=1), store, 1)
    return TokenTable(tokens["alpha"], "alpha")


def shares(
    table: TokenTable, rows: int, world_size: int, chunk_tokens: int, step: int = 1
) -> list[Share]:
    planned = PlannedBatch("alpha", np.arange(rows))
    options = TrainingOptions(chunk_tokens=chunk_tokens)
    return [share_of(planned, table, step, rank, world_size, options) for rank in range(world_size)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 600))
def test_every_text_goes_through_the_encoder_once(
    table: TokenTable, rows: int, world_size: int, chunk_tokens: int
) -> None:
    """And all devices make equally many passes: with ZeRO-3 they would wait for ever otherwise."""
    all_of_them = shares(table, rows, world_size, chunk_tokens)
    assert len({len(share.passes) for share in all_of_them}) == 1
    seen = []
    for rank, share in enumerate(all_of_them):
        ids = [row for batch in share.passes for row in batch.ids_BL]
        planned = share.planned.share(rank, world_size)
        assert share.keys_bS.tolist() == table.keys_RS[planned].tolist()
        texts = [(row, slot) for row in planned for slot in range(3)]
        for (row, slot), place in zip(texts, share.order_N.tolist(), strict=True):
            alone = table.collate(np.array([row]), np.array([slot])).ids_BL[0]
            assert ids[place][: len(alone)].tolist() == alone.tolist()
        assert sorted(share.order_N.tolist()) == list(range(len(texts)))
        assert share.tokens == int(table.lengths_RS[planned].sum())
        seen += planned.tolist()
        for batch in share.passes:
            assert batch.ids_BL.numel() <= chunk_tokens or len(batch.ids_BL) == 1
    assert sorted(seen) == list(range(rows))


def test_dropout_is_on(
    job: Job, run_here: Run, tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoders are loaded for inference; trained without dropout they would overfit unseen."""
    options = {"encoder": tiny_bert, "max_length": 32, "steps": 1}
    first = run_here(job("first", **options))
    monkeypatch.setattr("training.step._seed", lambda *parts: 1)
    second = run_here(job("second", **options))
    assert records(first)[0]["loss"] != records(second)[0]["loss"]


def test_dropout_differs_and_can_be_had_again(table: TokenTable) -> None:
    """Of every step, device and pass its own, and the same after a resume."""
    seeds = [
        seed for step in (1, 2) for share in shares(table, 12, 2, 100, step) for seed in share.seeds
    ]
    assert len(set(seeds)) == len(seeds) > 4
    assert shares(table, 12, 2, 100, 2)[1].seeds == seeds[-len(seeds) // 4 :]


@pytest.mark.parametrize("in_batch", [True, False])
def test_texts_come_back_to_their_rows(table: TokenTable, in_batch: bool) -> None:
    """The loss is that of the rows as they are, however they went through the encoder."""
    (share,) = shares(table, 12, 1, 100)
    share = replace(share, in_batch=in_batch)
    x_bSD = torch.nn.functional.normalize(torch.randn(12, 3, 8), dim=-1)
    x_MD = torch.empty(36, 8)
    x_MD[share.order_N] = x_bSD.flatten(0, 1)
    options = TrainingOptions(temperature=0.1, loss="gte", mask=("text", "group"))
    keys = torch.from_numpy(table.keys_RS[:12])
    batch = Batch(x_bSD[:, 0], x_bSD[:, 1], x_bSD[:, 2:], keys[:, 0], keys[:, 1], keys[:, 2:])
    expected = contrastive_losses(batch, slice(0, 12), options, in_batch).mean()
    torch.testing.assert_close(device_loss(x_MD, share, options), expected)


@pytest.mark.parametrize("zero_stage", [0, 1, 2])
def test_gradcache_equals_plain(zero_stage: int, job: Job, run_here: Run, tiny_bert: str) -> None:
    """Dropout included, and with the loss over several chunks."""
    options: dict[str, Any] = {"encoder": tiny_bert, "max_length": 32, "chunk_tokens": 200}
    options |= {"zero_stage": zero_stage, "steps": 3, "loss": "gte"}
    plain = run_here(job("plain", **options))
    cached = run_here(job("cached", gradcache=True, **options))
    expected = exported_weights(plain)
    for name, weight in exported_weights(cached).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-5)
    for first, second in zip(records(plain), records(cached), strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-4)


@pytest.mark.parametrize(
    "given_options",
    [
        {},
        {"zero_stage": 1, "gradcache": True},
        {"zero_stage": 2, "gradcache": True},
        {"zero_stage": 3},
        {"zero_stage": 3, "gradcache": True},
        {"gather": True},
        {"gather": True, "gradcache": True, "zero_stage": 2},
    ],
    ids=str,
)
def test_two_devices_are_one_batch(
    given_options: dict[str, Any],
    job: Job,
    plain_run: Plain,
    server: ForkServerContext,
    write_medi: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Shares of 6 and 5 rows count by rows, and a device with none takes part all the same."""
    medi = write_medi(tmp_path / "medi", {"alpha": 11, "solo": 1})
    two = job(medi=medi, processes=2, batch_rows=6, steps=4, chunk_tokens=150, **given_options)
    assert run(server, two) == [0, 0]
    assert_equals_plain(two, *plain_run(two))
    assert {record["rows"] for record in records(two)} == {11, 1}
