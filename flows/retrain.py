"""retrain: whatever has changed since the last time, from the sources to the scores.

build -> train -> evaluate     (subflows; the last two only if something that they read has changed)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from artifacts.store import Artifact
from evaluation.statistics import MODEL_RECORD
from flows.forms import ProfileName, RetrainForm, fields_of
from flows.planning_evaluation import plan_evaluation
from flows.planning_training import plan_train
from flows.profiles import DEFAULT_STORE, get_profile, sections
from flows.results import SCORES
from flows.run import run_build, run_evaluate, run_train


@flow(name="retrain", flow_run_name="{profile}, {out}")
def retrain(
    profile: ProfileName = "sample",
    out: str = "out",
    mirror: str | None = None,
    store: str = DEFAULT_STORE,
    overrides: RetrainForm | None = None,
) -> State[Any]:
    """Build MEDI; if it has changed, train on it and evaluate.

    `out` gets medi/, model/ and results/. Nothing is trained on a build with failed datasets.
    """
    build, train, evaluate = sections(get_profile(profile), fields_of(overrides))
    folder = Path(out)
    medi, model, results = (str(folder / part) for part in ("medi", "model", "results"))
    if run_build(profile, None, medi, mirror, store, build):
        return _ended({"build": "a dataset could not be built, nothing was trained"})

    training = plan_train(medi, model, profile, None, mirror, store, train)
    trained = not _is_in(Path(model), training.store.find(training.model))
    if trained and run_train(medi, model, profile, None, mirror, store, train):
        return _ended({"train": "the training failed"})

    scores = plan_evaluation(model, results, None, profile, None, mirror, store, evaluate)
    evaluated = trained or bool(scores.stale) or not (folder / "results" / SCORES).is_file()
    if evaluated and run_evaluate(model, results, None, profile, None, mirror, store, evaluate):
        return _ended({"evaluate": "a task could not be evaluated"})

    done = [name for name, ran in (("trained", trained), ("evaluated", evaluated)) if ran]
    message = f"{' and '.join(done)}, in {out}" if done else f"nothing new: {out} is up to date"
    get_run_logger().info(message)
    return _ended({}, message)


def _is_in(folder: Path, made: Artifact | None) -> bool:
    """Whether the model in `folder` is the one that was made of the data and options of today."""
    record = folder / MODEL_RECORD
    if made is None or not record.is_file():
        return False
    return record.read_bytes() == made.file(f"model/{MODEL_RECORD}").read_bytes()


def _ended(failed: dict[str, str], message: str = "") -> State[Any]:
    data = {"failed": failed, "task_runs": 0, "message": message}
    if failed:
        return Failed(message="; ".join(failed.values()), data=data)
    return Completed(message=message, data=data)
