"""What the flows show: keys that stay, few requests, and retries where they can help."""

from __future__ import annotations

import errno
import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medi_sources.catalog import load_catalog
from tasks import leaks, ui
from tasks.ui import slug

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*", fullmatch=True)


def test_each_dataset_of_the_catalog_has_a_key_of_its_own() -> None:
    keys = [slug(name) for name in load_catalog()]
    assert len(set(keys)) == len(keys)
    assert slug("squad_pairs") == "squad-pairs"


@given(NAMES, NAMES)
def test_two_names_never_share_a_key(one: str, other: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", slug(one))
    assert (slug(one) == slug(other)) == (one == other)
    assert slug(one.replace("_", "-")) != slug(one) or "_" not in one


def test_progress_is_told_at_most_a_hundred_times_and_to_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[float] = []
    monkeypatch.setattr(ui, "create_progress_artifact", lambda **_: uuid4())
    monkeypatch.setattr(ui, "update_progress_artifact", lambda _, progress: told.append(progress))
    bar = ui.ProgressBar("build-medi-progress", 1320)
    for _ in range(1320):
        bar.advance()
    assert told == [float(percent) for percent in range(1, 101)]


@pytest.mark.parametrize("from_the_start", [True, False])
def test_progress_that_cannot_be_told_ends_no_flow(
    monkeypatch: pytest.MonkeyPatch, from_the_start: bool
) -> None:
    asked: list[str] = []

    def away(*_: Any, **named: Any) -> None:
        asked.append(next(iter(named)))
        raise httpx.ConnectError("the server is away")

    made = away if from_the_start else lambda **_: uuid4()
    monkeypatch.setattr(ui, "create_progress_artifact", made)
    monkeypatch.setattr(ui, "update_progress_artifact", away)
    ui.ProgressBar("build-medi-progress", 2).advance()
    assert len(asked) == 1


class Ended:
    """A task run's state that ended with an error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self, raise_on_failure: bool) -> Exception:
        return self._error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (TimeoutError("timed out"), True),
        (OSError(errno.ENOSPC, "no space left"), False),
        (PermissionError(errno.EACCES, "denied"), False),
        (ValueError("no such column"), False),
    ],
)
def test_evaluation_texts_are_asked_for_again_where_the_network_failed(
    error: Exception, again: bool
) -> None:
    condition = leaks.texts.retry_condition_fn
    assert condition is not None and condition(leaks.texts, None, Ended(error)) == again
