"""The paper's analyses as grids: which builds, trainings and evaluations each needs, what it shows.

A cell is one model: fields of the profile that differ from the profile itself. What two cells have
in common (datasets, tokens, a whole model) is made once, since artifacts are found by content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from annotations.schema import Level
from artifacts.errors import InputError, did_you_mean
from evaluation.baselines import DOMAIN_SHIFT, MODEL_CARDS
from flows.profiles import get_profile
from medi_sources.catalog import load_catalog

# What a bar is: a cell's mean over categories; that before training as well; each of its tasks,
# before and after; the best and worst of its means by paraphrase of the instructions.
Measure = Literal["average", "gain", "tasks", "paraphrases"]


@dataclass(frozen=True)
class Cell:
    """One model. `group` is where its bars stand, `series` what their colour means."""

    group: str
    series: str
    fields: Mapping[str, Any]  # of the profile, by dotted name

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", f"{self.group} {self.series}".lower()).strip("-")


@dataclass(frozen=True)
class Ablation:
    """`paper`: (group, series) -> the paper's figure times 100, where it gives one in numbers."""

    name: str
    title: str
    claim: str  # of the paper, in a sentence
    cells: Sequence[Cell]
    measure: Measure = "average"
    tasks: tuple[str, ...] = ()  # by default the profile's
    paper: Mapping[tuple[str, str], float] = field(default_factory=dict)


def get_ablation(name: str, profile: str) -> Ablation:
    """Raises InputError for an unknown name, or a profile that the analysis is not made for."""
    if name not in ABLATIONS:
        raise InputError(
            f"no ablation {name!r}: choose from {', '.join(ABLATIONS)}"
            f"{did_you_mean(name, set(ABLATIONS))}"
        )
    return ABLATIONS[name](profile)


def _instructions(profile: str) -> Ablation:
    kinds = {
        "symmetric data": [name for name, same in _symmetric(profile).items() if same],
        "asymmetric data": [name for name, same in _symmetric(profile).items() if not same],
        "both": list(_symmetric(profile)),
    }
    wordings = {"without instructions": "none", "with instructions": "detailed"}
    cells = [
        Cell(kind, series, {"build.datasets": names, **_worded(level)})
        for kind, names in kinds.items()
        for series, level in wordings.items()
    ]
    return Ablation(
        "instructions",
        "Instructions and kinds of data (Fig. 3)",
        "Without instructions a model of both kinds of data is worse than one of symmetric data; "
        "with instructions it is the best.",
        cells,
    )


def _robustness(profile: str) -> Ablation:
    cells = [
        Cell(group, "average", {**fields, "evaluate.paraphrases": 5})
        for group, fields in _superni(profile).items()
    ]
    return Ablation(
        "robustness",
        "Best and worst of five paraphrases of the instructions (Fig. 4)",
        "With Super-NI in the training data best and worst lie closer together.",
        cells,
        measure="paraphrases",
    )


def _super_ni(profile: str) -> Ablation:
    return Ablation(
        "super-ni",
        "Super-NaturalInstructions in or out (section 4.3)",
        "Its 300 tasks make a model robust to wordings; averages differ little.",
        [Cell(group, "average", fields) for group, fields in _superni(profile).items()],
    )


def _detail(profile: str) -> Ablation:
    levels: tuple[Level, ...] = get_args(Level)
    return Ablation(
        "detail",
        "How much an instruction says (Fig. 5)",
        "None < tag < simple < detailed.",
        [Cell(level, "average", _worded(level)) for level in levels],
    )


def _size(profile: str) -> Ablation:
    sizes = _SIZES.get(profile, _SIZES["paper"])
    return Ablation(
        "size",
        "Size of the encoder (Fig. 6)",
        "Larger encoders gain more from instructions.",
        [Cell(size, "trained", {"train.encoder": encoder}) for size, encoder in sizes.items()],
        measure="gain",
        paper={
            (size, "released model, MTEB-56"): score
            for size, score in MODEL_CARDS.items()
            if profile != "sample"
        },
    )


def _domain_shift(profile: str) -> Ablation:
    tasks = _DOMAINS.get(profile, tuple(shift.task for shift in DOMAIN_SHIFT))
    shown = [shift for shift in DOMAIN_SHIFT if shift.task in tasks]
    paper = {(shift.task, "before"): shift.before for shift in shown}
    paper |= {(shift.task, "after"): shift.after for shift in shown}
    return Ablation(
        "domain-shift",
        "Tasks of domains that were not trained on (Table 3)",
        "Instruction finetuning gains most where the domain is far from the training data.",
        [Cell("trained", "after", {})],
        measure="tasks",
        tasks=tasks,
        paper=paper,
    )


ABLATIONS: dict[str, Callable[[str], Ablation]] = {
    "instructions": _instructions,
    "robustness": _robustness,
    "super-ni": _super_ni,
    "detail": _detail,
    "size": _size,
    "domain-shift": _domain_shift,
}

_SIZES = {
    "sample": {"small": "medi/sample-encoder-small", "base": "medi/sample-encoder"},
    "paper": {
        "base": "sentence-transformers/gtr-t5-base",
        "large": "sentence-transformers/gtr-t5-large",
        "xl": "sentence-transformers/gtr-t5-xl",
    },
}
# The generated world has no domains; these tasks stand in.
_DOMAINS = {
    "sample": ("SamplePromptRetrieval", "SampleClustering", "SampleClassification"),
    "real-small": ("PromptSST5", "MiniNewsgroupsClustering", "TRECQuestionClassification"),
}
# On the generated world a figure is wanted in minutes.
QUICK = {"sample": {"train.steps": 100, "train.evaluate_every": 0, "train.held_out": 0}}


def _worded(level: str) -> dict[str, Any]:
    return {"build.detail": level, "evaluate.detail": level}


def _superni(profile: str) -> dict[str, dict[str, Any]]:
    """Group -> fields: the data with and without Super-NI's tasks."""
    catalog = load_catalog()
    names = get_profile(profile).build.datasets
    others = [name for name in names if catalog[name].reader.layout != "superni"]
    return {"with Super-NI": {}, "without Super-NI": {"build.datasets": others}}


def _symmetric(profile: str) -> dict[str, bool]:
    catalog = load_catalog()
    return {name: catalog[name].symmetric for name in get_profile(profile).build.datasets}
