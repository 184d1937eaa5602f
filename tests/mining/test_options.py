"""Options that cannot work are refused in a line that says what would."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mining.options import MiningOptions


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"negatives": 65}, "candidates", "candidates must be at least 65"),
        (
            {"negatives": 5, "first_rank": 50, "candidates": 53},
            "candidates",
            "ranks 50 to 53 cannot give negatives=5: candidates must be at least 54",
        ),
        ({"margin": 0}, "margin", "greater than 0"),
        ({"margin": 1.2}, "margin", "less than or equal to 1"),
        (
            {"min_score": 0.5, "max_score": 0.4},
            "max_score",
            "no score is between min_score=0.5 and max_score=0.4",
        ),
        ({"max_score": 1.5}, "max_score", "less than or equal to 1"),
        ({"consistency": 0}, "consistency", "greater than or equal to 1"),
        ({"veto": "m", "veto_margin": 0}, "veto_margin", "greater than 0"),
        ({"choice": "best"}, "choice", "'top' or 'random'"),
        ({"nagatives": 4}, "nagatives", "not permitted"),
    ],
)
def test_options_that_cannot_work_are_refused(
    fields: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        MiningOptions(**fields)
    (error,) = caught.value.errors()
    assert error["loc"] == (field,)
    assert message in error["msg"]


def test_a_window_as_wide_as_the_negatives_is_enough() -> None:
    assert MiningOptions(negatives=4, first_rank=50, candidates=53).candidates == 53
