"""Prompt retrieval: which examples a prompt shows, what it may cost, and what is scored."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mteb.abstasks.task_metadata import TaskMetadata

from evaluation.language_model import LanguageModel, load_language_model
from evaluation.prompt_retrieval import (
    AbsTaskPromptRetrieval,
    answered,
    examples_dataset,
    nearest,
    prompt,
    rouge_l,
)
from evaluation.prompts import Example, PromptOptions
from evaluation.records import RETRIEVAL_ONLY
from medi_sources.sample.language_model import write_language_model

torch.set_num_threads(1)

VECTORS = st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=2, max_size=16)


class Words:
    """A language model of words: says what its prompt says most often, knows no more."""

    limit: int | None = None
    cut = 0

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def likelihoods(self, asked: str, answers: Sequence[str]) -> list[float]:
        return [float(asked.split().count(answer)) for answer in answers]

    def answer(self, prompts: Sequence[str], max_new_tokens: int, batch: int) -> list[str]:
        return [text.split()[-2] for text in prompts]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("lm")
    corpus = ["the ship left the harbour at night", "who baked bread?", "ends\n\n", "more\n\n"]
    write_language_model(folder, corpus, 3)
    return load_language_model(folder, "cpu")


def _task(
    train: Sequence[Example], test: Sequence[Example], metric: str = "rouge_l"
) -> AbsTaskPromptRetrieval:
    metadata = TaskMetadata(
        name="InventedPrompts",
        description="Invented.",
        dataset={"path": "a/b", "revision": "r1"},
        type="Retrieval",
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=metric,
    )
    built: AbsTaskPromptRetrieval = type(
        "Built", (AbsTaskPromptRetrieval,), {"metadata": metadata}
    )()
    built.dataset = examples_dataset(train, test)  # type: ignore[assignment]
    built.data_loaded = True
    return built


def _evaluate(task: Any, vectors: Mapping[str, Sequence[float]], out: Path | None = None) -> Any:
    def encode(loader: Any, **kwargs: Any) -> Any:
        texts = [text for batch in loader for text in batch["text"]]
        return np.array([vectors[text] for text in texts], dtype=np.float32)

    meta = SimpleNamespace(name="a/model", revision="r1")
    encoder = SimpleNamespace(encode=encode, mteb_model_meta=meta)
    scores = task.evaluate(encoder, "test", encode_kwargs={}, prediction_folder=out)
    return scores["default"]


@settings(deadline=None)
@given(VECTORS, VECTORS)
def test_nearest_is_the_cosine_to_the_training_mean(
    train: list[tuple[int, ...]], test: list[tuple[int, ...]]
) -> None:
    """A plain loop; the number of training rows is a power of two, so that means are exact."""
    train = train[: 2 ** int(math.log2(len(train)))]
    mean = [sum(column) / len(train) for column in zip(*train, strict=True)]

    def cosine(a: Sequence[float], b: Sequence[float]) -> float:
        a, b = ([x - m for x, m in zip(v, mean, strict=True)] for v in (a, b))
        norm = math.hypot(*a) * math.hypot(*b)
        return sum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else 0.0

    expected = [
        sorted(range(len(train)), key=lambda i: (-round(cosine(train[i], one), 9), i))
        for one in test
    ]
    found = nearest(np.array(train, dtype=np.float32), np.array(test, dtype=np.float32))
    assert found == expected


def test_the_mean_that_is_taken_off_decides() -> None:
    """By bare cosines the first is nearer: 0.98 against 0.83. Around the mean of the training rows
    it is the second, whatever the test rows are."""
    train = np.array([[1, 0], [10, 10]], dtype=np.float32)
    test = np.array([[10, 2], [-100, 7], [3, -50]], dtype=np.float32)
    assert nearest(train, test)[0] == nearest(train, test[:1])[0] == [1, 0]


def test_equals_come_in_the_order_of_the_file() -> None:
    rng = np.random.default_rng(0)
    few = rng.standard_normal((5, 48)).astype(np.float32)
    train = few[rng.integers(5, size=203)]
    for order, test in zip(nearest(train, few), few, strict=True):
        same = [row for row in order if (train[row] == test).all()]
        assert order[: len(same)] == sorted(same) and len(same) > 20


def test_the_most_similar_example_stands_next_to_the_question() -> None:
    train = [Example(f"Q: {i}\nA:", str(i), str(i)) for i in range(3)]
    assert prompt(train, [2, 0], Example("Q: x\nA:", "9", "x")) == (
        "Q: 0\nA: 0\n\nQ: 2\nA: 2\n\nQ: x\nA:"
    )
    assert prompt(train, [], train[1]) == "Q: 1\nA:"


@pytest.mark.parametrize("budget", [1, 12, 40, 41, 42, 43, 90, 200, 5000])
def test_examples_are_as_many_as_fit(small_model: LanguageModel, budget: int) -> None:
    """Counted with the model's tokenizer over the whole prompt, ever one example more."""
    rng = np.random.default_rng(1)
    words = ["the", "ship", "left", "harbour", "night", "who", "baked", "bread?", "17", "é"]
    train = [
        Example(" ".join(rng.choice(words, size)), str(rng.choice(words)), str(i))
        for i, size in enumerate(rng.integers(1, 15, 40))
    ]
    test = [Example(" ".join(rng.choice(words, 5)), "x", f"t{i}") for i in range(3)]
    orders = [rng.permutation(len(train)).tolist() for _ in test]
    options = PromptOptions(budget_tokens=budget, max_new_tokens=4)
    lines, cut = answered(train, test, orders, small_model, options)
    limit = min(budget, 512 - 4)  # sample-lm has a context of 512
    for line, example, order in zip(lines, test, orders, strict=True):
        best: list[int] = []
        for count in range(1, len(order) + 1):
            whole = prompt(train, order[:count], example)
            if len(small_model.tokenizer(whole)["input_ids"]) > limit:
                break
            best = order[:count]
        assert line["examples"] == best
        assert line["prompt"] == prompt(train, best, example)
    assert cut == 0


