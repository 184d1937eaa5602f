"""docs/scaling.md tells what the programs print, and their counts are those of the profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import paper_arithmetic, paper_counts
from benchmarks.paper_counts import ASSUMED, Training
from flows.profiles import get_profile

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_the_page_has_the_tables_that_the_program_prints() -> None:
    """After a change: python -m benchmarks.paper_arithmetic, into the page between its marks."""
    _, _, below = PAGE.partition("<!-- benchmarks.paper_arithmetic -->\n")
    tables, _, _ = below.partition("<!-- end -->")
    assert tables.strip() == "\n".join(paper_arithmetic.page())


def test_it_is_the_profile_that_is_counted() -> None:
    profile = get_profile("paper")
    assert sum(source.rows for source in paper_counts.sources()) == 1_435_000
    assert [task.name for task in paper_counts.tasks()] == list(profile.evaluate.tasks)
    assert sum(paper_counts.requests().values()) > len(profile.build.datasets)
    # GTR-large has 335 million parameters (paper, section 3.1), with its Dense.
    assert paper_counts.parameters() == pytest.approx(335e6, rel=0.01)


def test_more_gpus_divide_the_work_but_not_a_dataset_or_a_task() -> None:
    mining = [paper_counts.mining_hours(gpus) for gpus in (1, 2, 10**6)]
    assert mining[0] == pytest.approx(2 * mining[1]) and 0 < mining[2] < mining[1]
    evaluation = [paper_counts.evaluation_hours(gpus) for gpus in (1, 8, 10**6)]
    assert evaluation[0] == pytest.approx(8 * evaluation[1]) and 0 < evaluation[2] < evaluation[1]
    one, eight = Training(1, 64), Training(8, 8)
    assert one.flops == pytest.approx(8 * eight.flops)
    assert one.reduced_bytes == 0 and eight.hours > one.hours / 8


def test_an_assumption_that_is_replaced_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = paper_counts.mining_hours(1)
    monkeypatch.setitem(ASSUMED, "bf16", replace(ASSUMED["bf16"], value=2 * 989))
    assert paper_counts.mining_hours(1) == pytest.approx(hours / 2)
    received = paper_counts.source_bytes()
    monkeypatch.setitem(ASSUMED, "line", replace(ASSUMED["line"], value=600))
    assert paper_counts.source_bytes() > received
