"""What mining a dataset gives: tables and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.row import DROPPED, MINED
from mining.choose import RULES, Rule

Row = dict[str, Any]

# Which negatives are random, for want of mined ones.
RANDOM = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),  # in the row's `neg`, from 0
    ]
)


@dataclass(frozen=True)
class MiningResult:
    """`table` has the schema MINED, `dropped` DROPPED, `random` RANDOM, all ordered by row_id.

    `counts`: rows_in, rows_out, corpus (texts), dropped (reason -> rows), excluded (rule ->
    candidates passed over before a row had enough), randomly_completed (rows), and pos_score and
    neg_score, each mean, p10, p50 and p90 over the rows that are out (null without any).
    """

    table: pa.Table
    dropped: pa.Table
    random: pa.Table
    counts: dict[str, Any]


def mining_result(
    out: list[Row],
    dropped: list[Row],
    random: list[Row],
    excluded: Mapping[Rule, int],
    corpus: int,
) -> MiningResult:
    counts = {
        "rows_in": len(out) + len(dropped),
        "rows_out": len(out),
        "corpus": corpus,
        "dropped": dict(sorted(Counter(row["reason"] for row in dropped).items())),
        "excluded": {rule: excluded.get(rule, 0) for rule in RULES},
        "randomly_completed": len({row["row_id"] for row in random}),
        "pos_score": _summary([row["pos_score"] for row in out]),
        "neg_score": _summary([score for row in out for score in row["neg_score"]]),
    }
    return MiningResult(
        pa.Table.from_pylist(out, schema=MINED),
        pa.Table.from_pylist(dropped, schema=DROPPED),
        pa.Table.from_pylist(random, schema=RANDOM),
        counts,
    )


def _summary(scores: Sequence[float]) -> dict[str, float | None]:
    if not scores:
        return dict.fromkeys(("mean", "p10", "p50", "p90"))
    p10, p50, p90 = np.percentile(scores, [10, 50, 90])
    figures = {"mean": np.mean(scores), "p10": p10, "p50": p50, "p90": p90}
    return {name: round(float(figure), 4) for name, figure in figures.items()}
