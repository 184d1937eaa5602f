"""The deployments that `medi up` makes, run as a user runs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flows.served import PREFECT, ROOT, Served, until

DEPLOYED = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


def run_deployed(at: Served, flow: str, **parameters: object) -> subprocess.CompletedProcess[str]:
    """`prefect deployment run FLOW/default --watch -p ...`."""
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]
    return at.run(*PREFECT, "deployment", "run", f"{flow}/default", "--watch", *given)


@pytest.mark.long
def test_the_four_run_through_the_server(served: Served, tmp_path: Path) -> None:
    """build-medi/default, train-instructor/default, evaluate-embedder/default, retrain/default."""
    store, medi, model = tmp_path / "store", tmp_path / "medi", tmp_path / "model"
    one = {"workers": 1}
    built = run_deployed(served, "build-medi", store=store, publish=medi, only='["squad_pairs"]',
                         overrides=json.dumps(one))  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    assert len(list(store.glob("shards/squad_pairs/*/manifest.json"))) == 1
    assert (medi / "manifest.json").is_file()
    runs = served.post("/flow_runs/filter", {"flows": {"name": {"any_": ["build-medi"]}}})
    assert sorted(run["parent_task_run_id"] is None for run in runs) == [False, True]

    two_steps = {"options": {"steps": 2}}
    trained = run_deployed(served, "train-instructor", store=store, medi=medi, out=model,
                           overrides=json.dumps(two_steps))  # fmt: skip
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert (model / "modules.json").is_file()

    scored = run_deployed(served, "evaluate-embedder", store=store, model=model,
                          out=tmp_path / "results", only='["SampleSTS"]')  # fmt: skip
    assert scored.returncode == 0, scored.stdout + scored.stderr
    assert (tmp_path / "results" / "report.html").is_file()

    small = {"build": {"datasets": ["squad_pairs"]}, "train": two_steps,
             "evaluate": {"tasks": ["SampleSTS"]}}  # fmt: skip
    out = tmp_path / "out"
    again = run_deployed(served, "retrain", store=store, out=out, overrides=json.dumps(small))
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path.name for path in out.iterdir()} == {"medi", "model", "results"}


@pytest.mark.long
def test_a_failed_run_is_status_1(served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = run_deployed(served, "build-medi", store=tmp_path / "store", publish=tmp_path / "file")
    assert failed.returncode == 1 and "'Failed'" in failed.stdout


@pytest.mark.long
def test_a_build_that_completes_starts_a_training_where_that_is_switched_on(
    served: Served, tmp_path: Path
) -> None:
    """The training is created while the pool is paused, and taken back."""
    trigger = next(trigger["name"] for one in DEPLOYED for trigger in one.get("triggers", []))
    of_training = {"flows": {"name": {"any_": ["train-instructor"]}}}
    before = {run["id"] for run in served.post("/flow_runs/filter", of_training)}
    pool = ("work-pool", "pause", "medi"), ("work-pool", "resume", "medi")
    assert served.run(*PREFECT, "automation", "resume", trigger).returncode == 0
    try:
        build = served.get("/deployments/name/build-medi/default")
        medi, store = str(tmp_path / "medi"), str(tmp_path / "store")
        asked = {"publish": medi, "store": store, "only": ["squad_pairs"]}
        path = f"/deployments/{build['id']}/create_flow_run"
        run = served.post(path, {"parameters": asked})["id"]
        until((tmp_path / "store" / "fetch").is_dir)
        assert served.run(*PREFECT, *pool[0]).returncode == 0

        def new() -> list[dict[str, Any]]:
            found = served.post("/flow_runs/filter", of_training)
            return [one for one in found if one["id"] not in before]

        until(lambda: bool(new()))
        [training] = new()
        assert training["parameters"]["medi"] == medi
        assert training["parameters"]["profile"] == "sample"
        assert served.get(f"/flow_runs/{run}")["state"]["name"] == "Completed"
        served.delete(f"/flow_runs/{training['id']}")
    finally:
        assert served.run(*PREFECT, "automation", "pause", trigger).returncode == 0
        assert served.run(*PREFECT, *pool[1]).returncode == 0


@pytest.mark.long
def test_a_parameter_of_the_wrong_type_is_refused_before_it_runs(served: Served) -> None:
    run = (*PREFECT, "deployment", "run", "build-medi/default", "-p", 'only="squad_pairs"')
    refused = served.run(*run)
    assert refused.returncode == 1 and "Validation failed for field 'only'" in refused.stdout
