"""The paper's analyses: their grids, what a figure takes from the cells, and one of them run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.errors import InputError
from flows.ablate import bars
from flows.ablations import ABLATIONS, QUICK, Ablation, Cell, get_ablation
from flows.profiles import get_profile, override, sections

Run = Callable[..., subprocess.CompletedProcess[str]]
PROFILES = ("sample", "real-small", "single-gpu", "paper")


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_cell_is_a_valid_profile_of_its_own(name: str, profile: str) -> None:
    made = get_ablation(name, profile)
    chosen = get_profile(profile)
    models = []
    for cell in made.cells:
        build, train, evaluate = sections(chosen, {**QUICK.get(profile, {}), **cell.fields})
        models.append(
            (
                override(chosen.build, build).model_dump_json(),
                override(chosen.train, train).model_dump_json(),
                override(chosen.evaluate, evaluate).model_dump_json(),
            )
        )
    assert len({cell.slug for cell in made.cells}) == len(set(models)) == len(models)


def test_data_are_split_by_their_kind() -> None:
    cells = {(c.group, c.series): c.fields for c in get_ablation("instructions", "sample").cells}
    assert len(cells) == 6
    data = {group: set(fields["build.datasets"]) for (group, _), fields in cells.items()}
    assert data["both"] == data["symmetric data"] | data["asymmetric data"]
    assert not data["symmetric data"] & data["asymmetric data"]
    assert "allnli" in data["symmetric data"] and "squad_pairs" in data["asymmetric data"]
    without = get_ablation("super-ni", "sample").cells[1].fields["build.datasets"]
    assert len(without) == 30


def test_an_unknown_analysis_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean detail"):
        get_ablation("detial", "sample")


def test_a_figure_takes_what_its_measure_says(tmp_path: Path) -> None:
    results = tmp_path / "all-average" / "results"
    results.mkdir(parents=True)
    tasks = [
        {"task": "A", "before": 0.5, "after": 0.75},
        {"task": "B", "before": None, "after": 0.25},
    ]
    scores = {"tasks": tasks, "average": {"before": 0.25, "after": 0.5}}
    (results / "scores.json").write_text(json.dumps(scores))
    (results / "robustness.json").write_text(json.dumps({"average": [0.5, 0.25, 0.375]}))
    cells = [Cell("all", "average", {}), Cell("never run", "average", {})]

    def shown(**fields: str) -> dict[tuple[str, str], float]:
        return dict(bars(Ablation("x", "X", "x.", cells, **fields), tmp_path).ours)  # type: ignore[arg-type]

    assert shown() == {("all", "average"): 50.0}
    assert shown(measure="gain") == {("all", "untrained"): 25.0, ("all", "trained"): 50.0}
    assert shown(measure="tasks") == {("A", "before"): 50, ("A", "after"): 75, ("B", "after"): 25}
    assert shown(measure="paraphrases") == {("all", "best"): 50.0, ("all", "worst"): 25.0}
    of_a_run_before = bars(Ablation("x", "X", "x.", cells), tmp_path, failed={"all-average"})
    assert not of_a_run_before.ours


@pytest.mark.long
def test_an_analysis_runs_from_the_command_line(medi: Run, server: str, tmp_path: Path) -> None:
    """Two models of two sizes on three datasets; the second time all is there."""
    store = tmp_path / "store"
    data = "[squad_pairs, allnli, task1146_country_capital]"
    fields = ("--build.datasets", data, "--train.steps", "2", "--evaluate.tasks", "[SampleSTS]")
    where = ("--out", str(tmp_path / "out"), "--store", str(store))
    run = medi("ablate", "size", *where, *fields, api=server)
    assert run.returncode == 0, run.stderr
    shown = json.loads((tmp_path / "out" / "ablation.json").read_text())["scores"]
    assert {(one["group"], one["series"]) for one in shown} == {
        (size, side) for size in ("small", "base") for side in ("untrained", "trained")
    }
    assert all(one["ours"] is not None for one in shown)
    assert (tmp_path / "out" / "figure.png").stat().st_size > 1000
    assert "Size of the encoder" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

    before = sorted(store.glob("*/*/*"))
    again = medi("ablate", "size", *where, *fields, api=server)
    assert again.returncode == 0 and sorted(store.glob("*/*/*")) == before
