"""A build's embeddings: a run that fails or filters otherwise must not encode again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from artifacts.store import Artifact, Store
from flows import wanted as wanting
from flows.planning import BuildPlan, plan_build
from flows.profiles import get_profile
from flows.upkeep import run_gc
from mining import encode
from tasks import stages
from tasks.config import BuildConfig

QUESTIONS, CAPITALS = "squad_pairs", "task1146_country_capital"


def config(**fields: Any) -> BuildConfig:
    miner = {"encoder": "medi/sample-miner", "superni_encoder": "medi/sample-miner"}
    return BuildConfig(datasets=(QUESTIONS, CAPITALS), origin="sample", **miner | fields)


def planned(store: Store, **fields: Any) -> BuildPlan:
    return plan_build(config(**fields), store, None)


def mined(plan: BuildPlan, dataset: str) -> Artifact:
    """Fetch, pairs and mine of one dataset, each made or found."""
    chain, setting = plan.chains[dataset], plan.setting
    fetch = chain["fetch"]
    stages.fetch(fetch.spec, fetch.source.location, setting.store, setting.mirror)
    stages.pairs(chain["pairs"], setting)
    return stages.mine(chain["mine"], setting)[0]


def embeddings(store: Store, dataset: str) -> set[str]:
    return {path.name for path in (store.root / "embeddings" / dataset).glob("*")}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Both datasets mined."""
    made = Store(tmp_path_factory.mktemp("embeddings") / "store")
    for dataset in (QUESTIONS, CAPITALS):
        mined(planned(made), dataset)
    return made


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(encode, "load_encoder", refuse)


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("dataset", [QUESTIONS, CAPITALS])
def test_another_filter_loads_no_model(store: Store, dataset: str) -> None:
    before = embeddings(store, dataset)
    first, other = (
        mined(planned(store, mining={"margin": margin}), dataset) for margin in (0.95, 0.7)
    )
    assert first.folder != other.folder
    assert first.manifest.counts["embeddings"] == other.manifest.counts["embeddings"]
    assert embeddings(store, dataset) == before


def test_a_selection_that_failed_encodes_nothing_when_it_is_mended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(store, encoder="medi/sample-encoder")

    def fail(*_: Any) -> None:
        raise MemoryError("no room for the scores")

    with monkeypatch.context() as broken:
        broken.setattr("mining.mine.mine", fail)
        with pytest.raises(MemoryError):
            mined(plan, QUESTIONS)
    monkeypatch.setattr(encode, "load_encoder", fail)
    assert mined(plan, QUESTIONS).manifest.counts["rows_out"]


def test_superni_is_mined_with_the_vectors_it_was_paired_by(store: Store) -> None:
    """Only where one encoder does both: another one's cosines are of another space."""
    for superni, reused in (("medi/sample-miner", True), ("medi/sample-encoder", False)):
        plan = planned(store, superni_encoder=superni)
        mine = mined(plan, CAPITALS)
        pairs = store.get(plan.chains[CAPITALS]["pairs"].spec)
        told = [set(each.manifest.counts["embeddings"]) for each in (pairs, mine)]
        assert told[0] == told[1] if reused else not told[0] & told[1]


def test_lost_embeddings_are_made_again_and_change_no_row(tmp_path: Path) -> None:
    """Other batches would give other vectors by float noise, and now and then another negative."""
    lossy = Store(tmp_path / "store")
    first = mined(planned(lossy), CAPITALS)
    rows = first.file("mined.parquet").read_bytes()
    shutil.rmtree(lossy.root / "embeddings")
    shutil.rmtree(first.folder)
    again = mined(planned(lossy), CAPITALS)
    assert again.manifest == first.manifest
    assert again.file("mined.parquet").read_bytes() == rows


def test_gc_keeps_the_embeddings_that_are_in_use(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Store(tmp_path / "store")
    kept = {name: set[str]() for name in (QUESTIONS, CAPITALS)}
    for dataset, keys in kept.items():
        keys |= {*mined(planned(wanted), dataset).manifest.counts["embeddings"]}
    mined(planned(wanted, encoder="medi/sample-encoder"), QUESTIONS)
    assert embeddings(wanted, QUESTIONS) > kept[QUESTIONS]
    mine = get_profile("sample").model_copy(update={"build": config()})
    monkeypatch.setattr(wanting, "get_profile", lambda _: mine)
    run_gc(["mine"], [], [], -1, None, str(wanted.root), {}, True)
    assert {dataset: embeddings(wanted, dataset) for dataset in kept} == kept
