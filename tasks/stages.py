"""The four stages of one dataset: read the upstream artifact, call the room, write the files."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artifacts.keys import Spec
from artifacts.location import Location
from artifacts.models import ModelRef
from artifacts.publish import FOLDER, Publication, write_folder
from artifacts.row import LEAKS
from artifacts.shards import medi_table, read_table, write_shards, write_table
from artifacts.store import Artifact, Store
from medi_sources.fetch import fetch as fetch_files
from medi_sources.fetch import local_names
from medi_sources.leaks import without_leaks
from medi_sources.pairs import build_pairs
from medi_sources.window import Window
from mining.device import resolve_device
from mining.encode import SentenceEncoder, load_encoder
from mining.mine import mine as mine_pairs
from mining.options import EncoderOptions
from tasks.config import BuildConfig, pairs_options
from tasks.steps import Setting, Step

# One model at a time on this machine: it uses every core, or the whole GPU.
device = threading.Semaphore(1)


@contextmanager
def encoder_on_device(model: ModelRef, options: EncoderOptions) -> Iterator[SentenceEncoder]:
    """The loaded encoder, for this thread alone."""
    with device:
        yield load_encoder(str(model.folder), options)


def fetch(
    spec: Spec,
    location: Location,
    store: Store,
    mirror: Path | None,
    window: Window | None = None,
) -> tuple[Artifact, bool]:
    """The files of a location, of a source or of an evaluation task."""

    def make(folder: Path) -> Mapping[str, Any]:
        fetch_files(location, folder, mirror, window)
        return {"files": len(location.files)}

    return store.build(spec, make)


def pairs(step: Step, setting: Setting) -> tuple[Artifact, bool]:
    config = setting.config

    def make(folder: Path) -> Mapping[str, Any]:
        raw = step.read(setting.store)
        files = [raw.file(name) for name in local_names(step.source.location)]
        options = pairs_options(step.source, config)
        if step.source.reader.layout == "superni":
            with encoder_on_device(setting.superni_encoder, config.encoding) as encode:
                result = build_pairs(step.source, files, options, encode)
        else:
            result = build_pairs(step.source, files, options, None)
        write_table(result.pairs, folder / "pairs.parquet")
        write_table(result.dropped, folder / "dropped.parquet")
        return result.counts

    return setting.store.build(step.spec, make, _environment(config))


def mine(step: Step, setting: Setting) -> tuple[Artifact, bool]:
    config = setting.config

    def make(folder: Path) -> Mapping[str, Any]:
        table = read_table(step.read(setting.store).file("pairs.parquet"))
        with encoder_on_device(setting.encoder, config.encoding) as encode:
            result = mine_pairs(table, step.source.symmetric, encode, config.mining)
            tokens = {
                side: _spread(encode.token_lengths(result.table.column(side).to_pylist()))
                for side in ("query", "pos")
            }
        write_table(result.table, folder / "mined.parquet")
        write_table(result.dropped, folder / "dropped.parquet")
        return {**result.counts, "tokens": tokens}

    return setting.store.build(step.spec, make, _environment(config))


def shards(step: Step, setting: Setting, raw: Spec) -> tuple[Artifact, bool]:
    """`raw` is the dataset's fetch artifact."""

    def make(folder: Path) -> Mapping[str, Any]:
        mined = read_table(step.read(setting.store).file("mined.parquet"))
        said = step.spoken(setting.store.get(raw), setting.config)
        table = medi_table(mined, step.dataset, *said)
        count = write_shards(table, folder, setting.config.shards)
        return {"rows": table.num_rows, "shards": count}

    return setting.store.build(step.spec, make)


def publish(
    spec: Spec,
    publication: Publication,
    leaks: Spec | None,
    setting: Setting,
) -> tuple[Artifact, bool]:
    """The dataset folder without the shards that are published as they are."""
    config = setting.config

    def make(folder: Path) -> Mapping[str, Any]:
        found = LEAKS.empty_table()
        if leaks is not None:
            found = read_table(setting.store.get(leaks).file("leaks.parquet"))
        if config.decontamination.action == "remove":
            for entry in publication.entries:
                own = found.filter(pc.equal(found.column("dataset"), entry.name))
                if own.num_rows:
                    rows = pa.concat_tables(map(read_table, entry.shards.values()))
                    target = folder / FOLDER / "data" / entry.name
                    write_shards(without_leaks(rows, own), target, config.shards)
        return write_folder(folder, publication, found)

    return setting.store.build(spec, make)


def sample_rows(artifact: Artifact, n: int) -> list[dict[str, Any]]:
    """The first `n` published rows of a shards artifact."""
    table: pa.Table = read_table(artifact.files[0])
    return table.slice(0, n).to_pylist()


def environment_of(device: str, precision: str) -> dict[str, str]:
    """What else than the inputs the numbers may depend on."""
    packages = ("torch", "sentence-transformers", "transformers", "deepspeed", "mteb", "pyarrow")
    return {
        "device": device,
        "precision": precision,
        "machine": platform.machine(),
        **{package: version(package) for package in packages},
    }


def _environment(config: BuildConfig) -> dict[str, str]:
    return environment_of(resolve_device(config.encoding.device).type, config.encoding.precision)


def _spread(counts: Sequence[int]) -> dict[str, float]:
    lengths = np.asarray(counts)
    middle, high = np.percentile(lengths, [50, 95])
    return {"mean": round(float(lengths.mean()), 1), "p50": float(middle), "p95": float(high),
            "max": int(lengths.max())}  # fmt: skip
