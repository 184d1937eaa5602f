"""How good mined negatives are, beside sentence_transformers.util.mine_hard_negatives.

    python -m benchmarks.mining_quality [--out FILE]      two to four minutes on two cores
    python -m benchmarks.mining_quality --small           a part of it, in half a minute

Both miners get the same vectors, rows, candidates and settings, on the sample world, where what
answers a query is known, and on SQuAD's paragraphs, where a negative that holds the answer string
is taken to be false. SQuAD needs the folder MEDI_REAL_DATA and an encoder (--encoder).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers.util import cos_sim, mine_hard_negatives, pairwise_cos_sim

from artifacts.text import normalise
from benchmarks.quality_cases import Case, Lookup, sample_cases, squad_case
from mining.mine import mine
from mining.options import MiningOptions

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MEDI_REAL_DATA", ROOT.parent / "shared" / "data"))
SQUAD = DATA / "train" / "squad_xquad" / "xquad.en.json"
ENCODER = DATA.parent / "models" / "all-MiniLM-L6-v2-fp16"

SCORE_STEP = 1e-4

Mined = Mapping[str, Sequence[str]]  # query -> its negatives
Judged = Mapping[tuple[str, str], Sequence[tuple[float, bool]]]  # (case, query) -> cosine, false?


@dataclass(frozen=True)
class Setting:
    """`ours` are fields of MiningOptions, `peer` the peer's arguments that say the same.

    `draws` seeds are tried where the choice is random.
    """

    name: str
    ours: Mapping[str, Any]
    peer: Mapping[str, Any] | None = field(default_factory=dict)
    draws: int = 1


SETTINGS = (
    Setting("random", {"margin": None, "choice": "random"}, {"sampling_strategy": "random"}, 5),
    Setting("top 4, no rule", {"margin": None}),
    Setting("top 1, no rule", {"margin": None, "negatives": 1}, {"num_negatives": 1}),
    Setting("margin 1", {"margin": 1.0}, {"relative_margin": 0.0}),
    Setting("margin 0.95", {"margin": 0.95}, {"relative_margin": 0.05}),
    Setting("margin 0.9", {"margin": 0.9}, {"relative_margin": 0.1}),
    Setting("margin 0.95, consistency 10", {"margin": 0.95, "consistency": 10}, None),
    Setting("the default", {"too_few": "random"}, None),
)


@dataclass(frozen=True)
class Figures:
    """Of all rows of some cases, in percent but for the cosine."""

    precision: float  # negatives that are truly wrong
    spoilt: float  # rows with a false negative, of those that got negatives
    hardness: float  # mean cosine of query and truly wrong negative
    filled: float  # rows that got all their negatives


class PeerModel:
    """What mine_hard_negatives asks of its model, by vectors that are there already."""

    device = torch.device("cpu")
    similarity = staticmethod(cos_sim)
    similarity_pairwise = staticmethod(pairwise_cos_sim)

    def __init__(self, vectors: Lookup) -> None:
        self._vectors = vectors

    def encode_query(self, texts: Sequence[str], **_: object) -> Any:
        return self._vectors(texts)

    encode_document = encode_query


def ours(case: Case, setting: Setting, seed: int = 0) -> Mined:
    window = _corpus_size(case) if setting.draws > 1 else MiningOptions().candidates
    options = {"too_few": "drop", "candidates": window, **setting.ours, "seed": seed}
    result = mine(case.pairs, case.symmetric, case.vectors, MiningOptions(**options))
    return {row["query"]: row["neg"] for row in result.table.to_pylist()}


def peer(case: Case, setting: Setting, seed: int = 0) -> Mined:
    """It searches range_max and the most positives of a query deep: together, our candidates."""
    told = _told_to_peer(case)
    most = max(map(len, told.values()))
    window = _corpus_size(case) if setting.draws > 1 else MiningOptions().candidates - most
    random.seed(seed)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        table = mine_hard_negatives(
            Dataset.from_list(
                [{"query": query, "pos": pos} for query in told for pos in told[query]]
            ),
            PeerModel(case.vectors),
            corpus=_corpus(case),
            output_format="n-tuple",
            verbose=False,
            **{"num_negatives": 4, "range_max": window, **(setting.peer or {})},
        )
    names = [name for name in table.column_names if name.startswith("negative")]
    return {row["query"]: [row[name] for name in names] for row in table}


def _told_to_peer(case: Case) -> dict[str, list[str]]:
    """Each query with its positives: all that are known and candidates, and in a symmetric
    dataset the query itself, which the peer would find first."""
    corpus = set(_corpus(case))
    told = {}
    for row in case.pairs.to_pylist():
        known = [text for text in row["known_pos"] if text in corpus]
        own = [row["query"]] if case.symmetric else []
        told[row["query"]] = list(dict.fromkeys([row["pos"], *known, *own]))
    return told


def _corpus(case: Case) -> list[str]:
    columns = ("pos", "query") if case.symmetric else ("pos",)
    rows = case.pairs.to_pylist()
    return list(dict.fromkeys(row[column] for row in rows for column in columns))


def _corpus_size(case: Case) -> int:
    return len(set(map(normalise, _corpus(case))))


def judge(case: Case, mined: Mined) -> Judged:
    judged = {}
    for query, texts in mined.items():
        cosines = case.vectors(texts).astype(np.float64) @ case.vectors([query])[0]
        false = [case.answers(query, text) for text in texts]
        judged[case.name, query] = list(zip(cosines.tolist(), false, strict=True))
    return judged


def figures(judged: Judged, wanted: int, negatives: int) -> Figures:
    every = [each for row in judged.values() for each in row]
    wrong = [cosine for cosine, false in every if not false]
    spoilt = sum(any(false for _, false in row) for row in judged.values())
    full = sum(len(row) == negatives for row in judged.values())
    return Figures(
        100 * len(wrong) / max(len(every), 1),
        100 * spoilt / max(len(judged), 1),
        statistics.fmean(wrong) if wrong else float("nan"),
        100 * full / wanted,
    )


def harder(left: Judged, right: Judged) -> float:
    """Mean difference of cosine over the rows of both, each row's hardest truly wrong negatives
    compared one by one, as many as both have: a false negative of one side is no gain of its,
    and what the other side found in its place is no loss."""
    differences: list[float] = []
    for row in left.keys() & right.keys():
        a, b = (sorted(-c for c, false in side[row] if not false) for side in (left, right))
        differences += [theirs - own for own, theirs in zip(a, b, strict=False)]
    return math.fsum(differences) / max(len(differences), 1)


def table(cases: Sequence[Case], settings: Sequence[Setting] = SETTINGS) -> tuple[str, bool]:
    """A Markdown table with a row a setting, and whether medi is nowhere worse."""
    rows = [compare(cases, setting) for setting in settings]
    head = (
        "| setting | precision % | rows with a false one % | hardness | rows filled % "
        "| false % | hardness, like for like | medi is |"
    )
    lines = [head, "|---" * 8 + "|", *(row for row, _ in rows)]
    return "\n".join(lines), all(fine for _, fine in rows)


def compare(cases: Sequence[Case], setting: Setting) -> tuple[str, bool]:
    negatives = setting.ours.get("negatives", 4)
    wanted = sum(case.pairs.num_rows for case in cases)
    draws = [_judged(ours, cases, setting, seed) for seed in range(setting.draws)]
    left = [figures(each, wanted, negatives) for each in draws]
    if setting.peer is None:
        return _line(setting, left, None, ["", "", "alone"]), True
    others = [_judged(peer, cases, setting, seed) for seed in range(setting.draws)]
    right = [figures(each, wanted, negatives) for each in others]
    false, noise = _mean([b.precision - a.precision for a, b in zip(left, right, strict=True)])
    hard, blur = _mean([harder(a, b) for a, b in zip(draws, others, strict=True)])
    fine = false <= noise + 1e-9 and hard >= -blur - SCORE_STEP
    shown = [_signed(false, noise, 2), _signed(hard, blur, 4)]
    return _line(setting, left, right, [*shown, "not worse" if fine else "WORSE"]), fine


def _judged(
    miner: Callable[[Case, Setting, int], Mined],
    cases: Sequence[Case],
    setting: Setting,
    seed: int,
) -> Judged:
    return {
        row: found
        for case in cases
        for row, found in judge(case, miner(case, setting, seed)).items()
    }


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """And two standard errors of it, 0 for a single value."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return statistics.fmean(values), 2 * error


