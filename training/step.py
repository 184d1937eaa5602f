"""One training step of one device: its share of the rows, forward passes, loss, gradients.

The texts of a share go through the encoder in chunks of like length, whichever side of a row they
are on. All devices make equally many forward passes, since ZeRO-3 gathers weights in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.chunks import OVERHEAD, Indices, chunks
from training.encoder import Encoder
from training.gather import gather_batch
from training.loss import Batch, contrastive_losses
from training.options import TrainingOptions
from training.plan import PlannedBatch
from training.token_store import TokenTable
from training.tokens import TokenBatch


class ChunkedEncoder(nn.Module):
    """All chunks of a step in one call: DeepSpeed expects one forward for one backward pass.

    bf16 is autocast: weights stay fp32, as they are updated and exported.
    """

    def __init__(self, encoder: Encoder, options: TrainingOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self._bf16 = options.precision == "bf16"
        if options.gradient_checkpointing:
            transformer: Any = encoder.transformer
            transformer.activation_checkpointing_enable({"use_reentrant": False})

    def forward(self, batches: Sequence[tuple[Tensor, ...]], seeds: Sequence[int]) -> Tensor:
        """Embeddings (M, D) of all texts, chunk after chunk; `seeds`: of each chunk's dropout."""
        outputs = []
        with torch.autocast(batches[0][0].device.type, torch.bfloat16, enabled=self._bf16):
            for batch, seed in zip(batches, seeds, strict=True):
                torch.manual_seed(seed)
                outputs.append(self.encoder(*batch))
        return torch.cat(outputs)


@dataclass(frozen=True)
class Share:
    """What one device does of one step: b rows with S texts each, N = b * S.

    passes   the texts of each forward pass; the last may be a text that stands in (see share_of)
    seeds    of each pass' dropout
    order_N  where in the output of all passes each text is, row by row
    keys_bS  of each text; equal texts have equal ones
    counts   rows of each rank's share
    """

    planned: PlannedBatch
    in_batch: bool
    passes: Sequence[TokenBatch]
    seeds: Sequence[int]
    order_N: Tensor
    keys_bS: Tensor
    counts: Sequence[int]
    tokens: int
    tokens_computed: int


def share_of(
    planned: PlannedBatch,
    table: TokenTable,
    step: int,
    rank: int,
    world_size: int,
    options: TrainingOptions,
    overhead: int = OVERHEAD,
) -> Share:
    """Equal for equal arguments, dropout's seeds too. Needs no other device.

    `overhead`: the tokens that another pass costs.

    A device with too few texts for as many passes as the others make encodes one that another has
    too, and makes no use of it.
    """
    shares = [planned.share(other, world_size) for other in range(world_size)]
    slots = table.lengths_RS.shape[1]
    rows = shares[rank]
    lengths = [table.lengths_RS[share].ravel() for share in shares]
    groups = _groups(lengths, rank, options.chunk_tokens, overhead)
    flat_rows = np.repeat(rows, slots)
    flat_slots = np.tile(np.arange(slots), len(rows))
    stand_in = np.append(planned.rows[:1], 0)
    passes = [
        table.collate(flat_rows[group], flat_slots[group])
        if len(group)
        else table.collate(stand_in[:1], stand_in[1:])
        for group in groups
    ]
    order_N = np.argsort(np.concatenate(groups)) if len(rows) else np.empty(0, np.int64)
    return Share(
        planned=planned,
        in_batch=table.in_batch_negatives,
        passes=passes,
        seeds=[_seed(options.seed, step, rank, number) for number in range(len(passes))],
        order_N=torch.from_numpy(order_N),
        keys_bS=torch.from_numpy(np.ascontiguousarray(table.keys_RS[rows])),
        counts=[len(share) for share in shares],
        tokens=int(table.lengths_RS[rows].sum()),
        tokens_computed=sum(batch.attention_BL.numel() for batch in passes),
    )


def _groups(lengths: Sequence[Indices], rank: int, budget: int, overhead: int) -> list[Indices]:
    """This rank's chunks; empty ones where it has fewer texts than another rank has chunks."""
    best = [chunks(own, budget, overhead=overhead) if len(own) else [] for own in lengths]
    count = max(map(len, best))
    groups = best[rank]
    if groups and len(groups) < count:
        groups = chunks(lengths[rank], budget, count)
    return groups + [np.empty(0, np.int64)] * (count - len(groups))


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def backward(engine: Any, share: Share, options: TrainingOptions) -> Tensor:
    """Puts the gradients of a step into the engine, ready for apply_step.

    Returns this device's part of the loss: the mean over all devices is the mean over the rows of
    the whole batch, however the rows are shared out. The same holds for the gradients.
    """
    batches = [tuple(batch.to(engine.device)) for batch in share.passes]
    if options.gradcache:
        return _backward_in_chunks(engine, batches, share, options)
    x_MD = engine(batches, share.seeds)
    loss = device_loss(x_MD, share, options)
    engine.backward(loss)
    return loss.detach()


def _backward_in_chunks(
    engine: Any, batches: list[tuple[Tensor, ...]], share: Share, options: TrainingOptions
) -> Tensor:
    """GradCache (arXiv 2101.06983): one chunk's activations at a time, whatever the batch.

    All embeddings without a graph; the loss' gradient to them; then each chunk again, with dropout
    as before, and backward from that gradient. Devices add up once, after the last chunk (from
    ZeRO-2 on, which keeps no whole gradients, after each).
    """
    with torch.no_grad():
        x_MD = engine.module(batches, share.seeds)
    loss = device_loss(x_MD.requires_grad_(), share, options)
    (grad_MD,) = torch.autograd.grad(loss, x_MD)
    grads = grad_MD.split([len(ids_BL) for ids_BL, *_ in batches])
    for number, grad_BD in enumerate(grads):
        engine.set_gradient_accumulation_boundary(number == len(grads) - 1)
        x_BD = engine(batches[number : number + 1], share.seeds[number : number + 1])
        engine.backward((x_BD * grad_BD).sum())
    return loss.detach()


def device_loss(x_MD: Tensor, share: Share, options: TrainingOptions) -> Tensor:
    """The sum over the device's rows, scaled as `backward` says; a scalar."""
    b, slots = share.keys_bS.shape
    x_bSD = x_MD[share.order_N.to(x_MD.device)].view(b, slots, x_MD.shape[1])
    keys_bS = share.keys_bS.to(x_MD.device)
    batch = Batch(
        x_bSD[:, 0], x_bSD[:, 1], x_bSD[:, 2:], keys_bS[:, 0], keys_bS[:, 1], keys_bS[:, 2:]
    )
    own = slice(0, b)
    if options.gather and share.in_batch:
        batch, own = gather_batch(batch, share.counts)
    # Texts that stand in, and others' rows on a device without its own, cost nothing but must be
    # in the graph: every device has to take part in every collective of the backward pass.
    idle = x_MD[len(share.order_N) :].sum() * 0.0
    if own.start == own.stop:
        return idle + sum(x.sum() for x in batch[:3]) * 0.0
    losses_b = contrastive_losses(batch, own, options, share.in_batch)
    return losses_b.sum() * (len(share.counts) / sum(share.counts)) + idle
