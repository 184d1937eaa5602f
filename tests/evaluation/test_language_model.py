"""The language model's answers and likelihoods, against plain loops over tiny random models."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from artifacts.errors import InputError
from evaluation.language_model import LanguageModel, load_language_model

torch.set_num_threads(1)

TEXT = [
    "Question: which ship left the harbour?\nAnswer: the ship of the tide\n\n",
    "Question: who baked the bread?\nAnswer: nobody knows\n",
    "negative positive very negative neutral\n\n\n",
]
PROMPTS = [
    "Question: who left?\nAnswer:",
    "the tide",
    "Question: which ship left the harbour?\nAnswer: the ship of the tide\n\nwho baked?",
    "x",
    "Answer: nobody knows\n\nQuestion: neutral?\nAnswer:",
]
POSITIONS = 64


def save_model(folder: Path, kind: str = "gpt2") -> Path:
    """64 positions; weights so large that answers differ from prompt to prompt, and (GPT-2) of a
    seed with which some end in a line break, some in the end token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.save_pretrained(folder)
    torch.manual_seed(11)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(fast),
        n_positions=POSITIONS,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.6,
        bos_token_id=0,
        eos_token_id=0,
        **({"rotary_dim": 4} if kind == "gptj" else {}),
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageModel]:
    """GPT-J is the paper's: its positions are rotations, not learnt vectors."""
    return {
        kind: load_language_model(save_model(tmp_path_factory.mktemp(kind), kind), "cpu")
        for kind in ("gpt2", "gptj")
    }


@pytest.fixture(scope="module")
def model(both: dict[str, LanguageModel]) -> LanguageModel:
    return both["gpt2"]


def _plain_likelihood(model: LanguageModel, prompt: str, answer: str) -> float:
    """One pass a token, no cache, no batch."""
    ids: list[int] = model.tokenizer(f"{prompt} {answer}")["input_ids"]
    start = len(model.tokenizer(prompt)["input_ids"])
    total = 0.0
    for at in range(start, len(ids)):
        with torch.inference_mode():
            logits = model.model(torch.tensor([ids[:at]]), use_cache=False).logits[0, -1]
        total += float(torch.log_softmax(logits, dim=-1)[ids[at]])
    return total / (len(ids) - start)


def _plain_tokens(model: LanguageModel, prompt: str, tokens: int) -> str:
    """The likeliest tokens after the prompt, up to the end token, as one text."""
    ids: list[int] = model.tokenizer(prompt)["input_ids"][-(POSITIONS - tokens) :]
    start = len(ids)
    for _ in range(tokens):
        with torch.inference_mode():
            logits = model.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
        if ids[-1] == model.tokenizer.eos_token_id:
            break
    text: str = model.tokenizer.decode(ids[start:])
    return text


def _plain_answer(model: LanguageModel, prompt: str, tokens: int) -> str:
    text = _plain_tokens(model, prompt, tokens)
    return text.partition("\n")[0].partition("<end>")[0].strip()


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("kind", ["gpt2", "gptj"])
def test_likelihoods_are_those_of_a_loop_over_tokens(
    both: dict[str, LanguageModel], kind: str, prompt: str
) -> None:
    """Of answers of one token and of many, one of them the beginning of another."""
    model = both[kind]
    answers = ["negative", "very negative", "n", "neutral", "the ship of the tide", "no"]
    found = model.likelihoods(prompt, answers)
    expected = [_plain_likelihood(model, prompt, answer) for answer in answers]
    assert found == pytest.approx(expected, abs=1e-4)
    assert len({round(value, 3) for value in found}) == len(answers)


@pytest.mark.parametrize("kind", ["gpt2", "gptj"])
def test_a_batch_answers_as_each_prompt_does_alone(
    both: dict[str, LanguageModel], kind: str
) -> None:
    model = both[kind]
    alone = [model.answer([prompt], 12)[0] for prompt in PROMPTS]
    assert alone == [_plain_answer(model, prompt, 12) for prompt in PROMPTS]
    assert len(set(alone)) > 1 and any(alone)
    for batch in (2, 3, 8):
        assert model.answer(PROMPTS, 12, batch) == alone


def test_answers_end_before_a_line_break_or_the_end_token(model: LanguageModel) -> None:
    """In one batch, where each prompt's answer ends in its own way."""
    words = ["the", "who", "Question:", "Answer:", "ship"]
    prompts = [f"{word} {prompt}" for word in words for prompt in PROMPTS]
    raw = [_plain_tokens(model, prompt, 12) for prompt in prompts]
    ends = {
        "break": [i for i, text in enumerate(raw) if "\n" in text],
        "end": [i for i, text in enumerate(raw) if "\n" not in text and "<end>" in text],
        "length": [i for i, text in enumerate(raw) if "\n" not in text and "<end>" not in text],
    }
    assert all(ends.values()), ends
    expected = [_plain_answer(model, prompt, 12) for prompt in prompts]
    assert model.answer(prompts, 12, batch=5) == expected


def test_a_prompt_beyond_the_context_loses_its_beginning(model: LanguageModel) -> None:
    long = "the ship of the tide left the harbour " * 20
    before = model.cut
    assert model.answer([long], 10) == [_plain_answer(model, long, 10)]
    assert model.cut == before + 1
    kept = model.tokenizer(long)["input_ids"]
    (found,) = model.likelihoods(long, ["negative"])
    assert model.cut == before + 2 and math.isfinite(found)
    assert len(kept) > POSITIONS
    model.likelihoods("the tide", ["negative"])
    assert model.cut == before + 2


def test_answers_as_long_as_the_context_are_refused(model: LanguageModel) -> None:
    with pytest.raises(InputError, match=f"answers of {POSITIONS} tokens .* context of"):
        model.answer(["the tide"], POSITIONS)


def test_settings_in_the_folder_do_not_change_the_answers(
    tmp_path: Path, model: LanguageModel
) -> None:
    """A folder that asks for sampling would answer otherwise each time."""
    folder = save_model(tmp_path / "sampling")
    (folder / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "temperature": 3.0, "repetition_penalty": 9.0})
    )
    again = load_language_model(folder, "cpu")
    assert again.answer(PROMPTS, 12) == model.answer(PROMPTS, 12)


def _nothing(folder: Path) -> None:
    folder.mkdir()


def _broken(folder: Path) -> None:
    save_model(folder)
    (folder / "model.safetensors").write_bytes(b"no tensors")


def _encoder(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "t5"}')


@pytest.mark.parametrize("make", [_nothing, _broken, _encoder])
def test_a_folder_without_a_language_model_is_named(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "models")
    with pytest.raises(InputError, match=r"^language model: .*models"):
        load_language_model(tmp_path / "models", "cpu")
