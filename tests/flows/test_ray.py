"""Tasks on a Ray cluster of two: the same artifacts and the same results."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import SAMPLE
from tests.flows.test_golden import GOLDEN, VERSIONS, digests

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def ray_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("prefect_ray", reason="pip install 'medi[ray]'")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def cluster(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of two nodes of one core each, processes of this machine."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(checkout))
    a_node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    two = Cluster(initialize_head=True, head_node_args=a_node)
    try:
        two.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        two.wait_for_nodes()
        yield two.address
    finally:
        two.shutdown()


@pytest.mark.long
def test_a_build_on_two_nodes_makes_the_same_artifacts(
    medi: Run, server: str, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    store, folder = tmp_path / "store", tmp_path / "medi"
    where = ("--store", str(store), "--publish", str(folder), "--runner", "ray")
    built = medi("build", "--only", *SAMPLE, *where, api=server)
    assert built.returncode == 0, built.stderr
    assert {stage: [VERSIONS[stage], digests(store, folder, stage)] for stage in VERSIONS} == GOLDEN


@pytest.mark.long
def test_a_failed_dataset_does_not_sink_a_build_on_a_cluster(
    medi: Run, server: str, tmp_path: Path
) -> None:
    """What a task on another machine raises is told as if it had been raised here."""
    store = tmp_path / "store"
    where = ("--store", str(store), "--decontamination.tasks", "[]", "--runner", "ray")
    options = ("--only", *SAMPLE, "--mining.min-score", "1", "--mining.too-few", "drop")
    built = medi("build", *options, *where, api=server)
    assert built.returncode == 1
    failed = [line for line in built.stderr.splitlines() if " failed: mine: " in line]
    assert [line.split()[1] for line in failed] == ["squad_pairs"], built.stderr
    made = {path.parents[1].name for path in store.glob("shards/*/*/manifest.json")}
    assert made == {*SAMPLE} - {"squad_pairs"}


# Ray is told of a GPU; it asks no driver whether there is one.
GPUS_OF_TASKS = """
import os, ray
from prefect import flow, task
from flows.runner import ray_cluster

def gpus():
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")

@flow
def three_tasks():
    names = ("pairs", "mine", "fetch")
    return {name: task(gpus, name=name).submit().result() for name in names}

ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
print("given", three_tasks.with_options(task_runner=ray_cluster())())
"""


@pytest.mark.long
def test_what_encodes_is_given_a_gpu_and_nothing_else_is(server: str, checkout: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", GPUS_OF_TASKS],
        env=os.environ | {"PREFECT_API_URL": server, "PYTHONPATH": str(checkout)},
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "given {'pairs': '0', 'mine': '0', 'fetch': ''}" in run.stdout, run.stdout + run.stderr


@pytest.mark.long
def test_an_evaluation_on_a_cluster_has_the_same_results(
    medi: Run, server: str, tmp_path: Path
) -> None:
    found = []
    for runner in ("threads", "ray"):
        out, store = tmp_path / runner, tmp_path / f"store-{runner}"
        where = ("--out", str(out), "--store", str(store), "--runner", runner)
        run = medi("evaluate", "medi/sample-encoder", *where, "--tasks", "SampleSTS",
                   "SampleCaptions", api=server)  # fmt: skip
        assert run.returncode == 0, run.stderr
        paths = [path for path in out.rglob("*.json*") if path.is_file()]
        found.append({path.relative_to(out).as_posix(): path.read_bytes() for path in paths})
    assert found[0] == found[1] and len(found[0]) >= 4
