"""sample-lm: a random GPT-2, so small that prompt retrieval runs with it in seconds.

Its answers are chance. Written without torch, as the sample's encoders are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from medi_sources.sample.models import save_weights, write_json

_END = "<|endoftext|>"
_VOCABULARY, _WIDTH, _HEADS, _LAYERS, _POSITIONS = 1024, 32, 2, 2, 512


def write_language_model(folder: Path, corpus: Sequence[str], seed: int) -> None:
    """Write a transformers folder; its vocabulary, of bytes and pieces, is counted on `corpus`."""
    tokenizer = _byte_tokenizer(corpus)
    size = tokenizer.get_vocab_size()
    write_json(folder / "config.json", _config(size))
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        "model_max_length": _POSITIONS,
        "eos_token": _END,
        "bos_token": _END,
        "unk_token": _END,
    }
    write_json(folder / "tokenizer_config.json", settings)
    tokenizer.save(str(folder / "tokenizer.json"))
    save_weights(folder / "model.safetensors", _weights(np.random.default_rng(seed), size))


def _config(vocabulary: int) -> dict[str, object]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": vocabulary,
        "n_positions": _POSITIONS,
        "n_embd": _WIDTH,
        "n_layer": _LAYERS,
        "n_head": _HEADS,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "dtype": "float32",
    }


def _byte_tokenizer(corpus: Sequence[str]) -> Tokenizer:
    """GPT-2's kind: byte-pair merges within words, a word with the space in front of it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def _weights(rng: np.random.Generator, vocabulary: int) -> dict[str, npt.NDArray[Any]]:
    """Random weights with the standard deviation GPT-2 starts from."""

    def normal(rows: int, columns: int) -> npt.NDArray[Any]:
        return rng.standard_normal((rows, columns)) * 0.02

    weights = {
        "transformer.wte.weight": normal(vocabulary, _WIDTH),
        "transformer.wpe.weight": normal(_POSITIONS, _WIDTH),
    }
    shapes = {
        "attn.c_attn": (_WIDTH, 3 * _WIDTH),
        "attn.c_proj": (_WIDTH, _WIDTH),
        "mlp.c_fc": (_WIDTH, 4 * _WIDTH),
        "mlp.c_proj": (4 * _WIDTH, _WIDTH),
    }
    for layer in range(_LAYERS):
        block = f"transformer.h.{layer}"
        for name, (rows, columns) in shapes.items():
            weights[f"{block}.{name}.weight"] = normal(rows, columns)
            weights[f"{block}.{name}.bias"] = np.zeros(columns)
    norms = [f"h.{layer}.ln_{i}" for layer in range(_LAYERS) for i in (1, 2)]
    for norm in (*norms, "ln_f"):
        weights[f"transformer.{norm}.weight"] = np.ones(_WIDTH)
        weights[f"transformer.{norm}.bias"] = np.zeros(_WIDTH)
    return weights
