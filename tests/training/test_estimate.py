"""The dry run's numbers: a user buys or books machines by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from training.encoder import encoder_of, flops_per_token, load_parts
from training.estimate import activation_bytes, hours, memory, tokens_at_once, training_flops
from training.options import TrainingJob, TrainingOptions
from training.plan import Plan
from training.token_store import TokenTable

Job = Callable[..., TrainingJob]
GIB = 2**30


def test_without_zero_it_is_what_torch_holds(tiny_t5: str) -> None:
    encoder = encoder_of(load_parts(tiny_t5, 64))
    optimizer = torch.optim.AdamW(encoder.parameters())
    ones_B1 = torch.ones(2, 1, dtype=torch.long)
    encoder(ones_B1, ones_B1, ones_B1).sum().backward()
    optimizer.step()
    weights = [weight for weight in encoder.parameters() if weight.grad is not None]
    states = [s for state in optimizer.state.values() for s in state.values() if s.ndim]
    held = [sum(t.numel() * t.element_size() for t in tensors) for tensors in (weights, states)]
    plain = memory(encoder, 0.0, 1, TrainingOptions())[0]
    assert plain.weights * GIB == plain.gradients * GIB == held[0]
    assert plain.optimizer * GIB == held[1]
    assert plain.device == plain.weights + plain.gradients + plain.optimizer


@pytest.mark.parametrize(
    ("offload", "device", "host"),
    [
        ("none", [4, 2 + 3 / 4, 1 + 4 / 4, 4 / 4], [0, 0, 0, 0]),
        ("optimizer", [4, 2, 1 + 1 / 4, 2 / 4], [0, 3 / 4, 3 / 4, 2 / 4]),
        ("parameters", [4, 2, 1 + 1 / 4, 1 / 4], [0, 3 / 4, 3 / 4, 3 / 4]),
    ],
)
def test_zero_shares_it_out(
    offload: str, device: list[float], host: list[float], tiny_t5: str
) -> None:
    """In sizes of the weights, over four devices."""
    encoder = encoder_of(load_parts(tiny_t5, 64))
    options = TrainingOptions.model_validate({"offload": offload})
    stages = memory(encoder, 0.0, 4, options)
    unit = stages[0].weights
    assert [each.device / unit for each in stages] == pytest.approx(device)
    assert [each.host / unit for each in stages] == pytest.approx(host)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_are_what_the_graph_keeps(precision: str, tiny_t5: str) -> None:
    """Of a batch of one-token texts, to which weights and what is made once add little."""
    options = TrainingOptions(precision=precision)
    encoder = encoder_of(load_parts(tiny_t5, 64))
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    ones_B1 = torch.ones(100, 1, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        x_BD = encoder(ones_B1, ones_B1, ones_B1)
    assert x_BD.requires_grad
    weights = sum(weight.untyped_storage().nbytes() for weight in encoder.parameters())
    a_token = activation_bytes(encoder, options)
    of_texts = 100 * a_token
    assert (
        of_texts <= sum(storage.nbytes() for storage in kept.values()) <= of_texts + 1.5 * weights
    )
    assert precision == "fp32" or a_token < activation_bytes(encoder, TrainingOptions())
    checkpointed = options.model_copy(update={"gradient_checkpointing": True})
    assert activation_bytes(encoder, checkpointed) < a_token


def test_a_chunk_at_once_with_gradcache_else_the_largest_step(job: Job) -> None:
    made = job(batch_rows=8, steps=20)
    plan = Plan(made.plan)
    tables = {name: TokenTable(folder, name) for name, folder in made.tokens.items()}
    batches = [plan.batch(step) for step in range(1, 21)]
    largest = max(tables[b.dataset].lengths_RS[b.rows].sum() for b in batches)
    assert tokens_at_once(plan, tables, 0.5, made.options) == 2 * largest
    small = made.options.model_copy(update={"gradcache": True, "chunk_tokens": 100})
    assert tokens_at_once(plan, tables, 0.5, small) == 100


@pytest.mark.parametrize(
    ("given", "passes"),
    [({}, 3), ({"gradcache": True}, 4), ({"gradcache": True, "gradient_checkpointing": True}, 5)],
)
def test_hours(given: Mapping[str, Any], passes: int, tiny_t5: str) -> None:
    encoder = encoder_of(load_parts(tiny_t5, 64))
    counts = {"rows": 10, "tokens": 600, "computed_tokens": 1000}
    flops = training_flops(encoder, counts, TrainingOptions(**given))
    assert flops == passes * 1000 * flops_per_token(encoder, 20.0)
    assert hours(3600 * 8e14, 100, 8) == 1.0
