"""What a training will take, before it is started: memory a device, and hours.

Estimates. Memory leaves out what CUDA, NCCL and fragments take; activations are those of fused
attention, which stores no scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from training.encoder import Encoder, flops_per_token
from training.options import TrainingOptions
from training.plan import Plan
from training.token_store import TokenTable

_FP32 = 4  # bytes: weights, gradients and AdamW's two moments, also under bf16 autocast
_GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """GiB of one device under a ZeRO stage; `host` is what offload keeps in the host's memory."""

    stage: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    host: float

    @property
    def device(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations


def memory(
    encoder: Encoder, tokens: float, world_size: int, options: TrainingOptions
) -> list[Memory]:
    """Under ZeRO 0 to 3, with `tokens` in the graph at once (see tokens_at_once).

    ZeRO (arXiv 1910.02054) parts AdamW's moments among the devices, from stage 2 on the gradients
    and in stage 3 the weights. Stages 1 and 2 of DeepSpeed update a copy of their part of the
    weights. Offload counts where the stage allows it.
    """
    weights = sum(weight.numel() for weight in encoder.parameters()) * _FP32 / _GIB
    activations = tokens * activation_bytes(encoder, options) / _GIB
    found = []
    for stage in range(4):
        part = [world_size if stage >= first else 1 for first in (3, 2, 1)]
        kept = weights / part[0]
        states = (3 if stage in (1, 2) else 2) * weights / part[2]
        host = 0.0
        if stage >= 1 and options.offload != "none":
            host, states = states, 0.0
        if stage == 3 and options.offload == "parameters":
            host, kept = host + kept, 0.0
        found.append(Memory(stage, kept, weights / part[1], states, activations, host))
    return found


def tokens_at_once(
    plan: Plan,
    tables: Mapping[str, TokenTable],
    padding_efficiency: float,
    options: TrainingOptions,
) -> float:
    """Tokens, padding counted, whose graph a device holds: of the largest step, or of a chunk."""
    batches = (plan.batch(step) for step in range(1, plan.steps + 1))
    most = max(int(tables[b.dataset].lengths_RS[b.rows].sum()) for b in batches)
    largest = most / plan.world_size / padding_efficiency
    return min(largest, options.chunk_tokens) if options.gradcache else largest


def activation_bytes(encoder: Encoder, options: TrainingOptions) -> float:
    """Bytes a token that the forward pass keeps for the backward pass.

    Measured, in texts of one token: whatever grows with the square of a text's length is not in
    it. With gradient checkpointing, the input of each layer and the inside of one.
    """
    few, many = 4, 12
    inside = (_kept(encoder, many, options) - _kept(encoder, few, options)) / (many - few)
    if not options.gradient_checkpointing:
        return inside
    config: Any = encoder.transformer.config
    layers, width = int(config.num_hidden_layers), int(config.hidden_size)
    return layers * width * _FP32 + inside / layers


def _kept(encoder: Encoder, texts: int, options: TrainingOptions) -> int:
    """Bytes that are kept of a forward pass over so many texts, weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in encoder.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage  # held: what is freed gives its address to another
        return tensor

    ones_B1 = torch.ones(texts, 1, dtype=torch.long)
    encoder.train()
    with (
        saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"),
    ):
        x_BD = encoder(ones_B1, ones_B1, ones_B1)
    assert x_BD.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def training_flops(encoder: Encoder, counts: Mapping[str, Any], options: TrainingOptions) -> float:
    """Floating-point operations of the whole training, padding counted.

    `counts` are the plan's. A backward pass costs two forward passes; gradient checkpointing and
    GradCache make one more each.
    """
    texts = counts["rows"] * (2 + options.negatives)
    passes = 3 + options.gradient_checkpointing + options.gradcache
    a_token = flops_per_token(encoder, counts["tokens"] / texts)
    return passes * a_token * float(counts["computed_tokens"])


def hours(flops: float, tflops: float, world_size: int) -> float:
    """At `tflops` TFLOP/s that each device does, not those it is sold for."""
    return flops / (tflops * 1e12 * world_size) / 3600
