"""What an analysis leaves: the numbers, a figure, a page; also where every model failed."""

from __future__ import annotations

import json
from pathlib import Path

from evaluation.ablation import Bars, write_ablation


def test_ours_and_the_papers_stand_side_by_side(tmp_path: Path) -> None:
    bars = Bars({("base", "after"): 41.5}, {("base", "after"): 59.54, ("xl", "after"): 61.79})
    page = write_ablation(tmp_path, "Size", "Larger is better.", bars).read_text(encoding="utf-8")
    assert "41.50" in page and "61.79" in page and "gives no numbers" not in page
    assert json.loads((tmp_path / "ablation.json").read_text())["scores"] == [
        {"group": "base", "series": "after", "ours": 41.5, "paper": 59.54},
        {"group": "xl", "series": "after", "ours": None, "paper": 61.79},
    ]
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_grid_without_a_result_is_a_page_without_a_figure(tmp_path: Path) -> None:
    page = write_ablation(tmp_path, "Size", "Larger is better.", Bars({}, {}))
    assert "gives no numbers" in page.read_text(encoding="utf-8")
    assert not (tmp_path / "figure.png").exists()
