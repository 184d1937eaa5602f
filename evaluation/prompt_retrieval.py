"""Prompt retrieval (paper, section 3.2): an embedder chooses the examples that a prompt shows.

For each test row the most similar training rows are put into its prompt, and a causal language
model answers it; the task's score is the mean ROUGE-L of the answers. How often the nearest rows
have the right answer needs no language model.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset, DatasetDict
from mteb.abstasks.abstask import AbsTask

from evaluation.distinct import Matrix, embed_distinct
from evaluation.language_model import LanguageModel
from evaluation.prompts import Example, PromptOptions
from evaluation.records import RETRIEVAL_ONLY

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

_NEAREST = 8  # of so many rows RETRIEVAL_ONLY is a share


class AbsTaskPromptRetrieval(AbsTask):
    """Splits train and test, with the columns of `examples_dataset`.

    Scores: same_label_at_8, the share of the 8 nearest training rows that have the test row's
    answer. With a language model also: same_label, that share of the rows in the prompt (0 where
    none fits); rouge_l, F measure with stemming; accuracy, equal answers; examples, how many a
    prompt shows; cut, the share of prompts that were too long for the model with no example in
    them. What is to answer is set on the instance:
    `options`, `language_model`, and `prompts_path`, where prompts and answers are written as JSON
    lines. `row_scores` then holds the main score of each test row, as mteb's predictions do.
    """

    abstask_prompt = "Find examples that show how to answer."

    options = PromptOptions()
    language_model: LanguageModel | None = None
    prompts_path: Path | None = None
    row_scores: Sequence[float] = ()

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
        assert self.dataset is not None
        train, test = _from_dataset(self.dataset["train"]), _from_dataset(data_split)
        vectors_TD, row = embed_distinct(
            self,
            model,
            (example.embed for example in (*train, *test)),
            hf_split=hf_split,
            hf_subset=hf_subset,
            encode_kwargs=encode_kwargs,
            num_proc=num_proc,
            timer=timer,
        )
        train_ND, test_MD = (vectors_TD[[row[e.embed] for e in part]] for part in (train, test))
        with timer("Answering", split=hf_split, subset=hf_subset):
            scores = self._scores(train, test, nearest(train_ND, test_MD))
        if prediction_folder is not None:
            self._save_task_predictions(
                list(self.row_scores), model, prediction_folder, hf_split, hf_subset
            )
        return scores

    def _scores(
        self, train: Sequence[Example], test: Sequence[Example], orders: Sequence[Sequence[int]]
    ) -> dict[str, float]:
        near = [_same(train, o[:_NEAREST], e) for o, e in zip(orders, test, strict=True)]
        scores: dict[str, float] = {RETRIEVAL_ONLY: float(np.mean(near))}
        if self.language_model is None:
            self.row_scores = near
            kept = [
                _kept(i, o[:_NEAREST], e) for i, (o, e) in enumerate(zip(orders, test, strict=True))
            ]
        else:
            kept, cut = answered(train, test, orders, self.language_model, self.options)
            self.row_scores = [line["rouge_l"] for line in kept]
            prompted = [(line["examples"], e) for line, e in zip(kept, test, strict=True)]
            scores |= {
                "same_label": float(np.mean([_same(train, rows, e) for rows, e in prompted])),
                "rouge_l": float(np.mean(self.row_scores)),
                "accuracy": float(np.mean([line["answer"] == line["gold"] for line in kept])),
                "examples": float(np.mean([len(rows) for rows, _ in prompted])),
                "cut": cut / len(test),
            }
        if self.prompts_path is not None:
            lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in kept]
            self.prompts_path.parent.mkdir(parents=True, exist_ok=True)
            self.prompts_path.write_text("".join(lines), encoding="utf-8")
        return scores

    def _calculate_descriptive_statistics_from_split(
        self,
        split: str,
        *,
        hf_subset: str | None = None,
        compute_overall: bool = False,
        num_proc: int | None = None,
    ) -> dict[str, int]:
        assert self.dataset is not None
        return {"num_samples": len(self.dataset[split])}


def examples_dataset(train: Sequence[Example], test: Sequence[Example]) -> DatasetDict:
    """Columns text (what is embedded), input, label_text (the answer) and labels (the answers to
    choose among; empty for free text)."""
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {
                    "text": [example.embed for example in examples],
                    "input": [example.input for example in examples],
                    "label_text": [example.answer for example in examples],
                    "labels": [list(example.choices) for example in examples],
                }
            )
            for split, examples in (("train", train), ("test", test))
        }
    )


def _from_dataset(rows: Dataset) -> list[Example]:
    columns = (rows[name] for name in ("input", "label_text", "text", "labels"))
    return [
        Example(asked, answer, embed, tuple(choices or ()))
        for asked, answer, embed, choices in zip(*columns, strict=True)
    ]


def nearest(train_ND: Matrix, test_MD: Matrix) -> list[list[int]]:
    """For each test row all training rows, the most similar first; of equals the first in the file.

    Similar: by cosine, after the mean of the training embeddings is taken from both sides.
    """
    mean_D = train_ND.mean(axis=0, dtype=np.float64)
    train_unit, test_unit = _unit(train_ND - mean_D), _unit(test_MD - mean_D)
    # Equal rows get cosines that differ by a rounding error, as they come to lie in the product.
    cosine_MN = np.round(test_unit @ train_unit.T, 9)
    order: list[list[int]] = np.argsort(-cosine_MN, axis=1, kind="stable").tolist()
    return order


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float64).tiny)


def answered(
    train: Sequence[Example],
    test: Sequence[Example],
    orders: Sequence[Sequence[int]],
    model: LanguageModel,
    options: PromptOptions,
) -> tuple[list[dict[str, Any]], int]:
    """A line {row, examples, prompt, answer, gold, rouge_l} for each test row; examples are rows of
    `train`, the most similar first. Second, how many prompts had to be cut.

    Of choices the likeliest is the answer (of equals the first), free text is decoded greedily.
    """
    before = model.cut
    sizes = np.array(model.count([f"{shown(example)}\n\n" for example in train]))
    budget = options.budget_tokens
    if model.limit is not None:
        budget = min(budget, model.limit - options.max_new_tokens)
    chosen = [
        fitting(train, order, example, model, budget, sizes)
        for order, example in zip(orders, test, strict=True)
    ]
    prompts = [prompt(train, rows, e) for rows, e in zip(chosen, test, strict=True)]
    free = [i for i, example in enumerate(test) if not example.choices]
    texts = model.answer([prompts[i] for i in free], options.max_new_tokens, options.lm_batch)
    answers = dict(zip(free, texts, strict=True))
    for i, example in enumerate(test):
        if example.choices:
            scores = model.likelihoods(prompts[i], example.choices)
            answers[i] = example.choices[int(np.argmax(scores))]
    lines = [_kept(i, chosen[i], example, prompts[i], answers[i]) for i, example in enumerate(test)]
    return lines, model.cut - before


def fitting(
    train: Sequence[Example],
    order: Sequence[int],
    example: Example,
    model: LanguageModel,
    budget: int,
    sizes: npt.NDArray[np.int64],
) -> list[int]:
    """The first rows of `order` with which the whole prompt has at most `budget` tokens.

    It ends before the first that does not fit, though a shorter one might come after it: the most
    similar ones are what is asked for. `sizes`: about how many tokens each training row has.
    """

    def fits(count: int) -> bool:
        return model.count([prompt(train, order[:count], example)])[0] <= budget

    room = budget - model.count([example.input])[0]
    count = int(np.searchsorted(np.cumsum(sizes[list(order)]), room, side="right"))
    while count > 0 and not fits(count):
        count -= 1
    while count < len(order) and fits(count + 1):
        count += 1
    return list(order[:count])


def prompt(train: Sequence[Example], rows: Sequence[int], example: Example) -> str:
    """The examples, the most similar last, and what is asked."""
    return "\n\n".join([*(shown(train[row]) for row in reversed(rows)), example.input])


def shown(example: Example) -> str:
    return f"{example.input} {example.answer}"


def _same(train: Sequence[Example], rows: Sequence[int], example: Example) -> float:
    return sum(train[row].answer == example.answer for row in rows) / max(len(rows), 1)


def _kept(
    row: int,
    examples: Sequence[int],
    example: Example,
    asked: str | None = None,
    answer: str | None = None,
) -> dict[str, Any]:
    score = None if answer is None else rouge_l(answer, example.answer)
    return {
        "row": row,
        "examples": list(examples),
        "prompt": asked,
        "answer": answer,
        "gold": example.answer,
        "rouge_l": score,
    }


def rouge_l(answer: str, gold: str) -> float:
    """ROUGE-L's F measure, 0 to 1, of words in lower case and stemmed, as the paper has it."""
    return float(_scorer().score(gold, answer)["rougeL"].fmeasure)


@functools.cache
def _scorer() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)
