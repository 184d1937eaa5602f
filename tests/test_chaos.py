"""A few rounds of chaos; `make chaos` has the many."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import chaos


@pytest.mark.long
def test_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))  # put back afterwards: the program sets it
    # Of this seed the first two rounds are a killed build and one on a full disk.
    status = chaos.main(["--rounds", "2", "--seed", "95", "--work", str(tmp_path / "chaos")])
    said = capsys.readouterr().out
    assert status == 0, said
    assert said.endswith("2 rounds, 0 losses\n")
