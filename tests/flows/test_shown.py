"""What cannot be shown in the UI fails no flow: what was made is made."""

from __future__ import annotations

from typing import Any

import pytest


def test_an_artifact_that_the_server_refuses_is_a_warning(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks import ui

    asked: list[str] = []

    def refuse(key: str, **_: Any) -> None:
        asked.append(key)
        raise ConnectionError("the server is away")

    monkeypatch.setattr(ui, "create_table_artifact", refuse)

    @flow
    def showing() -> str:
        ui.show_build([{"dataset": "squad_pairs", "state": "built"}], "1 dataset")
        return "made"

    with temporary_settings({PREFECT_API_URL: server}):
        ended = showing(return_state=True)
    assert (ended.type.value, asked) == ("COMPLETED", ["build-medi"])
