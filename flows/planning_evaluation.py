"""What an evaluation would do. Imports neither Prefect nor torch nor mteb."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from artifacts.errors import InputError
from artifacts.keys import Spec
from artifacts.location import HubFiles, Location
from artifacts.models import ModelRef, resolve_model
from artifacts.store import Store
from evaluation.catalog import instructions_of, select
from evaluation.model import result_name, takes_instructions
from evaluation.records import (
    NO_CHANGE_OF_SCORE,
    RETRIEVAL_ONLY,
    EvalTask,
    EvaluationOptions,
)
from evaluation.run import VERSION, Asked
from flows.planning_steps import fetch_spec
from flows.profiles import get_profile, override
from medi_sources.available import unavailable
from tasks.config import EvaluateConfig, Profile
from tasks.sample import mirror_of
from tasks.steps import Score

# What of a record leaves a score as it is.
_ONLY_TOLD = {"note", "licence", "characters", "seen", "symmetric", "annotation"}
_WORDING = {"instructions", "detail", "paraphrase"}  # the instructions themselves are in the key


@dataclass(frozen=True)
class EvaluationPlan:
    """Scores of a model ("after") and of its baseline ("before"), and where they go.

    `scores` have the longest task first. `not_run`: task -> why its data are not to be had.
    """

    store: Store
    mirror: Path | None
    out: Path
    models: Mapping[str, ModelRef]
    config: EvaluateConfig
    tasks: Sequence[EvalTask]
    scores: Sequence[Score]
    not_run: Mapping[str, str]

    @property
    def to_fetch(self) -> dict[str, tuple[Spec, Location]]:
        """Task name -> its data, where a score needs them and they are not in the store."""
        return {
            score.task.name: (score.data, score.task.location)
            for score in self.stale
            if score.data and score.task.location and self.store.problem(score.data)
        }

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
    fields: Mapping[str, object],
) -> EvaluationPlan:
    """Raises InputError for unknown tasks, models that are none, tasks without instructions."""
    chosen = get_profile(profile)
    config = override(chosen.evaluate, fields)
    kept = Store.open(store)
    records = [_answerable(task, config.options) for task in select(tasks or config.tasks)]
    files = mirror_of(chosen.build, kept, mirror)
    models = _models(model, baseline, files)
    lm, no_lm = _language_model(records, config.options, files)
    scores = [
        _score(record, label, models[label.partition(",")[0]], lm, options, chosen)
        for record in sorted(records, key=lambda record: -record.characters)
        for label, options in _sides(models, config)
    ]
    out_folder = Path(out).absolute()
    plan = EvaluationPlan(kept, files, out_folder, models, config, records, scores, {})
    missing = dict(unavailable(_needs(plan), files))
    if no_lm:
        missing |= {score.task.name: no_lm for score in plan.stale if score.task.prompt}
    stale = set(map(id, plan.stale))
    left = [s for s in scores if s.task.name not in missing or id(s) not in stale]
    return EvaluationPlan(kept, files, out_folder, models, config, records, left, missing)


def _answerable(task: EvalTask, options: EvaluationOptions) -> EvalTask:
    """Without a language model only the choice of examples is scored."""
    if not task.prompt or options.prompts.lm:
        return task
    note = f"No language model (prompts.lm): only the choice of examples is scored. {task.note}"
    return task.model_copy(update={"metric": RETRIEVAL_ONLY, "note": note.strip()})


def _sides(
    models: Mapping[str, ModelRef], config: EvaluateConfig
) -> Iterator[tuple[str, EvaluationOptions]]:
    for label, model in models.items():
        yield label, config.options
        if label == "after" and takes_instructions(model, config.options):
            for number in range(config.paraphrases):
                other = {"detail": "detailed", "paraphrase": number}
                yield f"after, paraphrase {number + 1}", config.options.model_copy(update=other)


def _score(
    task: EvalTask,
    label: str,
    model: ModelRef,
    lm: ModelRef | None,
    options: EvaluationOptions,
    profile: Profile,
) -> Score:
    told = instructions_of(task, options) if takes_instructions(model, options) else None
    lm = lm if task.prompt else None
    how = options.model_dump(mode="json", exclude={*NO_CHANGE_OF_SCORE, *_WORDING, "prompts"})
    if task.prompt:
        how["prompts"] = options.prompts.model_dump(exclude={"lm"})
    params = {
        "task": task.model_dump(mode="json", exclude=_ONLY_TOLD),
        "instructions": told,
        "options": how,
        "model_name": result_name(model),
        "mteb": version("mteb"),
    }
    inputs = {"model": model.key, **({"lm": lm.key} if lm else {})}
    data = None
    if task.location is not None:
        build = profile.build
        data = fetch_spec(f"eval-{task.name}", task.location, build.origin, build.seed)
        inputs["data"] = data.key
    asked = Asked(task, model, told, options, lm)
    return Score(asked, label, data, Spec("evaluate", task.name, VERSION, params, inputs))


def _needs(plan: EvaluationPlan) -> Iterator[tuple[str, Location]]:
    """Of each task with a stale score, what must be at hand or to be had."""
    for name, (_, location) in plan.to_fetch.items():
        yield name, location
    for name, task in {s.task.name: s.task for s in plan.stale if s.task.mteb}.items():
        for repository, revision in (task.mteb or {}).items():
            if plan.mirror and (plan.mirror / "huggingface.co" / repository).is_dir():
                continue
            # Every repository has a card: where that is, or can be had, the data are too.
            card = HubFiles(repository=repository, revision=revision, files=("README.md",))
            yield name, card


def _models(model: str, baseline: str | None, mirror: Path | None) -> dict[str, ModelRef]:
    """`baseline` is by default the encoder that the model's medi.json names; "none" is none."""
    after = resolve_model(model, mirror)
    record = after.folder / "medi.json"
    if baseline is None and record.is_file():
        baseline = json.loads(record.read_text(encoding="utf-8")).get("base_encoder")
    if baseline is None or baseline == "none":
        return {"after": after}
    return {"before": resolve_model(baseline, mirror), "after": after}


def _language_model(
    tasks: Sequence[EvalTask], options: EvaluationOptions, mirror: Path | None
) -> tuple[ModelRef | None, str]:
    """The model that answers, where one is asked for; else why there is none."""
    name = options.prompts.lm
    if name is None or not any(task.prompt for task in tasks):
        return None, ""
    try:
        return resolve_model(name, mirror), ""
    except InputError as error:
        return None, f"prompts.lm: {error}"