def test_a_token_in_front_of_every_text_costs_a_prompt_one() -> None:
    """Many tokenizers put one there: what the parts have alone is more than the whole."""

    class Marked(Words):
        def count(self, texts: Sequence[str]) -> list[int]:
            return [1 + count for count in super().count(texts)]

    train = [Example("a b", "x", str(i)) for i in range(9)]
    model: Any = Marked()
    options = PromptOptions(budget_tokens=1 + 5 * 3 + 1)
    (line,), _ = answered(train, [Example("q", "x", "q")], [list(range(9))], model, options)
    assert line["examples"] == [0, 1, 2, 3, 4]


def test_the_first_that_does_not_fit_ends_the_choice() -> None:
    train = [Example("a", "x", "a"), Example("b " * 50, "x", "b"), Example("c", "x", "c")]
    model: Any = Words()
    test, options = [Example("q", "x", "q")], PromptOptions(budget_tokens=10)
    (line,), _ = answered(train, test, [[0, 1, 2]], model, options)
    assert line["examples"] == [0]


def _animals() -> tuple[list[Example], list[Example], dict[str, tuple[float, float]]]:
    """East are cats, north are dogs; the last test row lies among cats and is called a dog."""
    kinds = ("cat", "dog")
    vectors = {f"{kind}{i}": (1.0 - axis + 0.01 * i, axis + 0.0) for axis, kind in
               enumerate(kinds) for i in range(9)}  # fmt: skip
    train = [Example(f"say {name}", name[:3], name, kinds) for name in vectors]
    test = [
        Example(f"ask {i}", kind, f"t{i}", kinds) for i, kind in enumerate(("cat", "dog", "dog"))
    ]
    vectors |= {"t0": (2, 0), "t1": (0, 2), "t2": (1, 0)}
    return train, test, vectors


def test_scores_without_a_language_model(tmp_path: Path) -> None:
    """Two of three test rows have eight neighbours of their own kind, the third has none."""
    train, test, vectors = _animals()
    task = _task(train, test, RETRIEVAL_ONLY)
    task.prompts_path = tmp_path / "new" / "prompts.jsonl"
    scores = _evaluate(task, vectors, tmp_path / "predictions")
    assert scores == {RETRIEVAL_ONLY: pytest.approx(2 / 3), "main_score": pytest.approx(2 / 3)}
    assert list(task.row_scores) == [1, 1, 0]
    predicted = json.loads((tmp_path / "predictions" / task.prediction_file_name).read_text())
    assert predicted["default"]["test"] == [1, 1, 0]
    lines = [json.loads(line) for line in task.prompts_path.read_text().splitlines()]
    assert [line["row"] for line in lines] == [0, 1, 2]
    assert all(len(line["examples"]) == 8 for line in lines)
    assert [lines[1][key] for key in ("prompt", "answer", "gold")] == [None, None, "dog"]


