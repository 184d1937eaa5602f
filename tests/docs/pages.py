"""The commands that README.md and docs/*.md show, and what becomes of each of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {
    "medi",
    "prefect",
    "make",
    "python",
    "pip",
    "export",
    "pytest",
    "docker",
    "kubectl",
    "ray",
}
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)(?:    .*\n)+")
_SETTING = re.compile(r"^(?:[A-Z_]+=\S+ )+")
_SAID = re.compile(r"(?: {2,}| +# ).*$")  # what stands behind a command explains it

# Run on two sample datasets, page by page, in the order in which they stand there.
IN_ORDER = ("getting-started.md", "artifacts.md", "upkeep.md")
ALSO = (
    "medi sources --licence commercial",
    "medi evaluate demo/model --out DIR --paraphrases 5",
)
# What is other when they are run: text -> text.
VARIED = {"demo/medi": "first/medi", "demo/model": "first/model",
          "OLD/medi": "first/medi", "NEW/medi": "first/medi"}  # fmt: skip
# On a server of the test's own. Where a value is given, that is added.
SERVED = {
    "medi up --detach": "--port {port}",
    "prefect deployment run build-medi/default --watch": (
        "-p 'only=[\"squad_pairs\"]' -p publish={work}/medi -p store={work}/store"
    ),
    "prefect work-pool set-concurrency-limit medi 2": "",
    "prefect concurrency-limit create fetch 8": "",
    "prefect concurrency-limit create train 2": "",
    "prefect deployment schedule resume --all": "",
    "prefect deployment schedule pause --all": "",
    "prefect automation resume train-after-build": "",
    "prefect automation pause train-after-build": "",
    "prefect flow-run ls": "",
    "prefect deploy --all": "",
    "medi down": "",
}
# Run by another test, in small: a file that has what `evidence` asks for.
ELSEWHERE = {
    "make demo": "tests/flows/test_demo.py",
    "prefect server start": "tests/flows/test_server.py",
    "make chaos": "tests/test_chaos.py",
    "pip install -c constraints.txt -e '.[s3]'": "pyproject.toml",
    "pip install -c constraints.txt -e '.[ray]'": "pyproject.toml",
    "export MEDI_STORE=s3://bucket/prefix": "tests/docs/test_commands.py",
    "medi build --profile sample --publish demo/medi": "tests/flows/test_build.py",
    **{
        f"export PREFECT_{setting}": "tests/flows/test_build_remote.py"
        for setting in (
            "DEFAULT_RESULT_STORAGE_BLOCK=remote-file-system/medi-results",
            "RESULTS_PERSIST_BY_DEFAULT=true",
            "RESULTS_DEFAULT_SERIALIZER=json",
        )
    },
    "medi up": "tests/flows/test_serve.py",
    "medi sources --sources my-data --check": "tests/flows/test_own_datasets.py",
    "medi sources --sources my-data tool_questions": "tests/flows/test_own_datasets.py",
    "medi build --sources my-data --only tool_questions --publish my-medi": (
        "tests/flows/test_own_datasets.py"
    ),
    "medi train --medi demo/medi --out demo/model": "tests/flows/test_train_evaluate.py",
    "medi train --medi demo/medi --out demo/model --dry-run": "tests/flows/test_train_evaluate.py",
    "medi evaluate demo/model --out demo/results": "tests/flows/test_train_evaluate.py",
    "prefect deployment run train-instructor/default --watch": "tests/flows/test_deployments.py",
    "prefect deployment run evaluate-embedder/default --watch": "tests/flows/test_deployments.py",
    "prefect deployment run retrain/default --watch": "tests/flows/test_deployments.py",
    'prefect deployment run retrain/default -p out=new -p \'overrides={"build": {"seed": 1}}\'': (
        "tests/flows/test_deployments.py"
    ),
    "prefect flow-run cancel ID": "tests/flows/test_failure.py",
    "medi build --runner ray": "tests/flows/test_ray.py",
    "medi evaluate MODEL --out DIR --runner ray": "tests/flows/test_ray.py",
    **{
        f"export PREFECT_{setting}": "tests/flows/test_server.py"
        for setting in (
            "SERVER_API_AUTH_STRING=medi:PASSWORD",
            "API_AUTH_STRING=medi:PASSWORD",
            "API_URL=https://prefect.example.org/api",
        )
    },
    "prefect worker start --pool medi --type process": "tests/flows/test_failure.py",
    "medi ablate size --out DIR": "tests/flows/test_ablate.py",
}
# Run by no test: they take too long, or what they need is not had here. Their options are checked.
NEEDS = {
    "--profile paper": "GPUs and a network",
    "profile=paper": "GPUs and a network",
    "--profile real-small": "a network, or its mirror",
    "profile=real-small": "a network, or its mirror",
    "gtr-t5-large": "the Hub",
    "kubernetes": "a cluster; tests/flows/test_containers.py checks the pool's template",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "tests/flows/test_postgres.py has such a server",
    "--job-variable": "a cluster; tests/flows/test_containers.py gives the template its variables",
    '--tasks STS "Pair Classification"': "the Hub: these are tasks of mteb's",
    "--host 0.0.0.0": "an open network",
    "docker ": "Docker; tests/flows/test_containers.py lints the Dockerfile",
    "kubectl ": "a cluster",
    "ray start": "several machines",
    "ray get-auth-token": "several machines",
    "RAY_": "several machines",
    "PREFECT_SERVER_UI_API_URL": "an open network",
    "make test": "itself",
    "medi ablate ": "half an hour; tests/flows/test_ablate.py runs size, and checks all cells",
}


def commands(page: Path) -> Iterator[str]:
    """The commands of a page, one a line, without what explains them. README's synopsis is none."""
    text = page.read_text(encoding="utf-8")
    blocks = [
        (m.start(), m[2]) for m in _FENCED.finditer(text) if m[1] in ("", "sh", "bash", "text")
    ]
    plain = _FENCED.sub(lambda m: "\n" * m[0].count("\n"), text)
    blocks += [
        (m.start(), re.sub("^    ", "", m[0], flags=re.M)) for m in _INDENTED.finditer(plain)
    ]
    for _, block in sorted(blocks):
        lines = block.replace("\\\n", " ").splitlines()
        if "[--profile P]" in block or not any(program(line) in PROGRAMS for line in lines):
            continue
        for line in lines:
            if line.strip() and not line.startswith((" ", "#")):
                yield _SAID.sub("", line).strip()


