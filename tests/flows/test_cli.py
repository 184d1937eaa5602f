"""Bad input on the command line: one clear line, status 2, before any work."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.errors import InputError
from flows.cli_options import overrides, spread
from flows.profiles import PROFILES, get_profile, override

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plan", "--profile", "simple"), "unknown profile 'simple': choose from sample"),
        (("build", "--only", "squad_pair"), "did you mean squad_pairs"),
        (("build", "--wrokers", "3"), "unknown option --wrokers"),
        (("build", "--workers", "0"), "greater than 0"),
        (("build", "--mining.margin", "{"), "is not a YAML value"),
        (("plan", "--decontamination.tasks", "[SampleSTSS]"), "no evaluation task 'SampleSTSS'"),
        (("plan", "--sources", "no/such"), "--sources no/such: no *.yaml"),
        (("build", "--store", "s4://bucket/x"), "unknown kind of store 's4'"),
        (("build", "--profile", "real-small", "--mirror", "no/such"), "no such folder"),
        (("build", "--profile", "real-small", "--encoder", "no/such/x"), "no such folder"),
        (("evaluate", "no/such/folder", "--out", "x"), "no such folder"),
        (("train", "--medi", "no/such", "--out", "x"), "no manifest.json there"),
        (("sources", "squad_pair"), "did you mean squad_pairs"),
        (("export", "--medi", "no/such", "--out", "x"), "no manifest.json there"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    medi: Run, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    where = (
        ()
        if "--store" in arguments or arguments[0] in ("sources", "export")
        else (
            "--store",
            str(tmp_path / "store"),
        )
    )
    run = medi(*arguments, *where)
    assert run.returncode == 2, run.stderr
    assert run.stderr.startswith("medi: ") and len(run.stderr.strip().splitlines()) == 1
    assert said in run.stderr


def test_a_folder_that_holds_no_model_is_refused(medi: Run, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    run = medi("evaluate", str(tmp_path / "model"), "--out", "x", "--store", str(tmp_path / "s"))
    assert run.returncode == 2
    assert "neither modules.json nor config.json" in run.stderr


def test_unknown_task_names_the_nearest(medi: Run, tmp_path: Path) -> None:
    arguments = ("x", "--out", "y", "--tasks", "STSBenchmrk", "--store", str(tmp_path / "s"))
    run = medi("evaluate", *arguments)
    assert run.returncode == 2
    assert "STSBenchmark" in run.stderr


def test_catalog_and_annotations_have_no_fault(medi: Run) -> None:
    run = medi("sources", "--check")
    assert (run.returncode, run.stdout) == (0, "0 faults\n")


def test_plan_as_json_needs_no_server(medi: Run, tmp_path: Path) -> None:
    run = medi("plan", "--only", "squad_pairs", "--store", str(tmp_path), "--json")
    report = json.loads(run.stdout)
    stages = {"fetch": 7, "pairs": 1, "mine": 1, "shards": 1, "texts": 6, "decontaminate": 1,
              "publish": 1}  # fmt: skip
    assert Counter(step["stage"] for step in report["run"]) == stages
    assert report["cached"] == 0


def test_options_that_take_several_values() -> None:
    given = ["build", "--only", "a", "b", "--workers", "2", "--only=c"]
    assert spread(given) == ["build", "--only", "a", "--only", "b", "--workers", "2", "--only=c"]


def test_flags_are_fields_of_the_profile() -> None:
    fields = overrides(["--workers", "2", "--mining.margin=0.9", "--max-drop-share", "0.5"])
    config = override(get_profile("sample").build, fields)
    assert (config.workers, config.mining.margin, config.cleaning.max_drop_share) == (2, 0.9, 0.5)


def test_an_ambiguous_flag_names_its_choices() -> None:
    with pytest.raises(InputError, match=r"encoding\.device, mining\.device"):
        override(get_profile("sample").build, {"device": "cpu"})


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_survive_json(name: str) -> None:
    """Flow parameters travel as JSON between UI, worker and flow."""
    profile = get_profile(name)
    assert type(profile).model_validate_json(profile.model_dump_json()) == profile
