"""The report: what a user reads, and copies into a README."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.models import ModelRef
from evaluation.curve import read_curve, smoothed
from evaluation.plot import plot_curve, plot_scores
from evaluation.records import EvalTask, EvaluationOptions
from evaluation.report import write_report
from evaluation.scores import ScoreRow, averages, scores_table


@pytest.fixture
def rows(eval_task: Callable[..., EvalTask]) -> list[ScoreRow]:
    return [
        ScoreRow(eval_task("billboard", note="1 < 2 & <b>bold</b>"), 0.30, 0.25),
        ScoreRow(eval_task("stsb_csv"), 0.70, 0.80),
        ScoreRow(eval_task("sts_tsv"), 0.50, 0.70),
        ScoreRow(eval_task("squad"), 0.90, 0.90),
    ]


@pytest.fixture
def models(tmp_path: Path) -> tuple[ModelRef, ModelRef]:
    before, after = tmp_path / "base", tmp_path / "a<b"
    before.mkdir()
    after.mkdir()
    (after / "medi.json").write_text("{}")
    return ModelRef("owner/base", before, "k0"), ModelRef(str(after), after, "k1")


def test_the_average_is_over_categories_not_over_tasks(rows: list[ScoreRow]) -> None:
    """STS (0.7 + 0.5)/2 = 0.6; with Retrieval 0.9 and Billboard 0.3: 1.8/3 = 0.6."""
    categories, average = averages(rows)
    assert [part.name for part in categories] == ["Retrieval", "STS", "Billboard"]
    assert average.before == pytest.approx(0.6)
    assert average.after == pytest.approx((0.9 + 0.75 + 0.25) / 3)


def test_a_missing_score_is_never_averaged_over(eval_task: Callable[..., EvalTask]) -> None:
    rows = [ScoreRow(eval_task("stsb_csv"), None, 0.8), ScoreRow(eval_task("squad"), 0.9, 0.9)]
    _, average = averages(rows)
    assert average.before is None
    assert average.after == pytest.approx(0.85)


def test_the_markdown_table_is_ready_to_paste(rows: list[ScoreRow]) -> None:
    lines = scores_table(rows).splitlines()
    assert lines[2] == "| Inventedsquad | Retrieval | nDCG@10 | 90.00 | 90.00 | +0.00 |"
    assert lines[3] == "| Inventedstsbcsv | STS | Spearman, cosine | 70.00 | 80.00 | +10.00 |"
    assert lines[-1] == "| Average over categories (3) | | | 60.00 | 63.33 | +3.33 |"
    assert {line.count("|") for line in lines} == {7}


def test_the_report_is_one_file_with_everything_in_it(
    tmp_path: Path, rows: list[ScoreRow], models: tuple[ModelRef, ModelRef]
) -> None:
    page = write_report(tmp_path, rows, *models, EvaluationOptions(), "medi evaluate <M> --out D")
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", text)
    for shown in ("70.00", "80.00", "+10.00", "-5.00", "k0", "k1", "owner/base", "local/a_b"):
        assert shown in text
    assert "1 &lt; 2 &amp; &lt;b&gt;bold&lt;/b&gt;" in text and "<b>bold" not in text
    assert "medi evaluate &lt;M&gt; --out D" in text
    assert text.index("each task its own") > text.index("<td>none</td>")

    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert scores["average"] == {"categories": 3, "before": 0.6, "after": 0.633333}
    assert scores["models"]["after"] == {"name": "local/a_b", "key": "k1"}


def test_a_capped_evaluation_is_marked_in_the_report(
    tmp_path: Path, rows: list[ScoreRow], models: tuple[ModelRef, ModelRef]
) -> None:
    options = EvaluationOptions(max_texts=50)
    page = write_report(tmp_path, rows, *models, options, "x")
    assert "At most 50 test rows" in page.read_text(encoding="utf-8")


def test_one_model_alone_can_be_reported(
    tmp_path: Path, eval_task: Callable[..., EvalTask], models: tuple[ModelRef, ModelRef]
) -> None:
    rows = [ScoreRow(eval_task("stsb_csv"), None, 0.8), ScoreRow(eval_task("squad"), None, None)]
    text = write_report(tmp_path, rows, None, models[1], EvaluationOptions(), "x").read_text()
    assert "80.00" in text and "owner/base" not in text


def test_the_same_scores_give_the_same_bytes(
    tmp_path: Path, rows: list[ScoreRow], models: tuple[ModelRef, ModelRef]
) -> None:
    pages = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pages.append(write_report(tmp_path / name, rows, *models, EvaluationOptions(), "x"))
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert plot_scores(rows, "png") == plot_scores(rows, "png")


def curve(folder: Path, points: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(point) + "\n" for point in points)
    (folder / "curve.jsonl").write_text(lines, encoding="utf-8")


def point(step: int, held_out: float | None = None) -> dict[str, Any]:
    """A line as training.curve writes it."""
    line = {"step": step, "dataset": "alpha", "loss": 4 / step, "lr": 1e-5 * step, "grad_norm": 1.0}
    scores = {"accuracy": 0.5, "ndcg_at_10": held_out}
    return line | ({} if held_out is None else {"held_out": scores})


@pytest.fixture
def report(
    tmp_path: Path, rows: list[ScoreRow], models: tuple[ModelRef, ModelRef]
) -> Callable[[], str]:
    def write() -> str:
        page = write_report(tmp_path, rows, *models, EvaluationOptions(), "x")
        return page.read_text(encoding="utf-8")

    return write


def test_a_model_that_was_trained_here_shows_how(
    report: Callable[[], str], models: tuple[ModelRef, ModelRef]
) -> None:
    curve(models[0].folder, [point(1), point(2)])  # the model before: not the one evaluated
    assert "<h2>Training</h2>" not in report()
    curve(models[1].folder, [point(step, 0.3 if step == 4 else None) for step in range(1, 9)])
    text = report()
    assert text.index("<h2>Models</h2>") < text.index("<h2>Training</h2>") < text.index("<pre>")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", text)
    pictures = [base64.b64decode(found) for found in re.findall(r"base64,([^\"]+)", text)]
    assert pictures[1] == plot_curve(read_curve(models[1].folder))
    assert b"held-out" in pictures[1] and b"learning rate" in pictures[1]


def test_the_curve_shows_held_out_scores_only_where_there_are_some(tmp_path: Path) -> None:
    curve(tmp_path, [point(step) for step in range(1, 9)])
    plain = plot_curve(read_curve(tmp_path))
    assert b"held-out" not in plain and b"running mean" in plain
    assert plain == plot_curve(read_curve(tmp_path))


@pytest.mark.parametrize(
    "line", ["{not json", "{}", '{"step": 3, "loss": NaN, "lr": 1}', '"text"', "\xff"]
)
def test_a_broken_curve_is_named_and_the_report_is_written(
    line: str, report: Callable[[], str], models: tuple[ModelRef, ModelRef]
) -> None:
    curve(models[1].folder, [point(1)])
    with (models[1].folder / "curve.jsonl").open("a", encoding="latin-1") as file:
        file.write(line + "\n")
    text = report()
    assert "training curve cannot be shown: curve.jsonl, line 2" in text and "80.00" in text


def test_a_training_of_one_step_has_no_curve(
    report: Callable[[], str], models: tuple[ModelRef, ModelRef]
) -> None:
    curve(models[1].folder, [point(1)])
    assert "<h2>Training</h2>" not in report()


def test_the_running_mean_is_over_a_twentieth_on_either_side() -> None:
    assert smoothed([2.0] * 45) == [2.0] * 45
    mean = smoothed([0.0] * 50 + [1.0] * 50)
    assert mean[44] == 0 and mean[55] == 1 and mean[49] == pytest.approx(5 / 11)
    assert smoothed([3.0, 1.0]) == [3.0, 1.0] and smoothed([]) == []
