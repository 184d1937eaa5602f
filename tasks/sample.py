"""The sample world as an artifact: generated once, then a mirror folder like any other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artifacts.errors import InputError
from artifacts.keys import Spec, canonical_json
from artifacts.store import Store
from medi_sources.catalog import load_catalog, select
from medi_sources.records import Source
from tasks.config import BuildConfig

VERSION = 3  # of the world: raise it when the generator gives other files


def sample_world(store: Store, sources: Sequence[Source], seed: int) -> Path:
    """The folder of the world of `sources`: mirror/ with all files, truth/ beside it."""
    records = canonical_json([source.model_dump(mode="json") for source in sources])
    spec = Spec(
        "sample",
        "world",
        VERSION,
        {"seed": seed, "sources": hashlib.sha256(records.encode()).hexdigest()},
    )

    def make(folder: Path) -> Mapping[str, Any]:
        from medi_sources.sample import write_sample  # only where there is no world yet

        write_sample(sources, folder, seed)
        return {"sources": len(sources)}

    return store.build(spec, make)[0].folder


def mirror_of(config: BuildConfig, store: Store, mirror: str | None) -> Path | None:
    """The mirror of a profile: the generated world's for the sample, else the one given.

    Raises InputError for a mirror that is no folder.
    """
    if config.origin == "sample":
        sources = select(load_catalog(), config.datasets)
        return sample_world(store, sources, config.seed) / "mirror"
    if mirror is not None and not Path(mirror).is_dir():
        raise InputError(f"--mirror {mirror}: no such folder")
    return Path(mirror) if mirror else None
