"""The report: what a user reads, and copies into a README."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from artifacts.models import ModelRef
from evaluation.curve import read_curve, smoothed
from evaluation.intervals import Comparison
from evaluation.plot import plot_curve, plot_scores
from evaluation.records import EvalTask, EvaluationOptions
from evaluation.report import Report, write_report
from evaluation.scores import (
    NotRun,
    Reuse,
    Robustness,
    ScoreRow,
    averages,
    scores_json,
    scores_table,
)

Task = Callable[..., EvalTask]
Write = Callable[..., str]


@pytest.fixture
def rows(eval_task: Task) -> list[ScoreRow]:
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


@pytest.fixture
def report(rows: list[ScoreRow], models: tuple[ModelRef, ModelRef]) -> Report:
    return Report(rows, *models, EvaluationOptions(), "medi evaluate <M> --out D")


@pytest.fixture
def write(tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch) -> Write:
    """The page's text, with other fields of the report by keyword; its bars and lines not drawn."""
    for plot in ("plot_scores", "plot_categories", "plot_robustness"):
        monkeypatch.setattr(f"evaluation.report.{plot}", lambda *_: b"<svg/>")

    def of(**fields: Any) -> str:
        return write_report(tmp_path, replace(report, **fields)).read_text(encoding="utf-8")

    return of


def table(page: str, label: str) -> list[list[str]]:
    """The cells of the table of that label, without their markup."""
    (found,) = re.findall(rf'aria-label="{label}" tabindex="0"><table>(.*?)</table>', page, re.S)
    lines = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in found.strip().split("\n")]
    return [[unescape(re.sub(r"<[^>]+>", " ", cell)).strip() for cell in row] for row in lines]


def test_the_average_is_over_categories_not_over_tasks(rows: list[ScoreRow]) -> None:
    """STS (0.7 + 0.5)/2 = 0.6; with Retrieval 0.9 and Billboard 0.3: 1.8/3 = 0.6."""
    categories, average = averages(rows)
    assert [part.name for part in categories] == ["Retrieval", "STS", "Billboard"]
    assert average.before == pytest.approx(0.6)
    assert average.after == pytest.approx((0.9 + 0.75 + 0.25) / 3)


def test_a_missing_score_is_never_averaged_over(eval_task: Task) -> None:
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


def test_the_report_is_one_file_with_everything_in_it(tmp_path: Path, write: Write) -> None:
    text = write()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", text)
    assert "<script" not in text and "url(" not in text
    for shown in ("70.00", "80.00", "+10.00", "-5.00", "k0", "k1", "owner/base", "local/a_b"):
        assert shown in text
    assert "1 &lt; 2 &amp; &lt;b&gt;bold&lt;/b&gt;" in text and "<b>bold" not in text
    assert "medi evaluate &lt;M&gt; --out D" in text
    assert [row[-1] for row in table(text, "Models")[1:]] == ["none", "each task its own"]

    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert scores["average"] == {"categories": 3, "before": 0.6, "after": 0.633333}
    assert scores["models"]["after"] == {"name": "local/a_b", "key": "k1"}
    assert "comparison" not in scores["tasks"][0]


def test_a_capped_evaluation_is_marked_in_the_report(write: Write, eval_task: Task) -> None:
    of_paper = ScoreRow(eval_task("stsb_csv", name="STS12"), 0.7, 0.8)
    text = write(rows=[of_paper], options=EvaluationOptions(max_texts=50))
    assert "At most 50 test rows" in text
    assert table(text, "Main table")[1][6] == "80.0 (1/10, reduced)"
    assert "0 of 70" in text
    assert "1 of 70" in write(rows=[of_paper])


def test_one_model_alone_can_be_reported(
    write: Write, eval_task: Task, models: tuple[ModelRef, ModelRef]
) -> None:
    rows = [ScoreRow(eval_task("stsb_csv"), None, 0.8), ScoreRow(eval_task("squad"), None, None)]
    text = write(rows=rows, before=None, after=models[1])
    assert "80.00" in text and "owner/base" not in text
    assert table(text, "Scores by task")[0] == ["task", "score", "category", "metric"]


def test_nothing_run_is_reported_as_that(tmp_path: Path, write: Write) -> None:
    text = write(rows=[], not_run=[NotRun("NQ", "no data <offline>")])
    shown = {row[0]: row[1:] for row in table(text, "What was run")}
    assert shown["run"] == ["0", "none"] and shown["not run: no data <offline>"] == ["1", "NQ"]
    assert "<img" not in text and not list((tmp_path / "pictures").iterdir())


