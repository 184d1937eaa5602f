"""Instruction and text to token ids, with the instruction's tokens known.

Equal to what `SentenceTransformer.encode(text, prompt=instruction)` does with
`Pooling(include_prompt=False)`: instruction and text are tokenised as one string, and the
instruction's length is counted by tokenising it alone and taking off the closing special token.
So [CLS] in front counts as instruction and is left out of the mean, the closing </s> or [SEP] is
in it. The count is the instruction's own tokens where it ends in ": ", which tokenises alone as
it does in front of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """One text: its ids, and how many of them are the instruction's (from the left)."""

    ids: tuple[int, ...]
    instruction_length: int


class TokenBatch(NamedTuple):
    """B texts padded on the right to the longest, L; masks are 1 where a token counts."""

    ids_BL: Tensor
    attention_BL: Tensor  # instruction and text
    pool_BL: Tensor  # text alone

    def to(self, device: torch.device | str) -> TokenBatch:
        return TokenBatch(*(tensor.to(device) for tensor in self))


class Tokeniser:
    """A transformers tokenizer that cuts at `max_length` tokens, instruction included."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.max_length = max_length
        self.pad = int(tokenizer.pad_token_id or 0)
        self.vocabulary = len(tokenizer)  # ids are below it
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        self.instruction = lru_cache(maxsize=None)(self._instruction)

    def tokens(self, instructions: Sequence[str], texts: Sequence[str]) -> list[Tokens]:
        """One Tokens a text; `instructions[i]` belongs to `texts[i]`."""
        joined = [a + b for a, b in zip(instructions, texts, strict=True)]
        return [
            Tokens(tuple(ids), len(self.instruction(instruction)))
            for ids, instruction in zip(self._ids(joined), instructions, strict=True)
        ]

    def collate(self, texts: Sequence[Tokens]) -> TokenBatch:
        return pad_right(
            [text.ids for text in texts], [text.instruction_length for text in texts], self.pad
        )

    def batch(self, instructions: Sequence[str], texts: Sequence[str]) -> TokenBatch:
        return self.collate(self.tokens(instructions, texts))

    def _ids(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        cut = self._tokenizer(texts, truncation=True, max_length=self.max_length)
        return list(cut["input_ids"])

    def _instruction(self, instruction: str) -> tuple[int, ...]:
        """Ids of the instruction alone, without the closing special token."""
        if not instruction:
            return ()
        (ids,) = self._ids([instruction])
        return tuple(ids[: len(ids) - (ids[-1] in self._special)])


def pad_right(ids: Sequence[ArrayLike], masked: ArrayLike, pad: int) -> TokenBatch:
    """B texts' ids as a batch; the first `masked[i]` tokens of text i are no part of its mean."""
    rows = [np.asarray(text, dtype=np.int64) for text in ids]
    lengths_B1 = np.array([len(row) for row in rows], dtype=np.int64)[:, None]
    columns_L = np.arange(lengths_B1.max(initial=0))
    ids_BL = np.full((len(rows), len(columns_L)), pad, dtype=np.int64)
    for i, row in enumerate(rows):
        ids_BL[i, : len(row)] = row
    attention_BL = columns_L < lengths_B1
    pool_BL = attention_BL & (columns_L >= np.asarray(masked, dtype=np.int64)[:, None])
    tensors = (ids_BL, attention_BL.astype(np.int64), pool_BL.astype(np.int64))
    return TokenBatch(*map(torch.from_numpy, tensors))
