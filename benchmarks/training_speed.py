"""Training beside sentence-transformers' trainer and a loop that pads to 512: time and memory.

    python -m benchmarks.training_speed                     640 rows, 16 a batch, a small T5
    python -m benchmarks.training_speed --small             the same in seconds
    python -m benchmarks.training_speed --device cuda --precision bf16 --shape large

Every contender trains the same random encoder on the same rows in a process of its own, ours
through training.loop.run on one device. "by length" is sentence-transformers with a batch sampler
of one's own that puts rows of like length together; it has no such option itself. Tokens are
counted at the encoder and steps at the optimizer, so padding is what was computed, not planned.
The loop that pads does fewer steps, as all of its steps cost the same.

Losses: ours "paper", which is twice MultipleNegativesRankingLoss(directions=("query_to_doc",
"doc_to_query"), partition_mode="per_direction"), sentence-transformers' one; "released" in the
loop. Rows are real where the folder MEDI_REAL_DATA is, else of the sample world. A ratio above 1
is for us. On a machine that does other work as well, trust the CPU time, with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MEDI_REAL_DATA", ROOT.parent / "shared" / "data"))

CONTENDERS = ("medi", "sentence-transf.", "by length", "padded")
LOSS = "paper"
_SIZES = {
    "cpu": {"rows": 640, "rows_a_batch": 16, "warmup_steps": 0, "padded_steps": 4},
    "cuda": {"rows": 6400, "rows_a_batch": 64, "warmup_steps": 20, "padded_steps": 20},
}
_SMALL = {"rows": 48, "rows_a_batch": 8, "shape": "tiny", "warmup_steps": 0, "padded_steps": 1}


def main() -> None:
    asked = _arguments()
    if asked.contender:
        figures = _contend(asked.contender, asked.work)
        (asked.work / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        settings = {name: x for name, x in vars(asked).items() if name not in ("contender", "work")}
        (work / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        rows = _call("rows", work)
        if rows is None:
            sys.exit(1)
        _print_header(asked, rows)
        called = {name: _call(name, work) for name in asked.contenders}
    figures = {name: found for name, found in called.items() if found is not None}
    if figures:
        _print_table(figures, asked)
    sys.exit(len(figures) < len(called))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rows", type=int, help="default: 640, with cuda 6,400")
    parser.add_argument("--rows-a-batch", type=int, help="default: 16, with cuda 64")
    parser.add_argument("--warmup-steps", type=int, help="not measured; default: 0, with cuda 20")
    parser.add_argument("--padded-steps", type=int, help="default: 4, with cuda 20")
    parser.add_argument(
        "--shape", choices=("tiny", "mini", "small", "base", "large", "xl"), default="mini",
        help="of the random T5",
    )  # fmt: skip
    parser.add_argument("--encoder", help="folder or Hub name, in place of a random T5")
    parser.add_argument(
        "--attention", choices=("sdpa", "flex_attention", "eager"), default="sdpa",
        help="of all; flex_attention knows no dropout",
    )  # fmt: skip
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--chunk-tokens", type=int, help="of ours; default: its own")
    parser.add_argument(
        "--peak-tflops", type=float, default=790, help="of the GPU, for its utilisation"
    )
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--small", action="store_true", help="48 rows, a tiny T5")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if (asked.attention, asked.device) == ("flex_attention", "cpu"):
        parser.error("--attention flex_attention has no backward pass on a CPU: add --device cuda")
    for name, size in (_SMALL if asked.small else _SIZES[asked.device]).items():
        if asked.small or getattr(asked, name) is None:
            setattr(asked, name, size)
    return asked


def _call(contender: str, work: Path) -> Figures | None:
    """This program once more, for one contender; what it found out, or None where it failed.

    One that needs more memory than there is leaves the others their figures.
    """
    command = [sys.executable, "-m", "benchmarks.training_speed"]
    command += ["--contender", contender, "--work", str(work)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        print(f"{contender} failed, exit status {run.returncode}:\n{run.stderr}", file=sys.stderr)
        return None
    figures: Figures = json.loads((work / "figures.json").read_text(encoding="utf-8"))
    return figures


def _contend(contender: str, work: Path) -> Figures:
    settings = json.loads((work / "settings.json").read_text(encoding="utf-8"))
    asked = argparse.Namespace(**settings)
    if contender == "rows":
        return _rows(asked, work)
    encoder = asked.encoder or str(work / "encoder")
    if contender == "medi":
        return _ours(asked, encoder, work)
    return _peer(contender, asked, encoder, work)


def _rows(asked: argparse.Namespace, work: Path) -> Figures:
    from benchmarks.training_rows import tokenizer_at_hand, write_encoder, write_medi

    found = write_medi(work / "medi", DATA, asked.rows, asked.rows_a_batch)
    if not asked.encoder:
        tokenizer = tokenizer_at_hand(work, DATA)
        found["tokenizer"] = tokenizer.name
        write_encoder(work, tokenizer, asked.shape)
    return found


def _steps(asked: argparse.Namespace, work: Path) -> int:
    """Warm-up, then every row once in one-dataset batches."""
    from benchmarks.training_rows import read_medi

    sizes = [len(columns["query"]) for columns in read_medi(work / "medi").values()]
    return int(asked.warmup_steps + sum(-(-size // asked.rows_a_batch) for size in sizes))


def _ours(asked: argparse.Namespace, encoder: str, work: Path) -> Figures:
    _alone(asked.device)
    from unittest.mock import patch

    from artifacts.store import Store
    from benchmarks import training_peers as peers
    from benchmarks.training_meter import Meter
    from training.encoder import load_parts
    from training.loop import run
    from training.options import TrainingJob, TrainingOptions
    from training.prepare import prepare

    steps = _steps(asked, work)
    options = TrainingOptions(
        steps=steps,
        batch_rows=asked.rows_a_batch,
        loss=LOSS,
        precision=asked.precision,
        device=asked.device,
        log_every=steps,
        **({"chunk_tokens": asked.chunk_tokens} if asked.chunk_tokens else {}),
    )
    start = time.perf_counter()
    tokens, plan = prepare(work / "medi", encoder, options, Store(work / "store"), 1)
    prepared = time.perf_counter() - start
    job = TrainingJob(
        medi=work / "medi", tokens=tokens, plan=plan, encoder=encoder,
        out=work / "model", work=work / "run", options=options,
    )  # fmt: skip
    job.work.mkdir()
    meter = Meter(asked.device, asked.warmup_steps, steps, texts_a_row=3)

    def load(*given: Any) -> Any:
        parts = load_parts(*given)
        peers.set_attention(parts[0].model, asked.attention)
        meter.watch(parts[0].model)
        return parts

    with patch("training.loop.load_parts", load):
        run(job)
    return {**_with_flops(meter.figures(), load_parts(encoder, 512)), "prepared": prepared}


def _alone(device: str) -> None:
    """The one process of a group, as the launcher would start it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "DS_ACCELERATOR": device}