def test_scores_with_a_language_model_that_follows_its_examples(tmp_path: Path) -> None:
    """Prompts of 11 words hold three examples of three words each: all of one kind."""
    train, test, vectors = _animals()
    task = _task(train, test)
    words: Any = Words()
    task.language_model, task.options = words, PromptOptions(budget_tokens=11)
    task.prompts_path = tmp_path / "prompts.jsonl"
    scores = _evaluate(task, vectors)
    assert scores == {
        RETRIEVAL_ONLY: pytest.approx(2 / 3),
        "same_label": pytest.approx(2 / 3),
        "rouge_l": pytest.approx(2 / 3),
        "accuracy": pytest.approx(2 / 3),
        "examples": 3,
        "cut": 0,
        "main_score": pytest.approx(2 / 3),
    }
    assert list(task.row_scores) == [1, 1, 0]
    lines = [json.loads(line) for line in task.prompts_path.read_text().splitlines()]
    assert [line["answer"] for line in lines] == ["cat", "dog", "cat"]
    assert re.fullmatch(r"(say dog\d dog\n\n){3}ask 1", lines[1]["prompt"])


def test_free_text_is_judged_by_its_words() -> None:
    """The answer is the prompt's last word but one: here the nearest example's answer's last."""
    train = [Example("a", "the big tide", "a"), Example("b", "a small tide", "b")]
    test = [Example("q", "the tide", "a"), Example("r", "tide", "b")]
    task = _task(train, test)
    words: Any = Words()
    task.language_model = words
    scores = _evaluate(task, {"a": (1, 0), "b": (0, 1)})
    assert (scores["rouge_l"], scores["accuracy"]) == (pytest.approx((2 / 3 + 1) / 2), 0.5)


@pytest.mark.parametrize("choices", [(), ("harbour", "night", "bread")])
def test_two_runs_write_the_same_bytes(
    tmp_path: Path, small_model: LanguageModel, choices: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(2)
    names = ("harbour", "night", "bread")
    made = [Example(f"who left {i}?", names[i % 3], str(i), choices) for i in range(30)]
    vectors = {str(i): rng.standard_normal(4).tolist() for i in range(30)}
    written = []
    for run in range(2):
        task = _task(made[:24], made[24:])
        task.language_model = small_model
        task.options = PromptOptions(budget_tokens=60, max_new_tokens=6, lm_batch=4)
        task.prompts_path = tmp_path / f"{run}.jsonl"
        scores = _evaluate(task, vectors)
        written.append(task.prompts_path.read_bytes())
        assert scores["main_score"] == pytest.approx(np.mean(task.row_scores))
    assert written[0] == written[1]
    for line in map(json.loads, written[0].splitlines()):
        assert line["rouge_l"] == rouge_l(line["answer"], line["gold"])
        if choices:
            likely = small_model.likelihoods(line["prompt"], choices)
            assert line["answer"] == choices[int(np.argmax(likely))]
        else:
            assert [line["answer"]] == small_model.answer([line["prompt"]], 6)


def test_prompts_too_long_without_an_example_are_counted(small_model: LanguageModel) -> None:
    train = [Example("the ship", "left", "a"), Example("who", "baked", "b")]
    test = [Example("the ship left " * 400, "x", "a"), Example("who?", "x", "b")]
    task = _task(train, test)
    task.language_model, task.options = small_model, PromptOptions(max_new_tokens=4)
    scores = _evaluate(task, {"a": (1, 0), "b": (0, 1)})
    assert (scores["cut"], scores["examples"], scores["same_label"]) == (0.5, 1.0, 0)


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [
        ("the cats sat", "The cat sat on the mat.", 2 / 3),
        ("yes", "yes", 1),
        ("no", "yes", 0),
        ("", "yes", 0),
        ("mat the on sat cat the", "the cat sat on the mat", 1 / 2),
    ],
)
def test_rouge_l_of_known_texts(answer: str, gold: str, score: float) -> None:
    """2 P R / (P + R) of the longest common subsequence of stems; the last one's: the sat the."""
    assert rouge_l(answer, gold) == pytest.approx(score)
