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
from transformers.utils.logging import disable_progress_bar

from artifacts.errors import InputError
from artifacts.models import loading
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
    model gets mean pooling. Attention is torch's fused one (sdpa) where the architecture has it.
    Raises InputError where it cannot be loaded, lacks its tokenizer, or has other modules than
    Transformer, Pooling (mean), Dense and Normalize.
    """
    first, pooling, *rest = _loaded(reference, device="cpu")
    dense = [module for module in rest if isinstance(module, Dense)]
    first.max_seq_length = min(max_length, _positions(first))
    modules = [first, Pooling(pooling.embedding_dimension, "mean", include_prompt=False)]
    return SentenceTransformer(modules=[*modules, *dense, Normalize()], device="cpu")


def load_tokeniser(reference: str, max_length: int) -> Tokeniser:
    """As tokeniser_of(load_parts(...)), and raises as load_parts, but reads no weights."""
    first, *_ = _loaded(reference, device_map="meta")
    return Tokeniser(first.tokenizer, min(max_length, _positions(first)))


def encoder_of(parts: SentenceTransformer) -> Encoder:
    """The trainable module over the weights of `parts`; what the mean never sees is frozen."""
    transformer = parts[0].model
    pooler = getattr(transformer, "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(False)
    return Encoder(transformer, [part for part in parts if isinstance(part, Dense)])


def tokeniser_of(parts: SentenceTransformer) -> Tokeniser:
    return Tokeniser(parts.tokenizer, parts.max_seq_length)


def flops_per_token(encoder: Encoder, length: float = 0.0) -> float:
    """Floating-point operations of the matrix products of one token's forward pass.

    `length` is how many tokens a token attends to (0: scores and their sum are left out). A
    training step costs three times as much: the backward pass is two forward passes. Dense,
    pooling and embeddings are not counted.
    """
    config: Any = encoder.transformer.config
    # What is frozen is a pooler, whose output nobody reads.
    layers = [
        module
        for module in encoder.transformer.modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    ]
    # in_features, not the weight's size: ZeRO-3 keeps but a part of a weight on a device.
    products = 2.0 * sum(m.in_features * m.out_features for m in layers)
    heads = config.num_attention_heads
    head = getattr(config, "d_kv", config.hidden_size // heads)
    return products + 4.0 * length * heads * head * float(config.num_hidden_layers)


def _loaded(reference: str, device: str | None = None, **kwargs: Any) -> list[Any]:
    """The modules, checked."""
    disable_progress_bar()  # of files that load within a second; they would fill train.log
    with loading(f"cannot load the encoder {reference!r}"):
        model = SentenceTransformer(
            reference, device=device, model_kwargs={"dtype": torch.float32, **kwargs}
        )
    modules = list(model)
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
    _check_tokenizer(reference, modules[0])
    return modules


def _check_tokenizer(reference: str, transformer: Any) -> None:
    """transformers makes up an empty tokenizer where a folder has none."""
    tokenizer = transformer.tokenizer
    # T5's special tokens are 103; one more is the space that it puts in front of every word.
    if len(tokenizer) - len(set(tokenizer.all_special_ids)) <= 1:
        raise InputError(
            f"the encoder {reference!r} has no tokenizer; "
            "valid is a folder with tokenizer.json, or spiece.model for T5"
        )
    rows = transformer.model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(
            f"the encoder {reference!r} has {rows} token embeddings and a tokenizer of "
            f"{len(tokenizer)} tokens; valid is the tokenizer it was trained with"
        )


def _positions(transformer: Any) -> int:
    """How many tokens the model can read; T5 has no limit of its own."""
    limit = getattr(transformer.config, "max_position_embeddings", None)
    if limit is None or limit < 1:
        return 2**31
    # RoBERTa and its kin count positions from padding_idx + 1.
    tables = [getattr(part, "position_embeddings", None) for part in transformer.model.modules()]
    paddings = [getattr(table, "padding_idx", None) for table in tables]
    return int(limit) - max((index + 1 for index in paddings if index is not None), default=0)
