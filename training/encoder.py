"""The starting encoder as a plain torch module: transformer, mean over the text, Dense, L2 norm."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from torch import Tensor, nn
from torch.nn.functional import normalize

from artifacts.errors import InputError
from training.tokens import Tokeniser


class Encoder(nn.Module):
    """GTR's architecture (paper section 3.1); also any BERT-like with mean pooling.

    Holds the very weights of `parts`, so that training it trains them. Dense, mean and norm are
    fp32 whatever the transformer computes in.
    """

    def __init__(self, transformer: nn.Module, dense: list[nn.Module]) -> None:
        super().__init__()
        self.transformer = transformer
        self.dense = nn.ModuleList(dense)

    def forward(self, ids_BL: Tensor, attention_BL: Tensor, pool_BL: Tensor) -> Tensor:
        """Token ids and masks -> embeddings (B, D), fp32, L2-normalised."""
        out = self.transformer(input_ids=ids_BL, attention_mask=attention_BL, return_dict=True)
        with torch.autocast(ids_BL.device.type, enabled=False):
            pool_BL1 = pool_BL.unsqueeze(-1).float()
            sum_BD = (out.last_hidden_state.float() * pool_BL1).sum(dim=1)
            x_BD = sum_BD / pool_BL1.sum(dim=1).clamp(min=1e-9)
            for dense in self.dense:
                x_BD = dense({"sentence_embedding": x_BD})["sentence_embedding"]
            return normalize(x_BD, dim=-1)


def load_parts(reference: str, max_length: int) -> SentenceTransformer:
    """A sentence-transformers folder or Hub name, in fp32 on CPU, ready to be trained and saved.

    Its pooling leaves the instruction out, its output is L2-normalised, and it cuts texts at
    `max_length` tokens or at what its positions allow, if that is less. A plain transformers
    model gets mean pooling. Raises InputError where it cannot be loaded or has other modules than
    Transformer, Pooling (mean), Dense and Normalize.
    """
    try:
        model = SentenceTransformer(reference, device="cpu", model_kwargs={"dtype": torch.float32})
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot load the encoder {reference!r}: {reason}") from error
    first, pooling, *rest = _checked(reference, list(model))
    dense = [module for module in rest if isinstance(module, Dense)]
    first.max_seq_length = min(max_length, _positions(first))
    modules = [first, Pooling(pooling.embedding_dimension, "mean", include_prompt=False)]
    return SentenceTransformer(modules=[*modules, *dense, Normalize()], device="cpu")


def encoder_of(parts: SentenceTransformer) -> Encoder:
    """The trainable module over the weights of `parts`; what the mean never sees is frozen."""
    transformer = parts[0].model
    pooler = getattr(transformer, "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(False)
    return Encoder(transformer, [part for part in parts if isinstance(part, Dense)])


def tokeniser_of(parts: SentenceTransformer) -> Tokeniser:
    return Tokeniser(parts.tokenizer, parts.max_seq_length)


def _checked(reference: str, modules: list[Any]) -> list[Any]:
    kinds = [type(module).__name__ for module in modules]
    valid = [Transformer, Pooling, *[Dense] * (len(modules) - 2)]
    if modules and isinstance(modules[-1], Normalize):
        valid = [*valid[: len(modules) - 1], Normalize]
    if len(modules) < 2 or not all(map(isinstance, modules, valid)):
        raise InputError(
            f"the encoder {reference!r} is made of {kinds}; "
            "valid is Transformer, Pooling, any number of Dense, Normalize"
        )
    if modules[1].pooling_mode != "mean":
        raise InputError(
            f"the encoder {reference!r} pools by {modules[1].pooling_mode!r}; valid is 'mean'"
        )
    return modules


def _positions(transformer: Any) -> int:
    """How many tokens the model can read; T5 has no limit of its own."""
    limit = getattr(transformer.config, "max_position_embeddings", None)
    if limit is None or limit < 1:
        return 2**31
    # RoBERTa and its kin count positions from padding_idx + 1.
    tables = [getattr(part, "position_embeddings", None) for part in transformer.model.modules()]
    paddings = [getattr(table, "padding_idx", None) for table in tables]
    return int(limit) - max((index + 1 for index in paddings if index is not None), default=0)
