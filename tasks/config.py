"""What a run is asked to do: frozen models that profiles return and flows take as parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from annotations.schema import Level
from artifacts.shards import ShardOptions
from evaluation.records import EvaluationOptions
from medi_sources.clean import CleaningOptions
from medi_sources.pairs import PairsOptions
from medi_sources.records import Source
from mining.options import EncoderOptions, MiningOptions
from training.options import TrainingOptions


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BuildConfig(_Frozen):
    """One build of MEDI."""

    datasets: tuple[str, ...]
    origin: Literal["upstream", "sample"] = "upstream"  # sample: the generated world
    seed: int = 0
    max_rows: int | None = Field(default=None, gt=0)  # cap below a record's own `rows`
    encoder: str  # Hub name or folder: mines negatives
    superni_encoder: str  # Hub name or folder: pairs Super-NI (paper: Sentence-T5)
    encoding: EncoderOptions = EncoderOptions()
    cleaning: CleaningOptions = CleaningOptions()
    mining: MiningOptions = MiningOptions()
    shards: ShardOptions = ShardOptions()
    detail: Level = "detailed"  # of the instructions
    workers: int = Field(default=4, gt=0)  # tasks at once; models and GPUs are used one at a time


class TrainConfig(_Frozen):
    """One training run."""

    encoder: str
    options: TrainingOptions = TrainingOptions()


class EvaluateConfig(_Frozen):
    """Which tasks an embedder is evaluated on, and how."""

    tasks: tuple[str, ...]
    options: EvaluationOptions = EvaluationOptions()


class Profile(_Frozen):
    """A named set of settings for the three flows."""

    name: str
    build: BuildConfig
    train: TrainConfig
    evaluate: EvaluateConfig


def pairs_options(source: Source, config: BuildConfig) -> PairsOptions:
    """The record's cap, or the profile's where that is lower."""
    return PairsOptions(
        seed=config.seed,
        cap=min(source.rows, config.max_rows or source.rows),
        cleaning=config.cleaning,
        superni_negatives=config.mining.negatives,
    )
