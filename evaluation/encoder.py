"""An mteb encoder that encodes each text once, over all tasks and runs, in bounded memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from artifacts.errors import DatasetError, InputError
from artifacts.store import Store
from evaluation.vectors import (
    Digests,
    Matrix,
    Positions,
    SharedVectors,
    Space,
    digests_of,
    distinct,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models import ModelMeta, SentenceTransformerEncoderWrapper
    from mteb.types import PromptType

_TEXTS_AT_ONCE = 4096  # whose strings are held while they are counted
_MOST_TEXTS = 16_384  # of a piece: what a killed run loses
_PIECE_SHARE = 4  # a piece works in this part of the memory
_COPIES = 4  # of a vector and of a text, while a piece is encoded
_BYTES_A_CHARACTER = 2
# What sentence-transformers looks for in a model's prompts, where it is given none.
_OWN_PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}


@dataclass(frozen=True)
class Counts:
    """Texts asked for, how many of a call's were distinct, and how many were encoded for it."""

    asked: int = 0
    distinct: int = 0
    encoded: int = 0

    @property
    def reused(self) -> int:
        """Distinct texts whose vectors were there already."""
        return self.distinct - self.encoded

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.asked + other.asked,
            self.distinct + other.distinct,
            self.encoded + other.encoded,
        )


