"""The four stages of one dataset: read the upstream artifact, call the room, write the files."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from artifacts.encoder import Vectors
from artifacts.errors import DatasetError
from artifacts.keys import Spec
from artifacts.location import Location
from artifacts.models import ModelRef
from artifacts.publication import FOLDER, Publication
from artifacts.publish import write_folder
from artifacts.row import LEAKS
from artifacts.shards import medi_table, read_table, write_shards, write_table
from artifacts.store import Artifact, Store
from medi_sources.fetch import fetch as fetch_files
from medi_sources.fetch import local_names
from medi_sources.leaks import without_leaks
from medi_sources.pairs import PairsResult, build_pairs
from medi_sources.records import Source
from medi_sources.window import Window
from mining.embeddings import StoredVectors, embed, find_embeddings
from tasks.config import BuildConfig, pairs_options
from tasks.steps import Setting, Step

if TYPE_CHECKING:
    from mining.pick import Veto

# One model at a time on this machine: it uses every core, or the whole GPU. Who waits for
# embeddings that another process makes holds it, and never the other way round.
device = threading.Semaphore(1)


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
    def make(folder: Path) -> Mapping[str, Any]:
        raw = step.read(setting.store).folder
        with device if step.source.reader.layout == "superni" else nullcontext():
            result, keys = _paired(step.source, raw, setting)
        write_table(result.pairs, folder / "pairs.parquet")
        write_table(result.dropped, folder / "dropped.parquet")
        return {**result.counts, **({"embeddings": keys} if keys else {})}

    return setting.store.build(step.spec, make, _environment(setting.config))


def _paired(source: Source, raw: Path, setting: Setting) -> tuple[PairsResult, list[str]]:
    """`raw` is the folder of the fetch artifact. Also the keys of the embeddings it took."""
    keys: list[str] = []

    def encode(texts: Sequence[str]) -> Vectors:
        vectors = _embedded(texts, setting.superni_encoder, source.name, setting)
        keys.extend(vectors.keys)
        return vectors(texts)

    files = [raw / name for name in local_names(source.location)]
    return build_pairs(source, files, pairs_options(source, setting.config), encode), keys


def mine(step: Step, setting: Setting) -> tuple[Artifact, bool]:
    """Raises DatasetError where no row finds a negative."""
    config = setting.config

    def make(folder: Path) -> Mapping[str, Any]:
        from mining.mine import mine as mine_pairs  # torch: seconds, for what is mostly found

        source = step.read(setting.store)
        table = read_table(source.file("pairs.parquet"))
        with device:
            vectors = _vectors_of(table, source, step, setting)
            veto = _veto(setting)
            result = mine_pairs(table, step.source.symmetric, vectors.rows, config.mining, veto)
        if not result.table.num_rows:
            reasons = ", ".join(f"{reason} {n}" for reason, n in result.counts["dropped"].items())
            raise DatasetError(
                f"{step.dataset}: none of {table.num_rows} rows has a negative ({reasons}): its "
                f"texts are too few or too alike for the options of mining"
            )
        write_table(result.table, folder / "mined.parquet")
        write_table(result.dropped, folder / "dropped.parquet")
        write_table(result.random, folder / "random.parquet")
        texts = {side: result.table.column(side).to_pylist() for side in ("query", "pos")}
        tokens = {side: _spread(vectors.tokens(column)) for side, column in texts.items()}
        return {**result.counts, "tokens": tokens, "embeddings": vectors.keys}

    return setting.store.build(step.spec, make, _environment(config))


def _vectors_of(table: pa.Table, pairs: Artifact, step: Step, setting: Setting) -> StoredVectors:
    """Those that Super-NI pairs were made by, where the same encoder mines; else of the table.

    Where they are gone the same are made once more: encoded in other batches, a vector is another
    by float noise.
    """
    from mining.mine import texts_of

    keys = pairs.manifest.counts.get("embeddings", [])
    if not keys or setting.encoder.key != setting.superni_encoder.key:
        return _embedded(texts_of(table), setting.encoder, step.dataset, setting)
    found = find_embeddings(setting.store, step.dataset, keys)
    if not found:
        raw = setting.store.get_key("fetch", step.dataset, pairs.manifest.inputs["fetch"])
        _, keys = _paired(step.source, raw.folder, setting)
        found = find_embeddings(setting.store, step.dataset, keys)
    return StoredVectors(found)


def _embedded(
    texts: Sequence[str], model: ModelRef, dataset: str, setting: Setting
) -> StoredVectors:
    config = setting.config
    made = embed(setting.store, dataset, model, config.encoding, texts, _environment(config))
    return StoredVectors([made])


def _veto(setting: Setting) -> Veto | None:
    if setting.veto is None:
        return None
    from mining.veto import load_veto  # seconds, for what few builds ask for

    here = {"veto": str(setting.veto.folder)}
    return load_veto(setting.config.mining.model_copy(update=here), setting.config.encoding)


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
        remove = config.decontamination.action == "remove"
        changed = set(found.column("dataset").to_pylist()) if remove else set()
        for entry in publication.entries:
            if entry.name in changed:
                own = found.filter(pc.equal(found.column("dataset"), entry.name))
                rows = pa.concat_tables(map(read_table, entry.shards.values()))
                left = without_leaks(rows, own)
                if left.num_rows:
                    write_shards(left, folder / FOLDER / "data" / entry.name, config.shards)
        return write_folder(folder, publication, found, changed)

    return setting.store.build(spec, make)


def environment_of(device: str, precision: str) -> dict[str, str]:
    """What else than the inputs the numbers may depend on."""
    return {
        "device": device,
        "precision": precision,
        "machine": platform.machine(),
        **_versions(),
    }


@cache
def _versions() -> dict[str, str]:
    """Six files to read: once a process, not once a task."""
    packages = ("torch", "sentence-transformers", "transformers", "deepspeed", "mteb", "pyarrow")
    return {package: version(package) for package in packages}


def _environment(config: BuildConfig) -> dict[str, str]:
    from mining.device import resolve_device

    return environment_of(resolve_device(config.encoding.device).type, config.encoding.precision)


def _spread(counts: npt.ArrayLike) -> dict[str, float]:
    lengths = np.asarray(counts)
    middle, high = np.percentile(lengths, [50, 95])
    return {"mean": round(float(lengths.mean()), 1), "p50": float(middle), "p95": float(high),
            "max": int(lengths.max())}  # fmt: skip
