"""A step: one stage of one dataset, with all it needs to run. Keys and paths pass, never data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotations.render import END
from artifacts.keys import Spec
from artifacts.location import Location
from artifacts.models import ModelRef
from artifacts.store import Artifact, Store
from evaluation.records import EvalTask
from evaluation.run import Asked
from medi_sources.fetch import local_names
from medi_sources.readers.superni import superni_definition
from medi_sources.records import Source
from tasks.config import BuildConfig
from training.options import TrainingOptions

STAGES = ("fetch", "pairs", "mine", "shards")


@dataclass(frozen=True)
class Setting:
    """What all steps of one build share."""

    store: Store
    mirror: Path | None
    config: BuildConfig
    encoder: ModelRef
    superni_encoder: ModelRef
    veto: ModelRef | None = None  # the model of mining's second opinion, where one is asked for


@dataclass(frozen=True)
class Step:
    """`upstream` is the artifact the step reads (None: it fetches).

    `problem` is why it must run; None where its own artifact is whole.
    """

    spec: Spec
    source: Source
    instructions: tuple[str, str]
    upstream: Spec | None
    problem: str | None

    @property
    def dataset(self) -> str:
        return self.spec.dataset

    @property
    def stage(self) -> str:
        return self.spec.stage

    def read(self, store: Store) -> Artifact:
        """The upstream artifact; LookupError where there is none."""
        if self.upstream is None:
            raise LookupError(f"{self.spec} reads no artifact")
        return store.get(self.upstream)

    def spoken(self, raw: Artifact, config: BuildConfig) -> tuple[str, str]:
        """The annotation's instructions, or for Super-NI, where asked for, the task's definition
        as its file (`raw`: the fetch artifact) has it."""
        if self.source.reader.layout != "superni" or config.superni_instructions == "written":
            return self.instructions
        (name,) = local_names(self.source.location)
        definition = superni_definition(raw.file(name)).rstrip(" .:;") + END
        return definition, definition


@dataclass(frozen=True)
class DataStep:
    """The files of one evaluation task."""

    spec: Spec
    location: Location
    problem: str | None


@dataclass(frozen=True)
class TextsStep:
    """The texts of one evaluation task, from its files.

    A task that only mteb knows has no record here: mteb gets its data from the Hub.
    """

    spec: Spec
    task: EvalTask | None
    data: DataStep | None
    needs: Sequence[Location]  # what must be at hand, or to be had
    problem: str | None


@dataclass(frozen=True)
class LeaksStep:
    """Looking for the evaluation texts in all datasets of a build."""

    spec: Spec
    texts: Sequence[TextsStep]
    mined: Mapping[str, Spec]
    problem: str | None

    @property
    def data(self) -> list[DataStep]:
        return [texts.data for texts in self.texts if texts.data]


@dataclass(frozen=True)
class Score:
    """One score to get, of which side of the report, and the specs of its data and its result.

    mteb gets the data of its own tasks itself: `data` is None.
    """

    asked: Asked
    label: str  # "before", "after", or "paraphrase 1" ... of the latter
    data: Spec | None
    result: Spec

    @property
    def task(self) -> EvalTask:
        return self.asked.task


@dataclass(frozen=True)
class Training:
    """One model to train from a MEDI folder: the artifacts on the way, and all they need."""

    store: Store
    medi: Path
    encoder: ModelRef
    options: TrainingOptions
    world_size: int
    tokens: Mapping[str, Spec]
    plan: Spec
    model: Spec

    @property
    def problem(self) -> str | None:
        """Why the model must be trained; None when it is in the store."""
        return self.store.problem(self.model)

    @property
    def stale_tokens(self) -> list[Spec]:
        """The tokens to make before there can be a plan."""
        return [spec for spec in self.tokens.values() if self.store.problem(spec)]
