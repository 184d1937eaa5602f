"""What a training or an evaluation would do. Imports neither Prefect nor torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts.errors import InputError
from artifacts.keys import Spec, sha256_file
from artifacts.models import ModelRef, resolve_model
from artifacts.publish import require_medi
from artifacts.store import MANIFEST, Store
from evaluation.catalog import select
from evaluation.model import result_name
from evaluation.records import EvalTask
from evaluation.run import VERSION as EVALUATE_VERSION
from flows.planning_steps import fetch_spec
from flows.profiles import get_profile, override
from medi_sources.available import require_available
from tasks.config import EvaluateConfig, Profile
from tasks.sample import mirror_of
from tasks.steps import Score, Training
from training.data import datasets_of
from training.monitor import require_monitor
from training.nodes import devices_of
from training.options import RUN_ONLY, TrainingOptions
from training.plan import plan_spec
from training.token_store import tokens_spec

TRAIN_VERSION = 2


def plan_train(
    medi: str,
    out: str | None,
    profile: str,
    encoder: str | None,
    mirror: str | None,
    store: str,
    fields: Mapping[str, Any],
) -> Training:
    """`out` is where the model shall go; None: nowhere, a dry run.

    Raises InputError for folders that are none, models that are none, unknown fields, more devices
    than there are, a monitor that is not installed.
    """
    chosen = get_profile(profile)
    config = override(chosen.train, fields)
    source = Path(medi).absolute()
    require_medi(source)
    if out is not None:
        _require_model_target(Path(out).absolute())
    require_monitor(config.options.monitor)
    kept = Store.open(store)
    start = resolve_model(encoder or config.encoder, mirror_of(chosen.build, kept, mirror))
    return _training(kept, source, start, config.options)


def _training(store: Store, medi: Path, encoder: ModelRef, options: TrainingOptions) -> Training:
    world_size = devices_of(options).world_size
    tokens = {name: tokens_spec(medi, name, encoder.key, options) for name in datasets_of(medi)}
    plan = plan_spec(tokens, options, world_size)
    params = {
        "options": options.model_dump(mode="json", exclude=set(RUN_ONLY)),
        "encoder": encoder.name,
        "world_size": world_size,
    }
    # The card tells of the MEDI folder, also of what hangs on no row.
    inputs = {"plan": plan.key, "medi": sha256_file(medi / MANIFEST), "encoder": encoder.key}
    model = Spec("train", "model", TRAIN_VERSION, params, inputs)
    return Training(store, medi, encoder, options, world_size, tokens, plan, model)


@dataclass(frozen=True)
class EvaluationPlan:
    """Scores of a model ("after") and of its baseline ("before"), and where they go."""

    store: Store
    mirror: Path | None
    out: Path
    models: Mapping[str, ModelRef]
    config: EvaluateConfig
    scores: Sequence[Score]

    @property
    def to_fetch(self) -> dict[str, Score]:
        """Task name -> a score whose data are not in the store."""
        return {s.task.name: s for s in self.stale if self.store.problem(s.data)}

    @property
    def stale(self) -> list[Score]:
        return [score for score in self.scores if self.store.problem(score.result)]


def plan_evaluation(
    model: str,
    out: str,
    tasks: Sequence[str] | None,
    profile: str,
    baseline: str | None,
    mirror: str | None,
    store: str,
    fields: Mapping[str, Any],
) -> EvaluationPlan:
    """Raises InputError for unknown tasks, models that are none, files nowhere to be had."""
    chosen = get_profile(profile)
    config = override(chosen.evaluate, fields)
    kept = Store.open(store)
    records = select(tasks or config.tasks)
    files = mirror_of(chosen.build, kept, mirror)
    models = _models(model, baseline, files)
    scores = [
        _score(record, label, ref, config, chosen)
        for record in records
        for label, ref in models.items()
    ]
    plan = EvaluationPlan(kept, files, Path(out).absolute(), models, config, scores)
    require_available([(n, s.task.location) for n, s in plan.to_fetch.items()], files)
    return plan


def _score(
    task: EvalTask, label: str, model: ModelRef, config: EvaluateConfig, profile: Profile
) -> Score:
    data = fetch_spec(f"eval-{task.name}", task.location, profile.build.origin, profile.build.seed)
    params = {
        "task": task.model_dump(mode="json"),
        "options": config.options.model_dump(mode="json"),
        "model_name": result_name(model),
    }
    inputs = {"data": data.key, "model": model.key}
    return Score(
        task, label, model, data, Spec("evaluate", task.name, EVALUATE_VERSION, params, inputs)
    )


def _models(model: str, baseline: str | None, mirror: Path | None) -> dict[str, ModelRef]:
    """`baseline` is by default the encoder that the model's medi.json names; "none" is none."""
    after = resolve_model(model, mirror)
    record = after.folder / "medi.json"
    if baseline is None and record.is_file():
        baseline = str(json.loads(record.read_text(encoding="utf-8"))["base_encoder"])
    if baseline is None or baseline == "none":
        return {"after": after}
    return {"before": resolve_model(baseline, mirror), "after": after}


def _require_model_target(out: Path) -> None:
    if out.is_file():
        raise InputError(f"--out {out}: is a file, give a folder")
    if out.exists() and any(out.iterdir()) and not (out / "medi.json").exists():
        raise InputError(f"--out {out}: is not empty and no model of medi, give another folder")
