"""What our code never does, read from its source: unpickle, run code that a file brings."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotations.yaml_file import read_yaml
from artifacts.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [path.parent for path in sorted(ROOT.glob("*/__init__.py"))]
FILES = [path for package in (*PACKAGES, ROOT / "benchmarks") for path in package.rglob("*.py")]
SERIALISERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
# torch.load raises it where a file asks for more than tensors.
ONLY = {("pickle", "UnpicklingError")}


def faults(tree: ast.AST) -> Iterator[str]:
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names} & SERIALISERS
        elif isinstance(node, ast.ImportFrom) and node.module in SERIALISERS:
            yield f"{node.lineno}: from {node.module}"
        elif isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {fault}" for fault in _of_call(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = (node.value.id, node.attr)
            if used[0] in imported and used not in ONLY:
                yield f"{node.lineno}: {'.'.join(used)}"


def _of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in ("eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"):
        yield name
    if name == "yaml.load" and given.get("Loader") != "_NoKeyTwice":  # below: a safe one
        yield "yaml.load without the safe loader"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if given.get("allow_pickle", "False") != "False":
        yield f"{name} with allow_pickle"
    if given.get("trust_remote_code", "False") != "False":
        yield f"{name} with trust_remote_code"
    if given.get("shell", "False") != "False":
        yield f"{name} with a shell"


def test_no_source_file_unpickles_or_runs_what_it_reads() -> None:
    assert len(FILES) > 150
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    found = [f"{path.relative_to(ROOT)}:{fault}" for path in FILES for fault in faults(trees[path])]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle; pickle.loads(b'')",
        "import joblib; joblib.load('x')",
        "from dill import load",
        "eval('1')",
        "yaml.load(text, Loader=yaml.Loader)",
        "torch.load('x')",
        "np.load('x', allow_pickle=True)",
        "AutoModel.from_pretrained('x', trust_remote_code=True)",
        "subprocess.run('ls', shell=True)",
    ],
)
def test_each_of_these_would_be_found(code: str) -> None:
    assert list(faults(ast.parse(code)))


def test_yaml_makes_plain_values_alone(tmp_path: Path) -> None:
    path = tmp_path / "record.yaml"
    path.write_text(f"!!python/object/apply:os.mkdir ['{tmp_path / 'made'}']")
    with pytest.raises(InputError, match=r"record\.yaml"):
        read_yaml(path, 10_000)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("where", [ROOT, Path("/")])
def test_prefect_keeps_no_results_and_would_keep_json(where: Path) -> None:
    """By prefect.toml in the checkout; elsewhere by the environment that a command sets."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import os; from flows.server import _SETTINGS\n"
        "if sys.argv[2] == '/': os.environ |= _SETTINGS\n"
        "from prefect.settings import get_current_settings as settings\n"
        "print(settings().results.default_serializer, settings().server.analytics_enabled,\n"
        "      settings().results.persist_by_default)"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(where)]
    run = subprocess.run(command, cwd=where, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["json", "False", "False"]
