"""From a task's record to a task of mteb's, its data already loaded; mteb does the rest.

Tasks that mteb has are loaded by mteb (evaluation.mteb_tasks). Of the others the data come from
local files, and the task's metadata say which repository and revision that was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskClassification, AbsTaskClustering, AbsTaskRetrieval
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata

from artifacts.errors import DatasetError
from artifacts.location import WebFiles
from evaluation import layouts
from evaluation.billboard import AbsTaskBillboard
from evaluation.mteb_tasks import load_mteb_task, with_own_classifier
from evaluation.prompt_layouts import load_examples
from evaluation.prompt_retrieval import AbsTaskPromptRetrieval, examples_dataset
from evaluation.records import EvalTask, EvaluationOptions, Layout
from evaluation.sampling import cut_note, sampled, shortened

Row = TypeVar("Row")


def build_task(
    task: EvalTask,
    files: Sequence[Path],
    options: EvaluationOptions,
    mirror: Path | None = None,
) -> AbsTask:
    """`files` are the local copies of `task.location.files`, in that order; none of mteb's own.

    Raises DatasetError where they are not what the record says, or not to be had.
    """
    if task.mteb is not None:
        built = load_mteb_task(task.name, task.mteb, options.seed, mirror)
        return shortened(built, options.max_texts, options.seed)
    assert task.layout is not None  # EvalTask ties layout and location to the absence of mteb
    kind = _KINDS[task.layout]
    metadata = _metadata(task, kind.type, options)
    built = with_own_classifier(
        type(task.name, (kind.base,), {"metadata": metadata})(seed=options.seed)
    )
    built.dataset = kind.load(task, files, options)
    built.data_loaded = True
    return built


def _metadata(task: EvalTask, type_: str, options: EvaluationOptions) -> TaskMetadata:
    assert task.location is not None
    if isinstance(task.location, WebFiles):
        source = {"path": task.location.files[0], "revision": "not versioned"}
    else:
        source = {"path": task.location.repository, "revision": task.location.revision}
    source["revision"] += cut_note(options.max_texts)
    return TaskMetadata(
        name=task.name,
        description=task.note or f"{task.category} on {source['path']}.",
        dataset=source,
        type=type_,
        category="t2c" if type_ in ("Classification", "Clustering") else "t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=task.metric,
    )


def _sampled(rows: Sequence[Row], options: EvaluationOptions) -> list[Row]:
    return [rows[i] for i in sampled(len(rows), options.max_texts, options.seed)]


def _some(task: EvalTask, rows: list[Row]) -> list[Row]:
    if len(rows) < 2:
        raise DatasetError(f"{task.name}: {len(rows)} rows in its files, where 2 are the least")
    return rows


def _pairs(task: EvalTask, files: Sequence[Path], options: EvaluationOptions) -> DatasetDict:
    read = layouts.read_stsb_csv if task.layout == "stsb_csv" else layouts.read_sts_tsv
    pairs = _sampled(_some(task, read(files)), options)
    columns = {
        "sentence1": [pair.first for pair in pairs],
        "sentence2": [pair.second for pair in pairs],
        "score": [pair.score for pair in pairs],
    }
    return DatasetDict(test=Dataset.from_dict(columns))


def _label_lines(task: EvalTask, files: Sequence[Path], options: EvaluationOptions) -> DatasetDict:
    assert task.test_rows is not None  # EvalTask ties it to this layout
    rows = _some(task, layouts.read_label_lines(files))
    train, test = layouts.split_rows(rows, task.test_rows)
    number = {label: i for i, label in enumerate(sorted({row.label for row in rows}))}

    def dataset(part: Sequence[layouts.Labelled]) -> Dataset:
        return Dataset.from_dict(
            {"text": [row.text for row in part], "label": [number[row.label] for row in part]}
        )

    return DatasetDict(train=dataset(train), test=dataset(_sampled(test, options)))


class WholeSetClustering(AbsTaskClustering):
    """mteb's clustering (ten k-means over bootstrap samples) for sets small enough to embed whole.

    mteb's default embeds 4% of the texts, made for sets of 100,000.
    """

    max_fraction_of_documents_to_embed = None
    max_documents_per_cluster = 2048


def _newsgroups(task: EvalTask, files: Sequence[Path], options: EvaluationOptions) -> DatasetDict:
    rows = _sampled(_some(task, layouts.read_newsgroups(files)), options)
    columns = {"sentences": [row.text for row in rows], "labels": [row.label for row in rows]}
    return DatasetDict(test=Dataset.from_dict(columns))


def _squad(
    task: EvalTask, files: Sequence[Path], options: EvaluationOptions
) -> dict[str, dict[str, Any]]:
    """Questions against all distinct paragraphs; a sample keeps every sampled question's own."""
    data = layouts.read_squad(files)
    questions = _sampled(_some(task, data.questions), options)
    wanted = {question.paragraph for question in questions}
    others = [i for i in range(len(data.paragraphs)) if i not in wanted]
    corpus = sorted(wanted.union(_sampled(others, options)))
    test = {
        "corpus": Dataset.from_dict(
            {"id": [f"p{i}" for i in corpus], "text": [data.paragraphs[i] for i in corpus]}
        ),
        "queries": Dataset.from_dict(
            {"id": [q.id for q in questions], "text": [q.text for q in questions]}
        ),
        "relevant_docs": {q.id: {f"p{q.paragraph}": 1} for q in questions},
        "top_ranked": None,
    }
    return {"default": {"test": test}}


def _billboard(task: EvalTask, files: Sequence[Path], options: EvaluationOptions) -> DatasetDict:
    rows = _sampled(_some(task, layouts.read_billboard(files)), options)
    columns = {
        "hypothesis": [row.hypothesis for row in rows],
        "references": [list(row.references) for row in rows],
        "human_score": [row.human_score for row in rows],
    }
    return DatasetDict(test=Dataset.from_dict(columns))


def _prompts(task: EvalTask, files: Sequence[Path], options: EvaluationOptions) -> DatasetDict:
    assert task.prompt is not None and task.layout is not None
    layout: Any = task.layout
    train, test = load_examples(files, layout, task.prompt, options.prompts)
    return examples_dataset(train, _sampled(test, options))


@dataclass(frozen=True)
class _Kind:
    """What a layout's tasks are to mteb: class, type, and data in the shape the class expects."""

    base: type[AbsTask]
    type: str
    load: Callable[[EvalTask, Sequence[Path], EvaluationOptions], Any]


_KINDS: dict[Layout, _Kind] = {
    "stsb_csv": _Kind(AbsTaskSTS, "STS", _pairs),
    "sts_tsv": _Kind(AbsTaskSTS, "STS", _pairs),
    "label_lines": _Kind(AbsTaskClassification, "Classification", _label_lines),
    "newsgroups_tar": _Kind(WholeSetClustering, "Clustering", _newsgroups),
    "squad": _Kind(AbsTaskRetrieval, "Retrieval", _squad),
    "billboard": _Kind(AbsTaskBillboard, "Summarization", _billboard),
    **dict.fromkeys(
        ("prompt_json", "prompt_jsonl", "prompt_csv"),
        _Kind(AbsTaskPromptRetrieval, "Retrieval", _prompts),
    ),
}