def test_the_same_scores_give_the_same_bytes(
    tmp_path: Path, rows: list[ScoreRow], report: Report
) -> None:
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, report)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        written.append({f.relative_to(tmp_path / name): f.read_bytes() for f in files})
    assert written[0] == written[1]
    assert [path.name for path in written[0]] == [
        "categories.png", "scores.png", "report.html", "scores.json"
    ]  # fmt: skip
    assert plot_scores(rows, "png") == plot_scores(rows, "png")


def test_a_picture_of_an_earlier_report_does_not_stay(tmp_path: Path, write: Write) -> None:
    write(robustness=[Robustness("STS12", "STS", (0.5, 0.6))])
    assert (tmp_path / "pictures/robustness.png").is_file()
    write()
    assert not (tmp_path / "pictures/robustness.png").exists()


def test_a_change_within_noise_is_called_so(write: Write, eval_task: Task) -> None:
    def row(name: str, low: float, high: float) -> ScoreRow:
        found = Comparison(round((low + high) / 2, 4), low, high, low <= 0 <= high)
        task = eval_task("stsb_csv", name=name)
        return ScoreRow(task, 0.5, 0.5 + found.difference, (0.4, 0.6), (0.45, 0.65), found)

    rows = [row("Up", 0.01, 0.05), row("Down", -0.05, -0.01), row("Unsure", -0.02, 0.04)]
    rows.append(ScoreRow(eval_task("newsgroups_tar", name="Groups"), 0.5, 0.6))
    text = write(rows=rows)
    verdicts = {cells[0]: cells[3:6] for cells in table(text, "Scores by task")[1:]}
    assert verdicts == {
        "Up": ["+3.00", "+1.00 to +5.00", "higher"],
        "Down": ["-3.00", "-5.00 to -1.00", "lower"],
        "Unsure": ["+1.00", "-2.00 to +4.00", "within noise"],
        "Groups": ["+10.00", "–", "no interval"],
    }
    assert '<td class="quiet verdict">within noise</td>' in text
    assert "1 / 1 / 1" in text and "45.0–65.0" in text
    (unsure,) = (t for t in json.loads(scores_json(rows, {}))["tasks"] if t["task"] == "Unsure")
    assert unsure["comparison"]["within_noise"] and unsure["after_interval"] == [0.45, 0.65]
    assert plot_scores(rows) != plot_scores([replace(one, comparison=None) for one in rows])


def test_what_was_not_run_is_told_with_the_reason(write: Write, eval_task: Task) -> None:
    rows = [
        ScoreRow(eval_task("stsb_csv", name="STS12"), 0.1, 0.2),
        ScoreRow(eval_task("stsb_csv", name="STS13"), 0.1, None),
    ]
    not_run = [NotRun("NQ", "no network"), NotRun("FEVER", "no network"), NotRun("X", "broken")]
    text = write(rows=rows, not_run=not_run, paper=["STS12", "STS13", "STS14", "NQ", "FEVER"])
    assert {row[0]: row[1:] for row in table(text, "What was run")[1:]} == {
        "run": ["1", "STS12"],
        "not run: no network": ["2", "NQ, FEVER"],
        "not run: broken": ["1", "X"],
        "not run: no score": ["1", "STS13"],
        "not run: not asked for": ["1", "STS14"],
    }


def test_the_share_of_embeddings_that_were_reused(write: Write) -> None:
    text = write(reuse=Reuse(asked=2000, distinct=800, encoded=500))
    assert "75%" in text and "2,000 embeddings" in text and "75.0% were reused" in text
    assert "reused" not in write(reuse=None)
    assert "of the embeddings reused" not in write(reuse=Reuse(0, 0, 0))


def test_instructions_are_shown_for_the_tasks_that_ran(write: Write, eval_task: Task) -> None:
    rows = [ScoreRow(eval_task("stsb_csv", name=name), 0.1, 0.2) for name in ("A", "B", "C")]
    wordings = {"A": ("Ask: ", "Tell: "), "B": ("Both: ", "Both: "), "Other": ("x: ", "y: ")}
    text = write(rows=rows, instructions=wordings | {"C": ("", "")})
    assert table(text, "Instructions")[1:] == [
        ["A", "Ask:", "Tell:"],
        ["B", "Both:", "the same"],
        ["C", "none", "the same"],
    ]


def curve(folder: Path, points: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(point) + "\n" for point in points)
    (folder / "curve.jsonl").write_text(lines, encoding="utf-8")


def point(step: int, held_out: float | None = None) -> dict[str, Any]:
    """A line as training.curve writes it."""
    line = {"step": step, "dataset": "alpha", "loss": 4 / step, "lr": 1e-5 * step, "grad_norm": 1.0}
    scores = {"accuracy": 0.5, "ndcg_at_10": held_out}
    return line | ({} if held_out is None else {"held_out": scores})


