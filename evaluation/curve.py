"""The training curve that a model of `medi train` carries: curve.jsonl in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from artifacts.errors import InputError

CURVE = "curve.jsonl"


class HeldOut(BaseModel):
    """Mean over the training datasets, on rows that were not trained on."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    accuracy: float
    ndcg_at_10: float


class CurvePoint(BaseModel):
    """One step: its batch's loss, the learning rate, the held-out scores where they were taken."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    step: int = Field(gt=0)
    loss: float
    lr: float
    held_out: HeldOut | None = None


def read_curve(folder: Path) -> list[CurvePoint]:
    """The points by step; none where the model has no curve. InputError for a broken file."""
    path = folder / CURVE
    if not path.is_file():
        return []
    points = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            points.append(CurvePoint.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise InputError(
                f"{CURVE}, line {number}, {where}: {first['msg']}; "
                "valid are the lines that `medi train` writes"
            ) from error
    return sorted(points, key=lambda point: point.step)


def smoothed(values: Sequence[float]) -> list[float]:
    """A running mean, as long as `values`: of each with a twentieth of them on either side."""
    reach = len(values) // 20
    windows = [values[max(0, at - reach) : at + reach + 1] for at in range(len(values))]
    return [sum(window) / len(window) for window in windows]
