"""What a run is asked to do: frozen models that profiles return and flows take as parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from annotations.schema import Level
from artifacts.shards import ShardOptions
from evaluation.records import EvaluationOptions
from medi_sources.clean import CleaningOptions
from medi_sources.leaks import DecontaminationOptions
from medi_sources.pairs import PairsOptions
from medi_sources.records import Source
from medi_sources.window import Window, window_of
from mining.options import EncoderOptions, MiningOptions
from training.options import TrainingOptions

Runner = Literal["threads", "ray"]
FETCH_TIMEOUT_S = 6 * 3600.0


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BuildConfig(_Frozen):
    """One build of MEDI.

    `runner`: threads of one process, or the cores and GPUs of a Ray cluster.
    """

    datasets: tuple[str, ...]
    sources: str | None = None  # a folder of own records and annotations, all built as well
    licences: Literal["any", "commercial"] = "any"  # commercial: only what may be used so
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
    superni_instructions: Literal["written", "definition"] = "written"
    decontamination: DecontaminationOptions = DecontaminationOptions()
    workers: int = Field(default=4, gt=0)  # tasks at once; models and GPUs are used one at a time
    runner: Runner = "threads"
    fetch_timeout: float = Field(default=FETCH_TIMEOUT_S, gt=0)  # for the files of one dataset


class TrainConfig(_Frozen):
    """One training run."""

    encoder: str
    options: TrainingOptions = TrainingOptions()


class EvaluateConfig(_Frozen):
    """Which tasks an embedder is evaluated on, and how.

    `paraphrases`: with so many other wordings of its instructions too (paper Fig. 4). `runner`:
    one task a device of this machine, or one a GPU (else a core) of a Ray cluster.
    """

    tasks: tuple[str, ...]
    options: EvaluationOptions = EvaluationOptions()
    paraphrases: int = Field(default=0, ge=0, le=5)
    runner: Runner = "threads"
    fetch_timeout: float = Field(default=FETCH_TIMEOUT_S, gt=0)  # for the files of one task


class Profile(_Frozen):
    """A named set of settings for the three flows."""

    name: str
    build: BuildConfig
    train: TrainConfig
    evaluate: EvaluateConfig


def pairs_options(source: Source, config: BuildConfig) -> PairsOptions:
    """The record's cap, or the profile's where that is lower."""
    cut = window(source, config)
    return PairsOptions(
        seed=config.seed,
        first_row=cut.start if cut else 0,
        cap=min(source.rows, config.max_rows or source.rows),
        cleaning=config.cleaning,
        superni_negatives=config.mining.negatives,
        superni_memory_mib=config.mining.memory_mib,
    )


def window(source: Source, config: BuildConfig) -> Window | None:
    """The lines to read of a giant file, drawn by the seed; None where all of it is read."""
    if source.window is None or config.origin == "sample":
        return None
    return window_of(config.seed, source.name, source.upstream_rows, source.window)
