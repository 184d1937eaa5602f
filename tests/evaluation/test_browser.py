"""The report in a real browser (headless Chromium), at the widths of a desk and of a telephone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from artifacts.models import ModelRef
from evaluation.catalog import load_catalog
from evaluation.intervals import Comparison
from evaluation.records import EvaluationOptions
from evaluation.report import Report, write_report
from evaluation.scores import NotRun, Reuse, Robustness, ScoreRow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)"
)
WIDTHS = (1280, 400)
HEIGHT = 2400

# Chromium's own window is never narrower than about 500 pixels: the page is looked at in a frame.
WRAPPER = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="page" src="NAME" style="border:0;width:WIDTHpx;height:HEIGHTpx"></iframe>
<script>
const frame = document.getElementById("page");
addEventListener("load", () => {
  const inner = frame.contentDocument, root = inner.documentElement;
  const all = [...inner.querySelectorAll("body *")];
  const size = element => parseFloat(frame.contentWindow.getComputedStyle(element).fontSize);
  const found = {
    viewport: frame.contentWindow.innerWidth,
    width: root.scrollWidth,
    images: [...inner.images].map(image => image.naturalWidth),
    smallest: Math.min(...all.map(size)),
    cut: [...inner.querySelectorAll("td, th, p, h1, h2, dt, dd")]
      .filter(cell => cell.scrollWidth > cell.clientWidth + 1).map(cell => cell.textContent),
    text: inner.body.innerText,
  };
  const shown = document.createElement("pre");
  shown.id = "found";
  shown.hidden = true;
  shown.textContent = JSON.stringify(found);
  document.body.append(shown);
});
</script>"""


@dataclass(frozen=True)
class Seen:
    """What the browser says of a page at a width, its complaints and a picture of the window."""

    found: dict[str, Any]
    console: list[str]
    screenshot: Path


def look(page: Path, width: int, scratch: Path) -> Seen:
    assert CHROMIUM is not None
    wrapper = page.with_name(f"at-{width}.html")
    fields = {"NAME": page.name, "WIDTH": str(width), "HEIGHT": str(HEIGHT)}
    wrapper.write_text(re.sub("NAME|WIDTH|HEIGHT", lambda m: fields[m[0]], WRAPPER))
    screenshot = scratch / f"{width}.png"
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--allow-file-access-from-files", "--hide-scrollbars",
        "--enable-logging=stderr", f"--user-data-dir={scratch / 'profile'}",
        f"--window-size={width},{HEIGHT}", f"--screenshot={screenshot}", "--dump-dom",
        wrapper.as_uri(),
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    (found,) = re.findall(r'<pre id="found"[^>]*>(.*?)</pre>', ran.stdout, re.S)
    console = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    return Seen(json.loads(unescape(found)), console, screenshot)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every section, long names in all of them."""
    out = tmp_path_factory.mktemp("report")
    model = out / "a-model-of-a-rather-long-name-from-a-folder-somewhere"
    model.mkdir()
    lines = [json.dumps({"step": step, "loss": 4 / step, "lr": 1e-5}) for step in range(1, 30)]
    (model / "curve.jsonl").write_text("\n".join(lines))
    same = [{"query": "a: ", "document": "a: "}]
    record = {"base_encoder": "owner/base", "step": 29, "instructions": {"allnli": same}}
    (model / "medi.json").write_text(json.dumps(record | {"datasets": {"allnli": {"rows": 1000}}}))
    catalog = load_catalog()
    names = ["TweetSentimentExtractionClassification", "STS12", "BillboardMSCOCO", "SummEval"]
    noise = Comparison(0.01, -0.01, 0.03, True)
    rows = [
        ScoreRow(catalog[name], 0.5, 0.51, (0.49, 0.51), (0.5, 0.52), noise, "at a reduced size")
        for name in names
    ]
    reason = "no mirror has 'mteb/msmarco' at c5a29a104738b98a9e76336939199e264163d4a0"
    wording = "Represent the sentence for finding others of the same meaning: "
    command = f"medi evaluate {'a-long-path/' * 20} --out OUT --tasks {' '.join(names)}"
    return write_report(
        out,
        Report(
            rows,
            ModelRef("sentence-transformers/gtr-t5-large", out, "b" * 24),
            ModelRef(str(model), model, "a" * 24),
            EvaluationOptions(),
            command,
            not_run=[NotRun("MSMARCO", reason)],
            robustness=[Robustness("STS12", "STS", (0.5, 0.52, 0.55))],
            reuse=Reuse(1_000_000, 800_000, 700_000),
            instructions=dict.fromkeys(names, (wording, wording)),
        ),
    )


@pytest.fixture(scope="module")
def seen(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Seen]:
    kept: dict[int, Seen] = {}

    def at(width: int) -> Seen:
        if width not in kept:
            kept[width] = look(report, width, tmp_path_factory.mktemp(f"chromium-{width}"))
        return kept[width]

    return at


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_nothing_in_it_is_broken(width: int, seen: Callable[[int], Seen]) -> None:
    found = seen(width).found
    assert found["viewport"] == width and found["width"] <= width
    assert seen(width).console == []
    assert len(found["images"]) == 4 and min(found["images"]) > 100
    assert found["cut"] == []
    assert found["smallest"] >= 12


@pytest.mark.parametrize("width", WIDTHS)
def test_what_matters_can_be_read(width: int, seen: Callable[[int], Seen]) -> None:
    text = seen(width).found["text"]
    for shown in (
        "within noise", "+1.00", "50.0–52.0", "(1/10, reduced)", "INSTRUCTOR-XL 1.5B", "58.8",
        "5.00", "30.0% were reused", "not run: no mirror has", "Represent the sentence for",
        "Trained from owner/base",
    ):  # fmt: skip
        assert shown in text


@pytest.mark.parametrize("width", WIDTHS)
def test_the_screenshot_shows_text_and_colours_on_white(
    width: int, seen: Callable[[int], Seen]
) -> None:
    pixels = matplotlib.image.imread(seen(width).screenshot)[:, :, :3]
    assert pixels.shape[:2] == (HEIGHT, width)
    white = (pixels > 0.99).all(axis=2).mean()
    assert 0.5 < white < 0.99
    coloured = pixels.max(axis=2) - pixels.min(axis=2) > 0.3
    assert coloured.any()


def test_a_page_that_is_broken_would_be_found_out(tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text(
        "<!doctype html><p>fine</p><p style='width:20px;font-size:8px;overflow:hidden'>"
        "toolongforthis</p><div style='width:900px'>wide</div><img src='none.png'>"
        "<script>nothing.there()</script>"
    )
    saw = look(page, 400, tmp_path)
    assert saw.found["width"] >= 900 and saw.found["images"] == [0]
    assert saw.found["smallest"] == 8 and "toolongforthis" in saw.found["cut"]
    assert any("nothing is not defined" in line for line in saw.console)
