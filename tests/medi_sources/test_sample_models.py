"""The sample's models load like any other and behave like what they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from medi_sources.sample import write_sample


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample([], folder)
    return folder / "mirror" / "huggingface.co" / "medi"


@pytest.fixture(scope="module")
def encoder(models: Path) -> SentenceTransformer:
    return SentenceTransformer(str(models / "sample-encoder"), device="cpu")


@pytest.fixture(scope="module")
def miner(models: Path) -> SentenceTransformer:
    return SentenceTransformer(str(models / "sample-miner"), device="cpu")


def _paragraphs(models: Path) -> list[tuple[str, str, str]]:
    """Question, the paragraph that answers it, the other paragraph on the same subject."""
    squad = json.loads((models / "sample-world" / "eval" / "squad.json").read_text())
    return [
        (gold["qas"][0]["question"], gold["context"], other["context"])
        for gold, other in (article["paragraphs"] for article in squad["data"])
    ]


def test_encoder_is_laid_out_like_gtr(encoder: SentenceTransformer) -> None:
    assert [type(module).__name__ for module in encoder] == [
        "Transformer",
        "Pooling",
        "Dense",
        "Normalize",
    ]
    assert encoder[1].pooling_mode == "mean"
    assert encoder[2].linear.bias is None
    assert type(encoder[0].auto_model).__name__ == "T5EncoderModel"
    assert 500_000 < sum(weight.numel() for weight in encoder.parameters()) < 2_000_000


def test_encoder_tells_texts_apart(encoder: SentenceTransformer, models: Path) -> None:
    """All weights must come from the file: what a loader makes up is another model each time."""
    texts = [gold for _, gold, _ in _paragraphs(models)[:8]]
    vectors = encoder.encode(texts)
    assert vectors.shape == (8, 128)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors @ vectors.T - np.eye(8)).max() < 0.99
    again = SentenceTransformer(str(models / "sample-encoder"), device="cpu").encode(texts)
    np.testing.assert_array_equal(vectors, again)


def test_tokenizer_has_the_t5_properties(models: Path) -> None:
    """Masking the instruction counts its tokens alone and in front of a text: they must agree."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(models / "sample-encoder"))
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert 1500 <= len(tokenizer) <= 2048
    config = json.loads((models / "sample-encoder" / "config.json").read_text())
    assert config["vocab_size"] == len(tokenizer)
    for question, paragraph, _ in _paragraphs(models):
        prompt = "Represent the medical question for retrieving answers: "
        alone, whole = tokenizer(prompt)["input_ids"], tokenizer(prompt + question)["input_ids"]
        assert alone[-1] == whole[-1] == 1
        assert whole[: len(alone) - 1] == alone[:-1]
        assert 2 not in tokenizer(paragraph)["input_ids"]
        assert tokenizer.decode(whole, skip_special_tokens=True) == prompt + question
    assert 2 in tokenizer("\u96ea")["input_ids"]


def test_tokenizer_splits_names_that_it_was_not_counted_on(models: Path) -> None:
    """Whole names as tokens would leave every held-out name untrained."""
    tokenizer = AutoTokenizer.from_pretrained(str(models / "sample-encoder"))
    squad = json.loads((models / "sample-world" / "eval" / "squad.json").read_text())
    towns = [article["title"] for article in squad["data"] if " " not in article["title"]]
    pieces = [len(tokenizer.tokenize(town)) for town in towns]
    assert min(pieces) >= 2 and np.mean(pieces) < 6


def test_miner_is_weighted_word_overlap(miner: SentenceTransformer, models: Path) -> None:
    """A name in common must weigh more than the words that every text has."""
    paragraphs = _paragraphs(models)
    asked = miner.encode([question for question, _, _ in paragraphs])
    gold = miner.encode([text for _, text, _ in paragraphs])
    scores = asked @ gold.T
    assert asked.shape[1] == 256
    best = scores.argmax(axis=1) == np.arange(len(paragraphs))
    assert best.mean() > 0.9
    same = miner.encode(["Who founded the town", "town THE founded who"])
    assert same[0] @ same[1] == pytest.approx(1, abs=1e-5)


def test_miner_knows_every_character_and_stands_empty_texts(miner: SentenceTransformer) -> None:
    vectors = miner.encode(["zyxwv qqq!", "\u96ea", ""])
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)


def test_language_model_is_small_and_whole(models: Path) -> None:
    """All weights must come from the file; every text must go into its tokens and come back."""
    folder = models / "sample-lm"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 500_000
    model, told = AutoModelForCausalLM.from_pretrained(str(folder), output_loading_info=True)
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    assert len(tokenizer) == model.config.vocab_size
    for text in (_paragraphs(models)[0][1], "Q: who?\nA:\n\n \u96ea  caf\u00e9 \U0001f600"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert max(ids) < model.config.vocab_size
    assert len(tokenizer.tokenize(" founded")) < len(" founded")


def test_language_model_says_other_things_of_other_prompts(models: Path) -> None:
    """Weights of zero, or a context that is not read, would give one answer to all."""
    folder = str(models / "sample-lm")
    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        last = [
            model(**tokenizer(question, return_tensors="pt")).logits[0, -1]
            for question, _, _ in _paragraphs(models)[:2]
        ]
    assert float((last[0] - last[1]).abs().max()) > 1e-3