def test_a_model_that_was_trained_here_shows_how(
    write: Write, models: tuple[ModelRef, ModelRef]
) -> None:
    curve(models[0].folder, [point(1), point(2)])  # the model before: not the one evaluated
    assert "<h2>Training</h2>" not in write()
    curve(models[1].folder, [point(step, 0.3 if step == 4 else None) for step in range(1, 9)])
    text = write()
    pictures = [base64.b64decode(found) for found in re.findall(r"base64,([^\"]+)", text)]
    assert pictures[2] == plot_curve(read_curve(models[1].folder))
    assert b"held-out" in pictures[2] and b"learning rate" in pictures[2]


def test_the_curve_shows_held_out_scores_only_where_there_are_some(tmp_path: Path) -> None:
    curve(tmp_path, [point(step) for step in range(1, 9)])
    plain = plot_curve(read_curve(tmp_path))
    assert b"held-out" not in plain and b"running mean" in plain
    assert plain == plot_curve(read_curve(tmp_path))


@pytest.mark.parametrize(
    "line", ["{not json", "{}", '{"step": 3, "loss": NaN, "lr": 1}', '"text"', "\xff"]
)
def test_a_broken_curve_is_named_and_the_report_is_written(
    line: str, write: Write, models: tuple[ModelRef, ModelRef]
) -> None:
    curve(models[1].folder, [point(1)])
    with (models[1].folder / "curve.jsonl").open("a", encoding="latin-1") as file:
        file.write(line + "\n")
    text = write()
    assert "training curve cannot be shown: curve.jsonl, line 2" in text and "80.00" in text


def test_a_training_of_one_step_has_no_curve(
    write: Write, models: tuple[ModelRef, ModelRef]
) -> None:
    curve(models[1].folder, [point(1)])
    assert "<h2>Training</h2>" not in write()


def test_the_running_mean_is_over_a_twentieth_on_either_side() -> None:
    assert smoothed([2.0] * 45) == [2.0] * 45
    mean = smoothed([0.0] * 50 + [1.0] * 50)
    assert mean[44] == 0 and mean[55] == 1 and mean[49] == pytest.approx(5 / 11)
    assert smoothed([3.0, 1.0]) == [3.0, 1.0] and smoothed([]) == []


def trained_on() -> dict[str, Any]:
    """A record as training.export writes it: one dataset of each kind."""
    same, other = [{"query": "a: ", "document": "a: "}], [{"query": "a: ", "document": "b: "}]
    return {
        "base_encoder": "owner/base",
        "step": 20,
        "options": {"loss": "released", "temperature": 0.01},
        "datasets": {
            "task001_x": {"rows": 1000, "held_out_rows": 10},
            "allnli": {"rows": 300, "held_out_rows": 3},
            "nq": {"rows": 100, "held_out_rows": 1},
            "msmarco": {"rows": 300, "held_out_rows": 2},
        },
        "instructions": {"task001_x": same, "allnli": same, "nq": other, "msmarco": other},
    }


def length(query: float, pos: float) -> dict[str, Any]:
    tokens = {"query": {"mean": query, "max": 9}, "pos": {"mean": pos, "max": 9}}
    published = {"rows": 1, "leaks": 0}
    return {"mine": {"tokens": tokens}, "pairs": {"native": 0}, "published": published}


def test_what_a_model_was_trained_on(
    tmp_path: Path, write: Write, models: tuple[ModelRef, ModelRef]
) -> None:
    (models[1].folder / "medi.json").write_text(json.dumps(trained_on()))
    text = write()
    assert "Trained from owner/base, the weights of step 20; loss released; temper" in text
    assert table(text, "Training data")[1:] == [
        ["Super-NaturalInstructions tasks", "1", "1,000", "10"],
        ["other, symmetric", "1", "300", "3"],
        ["other, asymmetric", "2", "400", "3"],
        ["all", "4", "1,700", "16"],
    ]
    lengths = {name: length(10, 20) for name in ("task001_x", "allnli", "nq")}
    statistics = lengths | {"msmarco": length(30, 60)}
    (tmp_path / "statistics.json").write_text(json.dumps(statistics))
    rows = table(write(medi=tmp_path), "Training data")
    assert rows[3][-2:] == ["25.0", "50.0"]  # asymmetric, by rows: (10 * 100 + 30 * 300) / 400


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("medi.json", "{"),
        ("medi.json", '{"datasets": {"nq": {"rows": "many"}}}'),
        ("statistics.json", '{"nq": {"mine": 3}}'),
    ],
)
def test_a_broken_record_of_the_training_is_named_and_the_report_is_written(
    name: str, content: str, write: Write, models: tuple[ModelRef, ModelRef]
) -> None:
    (models[1].folder / "medi.json").write_text(json.dumps(trained_on()))
    (models[1].folder / name).write_text(content)
    text = write(medi=models[1].folder)
    assert f"cannot be shown: {name}" in text and "80.00" in text
