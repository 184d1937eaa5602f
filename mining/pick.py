"""Take negatives for many rows at once: the nearest that the rules allow, then random ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from artifacts.errors import DatasetError
from mining.choose import Limits, Rule, order_of_ranks, random_rows, score_bound
from mining.corpus import Corpus, Space
from mining.known import Keys, Known
from mining.options import MiningOptions

# Scores of (query, text) pairs by a second model: higher = more likely right, on any scale.
Veto = Callable[[list[tuple[str, str]]], Sequence[float]]

Candidate = tuple[int, float]  # row of the corpus, score

_ROWS_AT_ONCE = 8192  # bounds what is held; fixed, since the company in a batch can move a score


@dataclass
class Pick:
    """A row that needs `need` negatives beside its `own`, and what it got.

    Of `taken`, the first `mined` were found by rank, the rest is random.
    """

    row_id: int
    query: str
    pos: str
    pos_score: float
    own: Sequence[str]
    need: int
    taken: list[Candidate] = field(default_factory=list)
    mined: int = 0
    tries: Iterator[Candidate] = field(default_factory=lambda: iter(()))
    veto_bound: float | None = None

    @property
    def missing(self) -> int:
        return self.need - len(self.taken)


@dataclass(frozen=True)
class Picker:
    """Fills picks, and counts in `excluded` how many candidates each rule passed over."""

    corpus: Corpus
    known: Known
    keys: Keys
    space: Space
    options: MiningOptions
    veto: Veto | None
    excluded: Counter[Rule] = field(default_factory=Counter)

    def fill(self, picks: Sequence[Pick]) -> None:
        """Raises DatasetError for a score of the veto that is not finite."""
        for start in range(0, len(picks), _ROWS_AT_ONCE):
            block = picks[start : start + _ROWS_AT_ONCE]
            for pick in block:
                pick.tries = self._by_rank(pick)
            self._take(block)
            if self.options.too_few == "random":
                lacking = [pick for pick in block if pick.missing]
                for pick in lacking:
                    pick.tries = self._at_random(pick)
                self._take(lacking, at_random=True)

    def _take(self, picks: Sequence[Pick], at_random: bool = False) -> None:
        """In every round each row tries as many candidates as it still lacks.

        That is what row after row would try, scored in few large batches.
        """
        while asked := [
            (pick, each) for pick in picks for each in islice(pick.tries, pick.missing)
        ]:
            if at_random:
                asked = self._scored(asked)
            for pick, candidate in self._not_vetoed(asked):
                pick.taken.append(candidate)
                pick.mined += not at_random
        for pick in picks:
            pick.tries = iter(())  # lets go of its candidates

    def _by_rank(self, pick: Pick) -> Iterator[Candidate]:
        barred = self._barred(pick)
        limits = Limits.of(pick.pos_score, self.options)
        ranked = self.corpus.ranked(pick.query, self.keys[pick.query])
        self.excluded["rank"] += min(self.options.first_rank - 1, len(ranked))
        for rank in order_of_ranks(self.options, pick.row_id):
            if rank <= len(ranked):
                row, score = ranked[rank - 1]
                rule = barred(row) or limits.broken_by(score)
                if rule:
                    self.excluded[rule] += 1
                else:
                    yield row, score

    def _at_random(self, pick: Pick) -> Iterator[Candidate]:
        """Without scores: few of those drawn are needed."""
        barred = self._barred(pick)
        found = {row for row, _ in pick.taken}
        size, count = len(self.corpus.texts), self.options.candidates
        for row in random_rows(size, count, self.options.seed, pick.row_id):
            if row not in found:
                rule = barred(row)
                if rule:
                    self.excluded[rule] += 1
                else:
                    yield row, math.nan

    def _barred(self, pick: Pick) -> Callable[[int], Rule | None]:
        """The rule of texts, if any, that keeps a row of the corpus from the pick."""
        right_for_it = self.known.right_for(self.keys[pick.query])
        own = {self.keys[text] for text in pick.own}
        keys = self.corpus.keys

        def rule(row: int) -> Rule | None:
            if right_for_it(keys[row]):
                return "known_positive"
            return "own_negative" if keys[row] in own else None

        return rule

    def _scored(self, asked: list[tuple[Pick, Candidate]]) -> list[tuple[Pick, Candidate]]:
        """With their scores, those whose score is not too high; a random one may be too low."""
        options = self.options.model_copy(update={"min_score": None})
        texts = [self.corpus.texts[row] for _, (row, _) in asked]
        scores = self.space.cosines([pick.query for pick, _ in asked], texts)
        allowed: list[tuple[Pick, Candidate]] = []
        for (pick, (row, _)), score in zip(asked, scores, strict=True):
            rule = Limits.of(pick.pos_score, options).broken_by(score)
            if rule:
                self.excluded[rule] += 1
            else:
                allowed.append((pick, (row, score)))
        return allowed

    def _not_vetoed(self, asked: list[tuple[Pick, Candidate]]) -> list[tuple[Pick, Candidate]]:
        if self.veto is None or not asked:
            return asked
        texts = [self.corpus.texts[row] for _, (row, _) in asked]
        pairs = [(pick.query, text) for (pick, _), text in zip(asked, texts, strict=True)]
        right = [(pick.query, pick.pos) for pick, _ in asked if pick.veto_bound is None]
        scores = _veto_scores(self.veto, pairs + right)
        allowed: list[tuple[Pick, Candidate]] = []
        for (pick, candidate), pair in zip(asked, pairs, strict=True):
            if pick.veto_bound is None:
                pos_score = scores[pick.query, pick.pos]
                pick.veto_bound = score_bound(pos_score, self.options.veto_margin)
            if scores[pair] < pick.veto_bound:
                allowed.append((pick, candidate))
            else:
                self.excluded["veto"] += 1
        return allowed


def _veto_scores(veto: Veto, pairs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], float]:
    """Of each distinct pair, rounded to 1e-4, so that float noise seldom decides."""
    distinct = list(dict.fromkeys(pairs))
    scores = [round(float(score), 4) for score in veto(distinct)]
    for (query, text), score in zip(distinct, scores, strict=True):
        if not math.isfinite(score):
            raise DatasetError(
                f"the veto's score of query {query[:80]!r} with text {text[:80]!r} is {score}: "
                "it must be a finite number; precision fp32 may give one"
            )
    return dict(zip(distinct, scores, strict=True))
