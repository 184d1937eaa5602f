"""Hard negatives for the rows of one dataset.

The paper does not say how it mined the negatives of the sets that come without; here a row gets
the texts of its own dataset that are nearest to its query, less those known or likely to be right.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from mining.choose import score_bound
from mining.corpus import Corpus, Embed, Space, search
from mining.known import Keys, Known
from mining.options import MiningOptions
from mining.pick import Pick, Picker, Veto
from mining.result import MiningResult, Row, mining_result


def texts_of(pairs: pa.Table) -> list[str]:
    """The distinct texts that `mine` wants encoded, whatever its options: queries, positives and
    negatives, in the order in which the rows, sorted by row_id, first have them."""
    return _texts(_rows(pairs))


def mine(
    pairs: pa.Table,
    symmetric: bool,
    encode: Embed,
    options: MiningOptions,
    veto: Veto | None = None,
) -> MiningResult:
    """`pairs` (schema PAIRS, any order) with negatives and with scores.

    `encode` is called once, with `texts_of(pairs)`. Candidates are the distinct normalised texts
    among positives, negatives and, in a symmetric dataset, queries. Never chosen for a row is a
    text that is its query, known to be right for it (mining.known), or scores too high by the
    margin, `max_score` or the veto, be it a random one; the rank window and `min_score` are for
    mined ones alone. Tried in order of rank, or of a draw, the first that the rules allow stay.

    Rows marked "native" are treated by `options.native`; with "add" they stay marked so, their
    own negatives first. Rows marked "mined" were given negatives by other rules (Super-NI) and
    always keep them. Of kept negatives the first `options.negatives` stay, and get scores only.

    A row that finds fewer than it needs is completed with random candidates as far as the rules
    let some through, or dropped (`options.too_few`); one that is left without any is dropped under
    either. A row that keeps negatives of its own is never dropped for that.

    With `options.consistency` = k a row is dropped if the text of rank k, known or not, scores
    above its positive. Rows marked "mined" are not tested: their positives were not found so.

    Raises DatasetError for vectors that are not of length 1 or 0, and for a score of the veto that
    is not finite; ValueError if only one of `options.veto` (its name) and `veto` is given.
    """
    if (veto is None) != (options.veto is None):
        raise ValueError("a veto is named in the options, for the record, and given as `veto`")
    rows = _rows(pairs)
    if not rows:
        return mining_result([], [], [], {}, 0)
    space, keys = Space(_texts(rows), encode), Keys()
    queries = [row["query"] for row in rows if _need(row, options) or _is_tested(row, options)]
    corpus = search(rows, queries, symmetric, space, keys, options)
    picks = _picks(rows, space, options)
    known = Known(rows, symmetric, options.known, keys)
    picker = Picker(corpus, known, keys, space, options, veto)
    inconsistent = _inconsistent(rows, picks, corpus, keys, options)
    picker.fill([pick for pick in picks if pick.need and pick.row_id not in inconsistent])
    out: list[Row] = []
    dropped: list[Row] = []
    for row, pick, scores in zip(rows, picks, _own_scores(picks, space), strict=True):
        drop = inconsistent.get(pick.row_id) or _lack(pick, options)
        if drop:
            dropped.append(drop)
        else:
            out.append(_mined(row, pick, scores, corpus))
    return mining_result(out, dropped, _random(picks), picker.excluded, len(corpus.texts))


def _rows(pairs: pa.Table) -> list[Row]:
    rows: list[Row] = pairs.sort_by("row_id").to_pylist()
    return rows


def _texts(rows: Iterable[Row]) -> list[str]:
    texts = (text for row in rows for text in (row["query"], row["pos"], *row["neg"]))
    return list(dict.fromkeys(texts))


def _own(row: Row, options: MiningOptions) -> list[str]:
    """The negatives that came with the row and stay."""
    if row["negatives"] is None or (row["negatives"] == "native" and options.native == "replace"):
        return []
    kept: list[str] = row["neg"][: options.negatives]
    return kept


def _need(row: Row, options: MiningOptions) -> int:
    """How many negatives are to be mined for the row."""
    own = _own(row, options)
    if own and (row["negatives"] == "mined" or options.native == "keep"):
        return 0
    return options.negatives - len(own)


def _is_tested(row: Row, options: MiningOptions) -> bool:
    return options.consistency is not None and row["negatives"] != "mined"


def _picks(rows: list[Row], space: Space, options: MiningOptions) -> list[Pick]:
    pos_scores = space.cosines([row["query"] for row in rows], [row["pos"] for row in rows])
    return [
        Pick(
            row_id=row["row_id"],
            query=row["query"],
            pos=row["pos"],
            pos_score=pos_score,
            own=_own(row, options),
            need=_need(row, options),
        )
        for row, pos_score in zip(rows, pos_scores, strict=True)
    ]


def _own_scores(picks: list[Pick], space: Space) -> list[list[float]]:
    pairs = [(pick.query, text) for pick in picks for text in pick.own]
    scores = iter(space.cosines([query for query, _ in pairs], [text for _, text in pairs]))
    return [[next(scores) for _ in pick.own] for pick in picks]


def _inconsistent(
    rows: list[Row], picks: list[Pick], corpus: Corpus, keys: Keys, options: MiningOptions
) -> dict[int, Row]:
    """The rows to drop, by row_id. A text that scores the same as the positive is not above it."""
    last = options.consistency or 0
    found: dict[int, Row] = {}
    for row, pick in zip(rows, picks, strict=True):
        if _is_tested(row, options):
            ranked = corpus.ranked(pick.query, keys[pick.query])
            if last <= len(ranked) and ranked[last - 1][1] > pick.pos_score:
                score = ranked[last - 1][1]
                detail = (
                    f"positive scores {pick.pos_score:.4f}, the text of rank {last} {score:.4f}"
                )
                found[pick.row_id] = _drop(pick, "inconsistent", detail)
    return found


def _lack(pick: Pick, options: MiningOptions) -> Row | None:
    """Why the row is dropped, if it found too few negatives and has none of its own."""
    if pick.own or not pick.missing or (pick.taken and options.too_few == "random"):
        return None
    detail = f"{len(pick.taken)} of {options.negatives} negatives found"
    if options.margin is not None:
        bound = score_bound(pick.pos_score, options.margin)
        detail += f"; they must score below {bound:.4f}"
    return _drop(pick, "too_few_negatives", detail)


def _drop(pick: Pick, reason: str, detail: str) -> Row:
    return {"row_id": pick.row_id, "reason": reason, "detail": detail}


def _mined(row: Row, pick: Pick, own_scores: list[float], corpus: Corpus) -> Row:
    return {
        "row_id": pick.row_id,
        "query": pick.query,
        "pos": pick.pos,
        "neg": [*pick.own, *(corpus.texts[i] for i, _ in pick.taken)],
        "pos_score": pick.pos_score,
        "neg_score": [*own_scores, *(score for _, score in pick.taken)],
        "negatives": row["negatives"] if pick.own else "mined",
    }


def _random(picks: list[Pick]) -> list[Row]:
    return [
        {"row_id": pick.row_id, "position": len(pick.own) + i}
        for pick in picks
        for i in range(pick.mined, len(pick.taken))
    ]