def _peer(contender: str, asked: argparse.Namespace, encoder: str, work: Path) -> Figures:
    from benchmarks import training_peers as peers
    from benchmarks.training_meter import Meter
    from benchmarks.training_rows import read_medi

    rows = read_medi(work / "medi")
    model = peers.load_encoder(encoder, asked.device, asked.attention)
    padded = contender == "padded"
    steps = asked.warmup_steps + asked.padded_steps if padded else _steps(asked, work)
    meter = Meter(asked.device, asked.warmup_steps, steps, texts_a_row=3)
    size = {"batch_rows": asked.rows_a_batch, "steps": steps, "precision": asked.precision}
    if padded:
        peers.train_padded(rows, model, meter, **size)
    else:
        by_length = contender == "by length"
        peers.train_sentence_transformers(rows, model, meter, work, by_length=by_length, **size)
    return _with_flops(meter.figures(), model)


def _with_flops(figures: Figures, parts: Any) -> Figures:
    """TFLOP/s the model needs for the real tokens; the backward pass is two forward passes."""
    from training.encoder import encoder_of, flops_per_token

    flops = 3 * flops_per_token(encoder_of(parts), figures["length"])
    return {**figures, "tflops": flops * figures["tokens_a_second"] / 1e12}


def _print_header(asked: argparse.Namespace, rows: Figures) -> None:
    names = ("torch", "transformers", "sentence-transformers", "deepspeed")
    one_thread = ", one thread" if os.environ.get("OMP_NUM_THREADS") == "1" else ""
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores{one_thread}, "
        f"{_device_name(asked.device)}"
    )
    print(", ".join(f"{name} {version(name)}" for name in names))
    print(f"{rows['source']}: {rows['rows']:,} rows of {rows['datasets']} datasets")
    encoder = asked.encoder or f"random T5 of shape {asked.shape}, {rows['tokenizer']}"
    chunk = f", chunks of {asked.chunk_tokens} tokens in ours" if asked.chunk_tokens else ""
    print(f"encoder: {encoder}; {asked.attention}, {asked.precision}")
    print(f"{asked.rows_a_batch} rows a batch, loss {LOSS!r}{chunk}, no warm-up step measured\n")


def _device_name(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    return torch.cuda.get_device_name()


_RATES = {
    "rows_a_second": ("rows/s", 2),
    "tokens_a_second": ("real tokens/s", 0),
    "efficiency": ("real / computed", 3),
}
_COSTS = {
    "cpu_a_row": ("CPU ms a row", 1),
    "peak": ("peak memory, MiB", 0),
    "training": ("of it by training", 0),
    "gpu": ("GPU memory, MiB", 0),
}
_COUNTS = {"steps": ("steps", 0), "rows": ("rows", 0)}


def _print_table(figures: Mapping[str, Figures], asked: argparse.Namespace) -> None:
    """A ratio is ours by the peer's for a rate, the peer's by ours for a cost."""
    first = next(iter(figures))
    print(" " * 20 + "".join(f"{name:>18}" for name in figures) + f"   ratio to {first}")
    for key, (title, digits) in {**_RATES, **_COSTS, **_COUNTS}.items():
        cells = [found[key] for found in figures.values()]
        if None in cells:
            continue
        shown = "".join(f"{cell:>18,.{digits}f}" for cell in cells)
        ratios = [_ratio(key, cells[0], cell) for cell in cells[1:]]
        print(f"{title:20}{shown}   " + ("" if key in _COUNTS else ", ".join(ratios)))
    if asked.device == "cuda":
        used = [found["tflops"] / asked.peak_tflops for found in figures.values()]
        title = "FLOP utilisation"
        print(f"{title:20}" + "".join(f"{share:>18.1%}" for share in used))
        print(f"\nutilisation: model FLOPs of the real tokens, of {asked.peak_tflops:,.0f} TFLOP/s")
    if "medi" in figures:
        print(f"\ntokens and batch plan of medi, made once: {figures['medi']['prepared']:.1f} s")


def _ratio(key: str, ours: float, peer: float) -> str:
    over, under = (ours, peer) if key in _RATES else (peer, ours)
    return f"{over / under:.2f}" if under else ""


if __name__ == "__main__":
    main()
