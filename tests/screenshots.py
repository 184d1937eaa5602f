"""The pictures of docs/ui.md: a build with one broken dataset, a training and an evaluation, looked
at in the Prefect UI by a headless Chromium.

python -m tests.screenshots [--out docs/pictures]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.chromium import Page, chromium

ROOT = Path(__file__).resolve().parents[1]
OWN = re.compile(r"`(my-data/[^`]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)
DATASETS = (
    "squad_pairs", "allnli", "agnews", "pubmedqa", "eli5_question_answer",
    "task1146_country_capital", "tool_questions",
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """The runs and artifacts of one server, by what they are called."""

    api: str

    def flow_run(self, flow: str) -> str:
        """The id of the last run of `flow`."""
        body = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 1}
        return str(self._post("/flow_runs/filter", body)[0]["id"])

    def artifact(self, key: str) -> str:
        """The id of the last artifact under `key`."""
        body = {"artifacts": {"key": {"any_": [key]}}}
        return str(self._post("/artifacts/latest/filter", body)[0]["latest_id"])

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return httpx.post(self.api + path, json=body, timeout=30).raise_for_status().json()


def run_flows(work: Path) -> None:
    """Build the datasets, one of them broken, train and evaluate, below `work`."""
    from flows.run import run_build, run_evaluate, run_train

    own = work / "my-data"
    for name, text in OWN.findall((ROOT / "docs" / "own-datasets.md").read_text(encoding="utf-8")):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text, encoding="utf-8")
    questions = own / "questions.jsonl"
    questions.write_text(questions.read_text(encoding="utf-8") + "no JSON\n" * 40)
    store, medi, model = (str(work / name) for name in ("store", "medi", "model"))
    of_build = {"sources": str(own)}
    run_build("sample", list(DATASETS), medi, None, store, of_build)
    run_train(
        medi,
        model,
        "sample",
        None,
        None,
        store,
        {"steps": 60, "evaluate_every": 15, "held_out": 0.1},
    )
    tasks = ["SampleSTS", "SampleRetrieval"]
    run_evaluate(model, str(work / "results"), tasks, "sample", None, None, store, {})


def take_pictures(page: Page, seen: Seen, out: Path) -> None:
    ui = seen.api.removesuffix("/api")
    build = seen.flow_run("build-medi")
    page.open(f"{ui}/runs/flow-run/{build}", "CompletedWithFailures")
    page.click("Task Runs")
    page.picture(out / "flow-run.png", settle=15)
    for key, shows in (
        ("build-medi", "tool_questions"),
        ("dataset-squad-pairs", "in the store"),
        ("dataset-tool-questions", "failed in"),
        ("training-loss", "grad"),
        ("evaluate-embedder", "SampleSTS"),
    ):
        page.open(f"{ui}/artifacts/artifact/{seen.artifact(key)}", shows)
        page.picture(out / f"{key}.png")


def shrink(picture: Path) -> None:
    """256 colours, chosen so that a rare one stays, are enough for a page of the UI."""
    with Image.open(picture) as whole:
        small = whole.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE)
    small.save(picture, optimize=True)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    out = given.parse_args().out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.gettempdir()) / "medi-pictures"  # its name is in the pictures
    work.mkdir()
    try:
        os.environ["PREFECT_HOME"] = str(work / "prefect")
        os.environ["PREFECT_API_URL"] = "http://127.0.0.1:9/api"  # nobody's: one of our own starts
        os.chdir(ROOT)
        from flows.server import prefect_server

        with prefect_server() as api:
            run_flows(work)
            with chromium(work / "chromium", width=1440) as page:
                take_pictures(page, Seen(api), out)
    finally:
        shutil.rmtree(work)
    for picture in out.glob("*.png"):
        shrink(picture)


if __name__ == "__main__":
    main()
