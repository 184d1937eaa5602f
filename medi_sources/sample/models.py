"""The sample's encoders, as sentence-transformers folders written without torch.

sample-encoder: a random T5 encoder laid out like GTR (mean pooling, bias-free Dense, L2 norm),
to be trained; sample-encoder-small: a smaller one. sample-miner: one seeded random vector a word,
longer for rarer words, so that the cosine is weighted word overlap: fast, and good enough to mine
with.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from medi_sources.sample import texts
from medi_sources.sample.world import World

_SPECIAL = ["<pad>", "</s>", "<unk>"]  # T5's ids: 0, 1, 2
_VOCABULARY = 2048  # so few that names are split into syllables
_HEADS, _BUCKETS = 4, 32
_MINER_WIDTH = 256
_PROMPTS = (
    "Represent the question for retrieving supporting documents: ",
    "Represent the document for retrieval: ",
    "Represent the sentence for finding a paraphrase; Input: ",
)


@dataclass(frozen=True)
class Shape:
    """Of a T5 encoder."""

    width: int
    layers: int
    forward: int


BASE, SMALL = Shape(128, 2, 512), Shape(64, 1, 256)


def world_text(world: World, seed: int) -> list[str]:
    """Texts of every style, each entity in few of them: what the vocabularies are counted on."""
    rng = Random(f"text {seed}")
    told = list(_PROMPTS)
    single = (texts.question, texts.keywords, texts.chatty, texts.claim, texts.dialog,
              texts.headline, texts.comment)  # fmt: skip
    joined = (texts.answer, texts.passage, texts.news, texts.abstract, texts.code)
    for subject, facts in world.facts.items():
        style, body = rng.choice(single), rng.choice(joined)
        told.append(style(rng.choice(facts), rng.randrange(texts.PHRASINGS), rng).text)
        told.append(body([rng.choice(facts)], rng.randrange(3), rng, world).text)
        told.append(texts.review(rng.choice(world.opinions(subject)), 0, rng).text)
    for animal in world.names["animal"]:
        for scene in world.scenes(animal):
            told.append(texts.caption(scene, rng.randrange(texts.PHRASINGS), rng).text)
    return told


def world_sentences(world: World) -> list[str]:
    """A question and a statement of every fact, and every scene."""
    facts = [fact for told in world.facts.values() for fact in told]
    scenes = [scene for name in world.names["animal"] for scene in world.scenes(name)]
    rng = Random(0)
    return [
        *(texts.ask(fact, rng.randrange(3)) for fact in facts),
        *(texts.sentence(fact, rng.randrange(3)) for fact in facts),
        *(texts.caption(scene, rng.randrange(texts.PHRASINGS), rng).text for scene in scenes),
    ]


def write_encoder(folder: Path, corpus: Sequence[str], seed: int, shape: Shape = BASE) -> None:
    """Write sample-encoder, or -small; its vocabulary is counted on `corpus`."""
    tokenizer = _t5_tokenizer(corpus)
    settings = {
        "tokenizer_class": "T5Tokenizer",
        "model_max_length": 512,
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "extra_ids": 0,
    }
    pooling = {"word_embedding_dimension": shape.width, "pooling_mode_mean_tokens": True}
    dense = {
        "in_features": shape.width,
        "out_features": shape.width,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    rng = np.random.default_rng(seed)
    write_json(folder / "config.json", _t5_config(tokenizer.get_vocab_size(), shape))
    write_json(folder / "tokenizer_config.json", settings)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False}
    )
    write_json(folder / "1_Pooling" / "config.json", pooling)
    write_json(folder / "2_Dense" / "config.json", dense)
    _write_modules(folder, ["Transformer", "Pooling", "Dense", "Normalize"])
    save_weights(folder / "model.safetensors", _t5_weights(rng, tokenizer.get_vocab_size(), shape))
    save_weights(
        folder / "2_Dense" / "model.safetensors", {"linear.weight": _projection(rng, shape)}
    )


def _t5_config(vocabulary: int, shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "vocab_size": vocabulary,
        "d_model": shape.width,
        "d_kv": shape.width // _HEADS,
        "d_ff": shape.forward,
        "num_layers": shape.layers,
        "num_decoder_layers": shape.layers,
        "num_heads": _HEADS,
        "relative_attention_num_buckets": _BUCKETS,
        "relative_attention_max_distance": 128,
        "dropout_rate": 0.1,
        "feed_forward_proj": "relu",
        "is_encoder_decoder": False,
        "use_cache": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "dtype": "float32",
    }


def write_miner(folder: Path, corpus: Sequence[str], seed: int) -> None:
    """Write sample-miner; it knows the words of `corpus`, others fall into single characters."""
    count: Counter[str] = Counter()
    for text in corpus:
        count.update(set(re.findall(r"\w+|[^\w\s]", text.lower())))
    words = sorted(count, key=lambda word: (-count[word], word))
    characters = [chr(code) for code in range(33, 127) if chr(code) not in count]
    characters += ["##" + chr(code) for code in range(33, 127)]
    vocabulary = {word: i for i, word in enumerate(["[UNK]", *words, *characters])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    weights = [
        0.0,
        *(math.log(len(corpus) / count[word]) for word in words),
        *([0.5] * len(characters)),
    ]
    vectors = np.random.default_rng(seed).standard_normal((len(vocabulary), _MINER_WIDTH))
    vectors *= np.array(weights)[:, None] / np.linalg.norm(vectors, axis=1, keepdims=True)
    static = folder / "0_StaticEmbedding"
    save_weights(static / "model.safetensors", {"embedding.weight": vectors.astype(np.float32)})
    tokenizer.save(str(static / "tokenizer.json"))
    _write_modules(folder, ["StaticEmbedding", "Normalize"], first_in_root=False)


def _t5_tokenizer(corpus: Sequence[str]) -> Tokenizer:
    """A T5 tokenizer (Unigram) over pieces that byte-pair encoding finds.

    The Unigram trainer sums in threads and is not repeatable to the bit; byte-pair merges are,
    and the pieces' counts give the Unigram scores.
    """
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    apart = [_metaspace(), pre_tokenizers.Punctuation()]  # no piece of letters and punctuation
    learner.pre_tokenizer = pre_tokenizers.Sequence(apart)
    alphabet = [chr(code) for code in range(33, 127)] + ["▁"]
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=_SPECIAL,
        initial_alphabet=alphabet,
        min_frequency=2,
        show_progress=False,
    )
    learner.train_from_iterator(corpus, trainer)
    count: Counter[str] = Counter()
    for encoding in learner.encode_batch(list(corpus), add_special_tokens=False):
        count.update(encoding.tokens)
    learnt = learner.get_vocab()
    pieces = sorted(learnt.keys() - set(_SPECIAL), key=lambda piece: learnt[piece])
    total = sum(count.values())
    scored = [(piece, round(math.log((count[piece] + 0.1) / total), 4)) for piece in pieces]
    vocabulary = [(token, 0.0) for token in _SPECIAL] + scored
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = _metaspace()
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def _metaspace() -> pre_tokenizers.PreTokenizer:
    spaces = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces])


def _t5_weights(
    rng: np.random.Generator, vocabulary: int, shape: Shape
) -> dict[str, npt.NDArray[Any]]:
    """Random weights with the standard deviations T5 starts from."""

    def normal(rows: int, columns: int, deviation: float) -> npt.NDArray[Any]:
        return rng.standard_normal((rows, columns)) * deviation

    width = shape.width
    wide = width**-0.5
    weights = {"shared.weight": normal(vocabulary, width, 1.0)}
    for layer in range(shape.layers):
        block = f"encoder.block.{layer}.layer"
        attention = f"{block}.0.SelfAttention"
        weights[f"{attention}.q.weight"] = normal(width, width, wide * (width // _HEADS) ** -0.5)
        for name in "kvo":
            weights[f"{attention}.{name}.weight"] = normal(width, width, wide)
        if layer == 0:
            bias = normal(_BUCKETS, _HEADS, wide)
            weights[f"{attention}.relative_attention_bias.weight"] = bias
        forward = f"{block}.1.DenseReluDense"
        weights[f"{forward}.wi.weight"] = normal(shape.forward, width, wide)
        weights[f"{forward}.wo.weight"] = normal(width, shape.forward, shape.forward**-0.5)
        weights[f"{block}.0.layer_norm.weight"] = np.ones(width)
        weights[f"{block}.1.layer_norm.weight"] = np.ones(width)
    weights["encoder.final_layer_norm.weight"] = np.ones(width)
    return weights


def _projection(rng: np.random.Generator, shape: Shape) -> npt.NDArray[Any]:
    """A random projection: it keeps angles in expectation."""
    return rng.standard_normal((shape.width, shape.width)) * shape.width**-0.5


def save_weights(path: Path, weights: dict[str, npt.NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
    save_file(arrays, path, metadata={"format": "pt"})


def _write_modules(folder: Path, names: Iterable[str], first_in_root: bool = True) -> None:
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if first_in_root and i == 0 else f"{i}_{name}",
            "type": f"sentence_transformers.models.{name}",
        }
        for i, name in enumerate(names)
    ]
    for module in modules:
        (folder / str(module["path"])).mkdir(parents=True, exist_ok=True)
    write_json(folder / "modules.json", modules)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")
