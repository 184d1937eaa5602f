"""Profiles: functions that return a frozen configuration, derived from one another.

sample      the generated world, offline, minutes on two cores
real_small  real upstream files of 69 sources and a real small encoder
paper       all 330 at the paper's size, GTR-large and Sentence-T5-large: for GPUs and a network
single_gpu  the same with the base encoders, without what leaks from evaluation tasks
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from artifacts.errors import InputError
from evaluation.paper import MTEB_56, PAPER_70, PAPERS_LM
from evaluation.prompts import PromptOptions
from evaluation.records import EvaluationOptions
from flows.real_small import REAL_SMALL_TASKS
from medi_sources.catalog import load_catalog, task_ids
from medi_sources.leaks import DecontaminationOptions
from mining.options import EncoderOptions, MiningOptions
from tasks.config import BuildConfig, EvaluateConfig, Profile, TrainConfig
from training.options import TrainingOptions

T = TypeVar("T", bound=BaseModel)

DEFAULT_STORE = os.environ.get("MEDI_STORE", "medi-store")

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_REAL_PAIRS = (
    "squad_xquad",
    "flickr30k_multi30k",
    "pubmedqa_labeled",
    "flagembedding_nq",
    "kilt_questions",
)
_REAL_TASKS = (
    "STSBenchmark-github",
    "STS12-github",
    "STS13-github",
    "STS14-github",
    "STS15-github",
    "TRECQuestionClassification",
    "MiniNewsgroupsClustering",
    "SQuADParagraphRetrieval",
    "BillboardMSCOCO",
    "BillboardCNNDM",
    "PromptSST5",
    "PromptMRPC",
    "PromptDBpedia14",
)
_SAMPLE_TASKS = (
    "SampleSTS",
    "SampleClassification",
    "SampleClustering",
    "SampleRetrieval",
    "SampleCaptions",
    "SamplePromptRetrieval",
)


def sample() -> Profile:
    """All 330 sources in the generated world, its encoders, its tasks."""
    return Profile(
        name="sample",
        build=BuildConfig(
            datasets=_the_330(),
            origin="sample",
            encoder="medi/sample-miner",
            superni_encoder="medi/sample-miner",
            decontamination=DecontaminationOptions(tasks=_SAMPLE_TASKS),
        ),
        train=TrainConfig(
            encoder="medi/sample-encoder",
            options=TrainingOptions(
                steps=200,
                batch_rows=32,
                max_length=128,
                held_out=0.05,
                temperature=0.05,
                learning_rate=1e-3,
                evaluate_every=50,
                checkpoint_every=50,
            ),
        ),
        evaluate=EvaluateConfig(
            tasks=_SAMPLE_TASKS,
            options=EvaluationOptions(prompts=PromptOptions(lm="medi/sample-lm")),
        ),
    )


def real_small() -> Profile:
    """Real files: 64 Super-NI tasks and five pair sets, mined by all-MiniLM-L6-v2."""
    return Profile(
        name="real-small",
        build=BuildConfig(
            datasets=(*_REAL_PAIRS, *REAL_SMALL_TASKS),
            max_rows=1200,
            encoder=MINILM,
            superni_encoder=MINILM,
            mining=MiningOptions(negatives=4),
        ),
        train=TrainConfig(
            encoder=MINILM,
            options=TrainingOptions(
                steps=50, batch_rows=16, max_length=256, held_out=0.02, checkpoint_every=25
            ),
        ),
        evaluate=EvaluateConfig(tasks=_REAL_TASKS),
    )


def paper() -> Profile:
    """The paper's datasets, sizes, models and 70 tasks (sections 2.3, 3.1 and 3.2).

    Leaks are listed, not removed: it trained on what it had.
    """
    return Profile(
        name="paper",
        build=BuildConfig(
            datasets=_the_330(),
            encoder="sentence-transformers/gtr-t5-large",
            superni_encoder="sentence-transformers/sentence-t5-large",
            encoding=EncoderOptions(precision="bf16"),
            decontamination=DecontaminationOptions(
                tasks=(*MTEB_56, "BillboardMSCOCO"), action="report"
            ),
        ),
        train=TrainConfig(
            encoder="sentence-transformers/gtr-t5-large", options=TrainingOptions(precision="bf16")
        ),
        evaluate=EvaluateConfig(
            tasks=PAPER_70,
            options=EvaluationOptions(prompts=PromptOptions(lm=PAPERS_LM)),
        ),
    )


def single_gpu() -> Profile:
    base, gtr = paper(), "sentence-transformers/gtr-t5-base"
    fields = {
        "encoder": gtr,
        "superni_encoder": "sentence-transformers/sentence-t5-base",
        "decontamination.action": "remove",
    }
    return Profile(
        name="single-gpu",
        build=override(base.build, fields),
        train=override(base.train, {"encoder": gtr, "held_out": 0.002, "evaluate_every": 1000}),
        evaluate=base.evaluate,
    )


PROFILES: dict[str, Callable[[], Profile]] = {
    "sample": sample,
    "real-small": real_small,
    "single-gpu": single_gpu,
    "paper": paper,
}


def get_profile(name: str) -> Profile:
    """Raises InputError for an unknown name."""
    if name not in PROFILES:
        near = difflib.get_close_matches(name, PROFILES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown profile {name!r}: choose from {', '.join(PROFILES)}{hint}")
    return PROFILES[name]()


def override(config: T, overrides: Mapping[str, Any]) -> T:
    """`config` with fields replaced by name: `workers`, or dotted where nested: `mining.margin`.

    Parts of the path may be left out where one field alone is meant. Texts, but those of class
    Text, are read as YAML. Raises InputError for unknown fields and invalid values.
    """
    values = config.model_dump()
    for path, value in named(config, overrides).items():
        target = values
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value
    try:
        return type(config).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"--{field} {first['input']!r}: {first['msg']}") from error


def named(config: BaseModel, overrides: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """Path of each field in `config` -> its value, read as `override` reads it. Raises as that."""
    paths = _paths(config)
    return {
        _find(name.replace("-", "_"), paths): _value(name, value)
        for name, value in overrides.items()
    }


def sections(
    profile: Profile, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Fields of a whole profile (`train.steps`, or `steps`) as those of build, train, evaluate.

    Raises InputError for unknown fields, and for names of two sections without their section.
    """
    paths = _paths(profile)
    parts: dict[str, dict[str, Any]] = {"build": {}, "train": {}, "evaluate": {}}
    for name, value in fields.items():
        section, *rest = _find(name.replace("-", "_"), paths)
        if section not in parts:
            raise InputError(f"--{name}: is no field of build, train or evaluate")
        parts[section][".".join(rest)] = value
    return parts["build"], parts["train"], parts["evaluate"]


