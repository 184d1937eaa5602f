"""A second model's opinion of which candidates are right after all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from artifacts.encoder import Encode
from artifacts.errors import InputError
from artifacts.models import loading
from mining.device import resolve_device
from mining.encode import load_encoder
from mining.options import EncoderOptions, MiningOptions
from mining.pick import Veto

_LONGEST = 512  # tokens of a pair, for a cross-encoder that names no limit
# Another architecture loads as well, with a head of random numbers.
_SCORING = ("ForSequenceClassification", "ForCausalLM")


def load_veto(mining: MiningOptions, encoding: EncoderOptions) -> Veto | None:
    """What `mining.veto` names, or None.

    A cross-encoder reads a pair within its own token limit, always in fp32, on
    `encoding.device`; an encoder follows `encoding`. Scores are reproducible on one kind of
    machine; elsewhere they move by float noise, before they are rounded to 1e-4.

    Raises InputError for a model that cannot be loaded or does not give one score a pair.
    """
    if mining.veto is None:
        return None
    if mining.veto_kind == "encoder":
        return encoder_veto(load_encoder(mining.veto, encoding))
    return cross_encoder_veto(mining.veto, encoding)


def encoder_veto(encode: Encode) -> Veto:
    """The cosine of query and text by another encoder."""

    def scores(pairs: list[tuple[str, str]]) -> Sequence[float]:
        texts = {text: i for i, text in enumerate(dict.fromkeys(text for p in pairs for text in p))}
        vectors = encode(list(texts)).astype(np.float64)
        left, right = (vectors[[texts[pair[side]] for pair in pairs]] for side in (0, 1))
        cosines: list[float] = np.einsum("ND,ND->N", left, right).tolist()
        return cosines

    return scores


def cross_encoder_veto(name: str, encoding: EncoderOptions) -> Veto:
    model = _open(name, resolve_device(encoding.device))
    batch = max(1, encoding.budget(model.device.type) // (model.max_length or _LONGEST))

    def scores(pairs: list[tuple[str, str]]) -> Sequence[float]:
        found: list[float] = model.predict(
            pairs, batch_size=batch, show_progress_bar=False
        ).tolist()
        return found

    return scores


def _open(name: str, device: torch.device) -> CrossEncoder:
    with loading(
        f"veto {name!r}: neither a cross-encoder's folder nor a model that the Hub gives from here"
    ):
        model = CrossEncoder(name, device=str(device), model_kwargs={"dtype": torch.float32})
    kinds = getattr(model.config, "architectures", None) or ["unknown"]
    if not kinds[0].endswith(_SCORING):
        raise InputError(
            f"veto {name!r} is a {kinds[0]}, no cross-encoder: what would score a pair is missing; "
            "if it is an encoder, say veto_kind=encoder"
        )
    if model.num_labels != 1:
        raise InputError(
            f"veto {name!r} gives {model.num_labels} scores a pair; valid is a cross-encoder that "
            "gives one"
        )
    return model
