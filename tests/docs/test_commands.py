"""Every command that the documentation shows is one that works."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from artifacts.errors import InputError
from flows.cli import app
from flows.cli_options import overrides, spread
from flows.profiles import get_profile, override, sections
from tests.docs.pages import (
    ALSO,
    ELSEWHERE,
    IN_ORDER,
    NEEDS,
    PAGES,
    ROOT,
    SERVED,
    commands,
    evidence,
    program,
    python_blocks,
    synopsis,
    varied,
    words,
)

SHOWN = [(page.name, command) for page in PAGES for command in commands(page)]
ALL = sorted({words(command) for _, command in SHOWN} | set(synopsis()))
BIN = Path(sys.executable).parent


def test_the_commands_are_found() -> None:
    """Fenced, indented, with what explains them cut off."""
    assert {("getting-started.md", "make demo"), ("upkeep.md", "medi verify")} <= set(SHOWN)
    assert ("training.md", "medi train --medi demo/medi --out demo/model --dry-run") in SHOWN
    assert "medi sources NAME --licence commercial --sources DIR --check" in ALL


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_a_command_is_run_or_said_why_not(page: str, command: str) -> None:
    """If this fails for a new command: list it in tests/docs/pages.py."""
    run = page in IN_ORDER or command in (*ALSO, *SERVED, *ELSEWHERE)
    assert run or any(part in command for part in NEEDS)


@pytest.mark.parametrize(("command", "file"), ELSEWHERE.items())
def test_the_file_that_is_named_runs_the_command(command: str, file: str) -> None:
    """As far as its text can tell. If no test runs it: say in NEEDS why not."""
    assert Path(file).name.startswith("test_") or file == "pyproject.toml"
    assert lacks(command, (ROOT / file).read_text(encoding="utf-8")) == []


def lacks(command: str, text: str) -> list[str]:
    return [sign for sign in evidence(command) if not re.search(sign, text, re.MULTILINE)]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("medi train --medi A --dry-run", 'medi("train", "--medi", folder)'),
        ("medi ablate size --out DIR", 'medi("ablate", "detail", "--out", folder)'),
        (
            "prefect deployment run retrain/default",
            'run("deployment", "run", "build-medi/default")',
        ),
        ("prefect deployment run retrain/default -p out=new", '"deployment", "run", "retrain"'),
        ("export PREFECT_API_URL=x", "PREFECT_API_URL"),
        ("make chaos", "chaos = 1"),
        ("pip install -e '.[s3]'", "ray = ["),
    ],
)
def test_a_file_that_does_not_run_it_would_be_found(command: str, text: str) -> None:
    assert lacks(command, text)


def test_the_store_and_the_mirror_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDI_STORE", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"store .*nowhere: no such folder"):
        app(["verify"], standalone_mode=False)
    monkeypatch.setenv("MEDI_MIRROR", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"mirror .*elsewhere: no such folder"):
        app(["plan", "--profile", "real-small"], standalone_mode=False)


def test_the_lists_hold_nothing_that_is_not_shown() -> None:
    shown = {command for _, command in SHOWN}
    assert [command for command in (*ALSO, *SERVED, *ELSEWHERE) if command not in shown] == []
    assert [part for part in NEEDS if not any(part in command for command in shown)] == []


@pytest.mark.parametrize("command", ALL)
def test_a_command_takes_these_options(command: str) -> None:
    given = shlex.split(command.replace(" ID", f" {uuid.uuid4()}"))[1:]
    match program(command):
        case "medi":
            _parse_medi(given)
        case "prefect":
            _parse_prefect(given)
        case "make":
            subprocess.run(["make", "-n", *given], cwd=ROOT, check=True, capture_output=True)
        case "export":
            assert all(re.fullmatch(r"[A-Z_]+=\S+", setting) for setting in given)
        case "pip":
            _extras_are_there(given)
        case "docker":
            _arguments_are_there(given)
        case "kubectl":
            assert "-f" not in given or (ROOT / given[given.index("-f") + 1]).exists()
        case "ray":
            from ray.scripts.scripts import cli

            cli.commands[given[0]].make_context(given[0], given[1:])
        case "python" if given[0] == "-m":
            assert importlib.util.find_spec(given[1])
        case "python" if given[0] == "-c":
            compile(given[1], "shown", "exec")
        case other:
            pytest.fail(f"nothing here knows how to check {other}")


def _extras_are_there(given: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert given[0] == "install"
    assert {extra for word in given for extra in re.findall(r"\.\[(\w+)\]", word)} <= set(extras)


def _arguments_are_there(given: list[str]) -> None:
    """Of a Docker build."""
    known = re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    asked = [given[i + 1].split("=")[0] for i, word in enumerate(given) if word == "--build-arg"]
    assert given[0] in ("build", "run") and set(asked) <= set(known)


def _parse_medi(given: list[str]) -> None:
    group = typer.main.get_command(app)
    name, *rest = spread(given)
    command = group.commands[name]  # type: ignore[attr-defined]
    context = command.make_context(name, rest)
    profile = context.params.get("profile")
    fields = overrides(context.args)
    if isinstance(profile, list):  # gc
        sections(get_profile(profile[0]), fields)
    elif name in ("retrain", "ablate"):
        sections(get_profile(profile), fields)
    elif profile is not None:
        part = name if name in ("train", "evaluate") else "build"
        override(getattr(get_profile(profile), part), fields)


def _parse_prefect(given: list[str]) -> None:
    from prefect.cli import app as prefect  # noqa: F401  registers the commands
    from prefect.cli._app import _app

    _app.parse_args(given, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("wrong", ["medi build --pubish x", "medi plan --workers none",
                                   "prefect deployment run x/y --wach"])  # fmt: skip
def test_a_wrong_option_would_be_found(wrong: str) -> None:
    parse = _parse_medi if program(wrong) == "medi" else _parse_prefect
    with pytest.raises(Exception, match=r"pubish|workers|wach"):
        parse(shlex.split(wrong)[1:])


class Shell:
    """Runs commands as their reader does, in one folder."""

    def __init__(self, folder: Path, **environment: str) -> None:
        kept = {name: v for name, v in os.environ.items() if not name.startswith("MEDI_")}
        path = os.pathsep.join([str(BIN), kept["PATH"]])
        self._folder = folder
        self._environment = kept | {"PATH": path} | environment

    def __call__(self, command: str) -> None:
        run = subprocess.run(
            command,
            shell=True,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"


@pytest.fixture
def server(prefect_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from flows.server import prefect_server

    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with prefect_server() as url:
        yield url


@pytest.mark.long
def test_the_pages_are_followed(server: str, tmp_path: Path) -> None:
    """The Python that they show, too."""
    shell = Shell(tmp_path, PREFECT_API_URL=server)
    for name in IN_ORDER:
        page = next(page for page in PAGES if page.name == name)
        for command in commands(page):
            if program(command) != "make":
                shell(varied(command))
        for number, block in enumerate(python_blocks(page)):
            path = tmp_path / f"{number}.py"
            path.write_text(block)
            shell(f"python {path}")
    for command in ALSO:
        shell(varied(command))


@pytest.mark.long
def test_the_page_on_operation_is_followed(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    shell = Shell(ROOT, PREFECT_API_URL=url, PREFECT_HOME=str(tmp_path / "home"), PWD=str(ROOT))
    order = sorted(SERVED, key=lambda command: ["medi up --detach", "medi down"].index(command)
                   if command.startswith("medi") else 0.5)  # fmt: skip
    try:
        for command in order[:-1]:
            shell(f"{command} {SERVED[command].format(port=port, work=tmp_path)}")
    finally:
        shell(order[-1])
