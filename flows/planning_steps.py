"""The four steps of one dataset, by arithmetic over its record, its annotation and the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from annotations.lint import lint
from annotations.load import FOLDER, load_annotation
from annotations.render import instructions
from artifacts import shards
from artifacts.errors import InputError
from artifacts.keys import Spec
from artifacts.location import Location
from medi_sources import fetch
from medi_sources.pairs import VERSION as PAIRS_VERSION
from medi_sources.records import Source
from medi_sources.window import Window
from mining.options import VERSION as MINE_VERSION
from tasks.config import BuildConfig, pairs_options, window
from tasks.sample import VERSION as WORLD_VERSION
from tasks.steps import Setting, Step

# Options of mining and pairing: both search exactly, on any device, in blocks of any size.
NO_CHANGE_OF_RESULT = {"memory_mib", "device", "superni_memory_mib"}


def fetch_spec(
    dataset: str, location: Location, origin: str, seed: int, window: Window | None = None
) -> Spec:
    """The files of `location`, from upstream (a mirror holds the same) or from the sample world."""
    world = {"seed": seed, "version": WORLD_VERSION} if origin == "sample" else {}
    params = {
        "location": location.model_dump(mode="json"),
        "origin": {"kind": origin, **world},
    }
    if window is not None:
        params["window"] = {"start": window.start, "lines": window.lines}
    return Spec("fetch", dataset, fetch.VERSION, params)


def steps_of(source: Source, setting: Setting) -> dict[str, Step]:
    """Raises InputError where the dataset has no annotation, or a faulty one."""
    config = setting.config
    annotation = load_annotation(source.name, _annotations(source, config))
    rendered = instructions(annotation, level=config.detail)
    encoding = config.encoding.model_dump(mode="json")
    superni = source.reader.layout == "superni"
    steps: dict[str, Step] = {}

    def add(spec: Spec, upstream: Spec | None) -> None:
        problem = setting.store.problem(spec)
        steps[spec.stage] = Step(spec, source, rendered, upstream, problem)

    def after(stage: str, version: int, params: Mapping[str, Any]) -> None:
        upstream = list(steps.values())[-1].spec
        spec = Spec(stage, source.name, version, params, {upstream.stage: upstream.key})
        add(spec, upstream)

    cut = window(source, config)
    add(fetch_spec(source.name, source.location, config.origin, config.seed, cut), None)
    pairs = {
        "reader": source.reader.model_dump(mode="json"),
        "options": pairs_options(source, config).model_dump(
            mode="json", exclude=NO_CHANGE_OF_RESULT
        ),
        "encoder": [setting.superni_encoder.key, encoding] if superni else None,
        "symmetric": source.symmetric,
    }
    after("pairs", PAIRS_VERSION, pairs)
    mine = {
        "encoder": [setting.encoder.key, encoding],
        "options": config.mining.model_dump(mode="json", exclude=NO_CHANGE_OF_RESULT),
        "symmetric": source.symmetric,
        **({"veto": setting.veto.key} if setting.veto else {}),
    }
    after("mine", MINE_VERSION, mine)
    published = {
        "annotation": annotation.model_dump(mode="json"),
        "instructions": list(rendered),
        "options": config.shards.model_dump(mode="json"),
        **({"superni": config.superni_instructions} if superni else {}),
    }
    after("shards", shards.VERSION, published)
    return steps


def require_well_worded(own: Sequence[Source], config: BuildConfig) -> None:
    """Raise InputError naming the first fault that the linter finds in a user's annotations."""
    annotations = {s.name: load_annotation(s.name, _annotations(s, config)) for s in own}
    for fault in lint({source.name: source.symmetric for source in own}, annotations):
        raise InputError(f"--sources {config.sources}: annotation of {fault}")


def _annotations(source: Source, config: BuildConfig) -> Path:
    if source.collection == "own" and config.sources is not None:
        return Path(config.sources) / "annotations"
    return FOLDER
