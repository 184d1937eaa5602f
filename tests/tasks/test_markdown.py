"""Words of datasets in the UI: they are shown, and do nothing."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.markdown import link, plain, table

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
NASTY = (
    "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "![a](http://a.b/c.png)",
    "a | b | c", "`code | ` x", "# heading", "- a", "1. a", "> a", "***", "---", "\\| \\",
    "&lt;b&gt;", "www.example.com", "https://example.com", "a@example.com", "a\n\n# b",
    "</table><script>", "~~a~~", "[a]: http://b", "\u202e\u200b", "<!--", "$a$", "_a_ __b__",
)  # fmt: skip


class Rendered(HTMLParser):
    """The tags and the text of a rendered page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def expected(text: str) -> str:
    return plain(text).replace("\\\\", "\0").replace("\\", "").replace("\0", "\\")


@given(st.text(max_size=60) | st.sampled_from(NASTY))
@example("x" * 500)
def test_a_text_is_one_inert_line(text: str) -> None:
    shown = Rendered(MARKDOWN.render(f"- query: {plain(text)}"))
    assert shown.tags == ["ul", "li"]
    assert shown.text.strip() == f"query: {expected(text)}".strip()
    assert len(expected(text)) <= 160


@given(st.lists(st.sampled_from(NASTY), min_size=2, max_size=2))
def test_a_table_keeps_its_cells(texts: list[str]) -> None:
    shown = Rendered(MARKDOWN.render(table(["a", "b"], [[plain(text) for text in texts]])))
    assert shown.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]


@pytest.mark.parametrize("text", NASTY)
def test_words_that_would_become_a_link_in_the_ui_are_broken_up(text: str) -> None:
    """Its markdown makes links of bare addresses, ours in these tests does not."""
    written = plain(text)
    assert "://" not in written and "@" not in written.replace("\\@", "")
    assert not any(word.startswith("www.") for word in written.split())


def test_what_a_person_searches_a_table_for_is_as_it_is_written() -> None:
    assert plain("CC-BY-SA-4.0, unknown") == "CC-BY-SA-4.0, unknown"


def test_a_link_goes_where_it_says_and_has_no_password_in_it() -> None:
    shown = link("a](b) [c", "https://user:secret@host.org/a b(1)>?x=<y>")
    assert shown == "[a b c](<https://host.org/a%20b%281%29%3E?x=%3Cy%3E>)"
    assert Rendered(MARKDOWN.render(shown)).tags == ["p", "a"]
    assert Rendered(MARKDOWN.render(link("a", "javascript:alert(1)"))).tags == ["p"]