class Text(str):
    """A value that is this text, and no YAML."""

    __slots__ = ()


def _value(name: str, given: Any) -> Any:
    if isinstance(given, Text):
        return str(given)
    if not isinstance(given, str):
        return given
    try:
        return yaml.safe_load(given)
    except yaml.YAMLError as error:
        raise InputError(f"--{name} {given!r}: is not a YAML value: [a, b], 0.9, null") from error


def _paths(config: BaseModel, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in type(config).model_fields:
        value = getattr(config, name)
        path = (*above, name)
        found += _paths(value, path) if isinstance(value, BaseModel) else [path]
    return found


def _find(name: str, paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    exact = [path for path in paths if ".".join(path) == name]
    parts = name.split(".")
    matches = exact or [p for p in paths if p[-1] == parts[-1] and _in_order(parts, p)]
    known = [".".join(path) for path in paths]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InputError(f"--{name} is ambiguous: {', '.join('.'.join(m) for m in matches)}")
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    raise InputError(
        f"unknown option --{name}; the profile's fields are {', '.join(near or known)}"
    )


def _in_order(parts: list[str], path: tuple[str, ...]) -> bool:
    """`train.steps` for train.options.steps."""
    rest = iter(path)
    return all(part in rest for part in parts)


def _the_330() -> tuple[str, ...]:
    return tuple(task_ids(load_catalog()))
