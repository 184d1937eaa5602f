"""The pictures of the paper's analyses: robustness (Fig. 4), categories, ablations."""

from __future__ import annotations

import io

import matplotlib.image
import pytest

from evaluation.plot import plot_ablation, plot_categories, plot_robustness
from evaluation.scores import Average, Robustness
from evaluation.sections import robustness

TASKS = [
    Robustness("STS12", "STS", (0.5, 0.55, 0.4)),
    Robustness("STS13", "STS", (0.7, 0.7, 0.7)),
    Robustness("NFCorpus", "Retrieval", (0.31, 0.3)),
]
GROUPS, SERIES = ["Retrieval", "STS"], ["none", "tag", "detailed"]
OURS = [[10.0, 20.0], [11.0, 21.0], [12.5, None]]
PAPER = [[40.0, 70.0], [None, None], [47.6, 83.2]]


def test_robustness_is_told_by_task_and_category() -> None:
    """Means over a category are of the best, of the worst and of what lies between."""
    page = "".join(robustness(TASKS, b"<svg/>"))
    cells = ">STS (mean of 2)</td><td></td>"
    numbers = ("62.50", "55.00", "7.50")
    assert cells + "".join(f'<td class="n">{number}</td>' for number in numbers) in page
    assert '>STS12</td><td class="n">3</td><td class="n">55.00</td>' in page
    assert page.index("Retrieval (mean of 1)") < page.index("STS (mean of 2)")


def test_robustness_shows_each_task_with_its_spread() -> None:
    svg = plot_robustness(TASKS)
    for text in (b"NFCorpus", b"STS12", b"15.00", b"1.00", b"0.00"):
        assert b"<!-- " + text in svg
    assert svg == plot_robustness(TASKS)
    assert svg != plot_robustness([TASKS[0], TASKS[1]])
    many = [Robustness(f"Task{i}", "STS", (0.1, 0.2)) for i in range(70)]
    assert b"<!-- Task69 -->" in plot_robustness(many)


def test_categories_show_the_papers_figure_only_where_it_is_given() -> None:
    bars = [Average("STS", 10, 0.7, 0.8), Average("Billboard", 1, None, 0.3)]
    with_paper = plot_categories(bars, [83.2, None])
    assert b"INSTRUCTOR 335M" in with_paper and b"<!-- 80.0 -->" in with_paper
    assert b"INSTRUCTOR 335M" not in plot_categories(bars, [None, None])


def test_an_ablation_stands_beside_the_papers() -> None:
    svg = plot_ablation("Instruction detail", GROUPS, SERIES, OURS, PAPER)
    for text in (b"Instruction detail", b"this run", b"the paper", b"detailed", b"83.2", b"12.5"):
        assert b"<!-- " + text + b" -->" in svg
    assert svg == plot_ablation("Instruction detail", GROUPS, SERIES, OURS, PAPER)


@pytest.mark.parametrize("ours", [OURS, [[None, None]] * 3])
def test_an_ablation_leaves_out_a_side_of_which_nothing_is_known(
    ours: list[list[float | None]],
) -> None:
    nothing: list[list[float | None]] = [[None, None]] * 3
    svg = plot_ablation("Instruction detail", GROUPS, SERIES, ours, nothing)
    assert b"this run" in svg and b"the paper" not in svg


def test_pictures_come_as_png_too() -> None:
    png = plot_ablation("Size", GROUPS, SERIES, OURS, PAPER, "png")
    pixels = matplotlib.image.imread(io.BytesIO(png), format="png")
    assert pixels.shape[1] >= 900 and pixels.std() > 0.05
