"""What a plan needs of the store, as keys of artifacts and models: gc leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from artifacts.store import Store
from flows.planning import BuildPlan
from flows.planning_evaluation import EvaluationPlan
from tasks.steps import Training


def needs_of_build(plan: BuildPlan) -> set[str]:
    setting = plan.setting
    models = [setting.encoder, setting.superni_encoder, *([setting.veto] if setting.veto else [])]
    folders = [model.folder for model in models]
    return {
        *plan.keys,
        *(model.key for model in models),
        *keys_inside(setting.store, setting.mirror, *folders),
    }


def needs_of_training(training: Training) -> set[str]:
    return {
        *(spec.key for spec in (*training.tokens.values(), training.plan, training.model)),
        training.encoder.key,
        *keys_inside(training.store, training.medi, training.encoder.folder),
    }


def needs_of_evaluation(plan: EvaluationPlan) -> set[str]:
    models = plan.models.values()
    return {
        *(score.result.key for score in plan.scores),
        *(score.data.key for score in plan.scores if score.data),
        *(model.key for model in models),
        *keys_inside(plan.store, plan.mirror, *(model.folder for model in models)),
    }


def keys_inside(store: Store, *paths: Path | None) -> Iterator[str]:
    """Of the artifacts that these lead into: a generated world, a model that was trained."""
    root = store.root.resolve()
    for path in paths:
        inside = path.resolve() if path else root
        if inside.is_relative_to(root) and len(inside.relative_to(root).parts) > 2:
            yield inside.relative_to(root).parts[2]
