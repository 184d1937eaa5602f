"""The paper's figures (arXiv 2212.09741, main table, Table 3, model cards), and ours in its form.

Figures of the paper are times 100, with its one decimal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from evaluation.records import CATEGORIES, Category
from evaluation.scores import ScoreRow

# Tasks a category: 70 in all, of which MTEB has the first seven categories' 56.
TOTALS: Mapping[Category, int] = dict(
    zip(CATEGORIES, (15, 4, 11, 3, 12, 10, 1, 3, 11), strict=True)
)
MTEB_CATEGORIES = CATEGORIES[:7]


@dataclass(frozen=True)
class Baseline:
    """A line of the main table; `categories` in the order of CATEGORIES, `average` their mean."""

    name: str
    size: str
    categories: tuple[float, ...]
    average: float
    mteb_56: float

    @property
    def figures(self) -> tuple[float, ...]:
        """As the table has them, left to right."""
        return (*self.categories, self.average, self.mteb_56)


BASELINES = tuple(
    Baseline(name, size, figures[:9], figures[9], figures[10])
    for name, size, figures in (
        ("SimCSE", "110M", (21.9, 47.5, 33.4, 73.7, 67.3, 79.1, 23.3, 29.4, 58.3, 48.2, 48.7)),
        ("coCondenser", "110M", (33.0, 51.8, 37.6, 81.7, 64.7, 76.5, 29.5, 31.5, 59.6, 51.8, 52.4)),
        ("Contriever", "110M", (41.9, 53.1, 41.1, 82.5, 66.7, 76.5, 30.4, 29.0, 57.3, 53.2, 56.0)),
        ("GTR-Large", "335M", (47.4, 55.4, 41.6, 85.3, 67.1, 78.2, 29.5, 31.2, 59.8, 55.1, 58.3)),
        ("INSTRUCTOR", "335M", (47.6, 57.5, 45.3, 85.9, 73.9, 83.2, 31.8, 36.9, 63.2, 58.4, 61.6)),
        ("SGPT-NLI", "5.8B", (32.3, 52.3, 37.0, 77.0, 70.1, 80.5, 30.4, 29.6, 57.9, 51.9, 53.7)),
        ("GTR-XL", "1.5B", (48.0, 56.0, 41.5, 86.1, 67.1, 77.8, 30.2, 32.0, 60.4, 55.5, 58.4)),
        ("GTR-XXL", "4.8B", (48.1, 56.7, 42.4, 86.1, 67.4, 78.4, 30.6, 32.0, 60.8, 55.8, 58.9)),
        ("Sent-T5-XXL", "4.8B", (42.2, 56.4, 43.7, 85.1, 73.4, 82.6, 30.1, 33.9, 61.5, 56.5, 59.5)),
        (
            "INSTRUCTOR-XL",
            "1.5B",
            (49.3, 57.3, 44.7, 86.6, 73.2, 83.1, 32.0, 34.1, 68.6, 58.8, 61.8),
        ),
    )
)

# MTEB-56 of the released models, as their cards have it.
MODEL_CARDS: Mapping[str, float] = {"base": 59.54, "large": 61.59, "xl": 61.79}


@dataclass(frozen=True)
class Shift:
    """Table 3: a domain of which MEDI holds little, by GTR-Large and by INSTRUCTOR."""

    domain: str
    task: str
    before: float
    after: float


# Which of the 70 stands for geography is taken to be PromptGeoQuery, the only one about it.
DOMAIN_SHIFT = (
    Shift("Geography", "PromptGeoQuery", 53.4, 64.2),
    Shift("Biology", "BiorxivClusteringS2S", 25.7, 31.3),
    Shift("Online comments", "PromptCivilComments", 71.8, 77.2),
)


@dataclass(frozen=True)
class Mean:
    """Mean, times 100, over `done` of `total` tasks or categories; None over none of them.

    `reduced` of them were not run as the paper has them.
    """

    score: float | None
    done: int
    total: int
    reduced: int = 0

    @property
    def whole(self) -> bool:
        """All are there as the paper has them: only then does it compare with the paper's."""
        return self.done == self.total and not self.reduced


@dataclass(frozen=True)
class Standing:
    """A model's line of the main table."""

    categories: tuple[Mean, ...]
    average: Mean
    mteb_56: Mean


def standing(rows: Sequence[ScoreRow], side: str, paper: Collection[str]) -> Standing:
    """The line of `side`, "before" or "after", out of those rows that are tasks of the paper.

    The average is over the categories that are whole.
    """
    found: dict[Category, list[tuple[float, bool]]] = {category: [] for category in CATEGORIES}
    for row in rows:
        score = row.before if side == "before" else row.after
        if row.task.name in paper and score is not None:
            found[row.task.category].append((100 * score, bool(row.reduced)))
    categories = {name: _mean(found[name], TOTALS[name]) for name in CATEGORIES}
    of_mteb = [one for name in MTEB_CATEGORIES for one in found[name]]
    whole = [
        (mean.score, False) for mean in categories.values() if mean.whole and mean.score is not None
    ]
    return Standing(
        tuple(categories.values()),
        _mean(whole, len(CATEGORIES)),
        _mean(of_mteb, sum(TOTALS[name] for name in MTEB_CATEGORIES)),
    )


def _mean(scores: Sequence[tuple[float, bool]], total: int) -> Mean:
    values = [score for score, _ in scores]
    mean = sum(values) / len(values) if values else None
    return Mean(mean, len(values), total, sum(reduced for _, reduced in scores))
