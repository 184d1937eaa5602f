"""docs/troubleshooting.md quotes lines that medi prints; README leads to every page."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = [
    line
    for row in re.findall(r"^\| (`.*?) \|", TROUBLE, re.MULTILINE)
    for line in re.findall(r"`([^`]+)`", row)
]
# Stand for a user's own words, as said at the head of the page.
_PLACEHOLDER = re.compile(
    r"'?\b(?:NAME|TEXT|DIR|HOST|URL|REPOSITORY|FILE|REVISION|HASH|FIELD|PATH|CLASS|LIST|N)\b'?|\d+ "
)
_LINK = re.compile(r"\]\(([^)#\s]+\.\w+)(?:#[^)]*)?\)")


@cache
def texts() -> tuple[str, ...]:
    """All texts of the source; `{...}` for what is filled in."""
    packages = [path.parent for path in ROOT.glob("*/__init__.py")]
    trees = [ast.parse(p.read_text("utf-8")) for folder in packages for p in folder.rglob("*.py")]
    return tuple(text for tree in trees for node in ast.walk(tree) for text in _texts_of(node))


def _texts_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if isinstance(node, ast.JoinedStr):
        parts = [_filled(part) for part in node.values]
        yield "".join(parts)


def _filled(part: ast.expr) -> str:
    """A constant that is filled in by name, such as MANIFEST, as it is spelt."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    inner = part.value if isinstance(part, ast.FormattedValue) else part
    return "manifest.json" if ast.unparse(inner) == "MANIFEST" else "{...}"


def test_the_page_quotes_many_lines() -> None:
    assert len(QUOTED) > 50


@pytest.mark.parametrize("line", QUOTED)
def test_a_quoted_line_is_one_that_medi_prints(line: str) -> None:
    """Its words between the placeholders, all of them in one text of the source, in this order."""
    fragments = [part for part in _PLACEHOLDER.split(line) if part.strip(" :'")]
    assert any(len(part) > 9 for part in fragments), "too little to recognise it by"
    wanted = re.compile(".*".join(re.escape(part.strip()) for part in fragments), re.DOTALL)
    known = [*texts(), os.strerror(errno.ENOSPC)]
    assert any(wanted.search(text) for text in known)


def test_readme_leads_to_every_page() -> None:
    linked = set(_LINK.findall(PAGES[0].read_text(encoding="utf-8")))
    assert {f"docs/{page.name}" for page in PAGES[1:]} - linked == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page: Path) -> None:
    local = [link for link in _LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []
