"""Tokens and plan of a MEDI folder in a store: what a training reads, without a flow."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from artifacts.keys import Spec
from artifacts.models import resolve_model
from artifacts.store import Store
from training.data import datasets_of
from training.encoder import load_tokeniser
from training.options import TrainingOptions
from training.plan import plan_spec, write_plan
from training.token_store import TokenTable, tokens_spec, write_tokens
from training.tokens import Tokeniser


def prepare(
    medi: Path, encoder: str, options: TrainingOptions, store: Store, world_size: int
) -> tuple[dict[str, Path], Path]:
    """Builds what is stale: (dataset -> folder of its tokens, folder of the plan).

    These are TrainingJob.tokens and TrainingJob.plan. `encoder` is a sentence-transformers folder
    or a Hub name, loaded only where a dataset must be tokenised. Raises InputError for a folder
    that is no MEDI, an encoder that is none, a broken shard.
    """
    model = resolve_model(encoder, None)

    @cache
    def tokeniser() -> Tokeniser:
        return load_tokeniser(str(model.folder), options.max_length)

    def build(name: str, spec: Spec) -> Path:
        made, _ = store.build(
            spec, lambda folder: write_tokens(medi, name, tokeniser(), options, folder)
        )
        return made.folder

    specs = {name: tokens_spec(medi, name, model.key, options) for name in datasets_of(medi)}
    tokens = {name: build(name, spec) for name, spec in specs.items()}

    def make_plan(folder: Path) -> dict[str, object]:
        tables = {name: TokenTable(path, name) for name, path in tokens.items()}
        return write_plan(tables, options, world_size, folder)

    plan, _ = store.build(plan_spec(specs, options, world_size), make_plan)
    return tokens, plan.folder
