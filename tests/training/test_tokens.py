"""What the trainer feeds must be what `encode(text, prompt=instruction)` will feed later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.token_texts import INSTRUCTIONS, TEXTS, byte_level
from training.encoder import load_parts, load_tokeniser
from training.tokens import Tokeniser, Tokens, pad_right

PAIRS = [(instruction, text) for instruction in INSTRUCTIONS for text in TEXTS]


@pytest.fixture(params=["tiny_t5", "tiny_bert", "byte_level"])
def tokeniser(request: pytest.FixtureRequest) -> Iterator[Tokeniser]:
    if request.param == "byte_level":
        yield Tokeniser(byte_level(), 40)
    else:
        yield load_tokeniser(request.getfixturevalue(request.param), 40)


@pytest.mark.parametrize("kind", ["tiny_t5", "tiny_bert"])
def test_ids_and_instruction_are_those_of_sentence_transformers(
    kind: str, request: pytest.FixtureRequest
) -> None:
    parts = load_parts(request.getfixturevalue(kind), 40)
    tokeniser = load_tokeniser(request.getfixturevalue(kind), 40)
    for instruction, text in PAIRS:
        theirs: dict[str, Any] = parts[0].preprocess([text], prompt=instruction or None)
        (ours,) = tokeniser.tokens([instruction], [text])
        assert list(ours.ids) == theirs["input_ids"][0].tolist()
        assert ours.instruction_length == theirs.get("prompt_length", 0)


def test_an_instructions_own_ids_stand_in_front_of_a_text(tiny_t5: str) -> None:
    """With a space at its end; so its ids need to be kept only once."""
    tokeniser = load_tokeniser(tiny_t5, 40)
    own = tokeniser.instruction(INSTRUCTIONS[0])
    for tokens in tokeniser.tokens([INSTRUCTIONS[0]] * 2, TEXTS[:2]):
        assert tokens.ids[: len(own)] == own
        assert tokens.instruction_length == len(own) > 3


def test_texts_are_padded_on_the_right_and_masked_on_the_left() -> None:
    batch = pad_right([[7, 8, 9], np.array([5], np.uint16)], [1, 0], pad=3)
    assert batch.ids_BL.tolist() == [[7, 8, 9], [5, 3, 3]]
    assert batch.attention_BL.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.pool_BL.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert {tensor.dtype for tensor in batch} == {torch.long}


def test_an_instruction_that_fills_the_text_leaves_no_token_to_the_mean() -> None:
    assert pad_right([[7, 8], [7, 8, 9]], [5, 1], pad=0).pool_BL.tolist() == [[0, 0, 0], [0, 1, 1]]


def test_a_batch_is_its_texts_one_by_one(tokeniser: Tokeniser) -> None:
    batch = tokeniser.batch(*zip(*PAIRS, strict=True))
    assert batch.ids_BL.shape[1] == 40
    for i, (instruction, text) in enumerate(PAIRS):
        (tokens,) = tokeniser.tokens([instruction], [text])
        alone = tokeniser.collate([tokens])
        length = len(tokens.ids)
        for ours, one in zip(batch, alone, strict=True):
            assert ours[i, :length].tolist() == one[0].tolist()
        assert batch.attention_BL[i].sum() == length
        assert batch.pool_BL[i].sum() == max(0, length - tokens.instruction_length)


def test_no_texts_are_no_tokens(tokeniser: Tokeniser) -> None:
    assert tokeniser.tokens([], []) == []
    assert Tokens((), 0) not in tokeniser.tokens(["a"], ["b"])
