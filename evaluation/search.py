"""Exact search over a corpus of any size, a chunk at a time, in bounded memory.

One object serves every kind of task: mteb searches with it where it has `search`, and encodes with
it elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from artifacts.errors import DatasetError
from evaluation.vectors import digests_of

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models import EncoderProtocol, ModelMeta

Found = dict[str, dict[str, float]]  # query -> document -> score
Encode = Callable[[Any, Any], Any]  # of a dataset and a PromptType

_IDS_AT_ONCE = 65_536
_SHARE = 4  # a chunk, and a block of scores, may each take this part of the memory
_BYTES_A_TEXT = 4096  # of a document in a chunk, with what mteb makes of it
_COPIES = 3  # of a vector, while it is stored, read and normalised
_BYTES_A_SCORE = 48  # with its key, and what the best are chosen with
_BLOCK = 8192  # documents scored at a time
_LAST = 2**32 - 1


class StreamedSearch:
    """mteb's SearchProtocol and EncoderProtocol around an encoder.

    Scores are those of mteb's SearchEncoderWrapper; of equal ones the earlier document of the
    corpus comes first. Beside the datasets and the result it works in about `memory_mib`, if the
    encoder does.
    """

    def __init__(self, model: EncoderProtocol, memory_mib: int = 1024) -> None:
        self.model = model
        self._memory = memory_mib * 2**20
        self._corpus: Dataset | None = None

    @property
    def mteb_model_meta(self) -> ModelMeta:
        return self.model.mteb_model_meta

    def encode(self, inputs: Any, **kwargs: Any) -> Any:
        return self.model.encode(inputs, **kwargs)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        return self.model.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        return self.model.similarity_pairwise(embeddings1, embeddings2)

    def index(self, corpus: Dataset, *, task_metadata: TaskMetadata, **kwargs: Any) -> None:
        """Nothing is encoded yet. Raises DatasetError for empty ids and for ids that come twice."""
        check_ids(corpus, task_metadata.name)
        self._corpus = corpus

    def search(
        self,
        queries: Dataset,
        *,
        task_metadata: TaskMetadata,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> Found:
        """The `top_k` best documents of each query, or of its `top_ranked` ones, best first.

        Raises DatasetError for a score that is not a number, and for ranked documents that the
        corpus has not.
        """
        from mteb.types import PromptType

        if self._corpus is None:
            raise ValueError("search needs a corpus: call index before it")
        corpus, self._corpus = self._corpus, None

        def encode(texts: Dataset, prompt_type: Any) -> Any:
            return self._encode(texts, prompt_type, task_metadata=task_metadata, **kwargs)

        queries_QD = encode(queries, PromptType.query)
        ids = list(queries["id"])
        if top_ranked is not None:
            vectors_ND = encode(corpus, PromptType.document)
            return self._rerank(
                ids, queries_QD, corpus, vectors_ND, top_ranked, top_k, task_metadata.name
            )
        best = _Best(len(ids), min(top_k, len(corpus)))
        for start, vectors_ND in self._chunks(corpus, encode, queries_QD.shape[1]):
            self._score(best, queries_QD, vectors_ND, start, task_metadata.name)
        return best.found(ids, corpus)

    def _encode(
        self,
        texts: Dataset,
        prompt_type: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None = None,
        **_: Any,
    ) -> Any:
        from mteb._create_dataloaders import create_dataloader

        loader = create_dataloader(
            texts,
            task_metadata=task_metadata,
            prompt_type=prompt_type,
            batch_size=encode_kwargs.get("batch_size", 32),
            num_proc=num_proc,
        )
        return self.model.encode(
            loader,
            task_metadata=task_metadata,
            hf_split=hf_split,
            hf_subset=hf_subset,
            prompt_type=prompt_type,
            **encode_kwargs,
        )

    def _chunks(self, corpus: Dataset, encode: Encode, dimension: int) -> Iterator[tuple[int, Any]]:
        from mteb.types import PromptType

        a_text = _BYTES_A_TEXT + 4 * _COPIES * dimension
        size = max(1, self._memory // _SHARE // a_text)
        for start in range(0, len(corpus), size):
            part = corpus.select(range(start, min(start + size, len(corpus))))
            yield start, encode(part, PromptType.document)

    def _score(self, best: _Best, queries_QD: Any, vectors_ND: Any, start: int, task: str) -> None:
        import torch

        edge = max(_BLOCK, 2 * best.k)
        many = max(1, self._memory // _SHARE // (_BYTES_A_SCORE * (edge + best.k)))
        for first in range(0, len(vectors_ND), edge):
            block_BD = vectors_ND[first : first + edge]
            for query in range(0, len(queries_QD), many):
                some = slice(query, query + many)
                scores = torch.as_tensor(self.model.similarity(queries_QD[some], block_BD))
                _check_scores(scores, task)
                best.add(some, scores, start + first)

    def _rerank(
        self,
        ids: Sequence[str],
        queries_QD: Any,
        corpus: Dataset,
        vectors_ND: Any,
        top_ranked: Mapping[str, Sequence[str]],
        top_k: int,
        task: str,
    ) -> Found:
        import torch

        row = {document: i for i, document in enumerate(corpus["id"])}
        found: Found = {query: {} for query in ids}
        for i, query in enumerate(ids):
            ranked = list(top_ranked.get(query) or ())
            absent = [document for document in ranked if document not in row]
            if absent:
                raise DatasetError(
                    f"{task}: of the documents ranked for query {query!r} the corpus has no "
                    f"{', '.join(map(repr, absent[:3]))}"
                )
            if ranked:
                rows = [row[document] for document in ranked]
                scores = torch.as_tensor(
                    self.model.similarity(queries_QD[i : i + 1], vectors_ND[rows])
                )
                _check_scores(scores, task)
                sorted_, order = torch.sort(scores[0], descending=True, stable=True)
                best = zip(order[:top_k].tolist(), sorted_[:top_k].tolist(), strict=True)
                found[query] = {ranked[place]: score for place, score in best}
        return found


class _Best:
    """The k best documents of each query so far.

    A key orders by score and, within one score, by position: no two of a query are equal, so what
    is best does not depend on chunks and blocks. float32 read as an int32 has the order of the
    numbers, once the bits below the sign of a negative one are turned.
    """

    def __init__(self, queries: int, k: int) -> None:
        import torch

        self.k = k
        self._keys_QK = torch.full((queries, k), torch.iinfo(torch.int64).min)

    def add(self, some: slice, scores_QN: torch.Tensor, start: int) -> None:
        """Scores of the queries `some` with the documents from position `start` on."""
        import torch

        numbers = (scores_QN.to("cpu", torch.float32) + 0.0).view(torch.int32)  # -0.0 becomes 0.0
        positions = torch.arange(start, start + numbers.shape[1], dtype=torch.int64)
        keys = _turned(numbers).to(torch.int64).bitwise_left_shift_(32).add_(_LAST - positions)
        if keys.shape[1] > self.k:
            keys = torch.topk(keys, self.k, dim=1, sorted=False).values
        both = torch.cat([self._keys_QK[some], keys], dim=1)
        self._keys_QK[some] = torch.topk(both, self.k, dim=1, sorted=False).values

    def found(self, ids: Sequence[str], corpus: Dataset) -> Found:
        import torch

        keys_QK = torch.sort(self._keys_QK, dim=1, descending=True).values
        scores_QK = _turned((keys_QK >> 32).to(torch.int32)).view(torch.float32)
        positions, which = np.unique((_LAST - (keys_QK & _LAST)).numpy(), return_inverse=True)
        documents = corpus.select_columns(["id"]).select(positions)["id"][:]
        return {
            query: {documents[i]: score for i, score in zip(row.tolist(), scores, strict=True)}
            for query, row, scores in zip(
                ids, which.reshape(keys_QK.shape), map(torch.Tensor.tolist, scores_QK), strict=True
            )
        }


def _turned(numbers: torch.Tensor) -> torch.Tensor:
    return numbers ^ ((numbers >> 31) & 0x7FFFFFFF)


def _check_scores(scores: torch.Tensor, task: str) -> None:
    if scores.isnan().any():
        raise DatasetError(f"{task}: the model gives scores that are not numbers")


def check_ids(corpus: Dataset, task: str) -> None:
    """Raises DatasetError where a document has no id, or another's, with the first few.

    Holds 8 bytes a document: the ids themselves are read again only where halves of digests meet.
    """
    halves_N = np.empty(len(corpus), np.uint64)
    for start, ids in _ids(corpus):
        empty = [str(start + i) for i, name in enumerate(ids) if not name]
        if empty:
            rows = ", ".join(empty[:3])
            raise DatasetError(f"{task}: documents of its corpus have no id, first in row {rows}")
        halves_N[start : start + len(ids)] = digests_of(ids)[0]
    halves_N.sort()
    met = np.unique(halves_N[1:][halves_N[1:] == halves_N[:-1]])
    if not len(met):
        return
    times = Counter(
        ids[i] for _, ids in _ids(corpus) for i in np.flatnonzero(np.isin(digests_of(ids)[0], met))
    )
    again = [name for name, count in times.items() if count > 1]
    if again:
        raise DatasetError(
            f"{task}: {sum(times[name] - 1 for name in again)} documents of its corpus have the id "
            f"of an earlier one, such as {', '.join(map(repr, again[:3]))}"
        )


def _ids(corpus: Dataset) -> Iterator[tuple[int, list[str]]]:
    column = corpus.select_columns(["id"]).with_format(None)
    for start in range(0, len(corpus), _IDS_AT_ONCE):
        yield start, column[start : start + _IDS_AT_ONCE]["id"]
