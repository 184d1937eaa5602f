"""Evaluation beside plain mteb.evaluate, the same tasks and encoder: scores, CPU time, texts.

    python -m benchmarks.evaluation_speed             all-MiniLM-L6-v2 where it is, half an hour
    python -m benchmarks.evaluation_speed --small     a tiny random encoder, a minute

Three groups of tasks:

    sts      STS12 to STS15 and STSBenchmark, of which some share sentences
    corpus   four retrieval tasks over one corpus, SQuAD's paragraphs, as CQADupstack's parts would
             be if they had one
    others   classification, clustering and retrieval that share no text

Each contender is a process of its own: mteb with its SentenceTransformer wrapper, ours with an
empty store for each group, and ours again with the stores that were left. Loading libraries, model
and data is not measured. Real files and encoder where the folder MEDI_REAL_DATA is, else those of
the sample world. A ratio above 1 is for us. On a machine that does other work as well, trust the
CPU time, with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MEDI_REAL_DATA", ROOT.parent / "shared" / "data"))

CONTENDERS = ("mteb", "medi", "again")
RECURRING = ("sts", "corpus")
PARTS = 4
_REAL = {
    "sts": tuple(f"{name}-github" for name in ("STS12", "STS13", "STS14", "STS15", "STSBenchmark")),
    "corpus": ("SQuADParagraphRetrieval",),
    "others": ("TRECQuestionClassification", "MiniNewsgroupsClustering", "SQuADParagraphRetrieval"),
}
_SAMPLE = {
    "sts": ("SampleSTS",),
    "corpus": ("SampleRetrieval",),
    "others": ("SampleClassification", "SampleClustering", "SampleRetrieval"),
}
# Where the real data folder has the files of a repository.
_FOLDERS = {
    "github.com/brmson/dataset-sts/data/sts/semeval-sts": "eval/sts",
    "github.com/PhilipMay/stsb-multi-mt/data": "eval/stsb",
    "github.com/architrathore/QueClassifier/data": "eval/trec_qc",
    "github.com/google-deepmind/xquad": "train/squad_xquad",
    "archive.ics.uci.edu/ml/machine-learning-databases/20newsgroups-mld": "eval/newsgroups",
}
# Test rows of a task at most; to sample pairs would be to lose the sentences they share.
_ROWS = {"sts": None, "corpus": None, "others": 500}
_SMALL = {"sts": 150, "corpus": 60, "others": 60}
_SAME = 1e-4


def main() -> None:
    asked = _arguments()
    if asked.contender:
        figures = _contend(asked)
        (asked.work / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        asked.work = Path(folder)
        _prepare(asked)
        _print_header(asked)
        runs = []
        for number in range(asked.rounds):
            asked.round = number
            runs.append({name: _call(name, asked) for name in CONTENDERS})
    figures = {name: _least([run[name] for run in runs]) for name in CONTENDERS}
    _print_table(figures)
    furthest = max(_furthest(run) for run in runs)
    print(f"\nlargest difference of a main score: {furthest:.1e} (bar {_SAME:.0e})")
    _print_bars(figures)
    sys.exit(furthest > _SAME)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--encoder", help="folder of a sentence-transformers model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory-mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=1, help="of which the least times are told")
    parser.add_argument("--round", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _call(contender: str, asked: argparse.Namespace) -> Figures:
    """This program once more, for one contender. Its failure is this one's."""
    command = [sys.executable, "-m", "benchmarks.evaluation_speed", "--contender", contender]
    command += ["--work", str(asked.work), "--encoder", asked.encoder, "--device", asked.device]
    command += ["--memory-mib", str(asked.memory_mib), "--round", str(asked.round)]
    command += ["--small"] if asked.small else []
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        print(run.stderr, file=sys.stderr)
        sys.exit(f"{contender} failed, exit status {run.returncode}")
    figures: Figures = json.loads((asked.work / "figures.json").read_text(encoding="utf-8"))
    return figures


def _prepare(asked: argparse.Namespace) -> None:
    """The sample world where the real data is not, and an encoder where none was given."""
    from benchmarks.training_rows import tokenizer_at_hand, write_encoder
    from medi_sources.sample import write_sample

    if not _real():
        write_sample([], asked.work / "world")
    real = DATA.parent / "models" / "all-MiniLM-L6-v2-fp16"
    if not asked.encoder and real.is_dir() and not asked.small:
        asked.encoder = str(real)
    elif not asked.encoder:
        asked.encoder = str(write_encoder(asked.work, tokenizer_at_hand(asked.work, DATA), "tiny"))


def _real() -> bool:
    return (DATA / "eval").is_dir()


def _contend(asked: argparse.Namespace) -> Figures:
    from datasets import disable_progress_bars
    from mteb.models import SentenceTransformerEncoderWrapper
    from sentence_transformers import SentenceTransformer

    disable_progress_bars()
    loaded = SentenceTransformer(asked.encoder, device=asked.device).float()
    wrapper = SentenceTransformerEncoderWrapper(loaded)
    return {group: _measure(wrapper, group, asked) for group in _REAL}


def _measure(wrapper: Any, group: str, asked: argparse.Namespace) -> Figures:
    import mteb

    from artifacts.store import Store
    from evaluation.encoder import SharedEncoder
    from evaluation.search import StreamedSearch

    store = Store(asked.work / f"{group}-{asked.round}")
    shared = SharedEncoder(wrapper, "encoder", store, asked.memory_mib)
    plain = asked.contender == "mteb"
    model = wrapper if plain else StreamedSearch(shared, asked.memory_mib)
    clock = _EncodingClock(wrapper if plain else shared)
    tasks = _tasks(group, asked)
    start, cpu = time.perf_counter(), time.process_time()
    outcome = mteb.evaluate(
        model, tasks, cache=None, co2_tracker=False, show_progress_bar=False,
        encode_kwargs={"batch_size": 32, "show_progress_bar": False},
    )  # fmt: skip
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - start,
        "encoding": clock.seconds,
        "asked": shared.counts.asked,
        "encoded": shared.counts.encoded,
        "scores": {each.task_name: float(each.get_score()) for each in outcome.task_results},
    }


