"""The stages of a training: tokens of each dataset, the plan of all batches, the model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from artifacts.keys import Spec
from artifacts.models import ModelRef
from artifacts.store import Artifact, Store
from tasks.stages import device, environment_of
from tasks.steps import Training
from training.encoder import load_tokeniser
from training.launch import train as launch
from training.options import TrainingJob, TrainingOptions
from training.plan import write_plan
from training.token_store import TokenTable, write_tokens
from training.tokens import Tokeniser


def tokens(
    spec: Spec, medi: Path, encoder: ModelRef, options: TrainingOptions, store: Store
) -> tuple[Artifact, bool]:
    """Those of the dataset `spec.dataset`."""

    def make(folder: Path) -> Mapping[str, Any]:
        with device:  # a tokenizer uses every core, and serves one thread at a time
            tokeniser = _tokeniser(encoder, options.max_length)
            return write_tokens(medi, spec.dataset, tokeniser, options, folder)

    return store.build(spec, make, environment_of("cpu", "fp32"))


@lru_cache(maxsize=1)
def _tokeniser(encoder: ModelRef, max_length: int) -> Tokeniser:
    return load_tokeniser(str(encoder.folder), max_length)


def plan(training: Training) -> tuple[Artifact, bool]:
    def make(folder: Path) -> Mapping[str, Any]:
        return write_plan(tables_of(training), training.options, training.world_size, folder)

    return training.store.build(training.plan, make, environment_of("cpu", "fp32"))


def tables_of(training: Training) -> dict[str, TokenTable]:
    """The tokens of all datasets; LookupError where one's are not in the store."""
    store = training.store
    return {n: TokenTable(store.get(spec).folder, n) for n, spec in training.tokens.items()}


def model(training: Training, on_record: Callable[[dict[str, Any]], None]) -> tuple[Artifact, bool]:
    """The artifact's folder `model` is a sentence-transformers folder.

    The logs of a run are not part of it (they hold times): they lie in <store>/.runs/<key>, with
    the checkpoints until the training is done.
    """
    store, options, encoder = training.store, training.options, training.encoder
    work = store.root / ".runs" / training.model.key

    def make(folder: Path) -> Mapping[str, Any]:
        job = TrainingJob(
            medi=training.medi,
            tokens={name: store.get(spec).folder for name, spec in training.tokens.items()},
            plan=store.get(training.plan).folder,
            encoder=str(encoder.folder),
            called=encoder.name,
            out=folder / "model",
            work=work,
            options=options,
        )
        with device:
            result = launch(job, on_record)
        return {"steps": result.steps, "loss_last": result.loss_last}

    made = store.build(training.model, make, environment_of(options.device, options.precision))
    shutil.rmtree(work / "checkpoints", ignore_errors=True)
    return made
