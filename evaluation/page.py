"""Pieces of a page: tables and pictures that scroll in their own frame, style, the whole.

Text is escaped here, once. `Html` is what has been escaped already.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff;
       max-width: 70rem; margin: 2.5rem auto; padding: 0 1.5rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 3rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
dl.figures { display: flex; flex-wrap: wrap; gap: .75rem 2.5rem; margin: 1.25rem 0; }
dl.figures div { display: flex; flex-direction: column-reverse; max-width: 15rem; }
dl.figures dt { color: #5b6575; font-size: .875rem; line-height: 1.35; }
dl.figures dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.3;
                font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; line-height: 1.4;
        font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #e3e6eb;
         vertical-align: top; overflow-wrap: break-word; }
th { font-weight: 600; border-bottom-color: #9aa3b2; vertical-align: bottom; }
td.n, th.n { text-align: right; padding: .35rem 0 .35rem .75rem; white-space: nowrap; }
th.n { white-space: normal; overflow-wrap: normal; }
td.n + td:not(.n), th.n + th:not(.n) { padding-left: 1.25rem; }
td.verdict { white-space: nowrap; } td.reason { min-width: 9rem; }
td.long { min-width: 15rem; overflow-wrap: anywhere; }
td small, th small { display: block; font-size: .75rem; font-weight: 400; color: #5b6575; }
tr.mean td { font-weight: 600; }
tr.ours td { background: #eef5fb; } tr.group td { font-weight: 600; padding-top: .9rem; }
td.better { color: #1a639c; } td.worse { color: #a63d26; } td.quiet, .quiet { color: #5b6575; }
.warning { border-left: 4px solid #b5472f; padding: .5rem 0 .5rem 1rem; }
.scroll img { display: block; width: 100%; min-width: 34rem; max-width: 62rem; height: auto; }
code, pre { font: .8125rem/1.45 ui-monospace, monospace; }
pre { background: #f4f6f9; padding: .75rem 1rem; overflow-x: auto; overflow-wrap: normal; }
@media (max-width: 40rem) {
  body { margin: 1.25rem auto; padding: 0 1rem; }
  h1 { font-size: 1.4rem; } h2 { margin-top: 2.25rem; }
  table { font-size: .8125rem; }
  td:first-child, th:first-child { position: sticky; left: 0; background: #fff;
                                   overflow-wrap: anywhere; min-width: 7rem; max-width: 9rem; }
  td.long { min-width: 11rem; }
  tr.ours td:first-child { background: #eef5fb; }
}
"""


@dataclass(frozen=True)
class Html:
    """Text that is HTML already."""

    text: str


@dataclass(frozen=True)
class Cell:
    """A table's cell: text, classes of the style ("n" for a number), a small line beneath."""

    text: str | Html
    kind: str = ""
    small: str = ""


Cells = list[Cell | str]


@dataclass(frozen=True)
class Row:
    cells: Sequence[Cell | str]
    kind: str = ""


def number(text: str, kind: str = "", small: str = "") -> Cell:
    return Cell(text, f"n {kind}".rstrip(), small)


def table(label: str, heads: Sequence[Cell | str], rows: Sequence[Row]) -> str:
    """A table in a frame of its own, so that a wide one scrolls and the page does not."""
    lines = [f"<tr>{''.join(_cell(head, 'th') for head in heads)}</tr>"]
    for row in rows:
        cells = "".join(_cell(cell, "td") for cell in row.cells)
        lines.append(f"<tr{_class(row.kind)}>{cells}</tr>")
    return _frame(label, "<table>\n" + "\n".join(lines) + "\n</table>")


def picture(label: str, svg: bytes) -> str:
    data = base64.b64encode(svg).decode()
    return _frame(label, f'<img alt="{escape(label)}" src="data:image/svg+xml;base64,{data}">')


def figures(named: Sequence[tuple[str, str]]) -> str:
    """A line of (figure, what it is of)."""
    parts = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(figure)}</dd></div>" for figure, name in named
    ]
    return f'<dl class="figures">{"".join(parts)}</dl>'


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def text(words: str | Html, kind: str = "") -> str:
    return f"<p{_class(kind)}>{_inner(words)}</p>"


def verbatim(words: str) -> str:
    return f"<pre>{escape(words)}</pre>"


def page(title: str, body: Sequence[str]) -> str:
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>\n</head>\n<body>",
            f"<h1>{escape(title)}</h1>",
            *(part for part in body if part),
            "</body>\n</html>\n",
        ]
    )


def _frame(label: str, inner: str) -> str:
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">{inner}</div>'
    )


def _cell(cell: Cell | str, tag: str) -> str:
    if isinstance(cell, str):
        cell = Cell(cell)
    small = f"<small>{escape(cell.small)}</small>" if cell.small else ""
    return f"<{tag}{_class(cell.kind)}>{_inner(cell.text)}{small}</{tag}>"


def _inner(words: str | Html) -> str:
    return words.text if isinstance(words, Html) else escape(words)


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
