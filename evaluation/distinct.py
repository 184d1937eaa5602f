"""Each distinct text of a task of ours, embedded once by mteb's encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks.abstask import AbsTask

Matrix = npt.NDArray[np.float32]


def embed_distinct(
    task: AbsTask,
    model: Any,
    texts: Iterable[str],
    *,
    hf_split: str,
    hf_subset: str,
    encode_kwargs: Any,
    num_proc: int | None,
    timer: Any,
) -> tuple[Matrix, dict[str, int]]:
    """(vectors [distinct texts, dim], text -> its row); the other arguments are mteb's."""
    distinct = list(dict.fromkeys(texts))
    with timer("Encoding", split=hf_split, subset=hf_subset):
        vectors = model.encode(
            create_dataloader(
                Dataset.from_dict({"text": distinct}),
                task_metadata=task.metadata,
                num_proc=num_proc,
                **encode_kwargs,
            ),
            task_metadata=task.metadata,
            hf_split=hf_split,
            hf_subset=hf_subset,
            **encode_kwargs,
        )
    return np.asarray(vectors, dtype=np.float32), {text: i for i, text in enumerate(distinct)}
