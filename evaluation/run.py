"""Run one task on one model with mteb: its result in mteb's layout, and what belongs to it.

What changes from run to run (times, dates) is left out and scores are rounded to 1e-4, so that
equal inputs give equal bytes. mteb takes seconds to import, and planning
needs no more than VERSION: it is imported where it runs.
"""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.errors import DatasetError
from artifacts.models import ModelRef
from artifacts.store import Store
from evaluation.model import is_released_instructor, load_encoder, loaded_language_model
from evaluation.mteb_tasks import parts
from evaluation.records import EvalTask, EvaluationOptions, Instructions
from evaluation.results import DECIMALS, make_timeless

if TYPE_CHECKING:
    from mteb.abstasks.abstask import AbsTask

    from evaluation.encoder import SharedEncoder

VERSION = 3
INTERVALS = "intervals.json"
PROMPTS = "prompts.jsonl"
_PREDICTIONS = "predictions"
_MOST_RANKED = 20_000_000  # documents: MIND's 97 million would be gigabytes of predictions


_importing = threading.Lock()


def _import_libraries() -> None:
    """All at once: datasets asks a transformers that another thread is importing for its parts."""
    with _importing:
        import mteb
        import sentence_transformers
        import transformers

        _ = mteb, sentence_transformers, transformers.PreTrainedTokenizerBase


def _on_cpu() -> AbstractContextManager[str]:
    return nullcontext("cpu")


@dataclass(frozen=True)
class Asked:
    """One score: of which task, by which model, with which instructions (None: the model's own
    prompts). `lm` answers the prompts of prompt retrieval."""

    task: EvalTask
    model: ModelRef
    instructions: Instructions | None
    options: EvaluationOptions
    lm: ModelRef | None = None


def evaluate_task(
    asked: Asked,
    files: Sequence[Path],
    out: Path,
    store: Store,
    device: Callable[[], AbstractContextManager[str]] = _on_cpu,
    mirror: Path | None = None,
) -> dict[str, Any]:
    """Write the result into `out`: mteb's files, intervals.json; of prompt retrieval prompts.jsonl.

    `files` are the local copies of `task.location.files`, in that order. Embeddings are looked up
    and kept in `store`; `device` gives one, once the data are there. Returns {"task", "metric",
    "score" from -1 to 1, "embeddings", "absent_documents"}. Raises DatasetError for data that are
    not what the record says or not to be had, InputError for a folder that holds no model.
    """
    _import_libraries()
    from datasets import disable_progress_bars

    from evaluation.encoder import SharedEncoder
    from evaluation.queries import absent_documents
    from evaluation.tasks import build_task

    disable_progress_bars()  # one a chunk of a corpus
    task, options = asked.task, asked.options
    built = build_task(task, files, options, mirror)
    with device() as name:
        wrapper = load_encoder(asked.model, asked.instructions, built.metadata.type, name)
        pooled = ", prompt not pooled" if is_released_instructor(asked.model) else ""
        encoder = SharedEncoder(wrapper, asked.model.key + pooled, store, options.memory_mib)
        _prepare(built, asked, out, name)
        score = _scored(encoder, built, out, options)
    if math.isnan(score):
        raise DatasetError(
            f"{task.name}: {task.metric} is not a number: the scores of the test rows, or the "
            "model's, are all one and the same"
        )
    _write_interval(asked, built, score, out)
    shutil.rmtree(out / _PREDICTIONS, ignore_errors=True)
    make_timeless(out)
    return {
        "task": task.name,
        "metric": built.metadata.main_score,
        "score": round(score, DECIMALS),
        "embeddings": asdict(encoder.counts),
        "absent_documents": sum(map(absent_documents, parts(built))),
    }


def _scored(encoder: SharedEncoder, task: AbsTask, out: Path, options: EvaluationOptions) -> float:
    """mteb's main score; it also writes its files and predictions into `out`."""
    import mteb
    from mteb.cache import ResultCache

    from evaluation.search import StreamedSearch

    outcome = mteb.evaluate(
        StreamedSearch(encoder, options.memory_mib),  # encodes where nothing is searched
        task,
        cache=ResultCache(out),
        co2_tracker=False,
        overwrite_strategy="always",
        prediction_folder=out / _PREDICTIONS if _ranked(task) <= _MOST_RANKED else None,
        encode_kwargs={"batch_size": options.batch_size, "show_progress_bar": False},
        show_progress_bar=False,
    )
    (result,) = outcome.task_results
    return float(result.get_score())


def _ranked(task: AbsTask) -> int:
    """Of reranking tasks, how many documents are ranked before, over all queries."""
    layers = [layer for part in parts(task) for layer in (part.dataset or {}).values()]
    splits = [split for layer in layers if isinstance(layer, dict) for split in layer.values()]
    ranked = [split["top_ranked"] for split in splits if isinstance(split, dict)]
    return sum(len(documents) for one in ranked if one for documents in one.values())


def _prepare(task: AbsTask, asked: Asked, out: Path, device: str) -> None:
    """Prompt retrieval needs a language model, and keeps its prompts and answers."""
    from evaluation.prompt_retrieval import AbsTaskPromptRetrieval

    if isinstance(task, AbsTaskPromptRetrieval):
        task.options = asked.options.prompts
        task.prompts_path = out / PROMPTS
        if asked.lm is not None:
            task.language_model = loaded_language_model(asked.lm, device)


def _write_interval(asked: Asked, task: AbsTask, score: float, out: Path) -> None:
    """intervals.json, where the task has one."""
    from evaluation.intervals import measure, pooled, write_interval

    found = []
    for part in parts(task):
        path = out / _PREDICTIONS / part.prediction_file_name
        told = json.loads(path.read_bytes()) if path.is_file() else {}
        own = score if part is task else float("nan")
        metric, seed = part.metadata.main_score, asked.options.seed
        found.append(measure(part, told, metric, own, seed))
    whole = [one for one in found if one is not None]
    if whole and len(whole) == len(found):
        (first, *rest) = whole
        write_interval(out / INTERVALS, pooled(whole, score) if rest else first)
