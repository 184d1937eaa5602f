"""Billboard (paper, section 5): does an embedder judge generated texts as humans do?

A text's score is its largest cosine to one of its references; the task's score is the Pearson
correlation of these scores with the human ones, over all judged texts at once (not a mean of
correlations per source, as mteb's summarization has it).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from mteb.abstasks.abstask import AbsTask
from scipy.stats import pearsonr, spearmanr

from evaluation.distinct import Matrix, embed_distinct


class AbsTaskBillboard(AbsTask):
    """Columns: hypothesis (str), references (list of str, at least one), human_score (float)."""

    abstask_prompt = "Judge generated texts by their references."

    def _evaluate_subset(
        self,
        model: Any,
        data_split: Dataset,
        *,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Any,
        prediction_folder: Path | None = None,
        num_proc: int | None = None,
        timer: Any,
        **kwargs: Any,
    ) -> dict[str, float]:
        references: list[list[str]] = list(data_split["references"])
        hypotheses: list[str] = list(data_split["hypothesis"])
        # Systems are judged on the same sources: texts come again and again.
        vectors, row = embed_distinct(
            self,
            model,
            (*hypotheses, *(text for refs in references for text in refs)),
            hf_split=hf_split,
            hf_subset=hf_subset,
            encode_kwargs=encode_kwargs,
            num_proc=num_proc,
            timer=timer,
        )
        scores = largest_cosines(
            vectors,
            [row[text] for text in hypotheses],
            [[row[text] for text in refs] for refs in references],
        )
        if prediction_folder:
            predictions = {"cosine_scores": scores}
            self._save_task_predictions(predictions, model, prediction_folder, hf_split, hf_subset)
        human = list(data_split["human_score"])
        return {
            "cosine_pearson": float(pearsonr(human, scores).statistic),
            "cosine_spearman": float(spearmanr(human, scores).statistic),
        }

    def _calculate_descriptive_statistics_from_split(
        self,
        split: str,
        *,
        hf_subset: str | None = None,
        compute_overall: bool = False,
        num_proc: int | None = None,
    ) -> dict[str, int]:
        assert self.dataset is not None
        rows = self.dataset[split]
        return {
            "num_samples": len(rows),
            "num_references": sum(len(refs) for refs in rows["references"]),
        }


def largest_cosines(
    vectors: Matrix, hypotheses: Sequence[int], references: Sequence[Sequence[int]]
) -> list[float]:
    """max over r in references[i] of cos(vectors[hypotheses[i]], vectors[r]), for every i.

    `vectors` has shape (texts, dim); the sequences hold row numbers of it.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    return [
        float(np.max(unit[list(refs)] @ unit[hypothesis]))
        for hypothesis, refs in zip(hypotheses, references, strict=True)
    ]