class SharedEncoder:
    """mteb's EncoderProtocol around mteb's own wrapper, which is given only what is not stored.

    `model_key` names the weights (ModelRef.key). Beside the texts that mteb itself holds, it works
    in about `memory_mib`, and 24 bytes a text. `counts` sums over all calls.
    """

    def __init__(
        self,
        wrapper: SentenceTransformerEncoderWrapper,
        model_key: str,
        store: Store,
        memory_mib: int = 1024,
    ) -> None:
        self._wrapper, self._model_key, self._store = wrapper, model_key, store
        self._memory = memory_mib * 2**20
        self._vectors: dict[Space, SharedVectors] = {}
        self.counts = Counts()

    @property
    def mteb_model_meta(self) -> ModelMeta:
        return self._wrapper.mteb_model_meta

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        return self._wrapper.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        return self._wrapper.similarity_pairwise(embeddings1, embeddings2)

    def encode(
        self,
        inputs: Any,  # a DataLoader over a dataset of mteb's
        *,
        task_metadata: TaskMetadata,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Matrix:
        """float32 [N, D]: the column "text" of the loader's dataset; `kwargs` go to the wrapper.

        Where the result would take more than the memory it is mapped from a file without a name.
        Each piece of what is encoded is stored before the next one is begun. Raises DatasetError
        for a row that has no text and for a vector that is not finite, InputError for a precision.
        """
        if kwargs.get("precision") not in (None, "float32"):
            raise InputError(f"precision {kwargs['precision']!r}: vectors are shared as float32")
        texts = inputs.dataset.select_columns(["text"]).with_format(None)
        vectors = self._opened(space_of(self._wrapper, self._model_key, task_metadata, prompt_type))
        digests_2N, characters_N = _measured(texts, task_metadata.name)
        rows_M, which_N = distinct(digests_2N)
        digests_2M = digests_2N[:, rows_M]
        positions_M = vectors.find(digests_2M)
        missing = np.flatnonzero(positions_M < 0)
        encoded = 0
        for piece in self._pieces(missing, characters_N[rows_M], vectors.dimension):
            # Another process may have been there since.
            piece = piece[vectors.find(digests_2M[:, piece]) < 0]
            if len(piece):
                some = texts[rows_M[piece].tolist()]["text"]
                new = self._encode_now(some, task_metadata, prompt_type, kwargs)
                vectors.add(digests_2M[:, piece], new)
                encoded += len(piece)
        positions_M[missing] = vectors.find(digests_2M[:, missing])
        self.counts += Counts(len(which_N), len(rows_M), encoded)
        result_ND = self._room(len(which_N), vectors.dimension or 0)
        vectors.read(positions_M[which_N], result_ND)
        return result_ND

    def _opened(self, space: Space) -> SharedVectors:
        if space not in self._vectors:
            self._vectors[space] = SharedVectors(self._store, space)
        return self._vectors[space]

    def _pieces(
        self, missing: Positions, characters_M: npt.NDArray[np.int64], dimension: int | None
    ) -> Iterator[Positions]:
        """The missing texts, longest first, cut so that each piece fits the memory."""
        missing = missing[np.argsort(-characters_M[missing], kind="stable")]
        budget = self._memory // _PIECE_SHARE
        dimension = dimension or self._wrapper.model.get_embedding_dimension() or 1024
        bytes_M = 4 * dimension + _BYTES_A_CHARACTER * characters_M[missing]
        costs_M = np.maximum(_COPIES * bytes_M, -(-budget // _MOST_TEXTS))
        cuts = np.flatnonzero(np.diff((np.cumsum(costs_M) - costs_M) // budget)) + 1
        yield from (piece for piece in np.split(missing, cuts) if len(piece))

    def _encode_now(
        self,
        texts: Sequence[str],
        task_metadata: TaskMetadata,
        prompt_type: PromptType | None,
        kwargs: dict[str, Any],
    ) -> Matrix:
        from datasets import Dataset
        from mteb._create_dataloaders import create_dataloader

        loader = create_dataloader(
            Dataset.from_dict({"text": texts}),
            task_metadata=task_metadata,
            batch_size=kwargs.get("batch_size", 32),
        )
        found = self._wrapper.encode(
            loader, task_metadata=task_metadata, prompt_type=prompt_type, **kwargs
        )
        vectors_ND = np.asarray(found, np.float32)
        broken = ~np.isfinite(vectors_ND).all(axis=1)
        if broken.any():
            raise DatasetError(
                f"{task_metadata.name}: the model's vector of {texts[int(broken.argmax())][:60]!r} "
                "has numbers that are not finite"
            )
        return vectors_ND

    def _room(self, rows: int, dimension: int) -> Matrix:
        if 4 * rows * dimension <= self._memory:
            return np.empty((rows, dimension), np.float32)
        with tempfile.TemporaryFile(dir=self._store.root) as file:
            return np.memmap(file, np.float32, "w+", shape=(rows, dimension))


def space_of(
    wrapper: SentenceTransformerEncoderWrapper,
    model_key: str,
    task_metadata: TaskMetadata,
    prompt_type: PromptType | None,
) -> Space:
    """The space in which `wrapper` encodes a task's texts of that type (None: of no type)."""
    model = wrapper.model
    length = model.max_seq_length
    routed = prompt_type is not None and "task" in model.get_model_kwargs()
    weight = next(model.parameters(), None)
    return Space(
        model=model_key,
        prompt=_prompt(wrapper, task_metadata, prompt_type),
        route=str(prompt_type.value) if routed and prompt_type is not None else "",
        max_length=int(length) if length is not None and math.isfinite(length) else None,
        dtype=str(weight.dtype if weight is not None else "float32").removeprefix("torch."),
    )


def _prompt(
    wrapper: SentenceTransformerEncoderWrapper,
    task_metadata: TaskMetadata,
    prompt_type: PromptType | None,
) -> str:
    """What is put in front of a text: by mteb, or, where mteb has nothing, by the model itself."""
    from mteb.models.abs_encoder import get_prompt

    prompt = get_prompt(wrapper.model_prompts, task_metadata, prompt_type)
    if prompt is not None:
        return str(prompt)
    model = wrapper.model
    names = _OWN_PROMPTS[prompt_type.value] if prompt_type is not None else ()
    own = [
        model.prompts[name] for name in (*names, model.default_prompt_name) if name in model.prompts
    ]
    return own[0] or "" if own else ""


def _measured(texts: Dataset, task: str) -> tuple[Digests, npt.NDArray[np.int64]]:
    """Digests [2, N] and lengths in characters [N] of all rows, some of them read at a time."""
    digests = [np.empty((2, 0), np.uint64)]
    characters = [np.empty(0, np.int64)]
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = texts[start : start + _TEXTS_AT_ONCE]["text"]
        for row, text in enumerate(some, start):
            if not isinstance(text, str):
                raise DatasetError(f"{task}: row {row} holds {text!r} where a text must stand")
        digests.append(digests_of(some))
        characters.append(np.fromiter(map(len, some), np.int64, len(some)))
    return np.concatenate(digests, axis=1), np.concatenate(characters)
