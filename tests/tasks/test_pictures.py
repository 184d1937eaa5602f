"""The small plots of the UI are whole SVG of a few kilobytes, whatever the numbers are."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tasks.pictures import curves, histograms, image, spreads

SPREAD = {"mean": 9.1, "p50": 9.0, "p95": 13.0, "max": 20}


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def numbers_of(svg: str) -> list[float]:
    """All coordinates that are drawn at."""
    drawn = " ".join(re.findall(r'(?:d|points|x|y)="([^"]*)"', svg))
    return [float(one) for one in re.findall(r"-?\d+(?:\.\d+)?|nan|inf", drawn)]


@pytest.mark.parametrize(
    "svg",
    [
        histograms("scores", {"a": np.array([0.1, 0.5, np.nan]), "b": np.array([-0.2])}),
        histograms("scores", {"a": np.zeros(50)}),
        spreads("tokens", {"query": SPREAD, "<b>": SPREAD | {"max": 0, "p95": 0, "p50": 0}}),
        curves("loss", {"a": [(1, 4.0), (2, float("nan")), (3, 2.0)], "b": [(1, 1.0)]}),
        curves("loss", {"a": [(n, 1e-9 * n) for n in range(20_000)]}),
    ],
)
def test_a_plot_is_whole_small_and_within_its_frame(svg: str) -> None:
    assert len(image(svg, "plot")) < 8_000
    assert texts(svg)[0] or texts(svg)
    assert all(-50 <= number <= 450 for number in numbers_of(svg))


@pytest.mark.parametrize(
    "svg", [histograms("t", {"a": np.array([])}), curves("t", {"a": [(1, float("inf"))]})]
)
def test_without_numbers_there_is_a_plot_without_lines(svg: str) -> None:
    assert "path" not in svg and "polyline" not in svg and texts(svg)


def test_a_histogram_is_as_high_as_the_share_of_its_values() -> None:
    """Nine of ten values in one bin: the other bin is a ninth as high."""
    svg = histograms("t", {"a": np.array([0.01] * 90 + [0.99] * 10)})
    heights = {float(y) for y in re.findall(r"V([\d.]+)", svg)}
    bottom = max(heights)
    tall, small = sorted((bottom - y for y in heights if y != bottom), reverse=True)
    assert tall / small == pytest.approx(9, rel=0.05)


def test_markdown_shows_the_very_picture() -> None:
    svg = spreads("tokens", {"query": SPREAD})
    found = re.fullmatch(
        r"!\[lengths\]\(data:image/svg\+xml;base64,([\w+/=]+)\)", image(svg, "lengths")
    )
    assert found and base64.b64decode(found[1]).decode() == svg
