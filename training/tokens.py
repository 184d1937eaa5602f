"""Instruction and text to token ids, with the instruction's tokens known.

Equal to what `SentenceTransformer.encode(text, prompt=instruction)` does with
`Pooling(include_prompt=False)`: the instruction's length is counted by tokenising it alone and
taking off the closing special token. So [CLS] in front counts as instruction and is left out of
the mean, the closing </s> or [SEP] is in it. It is exact for instructions that end in ": ", which
tokenise alone as they do in front of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
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
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        self._pad = int(tokenizer.pad_token_id or 0)
        self._instruction_length = lru_cache(maxsize=None)(self._count)

    def tokens(self, instructions: Sequence[str], texts: Sequence[str]) -> list[Tokens]:
        """One Tokens a text; `instructions[i]` belongs to `texts[i]`."""
        joined = [a + b for a, b in zip(instructions, texts, strict=True)]
        return [
            Tokens(tuple(ids), self._instruction_length(instruction))
            for ids, instruction in zip(self._ids(joined), instructions, strict=True)
        ]

    def collate(self, texts: Sequence[Tokens]) -> TokenBatch:
        shape = (len(texts), max(len(text.ids) for text in texts))
        ids_BL = torch.full(shape, self._pad, dtype=torch.long)
        attention_BL = torch.zeros(shape, dtype=torch.long)
        pool_BL = torch.zeros(shape, dtype=torch.long)
        for row, text in enumerate(texts):
            length = len(text.ids)
            ids_BL[row, :length] = torch.tensor(text.ids)
            attention_BL[row, :length] = 1
            pool_BL[row, text.instruction_length : length] = 1
        return TokenBatch(ids_BL, attention_BL, pool_BL)

    def batch(self, instructions: Sequence[str], texts: Sequence[str]) -> TokenBatch:
        return self.collate(self.tokens(instructions, texts))

    def _ids(self, texts: list[str]) -> list[list[int]]:
        cut = self._tokenizer(texts, truncation=True, max_length=self.max_length)
        return list(cut["input_ids"])

    def _count(self, instruction: str) -> int:
        if not instruction:
            return 0
        (ids,) = self._ids([instruction])
        return len(ids) - (ids[-1] in self._special)
