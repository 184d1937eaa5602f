"""What an evaluation leaves in its folder."""

from __future__ import annotations

from pathlib import Path

from artifacts.models import ModelRef
from artifacts.store import Store
from flows.planning_evaluation import EvaluationPlan
from flows.profiles import get_profile
from flows.results import SCORES, write_results


def test_out_may_be_below_a_link_to_what_is_not_there_yet(tmp_path: Path) -> None:
    """`out` of the container leads into a volume that is empty at first."""
    (tmp_path / "out").symlink_to(tmp_path / "volume" / "out")
    models = {"after": ModelRef("model", tmp_path, "0123")}
    out, config = tmp_path / "out" / "results", get_profile("sample").evaluate
    store = Store(tmp_path / "store")
    assert write_results(EvaluationPlan(store, None, out, models, config, [], [], {}), {}) == []
    assert (tmp_path / "volume" / "out" / "results" / SCORES).is_file()
