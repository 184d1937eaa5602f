"""Small plots for the Prefect UI: SVG of one to three kilobytes, as markdown shows it.

List pages of the UI load every artifact whole, and a picture by matplotlib has fifty.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

_WIDTH, _HEIGHT = 440, 170  # pixels; two fit side by side into the page of an artifact
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 34, 24  # margins
_BINS = 24
_POINTS = 220  # of a curve
_COLOURS = ("#1f6fb2", "#d98e2b", "#3c8d5a", "#8a5aa8")
_TEXT, _GRID = "#1c2430", "#d5dae2"


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round numbers within, about five."""
        rough = (self.high - self.low) / 5 or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def image(svg: str, alt: str) -> str:
    """Markdown that shows the picture; the UI strips SVG that is not in an image."""
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return f"![{alt}](data:image/svg+xml;base64,{data})"


def histograms(title: str, values: Mapping[str, npt.NDArray[np.float64]]) -> str:
    """A histogram a name over the same bins, each as high as its share of its own values; what is
    no number is left out."""
    finite = {name: found[np.isfinite(found)] for name, found in values.items()}
    there = {name: found for name, found in finite.items() if found.size}
    if not there:
        return _svg(f"{title}: none", [])
    low = math.floor(min(float(found.min()) for found in there.values()) * 10) / 10
    high = math.ceil(max(float(found.max()) for found in there.values()) * 10) / 10
    edges = np.linspace(low, high if high > low else low + 0.1, _BINS + 1)
    shares = {name: np.histogram(found, edges)[0] / found.size for name, found in there.items()}
    x = _x(float(edges[0]), float(edges[-1]))
    y = _y(0.0, max(float(share.max()) for share in shares.values()))
    drawn = []
    for colour, share in zip(_COLOURS, shares.values(), strict=False):
        steps = "".join(
            f"V{y(float(high))}H{x(float(end))}" for high, end in zip(share, edges[1:], strict=True)
        )
        drawn.append(
            f'<path d="M{x.start},{y.start}{steps}V{y.start}Z" fill="{colour}" '
            f'fill-opacity=".35" stroke="{colour}"/>'
        )
    return _svg(title, [*_below(x), *drawn, *_legend(list(shares))])


def spreads(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """A line a name from 0 to `max`, thick up to `p95`, with a mark at the median `p50`."""
    x = _x(0.0, max(1.0, *(float(row["max"]) for row in rows.values())))
    height = (_HEIGHT - _TOP - _BOTTOM) / len(rows)
    drawn = []
    for number, (name, row) in enumerate(rows.items()):
        y, colour = _TOP + height * (number + 0.5), _COLOURS[number % len(_COLOURS)]
        middle, most, longest = (x(float(row[key])) for key in ("p50", "p95", "max"))
        drawn += [
            f'<path d="M{x.start},{y}H{longest}" stroke="{colour}" stroke-width="2"/>',
            f'<path d="M{x.start},{y}H{most}" stroke="{colour}" stroke-width="14" opacity=".35"/>',
            f'<path d="M{middle},{y - 10}v20" stroke="{colour}" stroke-width="3"/>',
            _label(_LEFT - 6, y + 4, name, "end"),
        ]
    return _svg(title, [*_below(x), *drawn])


def curves(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """A line a name through its (x, y), thinned to a few hundred points; what is no number is
    left out."""
    lines = {name: _thinned(points) for name, points in series.items()}
    points = [point for line in lines.values() for point in line]
    if not points:
        return _svg(title, [])
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x, y = _x(min(xs), max(xs)), _y(min(0.0, *ys), max(ys))
    drawn = []
    for colour, line in zip(_COLOURS, lines.values(), strict=False):
        path = " ".join(f"{x(a)},{y(b)}" for a, b in line)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
    return _svg(title, [*_below(x), *_beside(y), *drawn, *_legend(list(lines))])


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    known = [point for point in points if math.isfinite(point[1])]
    step = max(1, len(known) // _POINTS)
    return [*known[:-1:step], *known[-1:]]


def _x(low: float, high: float) -> _Axis:
    return _Axis(low, high, _LEFT, _WIDTH - _RIGHT)


def _y(low: float, high: float) -> _Axis:
    return _Axis(low, high, _HEIGHT - _BOTTOM, _TOP)


def _below(x: _Axis) -> list[str]:
    y = _HEIGHT - _BOTTOM
    drawn = [f'<path d="M{x.start},{y}H{x.end}" stroke="{_TEXT}"/>']
    return drawn + [_label(x(tick), y + 16, f"{tick:.6g}", "middle") for tick in x.ticks()]


def _beside(y: _Axis) -> list[str]:
    lines = [f'<path d="M{_LEFT},{y(t)}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>' for t in y.ticks()]
    return lines + [_label(_LEFT - 6, y(tick) + 4, f"{tick:.3g}", "end") for tick in y.ticks()]


def _legend(names: Sequence[str]) -> list[str]:
    drawn, right = [], _WIDTH - _RIGHT
    for name, colour in reversed(list(zip(names, _COLOURS, strict=False))):
        drawn.append(_label(right, 20, name, "end", colour))
        right -= 7 * len(name) + 14
    return drawn


def _label(x: float, y: float, text: str, anchor: str, colour: str = _TEXT) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(title: str, drawn: Sequence[str]) -> str:
    """On white: the UI is dark or light, as its user likes it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" rx="6" '
        f'fill="#fff"/>{_label(12, 20, title, "start")}{"".join(drawn)}</svg>'
    )
