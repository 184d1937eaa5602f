"""Our scores are those that mteb gives for the same encoder, prompts and data, on real tasks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from scipy.stats import pearsonr
from sentence_transformers import SentenceTransformer

from artifacts.models import resolve_model
from artifacts.store import Store
from evaluation import layouts
from evaluation.catalog import instructions_of, load_catalog
from evaluation.records import EvaluationOptions
from evaluation.run import Asked, evaluate_task
from evaluation.tasks import build_task
from tests.evaluation.real_files import MODEL, files_of, needs_real_data

pytestmark = [pytest.mark.real, needs_real_data]

OPTIONS = EvaluationOptions(device="cpu", max_texts=60)
QUICK = ("STSBenchmark-github", "STS12-github", "STS13-github", "BillboardMSCOCO")
SLOW = (
    "STS14-github",
    "STS15-github",
    "TRECQuestionClassification",
    "MiniNewsgroupsClustering",
    "SQuADParagraphRetrieval",
    "BillboardCNNDM",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One for all tasks, so that embeddings are shared as in a whole evaluation."""
    return Store(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def encoder() -> SentenceTransformer:
    """A new one a test: mteb's wrapper leaves its prompts in the model."""
    return SentenceTransformer(str(MODEL), device="cpu").float()


@pytest.mark.parametrize(
    ("name", "instructed"),
    [
        *((name, True) for name in QUICK),
        *((name, False) for name in QUICK[:1]),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in SLOW),
    ],
)
def test_scores_equal_mtebs(
    name: str, instructed: bool, store: Store, encoder: SentenceTransformer, tmp_path: Path
) -> None:
    task = load_catalog()[name]
    told = instructions_of(task, OPTIONS) if instructed else None
    asked = Asked(task, resolve_model(str(MODEL), None), told, OPTIONS)
    ours = evaluate_task(asked, files_of(task), tmp_path, store)["score"]

    built = build_task(task, files_of(task), OPTIONS)
    kind = built.metadata.type
    prompts = {f"{kind}-query": told[0], f"{kind}-document": told[1], kind: told[0]} if told else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapper: Any = mteb.models.SentenceTransformerEncoderWrapper(
            encoder, model_prompts=prompts or None
        )
    (result,) = mteb.evaluate(wrapper, built, cache=None, co2_tracker=False).task_results
    assert ours == pytest.approx(result.get_score(), abs=1e-4)


@pytest.mark.slow
def test_billboards_score_equals_an_independent_computation(
    store: Store, encoder: SentenceTransformer, tmp_path: Path
) -> None:
    """All 2,500 captions, each embedded by sentence-transformers itself."""
    task = load_catalog()["BillboardMSCOCO"]
    asked = Asked(task, resolve_model(str(MODEL), None), None, EvaluationOptions(device="cpu"))
    ours = evaluate_task(asked, files_of(task), tmp_path, store)["score"]
    judged = layouts.read_billboard(files_of(task))
    texts = sorted({t for row in judged for t in (row.hypothesis, *row.references)})
    vectors = encoder.encode(texts, normalize_embeddings=True)
    at = dict(zip(texts, np.asarray(vectors, dtype=np.float64), strict=True))
    nearest = [max(at[row.hypothesis] @ at[ref] for ref in row.references) for row in judged]
    expected = pearsonr(nearest, [row.human_score for row in judged]).statistic
    assert ours == pytest.approx(expected, abs=1e-4)
