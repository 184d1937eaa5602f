"""`medi train --dry-run`: what a training would read, compute and take. Trains nothing.

Tokens and plan are made, as they would be, and stay in the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from artifacts.errors import InputError
from flows.planning_training import plan_train
from flows.progress import Steps
from tasks.steps import Training

if TYPE_CHECKING:
    from training.estimate import Memory

_TFLOPS = (100.0, 400.0, 790.0)  # a device, in bf16


def run_dry(
    medi: str,
    profile: str,
    encoder: str | None,
    mirror: str | None,
    store: str,
    fields: Mapping[str, Any],
    tflops: Sequence[float] | None,
) -> int:
    """Exit status. `tflops`: the rates to print hours for."""
    if any(rate <= 0 for rate in tflops or ()):
        raise InputError("--tflops: give a number above 0, of TFLOP/s that a device does")
    training = plan_train(medi, None, profile, encoder, mirror, store, fields)
    print("\n".join(lines(training, tflops or _TFLOPS)))
    return 0


def lines(training: Training, tflops: Sequence[float]) -> list[str]:
    """Makes what is missing of tokens and plan, then says what they come to."""
    from tasks import train_stages as stages  # these import torch
    from training import estimate
    from training.encoder import encoder_of, load_parts
    from training.plan import Plan

    options, world_size, store = training.options, training.world_size, training.store
    stale = training.stale_tokens
    with Steps("tokens", len(stale)) as progress:
        for spec in stale:
            stages.tokens(spec, training.medi, training.encoder, options, store)
            progress.done(str(spec))
    counts = stages.plan(training)[0].manifest.counts
    plan, tables = Plan(store.folder(training.plan)), stages.tables_of(training)
    at_once = estimate.tokens_at_once(plan, tables, counts["padding_efficiency"], options)
    encoder = encoder_of(load_parts(str(training.encoder.folder), options.max_length))
    memory = estimate.memory(encoder, at_once, world_size, options)
    flops = estimate.training_flops(encoder, counts, options)
    hours = {rate: estimate.hours(flops, rate, world_size) for rate in tflops}
    return [
        *_data(training, counts),
        *_table(memory, at_once, options.zero_stage),
        f"compute: {_short(flops / 1e15)} PFLOP, padding counted",
        *(f"  {_short(hours[r])} hours at {r:,g} TFLOP/s a device" for r in tflops),
    ]


def _data(training: Training, counts: Mapping[str, Any]) -> list[str]:
    """`counts` are the plan's."""
    rows_a_step = counts["rows"] / counts["steps"]
    return [
        f"encoder: {training.encoder.name}; devices: {training.world_size}; "
        f"datasets: {len(training.tokens)}",
        f"steps: {counts['steps']:,}, of {rows_a_step:.1f} rows",
        f"rows: {counts['rows']:,}, {counts['epochs']} epochs; {counts['held_out']:,} held out",
        f"tokens: {counts['tokens']:,}; {counts['computed_tokens']:,} computed: "
        f"padding efficiency {counts['padding_efficiency']:.3f}",
    ]


def _table(memory: Sequence[Memory], tokens: float, chosen: int) -> list[str]:
    """GiB of a device, a line a ZeRO stage."""
    columns = ("weights", "gradients", "optimizer", "activations", "device", "host")
    head = "  ".join(f"{name:>11}" for name in columns)
    return [
        f"GiB a device, by ZeRO stage; activations of {tokens:,.0f} tokens at once:",
        f"  stage {head}",
        *(
            f"  {each.stage:>5} "
            + "  ".join(f"{getattr(each, name):>11.2f}" for name in columns)
            + ("  <- zero_stage" if each.stage == chosen else "")
            for each in memory
        ),
    ]


def _short(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.2g}"
