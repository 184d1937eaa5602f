"""What an evaluation would do: which scores, in which order, and what makes one another."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from artifacts.errors import InputError
from flows.forms import EvaluateForm
from flows.planning_evaluation import EvaluationPlan, plan_evaluation
from flows.profiles import get_profile, sections
from tasks.config import Profile

TASKS = ["SampleSTS", "SampleRetrieval", "SamplePromptRetrieval"]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no Hub."""
    import httpx

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise httpx.ConnectError("no network")

    monkeypatch.setattr("medi_sources.available.httpx.head", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return _model(tmp_path / "model", 1.0, instructed=True)


def _model(folder: Path, weight: float, *, instructed: bool) -> Path:
    folder.mkdir()
    save_file({"w": np.array([weight], dtype=np.float32)}, folder / "model.safetensors")
    (folder / "modules.json").write_text("[]")
    if instructed:
        (folder / "medi.json").write_text('{"base_encoder": "unused"}')
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the sample's world."""
    return tmp_path_factory.mktemp("world")


def plan(model: Path, world: Path, tasks: list[str] = TASKS, **fields: Any) -> EvaluationPlan:
    baseline = fields.pop("baseline", "none")
    profile, mirror = fields.pop("profile", "sample"), fields.pop("mirror", None)
    out = str(world / "out")
    return plan_evaluation(
        str(model), out, tasks, profile, baseline, mirror, str(world / "store"), fields
    )


def keys(made: EvaluationPlan) -> dict[str, str]:
    return {f"{score.task.name} {score.label}": score.result.key for score in made.scores}


def test_the_longest_task_is_first(model: Path, world: Path) -> None:
    lengths = [score.task.characters for score in plan(model, world).scores]
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) > 1


def test_a_score_hangs_on_what_it_is_got_from(model: Path, world: Path, tmp_path: Path) -> None:
    first = keys(plan(model, world))
    for same in ({"batch_size": 7}, {"device": "cpu"}, {"memory_mib": 9}):
        assert keys(plan(model, world, **same)) == first
    for other in ({"detail": "tag"}, {"paraphrase": 3}, {"max_texts": 9}, {"seed": 1}):
        assert not set(keys(plan(model, world, **other)).values()) & set(first.values())
    budget = keys(plan(model, world, **{"prompts.budget_tokens": 50}))
    changed = {name for name in first if first[name] != budget[name]}
    assert changed == {"SamplePromptRetrieval after"}
    heavier = _model(tmp_path / "heavier", 2.0, instructed=True)
    assert not set(keys(plan(heavier, world)).values()) & set(first.values())


def test_a_model_without_instructions_does_not_hang_on_their_wording(
    world: Path, tmp_path: Path
) -> None:
    plain = _model(tmp_path / "plain", 1.0, instructed=False)
    assert keys(plan(plain, world)) == keys(plan(plain, world, detail="tag"))
    assert not [s for s in plan(plain, world, paraphrases=5).scores if "paraphrase" in s.label]


def test_paraphrases_are_of_the_model_alone(model: Path, world: Path, tmp_path: Path) -> None:
    plain = _model(tmp_path / "plain", 2.0, instructed=False)
    made = plan(model, world, ["SampleSTS"], baseline=str(plain), paraphrases=2)
    labels = [score.label for score in made.scores]
    assert labels == ["before", "after", "after, paraphrase 1", "after, paraphrase 2"]
    told = [score.asked.instructions for score in made.scores]
    assert told[0] is None and len(set(told[1:])) == 3


def test_without_a_language_model_the_choice_of_examples_is_scored(
    model: Path, world: Path
) -> None:
    (score,) = plan(model, world, ["SamplePromptRetrieval"], **{"prompts.lm": None}).scores
    assert (score.task.metric, score.asked.lm) == ("same_label_at_8", None)
    assert score.task.note.startswith("No language model")


def test_what_is_nowhere_to_be_had_is_not_run_and_the_rest_is(
    model: Path, world: Path, tmp_path: Path
) -> None:
    """The real profile has no generated world to fall back on."""
    there = tmp_path / "mirror/huggingface.co/mteb/biosses-sts"
    there.mkdir(parents=True)
    asked = ["BIOSSES", "NFCorpus", "STS13-github"]
    made = plan(model, world, asked, profile="real-small", mirror=str(tmp_path / "mirror"))
    assert [score.task.name for score in made.scores] == ["BIOSSES"]
    assert set(made.not_run) == {"NFCorpus", "STS13-github"}
    assert "mteb/nfcorpus/README.md is missing" in made.not_run["NFCorpus"]
    assert "cannot be reached" in made.not_run["STS13-github"]


def test_fields_of_a_whole_profile_go_to_their_section() -> None:
    profile: Profile = get_profile("sample")
    fields = {"steps": 7, "build.detail": "tag", "evaluate.options.detail": "tag"}
    assert sections(profile, fields) == (
        {"detail": "tag"},
        {"options.steps": 7},
        {"options.detail": "tag"},
    )
    with pytest.raises(InputError, match="ambiguous"):
        sections(profile, {"detail": "tag"})
    with pytest.raises(InputError, match="unknown option"):
        sections(profile, {"stepz": 7})


class Asked(Exception):
    pass


def test_a_tasks_data_have_the_time_that_they_are_given(
    model: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(*_: Any, timeout: float) -> None:
        raise Asked(timeout)

    flow = importlib.import_module("flows.evaluate_embedder")
    monkeypatch.setattr(flow.tasks, "fetch", SimpleNamespace(submit=submit))
    where = {"out": str(world / "out"), "store": str(world / "store")}
    form = EvaluateForm.model_validate({"fetch_timeout": 7})
    with pytest.raises(Asked, match=r"^7\.0$"):
        flow.evaluate_embedder.fn(
            str(model), only=["SampleSTS"], baseline="none", overrides=form, **where
        )
