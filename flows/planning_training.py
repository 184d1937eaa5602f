"""What a training would do. Imports neither Prefect nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from artifacts.errors import InputError
from artifacts.keys import Spec, sha256_file
from artifacts.models import ModelRef, resolve_model
from artifacts.publish import require_medi
from artifacts.store import MANIFEST, Store
from flows.profiles import get_profile, override
from tasks.sample import mirror_of
from tasks.steps import Training
from training.data import datasets_of
from training.monitor import require_monitor
from training.nodes import devices_of
from training.options import RUN_ONLY, TrainingOptions
from training.plan import plan_spec
from training.token_store import tokens_spec

TRAIN_VERSION = 2


def plan_train(
    medi: str,
    out: str | None,
    profile: str,
    encoder: str | None,
    mirror: str | None,
    store: str,
    fields: Mapping[str, object],
) -> Training:
    """`out` is where the model shall go; None: nowhere, a dry run.

    Raises InputError for folders that are none, models that are none, unknown fields, more devices
    than there are, a monitor that is not installed.
    """
    chosen = get_profile(profile)
    config = override(chosen.train, fields)
    source = Path(medi).absolute()
    require_medi(source)
    if out is not None:
        _require_model_target(Path(out).absolute())
    require_monitor(config.options.monitor)
    kept = Store.open(store)
    start = resolve_model(encoder or config.encoder, mirror_of(chosen.build, kept, mirror))
    return _training(kept, source, start, config.options)


def _training(store: Store, medi: Path, encoder: ModelRef, options: TrainingOptions) -> Training:
    world_size = devices_of(options).world_size
    tokens = {name: tokens_spec(medi, name, encoder.key, options) for name in datasets_of(medi)}
    plan = plan_spec(tokens, options, world_size)
    params = {
        "options": options.model_dump(mode="json", exclude=set(RUN_ONLY)),
        "encoder": encoder.name,
        "world_size": world_size,
    }
    # The card tells of the MEDI folder, also of what hangs on no row.
    inputs = {"plan": plan.key, "medi": sha256_file(medi / MANIFEST), "encoder": encoder.key}
    model = Spec("train", "model", TRAIN_VERSION, params, inputs)
    return Training(store, medi, encoder, options, world_size, tokens, plan, model)


def _require_model_target(out: Path) -> None:
    if out.is_file():
        raise InputError(f"--out {out}: is a file, give a folder")
    if out.exists() and any(out.iterdir()) and not (out / "medi.json").exists():
        raise InputError(f"--out {out}: is not empty and no model of medi, give another folder")