def _signed(value: float, noise: float, digits: int) -> str:
    shown = f"{round(value, digits) + 0.0:+.{digits}f}"  # + 0.0: no "-0.00"
    return f"{shown} ± {noise:.{digits}f}" if noise else shown


def _line(
    setting: Setting,
    left: Sequence[Figures],
    right: Sequence[Figures] | None,
    differences: Sequence[str],
) -> str:
    cells = [setting.name]
    for name, digits in (("precision", 2), ("spoilt", 2), ("hardness", 4), ("filled", 1)):
        sides = [left] if right is None else [left, right]
        means = [statistics.fmean(getattr(each, name) for each in side) for side in sides]
        cells.append(" / ".join(f"{mean:.{digits}f}" for mean in means))
    return f"| {' | '.join([*cells, *differences])} |"


def report(small: bool, squad: Path, encoder: str) -> tuple[str, bool]:
    """What the program prints, and whether medi is nowhere worse."""
    most, seeds, questions = (4, (1,), 200) if small else (None, (0, 1), None)
    sample = [case for seed in seeds for case in sample_cases(seed, most)]
    groups = {"sample world": ("the miner that comes with it", sample)}
    if squad.is_file():
        groups["SQuAD"] = (Path(encoder).name, [squad_case(squad, encoder, questions)])
    parts, fine = [_heading(small)], True
    for name, (miner, cases) in groups.items():
        found, good = table(cases)
        rows = sum(case.pairs.num_rows for case in cases)
        parts.append(f"## {name}: {rows} rows, encoder {miner}\n\n{found}")
        fine = fine and good
    if not squad.is_file():
        parts.append(f"SQuAD is left out: no {squad.name} in the folder MEDI_REAL_DATA.")
    return "\n\n".join(parts) + "\n", fine


def _heading(small: bool) -> str:
    versions = [f"{name} {version(name)}" for name in ("torch", "sentence-transformers", "numpy")]
    command = "python -m benchmarks.mining_quality" + (" --small" if small else "")
    return (
        f"`{command}`: {', '.join(versions)}, {platform.machine()}\n\n"
        "Cells are medi / mine_hard_negatives. Hardness is the mean cosine of the query to the\n"
        "truly wrong negatives. The last three columns are medi's figure less the peer's, and a\n"
        "verdict: worse is more false negatives, or less hardness by more than the 0.0001 to\n"
        "which medi rounds scores. Random settings: the mean of 5 draws, and two standard errors."
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="4 datasets and 200 questions")
    parser.add_argument("--encoder", default=str(ENCODER), help="folder or Hub name, for SQuAD")
    parser.add_argument("--squad", type=Path, default=SQUAD, help="a file in SQuAD's layout")
    parser.add_argument("--out", type=Path, help="write the tables here as well")
    asked = parser.parse_args()
    text, fine = report(asked.small, asked.squad, asked.encoder)
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
