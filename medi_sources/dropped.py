"""Every dropped row of one source with its reason, in a compact form: there may be millions."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection

import numpy as np
import pyarrow as pa

from artifacts.row import DROPPED
from medi_sources.clean import REASONS
from medi_sources.readers import Dropped

_NAMES = tuple(REASONS)
_CODES = {reason: code for code, reason in enumerate(_NAMES)}


class DroppedRows:
    """Rows read (`rows_in`, counted by the caller) and rows dropped, each for one of REASONS."""

    def __init__(self) -> None:
        self.rows_in = 0
        self._row_ids = array("q")
        self._codes = array("B")
        self._details: list[str] = []

    def add(self, dropped: Dropped) -> None:
        self._row_ids.append(dropped.row_id)
        self._codes.append(_CODES[dropped.reason])
        self._details.append(dropped.detail)

    def reasons(self) -> dict[str, int]:
        """How many rows were dropped for each reason, by reason."""
        return dict(sorted((_NAMES[code], n) for code, n in Counter(self._codes).items()))

    def first(self, reasons: Collection[str]) -> str:
        """The first row, by row_id, dropped for one of `reasons`, in words."""
        row_id, code, detail = min(
            each
            for each in zip(self._row_ids, self._codes, self._details, strict=True)
            if _NAMES[each[1]] in reasons
        )
        reason = _NAMES[code]
        return f"row {row_id}: {reason}" + (f" ({detail})" if detail else "")

    def table(self) -> pa.Table:
        """artifacts.row.DROPPED, sorted by row_id."""
        row_ids = np.array(self._row_ids, dtype=np.int64)
        columns = [
            pa.array(row_ids),
            pa.array(_NAMES, pa.string()).take(pa.array(np.array(self._codes, dtype=np.int8))),
            pa.array(self._details, pa.string()),
        ]
        table = pa.Table.from_arrays(columns, schema=DROPPED)
        return table.take(pa.array(np.argsort(row_ids, kind="stable")))
