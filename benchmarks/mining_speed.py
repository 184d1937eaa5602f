"""Mining beside sentence_transformers.util.mine_hard_negatives: time, peak memory, search rate.

    python -m benchmarks.mining_speed                     10,000 queries, 50,000 documents
    python -m benchmarks.mining_speed --small             the same in seconds
    python -m benchmarks.mining_speed --device cuda --encoder sentence-transformers/gtr-t5-large

Every contender mines the same rows with the same encoder in a process of its own, the peer with
faiss too where it can be imported. Rows are real where the folder MEDI_REAL_DATA is, else of the
sample world. A ratio is the peer's figure by ours: above 1, ours takes less. On a machine that
does other work as well, trust the CPU time, with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Clock, Figures, product_rate

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MEDI_REAL_DATA", ROOT.parent / "shared" / "data"))
REAL_ENCODER = DATA.parent / "models" / "all-MiniLM-L6-v2-fp16"

NEGATIVES, CANDIDATES, MARGIN, MAX_TOKENS = 4, 64, 0.95, 128

Row = dict[str, Any]


def main() -> None:
    asked = _arguments()
    if asked.contender:
        _contend(asked)
        return
    with tempfile.TemporaryDirectory() as folder:
        asked.work = Path(folder)
        _print_header(asked, _call(asked, "rows"))
        figures = {name: _call(asked, name) for name in _contenders()}
    _print_table(figures)
    _print_search(figures["medi"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument(
        "--encoder", help="folder or Hub name; default: a small one that is at hand"
    )
    parser.add_argument("--memory-mib", type=int, default=128, help="of our search")
    parser.add_argument("--batch-tokens", type=int, help="of our encoder; default: its own")
    parser.add_argument("--small", action="store_true", help="300 queries, 1,500 documents")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.small:
        asked.queries, asked.documents = 300, 1500
    return asked


def _contenders() -> list[str]:
    return ["medi", "peer", "peer, faiss"] if _has_faiss() else ["medi", "peer"]


def _has_faiss() -> bool:
    return importlib.util.find_spec("faiss") is not None


def _call(asked: argparse.Namespace, contender: str) -> Figures:
    """This program once more, for one contender; what it found out."""
    options = {name: value for name, value in vars(asked).items() if value and name != "small"}
    command = [sys.executable, "-m", "benchmarks.mining_speed"]
    for name, value in {**options, "contender": contender}.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{contender} failed:\n{run.stderr}")
    figures: Figures = json.loads((asked.work / "figures.json").read_text())
    return figures


def _contend(asked: argparse.Namespace) -> None:
    if asked.contender == "rows":
        from benchmarks.mining_rows import write_rows

        figures = write_rows(asked.work, DATA, asked.queries, asked.documents)
        figures["encoder"] = asked.encoder or _encoder_at_hand(asked.work)
    else:
        rows = json.loads((asked.work / "rows.json").read_text())
        encoder = asked.encoder or _encoder_at_hand(asked.work)
        if asked.contender == "medi":
            figures = _ours(rows, encoder, asked)
        else:
            figures = _peer(rows, encoder, asked.device, use_faiss="faiss" in asked.contender)
    (asked.work / "figures.json").write_text(json.dumps(figures))


def _encoder_at_hand(work: Path) -> str:
    from benchmarks.mining_rows import write_sample_encoder

    return str(REAL_ENCODER if REAL_ENCODER.is_dir() else write_sample_encoder(work / "encoder"))


def _ours(rows: Sequence[Row], encoder: str, asked: argparse.Namespace) -> Figures:
    from unittest.mock import patch

    from artifacts.models import resolve_model
    from artifacts.store import Store
    from mining.embeddings import StoredVectors, embed
    from mining.encode import load_encoder
    from mining.mine import mine, texts_of
    from mining.options import EncoderOptions, MiningOptions
    from mining.search import top_k

    options = MiningOptions(
        negatives=NEGATIVES,
        candidates=CANDIDATES,
        margin=MARGIN,
        native="replace",
        too_few="drop",
        memory_mib=asked.memory_mib,
        device=asked.device,
    )
    encoding = EncoderOptions(max_tokens=MAX_TOKENS, device=asked.device)
    if asked.batch_tokens:
        encoding = encoding.model_copy(update={"batch_tokens": asked.batch_tokens})
    model, store = resolve_model(encoder, None), Store(asked.work / "store")
    load_encoder(model.folder, encoding)  # as the peer's is
    pairs, clock = _pairs(rows), Clock(asked.device)
    searched: list[tuple[int, int, int]] = []
    timed_search = clock.timed("search", top_k)

    def search(queries: Any, documents: Any, *rest: Any) -> Any:
        searched.append((*queries.shape, len(documents)))
        return timed_search(queries, documents, *rest)

    def mined() -> Any:
        stored = clock.timed("encode", embed)(
            store, "benchmark", model, encoding, texts_of(pairs), {}
        )
        return mine(pairs, False, StoredVectors([stored]).rows, options)

    with patch("mining.corpus.top_k", search):
        result = clock.timed("whole", mined)()
    figures = {**clock.figures(), "rows": result.table.num_rows}
    figures["select"] = figures["whole"] - figures["encode"] - figures["search"]
    return {**figures, **product_rate(searched[0], asked.device)}


def _pairs(rows: Sequence[Row]) -> Any:
    """Documents that are no positive stand as negatives of the rows, all of them to be replaced."""
    import pyarrow as pa

    from artifacts.row import PAIRS

    columns = {
        "row_id": range(len(rows)),
        "query": [row["query"] for row in rows],
        "pos": [row["pos"] for row in rows],
        "known_pos": [[row["pos"]] for row in rows],
        "neg": [row["others"] for row in rows],
        "negatives": ["native"] * len(rows),
    }
    return pa.table({name: pa.array(column) for name, column in columns.items()}, schema=PAIRS)


def _peer(rows: Sequence[Row], encoder: str, device: str, use_faiss: bool) -> Figures:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    model = SentenceTransformer(encoder, device=device).float()
    model.max_seq_length = MAX_TOKENS
    pairs = Dataset.from_dict({name: [row[name] for row in rows] for name in ("query", "pos")})
    documents = [text for row in rows for text in (row["pos"], *row["others"])]
    clock = Clock(device)
    model.encode_document = clock.timed("encode", model.encode_document)
    model.encode_query = clock.timed("encode", model.encode_query)
    mined = clock.timed("whole", mine_hard_negatives)(
        pairs,
        model,
        corpus=documents,
        range_max=CANDIDATES,
        relative_margin=1 - MARGIN,
        num_negatives=NEGATIVES,
        output_format="n-tuple",
        output_scores=True,
        use_faiss=use_faiss,
        verbose=False,
    )
    return {**clock.figures(), "rows": len(mined)}


def _print_header(asked: argparse.Namespace, rows: Figures) -> None:
    import platform
    from importlib.metadata import version

    threads, names = os.cpu_count(), ("torch", "sentence-transformers", "faiss-cpu")
    versions = [f"{name} {version(name)}" for name in names if name != "faiss-cpu" or _has_faiss()]
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {threads} cores, {asked.device}"
        f"{', one thread' if os.environ.get('OMP_NUM_THREADS') == '1' else ''}"
    )
    print(", ".join(versions))
    print(
        f"{rows['source']}: {rows['queries']:,} queries ({rows['distinct_queries']:,} distinct), "
        f"{rows['documents']:,} documents ({rows['distinct_documents']:,} distinct)"
    )
    batches = f", batches of {asked.batch_tokens} in ours" if asked.batch_tokens else ""
    print(f"encoder {Path(rows['encoder']).name}, {MAX_TOKENS} tokens{batches}")
    print(
        f"{NEGATIVES} negatives a row, of {CANDIDATES} candidates below {MARGIN} x the positive\n"
    )


_LINES = {
    "encode": "encode, s",
    "search": "search, s",
    "select": "select, s",
    "whole": "whole, s",
    "cpu": "CPU time, s",
    "peak": "peak memory, MiB",
    "mining": "of it by mining, MiB",
    "gpu": "GPU memory, MiB",
    "rows": "rows mined",
}


def _print_table(figures: dict[str, Figures]) -> None:
    names = list(figures)
    print(" " * 22 + "".join(f"{name:>14}" for name in names) + "   peer / medi")
    for key, title in _LINES.items():
        cells = [figures[name].get(key) for name in names]
        if cells[0] is None:
            continue
        shown = "".join(f"{'' if cell is None else f'{cell:,.1f}':>14}" for cell in cells)
        line = [f"{cell / cells[0]:.2f}" for cell in cells[1:] if cell is not None and cells[0]]
        print(f"{title:22}{shown}   " + ("" if key == "rows" else ", ".join(line)))


def _print_search(ours: Figures) -> None:
    rate = ours["gflop"] / ours["search"]
    print(
        f"\nsearch: {rate:,.1f} GFLOP/s, {rate / ours['product_rate']:.2f} of the "
        f"{ours['product_rate']:,.0f} GFLOP/s of torch.mm in fp32 on the same shapes"
    )


if __name__ == "__main__":
    main()
