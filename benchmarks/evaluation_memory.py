"""Retrieval over corpora of growing size: memory taken, bytes on disk, and what a second run does.

    python -m benchmarks.evaluation_memory                        100,000 and 1,000,000 documents
    python -m benchmarks.evaluation_memory --documents 1000000 --memory-mib 64

Documents are ten invented words each, in an Arrow file that is mapped, not read; queries are eight
words of a document. The encoder has one vector a word. mteb evaluates with SharedEncoder and
StreamedSearch, twice, each time in a process of its own; a third process only makes the files.

Memory is RssAnon of /proc/self/status, sampled every 20 ms: the process's own pages, without those
of mapped files, which the kernel takes back when it needs them. What is told is how far it rises
above its level with libraries, encoder and datasets loaded. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.measure import Figures

ROOT = Path(__file__).resolve().parents[1]
_WORDS = 20_000
_QUERIES = 50  # mteb wants of each a dictionary of 1,000 documents, 100 bytes and more a piece
_ROWS_AT_ONCE = 50_000
_PASSES = ("first", "second")


def main() -> None:
    asked = _arguments()
    if asked.step:
        step = {"write": _write}.get(asked.step, _evaluate)
        figures = step(asked.documents[0], asked)
        (asked.work / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
        return
    _print_header(asked)
    found: dict[int, dict[str, Figures]] = {}
    for documents in asked.documents:
        with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
            _call("write", documents, Path(folder), asked)
            found[documents] = {
                name: _call(name, documents, Path(folder), asked) for name in _PASSES
            }
    _print_table(found)
    grown = [passes["first"]["grown"] for passes in found.values()]
    if len(grown) > 1:
        times = max(found) / min(found)
        print(f"\n{times:.0f} times the documents, {max(grown) / min(grown):.2f} times the memory")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--memory-mib", type=int, default=128, help="the setting that bounds")
    parser.add_argument("--scratch", type=Path, help="folder for files; default: the system's")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _call(step: str, documents: int, work: Path, asked: argparse.Namespace) -> Figures:
    """This program once more, for one step. Its failure is this one's."""
    command = [sys.executable, "-m", "benchmarks.evaluation_memory", "--step", step]
    command += ["--work", str(work), "--documents", str(documents)]
    command += ["--dimension", str(asked.dimension), "--memory-mib", str(asked.memory_mib)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        print(run.stderr, file=sys.stderr)
        sys.exit(f"{step} failed with {documents} documents, exit status {run.returncode}")
    figures: Figures = json.loads((work / "figures.json").read_text(encoding="utf-8"))
    return figures


def _write(documents: int, asked: argparse.Namespace) -> Figures:
    """corpus.arrow, queries.arrow and the encoder."""
    import numpy as np
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = [f"w{i}" for i in range(_WORDS)]
    tokenizer = Tokenizer(
        WordLevel({"[UNK]": 0} | {w: i + 1 for i, w in enumerate(words)}, "[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()
    shape = (_WORDS + 1, asked.dimension)
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    static = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[static], device="cpu").save(str(asked.work / "encoder"))

    chance = random.Random(0)
    schema = pa.schema({"id": pa.string(), "text": pa.string()})
    queries: dict[str, list[str]] = {"id": [], "text": []}
    with pa.OSFile(str(asked.work / "corpus.arrow"), "wb") as file, pa.ipc.new_stream(
        file, schema
    ) as stream:  # fmt: skip
        for start in range(0, documents, _ROWS_AT_ONCE):
            rows = range(start, min(start + _ROWS_AT_ONCE, documents))
            drawn = [chance.choices(words, k=10) for _ in rows]
            columns = {"id": [f"d{i}" for i in rows], "text": [" ".join(text) for text in drawn]}
            stream.write_batch(pa.record_batch(columns, schema))
            for i in range(start, rows.stop, max(1, documents // _QUERIES)):
                queries["id"].append(f"d{i}")
                queries["text"].append(" ".join(drawn[i - start][:8]))
    (asked.work / "queries.json").write_text(json.dumps(queries), encoding="utf-8")
    return {}


def _evaluate(documents: int, asked: argparse.Namespace) -> Figures:
    import mteb
    from datasets import disable_progress_bars
    from mteb.models import SentenceTransformerEncoderWrapper
    from sentence_transformers import SentenceTransformer

    from artifacts.store import Store
    from evaluation.encoder import SharedEncoder
    from evaluation.search import StreamedSearch

    disable_progress_bars()
    model = SentenceTransformer(str(asked.work / "encoder"), device="cpu")
    wrapper = SentenceTransformerEncoderWrapper(model)
    shared = SharedEncoder(wrapper, "static", Store(asked.work / "store"), asked.memory_mib)
    task = _task(asked.work)
    start, cpu = time.perf_counter(), time.process_time()
    with _Watch() as watch:
        outcome = mteb.evaluate(
            StreamedSearch(shared, asked.memory_mib), task, cache=None, co2_tracker=False,
            encode_kwargs={"batch_size": 1024, "show_progress_bar": False}, show_progress_bar=False,
        )  # fmt: skip
    files = [path.stat() for path in (asked.work / "store").rglob("*") if path.is_file()]
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "before": watch.before / 2**10,
        "grown": (watch.peak - watch.before) / 2**10,
        "vectors": documents * asked.dimension * 4 / 2**20,
        "disk": sum(stat.st_size for stat in files) / 2**20,
        "asked": shared.counts.asked,
        "encoded": shared.counts.encoded,
        "score": float(outcome.task_results[0].get_score()),
    }


def _task(work: Path) -> Any:
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class InventedRetrieval(AbsTaskRetrieval):  # type: ignore[misc]
        metadata = TaskMetadata(
            name="InventedRetrieval",
            description="Invented words.",
            dataset={"path": "invented/words", "revision": "1"},
            type="Retrieval",
            category="t2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

    queries = json.loads((work / "queries.json").read_text(encoding="utf-8"))
    task = InventedRetrieval()
    split = {
        "corpus": Dataset.from_file(str(work / "corpus.arrow")),
        "queries": Dataset.from_dict(queries),
        "relevant_docs": {name: {name: 1} for name in queries["id"]},
        "top_ranked": None,
    }
    task.dataset = {"default": {"test": split}}
    task.data_loaded = True
    return task


class _Watch:
    """KiB of anonymous memory before, and at most, while it watches."""

    def __enter__(self) -> _Watch:
        self.before = self.peak = _anonymous_kib()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, _anonymous_kib())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()


def _anonymous_kib() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def _print_header(asked: argparse.Namespace) -> None:
    one_thread = ", one thread" if os.environ.get("OMP_NUM_THREADS") == "1" else ""
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores{one_thread}")
    names = ("torch", "sentence-transformers", "mteb", "datasets")
    print(", ".join(f"{name} {version(name)}" for name in names))
    print(
        f"memory setting {asked.memory_mib} MiB, {asked.dimension} dimensions, "
        f"{_QUERIES} queries, the 1,000 best of each\n"
    )


_ROWS = {
    "grown": ("memory growth, MiB", 0),
    "before": ("memory before, MiB", 0),
    "vectors": ("all vectors, MiB", 0),
    "disk": ("store on disk, MiB", 0),
    "asked": ("texts asked for", 0),
    "encoded": ("texts encoded", 0),
    "cpu": ("CPU, s", 1),
    "seconds": ("wall, s", 1),
    "score": ("nDCG@10", 4),
}


def _print_table(found: Mapping[int, Mapping[str, Figures]]) -> None:
    """A column a run."""
    print(f"{'documents':22}" + "".join(f"{n:>12,}" for n in found for _ in _PASSES))
    print(f"{'run':22}" + "".join(f"{name:>12}" for _ in found for name in _PASSES))
    for key, (title, digits) in _ROWS.items():
        cells = [passes[name][key] for passes in found.values() for name in _PASSES]
        print(f"{title:22}" + "".join(f"{cell:>12,.{digits}f}" for cell in cells))


if __name__ == "__main__":
    main()
