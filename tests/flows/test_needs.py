"""A flow tells gc, before it begins to work, of all that its plan makes and reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from artifacts.models import resolve_model
from artifacts.store import Store
from flows.build_medi import build_medi
from flows.evaluate_embedder import evaluate_embedder
from flows.forms import BuildForm, TrainForm
from flows.planning import BuildPlan
from flows.planning_evaluation import EvaluationPlan
from flows.train_instructor import train_instructor
from tasks.steps import Training


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"w": np.array([1], dtype=np.float32)}, folder / "model.safetensors")
    (folder / "modules.json").write_text("[]")
    return folder


@pytest.fixture
def mirror(store: Store) -> str:
    """Of an artifact, as a sample build has it."""
    folder = store.root / "sample" / "world" / "0123" / "mirror"
    folder.mkdir(parents=True)
    return str(folder)


class Worked(Exception):
    pass


@pytest.fixture
def told(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The plan and what is held when a flow begins to work; it does none."""
    found: dict[str, Any] = {}

    def work(plan: Any, *rest: Any) -> None:
        (keys,) = store.held().values()
        found.update(plan=plan, keys=set(keys or ()))
        raise Worked

    inner = {build_medi: "_build", train_instructor: "_train", evaluate_embedder: "_evaluate"}
    for flow, name in inner.items():
        monkeypatch.setattr(sys.modules[flow.fn.__module__], name, work)
    monkeypatch.setattr("flows.build_medi.is_used", lambda runner: True)
    monkeypatch.setattr("flows.build_medi.require_sources", lambda plan: None)
    monkeypatch.setattr("flows.planning_evaluation.unavailable", lambda needs, mirror: {})
    yield found
    assert store.held() == {}


def test_of_a_build(store: Store, told: dict[str, Any], model: Path, mirror: str) -> None:
    models = dict.fromkeys(("encoder", "superni_encoder"), str(model))
    form = BuildForm(datasets=("task1146_country_capital",), **models)
    with pytest.raises(Worked):
        build_medi.fn("real-small", None, None, mirror, str(store.root), form)
    plan: BuildPlan = told["plan"]
    assert {*plan.keys, plan.setting.encoder.key, "0123"} <= told["keys"]


def test_of_a_training(store: Store, told: dict[str, Any], model: Path, tmp_path: Path) -> None:
    medi = tmp_path / "medi"
    (medi / "data" / "toy").mkdir(parents=True)
    (medi / "data" / "toy" / "train-00000-of-00001.parquet").write_text("rows")
    record = {"format": 1, "datasets": {}, "build": {"key": "0123"}}
    (medi / "manifest.json").write_text(json.dumps(record))
    where, form = (str(medi), str(tmp_path / "out")), TrainForm(options={"device": "cpu"})
    with pytest.raises(Worked):
        train_instructor.fn(*where, "real-small", str(model), None, str(store.root), form)
    plan: Training = told["plan"]
    made = {spec.key for spec in (*plan.tokens.values(), plan.plan, plan.model)}
    assert len(made) == 3 and made | {plan.encoder.key} <= told["keys"]


def test_of_an_evaluation(
    store: Store, told: dict[str, Any], model: Path, mirror: str, tmp_path: Path
) -> None:
    where = (str(model), str(tmp_path / "out"), ["SampleSTS"])
    with pytest.raises(Worked):
        evaluate_embedder.fn(*where, "real-small", "none", mirror, str(store.root))
    plan: EvaluationPlan = told["plan"]
    (score,) = plan.scores
    assert score.data is not None
    assert {score.result.key, score.data.key, "0123"} <= told["keys"]
    assert resolve_model(str(model), None).key in told["keys"]