class _EncodingClock:
    """CPU seconds spent in an encoder's `encode`, lookups and files among them."""

    def __init__(self, encoder: Any) -> None:
        self.seconds = 0.0
        self._encode = type(encoder).encode.__get__(encoder)
        encoder.encode = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        vectors = self._encode(*args, **kwargs)
        self.seconds += time.process_time() - start
        return vectors


def _tasks(group: str, asked: argparse.Namespace) -> list[Any]:
    from evaluation.catalog import load_catalog
    from evaluation.records import EvaluationOptions
    from evaluation.tasks import build_task

    catalog = load_catalog()
    options = EvaluationOptions(max_texts=(_SMALL if asked.small else _ROWS)[group])
    built = []
    for name in (_REAL if _real() else _SAMPLE)[group]:
        record = catalog[name]
        assert record.location is not None
        files = [_file(record.location.mirror_path(file), asked) for file in record.location.files]
        if group == "corpus":
            parts = [record.model_copy(update={"name": f"{name}{i}"}) for i in range(PARTS)]
            built += [_part(build_task(part, files, options), i) for i, part in enumerate(parts)]
        else:
            built.append(build_task(record, files, options))
    return built


def _file(mirror_path: str, asked: argparse.Namespace) -> Path:
    if not _real():
        return Path(asked.work / "world" / "mirror" / mirror_path)
    prefix = next(prefix for prefix in _FOLDERS if mirror_path.startswith(prefix + "/"))
    return DATA / _FOLDERS[prefix] / mirror_path.removeprefix(prefix + "/")


def _part(task: Any, part: int) -> Any:
    """The whole corpus, and every so-many-th of the queries."""
    data = task.dataset["default"]["test"]
    data["queries"] = data["queries"].select(range(part, len(data["queries"]), PARTS))
    kept = set(data["queries"]["id"])
    data["relevant_docs"] = {q: docs for q, docs in data["relevant_docs"].items() if q in kept}
    return task


def _least(runs: Sequence[Figures]) -> Figures:
    """Group -> its figures of the first run, with the least time of all."""
    clocks = ("cpu", "wall", "encoding")
    return {
        group: each | {clock: min(run[group][clock] for run in runs) for clock in clocks}
        for group, each in runs[0].items()
    }


def _furthest(figures: Mapping[str, Figures]) -> float:
    peer = figures["mteb"]
    return max(
        float(abs(score - peer[group]["scores"][task]))
        for found in figures.values()
        for group, each in found.items()
        for task, score in each["scores"].items()
    )


def _print_header(asked: argparse.Namespace) -> None:
    one_thread = ", one thread" if os.environ.get("OMP_NUM_THREADS") == "1" else ""
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores{one_thread}, "
        f"{asked.device}"
    )
    names = ("torch", "sentence-transformers", "mteb")
    print(", ".join(f"{name} {version(name)}" for name in names))
    name = "tiny random T5" if Path(asked.encoder).parent == asked.work else asked.encoder
    print(f"{'real files' if _real() else 'sample world'}; encoder: {Path(name).name}\n")


def _print_table(figures: Mapping[str, Figures]) -> None:
    """CPU seconds; in brackets what of them is encoding, the rest being mteb's own scoring."""
    print(f"{'CPU, s (encoding)':20}" + "".join(f"{group:>18}" for group in _REAL))
    for name in CONTENDERS:
        cells = [f"{each['cpu']:,.1f} ({each['encoding']:,.1f})" for each in figures[name].values()]
        print(f"{name:20}" + "".join(f"{cell:>18}" for cell in cells))
    peer, ours, again = (figures[name] for name in CONTENDERS)
    rows = {
        "texts asked for": [f"{ours[group]['asked']:,}" for group in _REAL],
        "texts encoded": [f"{ours[group]['encoded']:,}" for group in _REAL],
        "and again": [f"{again[group]['encoded']:,}" for group in _REAL],
        "CPU, mteb / medi": [f"{peer[group]['cpu'] / ours[group]['cpu']:.2f}" for group in _REAL],
        "wall, mteb / medi": [
            f"{peer[group]['wall'] / ours[group]['wall']:.2f}" for group in _REAL
        ],
    }
    for title, cells in rows.items():
        print(f"{title:20}" + "".join(f"{cell:>18}" for cell in cells))


def _print_bars(figures: Mapping[str, Figures]) -> None:
    def cpu(contender: str, *groups: str, key: str = "cpu") -> float:
        return sum(float(figures[contender][group][key]) for group in groups)

    recurring = cpu("mteb", *RECURRING) / cpu("medi", *RECURRING)
    others = cpu("mteb", "others") / cpu("medi", "others")
    encoding = cpu("again", *_REAL, key="encoding") / cpu("medi", *_REAL, key="encoding")
    print(f"CPU time where texts recur (sts and corpus): {recurring:.2f} (bar 1.5)")
    print(f"CPU time elsewhere (others): {others:.2f} (bar 0.95)")
    print(f"encoding again, all found, of the first time: {encoding:.1%} (bar 5%)")


if __name__ == "__main__":
    main()