def evidence(command: str) -> list[str]:
    """Patterns of a text that runs the command: its subcommands and options, in quotes."""
    name, *given = shlex.split(command)
    options = [word.lstrip("-") for word in given if word.startswith("--")]
    parameters = [word.partition("=")[0] for word in given if re.match(r"[a-z]+=", word)]
    match name:
        case "medi":
            said = given[:2] if given[0] == "ablate" else given[:1]
        case "prefect":
            said = [word.partition("/")[0] for word in given[:3] if re.match("[a-z]", word)]
        case "export":
            said = [given[0].partition("=")[0]]
        case "make":
            return [rf"""\b{given[0]}\.main\(|["']{given[0]}["']"""]
        case "pip":
            return [rf"^{extra} = \[" for extra in re.findall(r"\.\[(\w+)\]", command)]
        case other:
            raise ValueError(f"nothing here knows how a test would run {other}")
    quoted = [rf"""["'](--)?{word}["'/]""" for word in [*said, *options]]
    return quoted + [rf"\b{parameter}=" for parameter in parameters]


def synopsis() -> Iterator[str]:
    """The commands of README's table, with all their options, and one of several values."""
    for _, block in _FENCED.findall(PAGES[0].read_text(encoding="utf-8")):
        for line in block.splitlines() if "[--profile P]" in block else ():
            for command in _SAID.sub("", re.sub(r"  \[", " [", line)).split(", "):
                given = re.sub(r"\[|\]| \.\.\.", "", re.sub(r"\|\w+", "", command))
                numbered = re.sub(r"(--\w+) N\b", r"\1 9", given)
                yield re.sub(r"--profile P\b", "--profile sample", numbered)


def python_blocks(page: Path) -> list[str]:
    found = _FENCED.findall(page.read_text(encoding="utf-8"))
    return [block for language, block in found if language == "python"]


def program(command: str) -> str:
    return _SETTING.sub("", command).split(" ")[0]


def varied(command: str) -> str:
    """As it is run."""
    for text, other in VARIED.items():
        command = command.replace(text, other)
    return command


def words(command: str) -> str:
    """Without the environment variables in front."""
    return _SETTING.sub("", command)
