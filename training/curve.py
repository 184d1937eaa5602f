"""The training curve that is kept with a model: a few hundred records, alike on every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_POINTS = 400  # at most about so many, whatever the number of steps


def on_curve(step: int, steps: int) -> bool:
    """Whether the curve has this step (from 1). How often a run logs has no part in it."""
    return step in (1, steps) or step % -(-steps // _POINTS) == 0


def curve_of(log: Sequence[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """The records of curve.jsonl: of the log's, those of the curve's steps and the scored ones.

    Without what changes from run to run (times, memory); rounded, as kinds of device differ.
    """
    return [_point(entry) for entry in log if on_curve(entry["step"], steps) or "held_out" in entry]


def _point(entry: dict[str, Any]) -> dict[str, Any]:
    point = {
        "step": entry["step"],
        "dataset": entry["dataset"],
        "loss": round(entry["loss"], 4),
        "lr": float(f"{entry['lr']:.6g}"),
        "grad_norm": round(entry["grad_norm"], 4),
    }
    if "held_out" in entry:
        names = ("accuracy", "ndcg_at_10")
        point["held_out"] = {name: entry["held_out"][name] for name in names}
    return point
