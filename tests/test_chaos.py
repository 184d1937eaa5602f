"""A few rounds of chaos; `make chaos` has the many."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.keys import Spec
from artifacts.store import Store
from tests import chaos
from tests.chaos_run import Loss, Work, compare, digests


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Two artifacts in a store, and a file delivered."""
    made = Work(tmp_path)
    for stage in ("shards", "embeddings"):
        spec = Spec(stage, "squad_pairs", version=1, params={})
        Store(made.store).build(spec, lambda folder: _written(folder / "a", {}))
    _written(made.out("build") / "README.md", {})
    return made


def _written(path: Path, counts: dict[str, int]) -> dict[str, int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("some text")
    return counts


@pytest.mark.parametrize(
    "lose",
    [
        lambda work: next(work.store.glob("shards/*/*/a")).write_text("same size"),
        lambda work: next(work.store.glob("shards/*/*/a")).unlink(),
        lambda work: shutil.rmtree(work.store / "shards"),
        lambda work: shutil.rmtree(work.store / "embeddings"),
        lambda work: shutil.copytree(work.store / "shards", work.store / "pairs"),
        lambda work: (work.out("build") / "README.md").unlink(),
    ],
)
def test_a_loss_is_seen(work: Work, lose: Callable[[Work], object]) -> None:
    wanted = digests(work)
    assert compare(work, wanted, damaged=False) == set()
    lose(work)
    with pytest.raises(Loss):
        compare(work, wanted, damaged=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run is made there once."""
    return tmp_path_factory.mktemp("chaos")


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_nothing_is_lost(
    number: int,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of this seed the first two rounds are a killed training and bits flipped before a build."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(folder))  # put back afterwards: the program sets it
    one = ["--rounds", "1", "--first", str(number), "--seed", "64", "--work", str(folder)]
    status = chaos.main(one)
    said = capsys.readouterr().out
    assert status == 0, said
    assert said.endswith("1 rounds, 0 losses\n")
