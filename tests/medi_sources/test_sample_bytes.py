"""The sample of the whole catalog: the same bytes from any process, no file written twice."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.errors import InputError
from medi_sources.catalog import load_catalog
from medi_sources.records import Source
from medi_sources.sample import write_sample

_REPOSITORY = Path(__file__).parents[2]
_PROGRAM = """
import sys
from pathlib import Path
from medi_sources.catalog import load_catalog
from medi_sources.sample import write_sample
write_sample(list(load_catalog().values())[::-1], Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return list(load_catalog().values())


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_bytes_depend_on_the_arguments_alone(sources: list[Source], tmp_path: Path) -> None:
    """Not on the hash seed, the number of threads, or the order of the sources: else builds on
    the sample would miss the cache, and golden digests would hold on one machine only."""
    write_sample(sources, tmp_path / "here")
    environment = {**os.environ, "PYTHONHASHSEED": "77", "RAYON_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path / "there")],
        check=True,
        cwd=_REPOSITORY,
        env={**environment, "PYTHONPATH": str(_REPOSITORY)},
    )
    here = _digests(tmp_path / "here")
    assert len(here) > 2 * len(sources)
    assert here == _digests(tmp_path / "there")


def test_the_catalog_has_a_file_and_a_truth_for_every_source(
    sources: list[Source], tmp_path: Path
) -> None:
    write_sample(sources, tmp_path, rows=8)
    for source in sources:
        assert (tmp_path / "truth" / f"{source.name}.jsonl").stat().st_size > 0
        for file in source.location.files:
            archive = source.location.mirror_path(file).partition("::")[0]
            assert (tmp_path / "mirror" / archive).stat().st_size > 0


def test_a_file_does_not_hang_on_the_other_sources(sources: list[Source], tmp_path: Path) -> None:
    """`--only NAME` must build on the same rows as the whole build."""
    write_sample(sources[:3], tmp_path / "some", rows=8)
    write_sample(sources[2:3], tmp_path / "one", rows=8)
    one, some = _digests(tmp_path / "one"), _digests(tmp_path / "some")
    assert one.items() <= some.items()


def test_seed_and_rows_change_the_sample(sources: list[Source], tmp_path: Path) -> None:
    digests = []
    for i, (seed, rows) in enumerate([(0, 8), (1, 8), (0, 12)]):
        write_sample(sources[:1], tmp_path / str(i), seed, rows)
        digests.append(_digests(tmp_path / str(i)))
    path = next(path for path in digests[0] if path.startswith("truth/"))
    assert len({each[path] for each in digests}) == 3


def test_sources_that_share_a_file_must_agree_on_it(sources: list[Source], tmp_path: Path) -> None:
    """Else the second would silently overwrite what the first one's truth describes."""
    first = next(source for source in sources if source.reader.layout == "jsonl_list")
    clash = first.model_copy(update={"name": "amazon_other"})
    with pytest.raises(InputError, match=f"amazon_other: .*{first.location.files[0]}"):
        write_sample([first, clash], tmp_path)
