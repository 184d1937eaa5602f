"""Rows to mine whose right answers are known: the sample world's, and SQuAD's by answer string."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from artifacts.encoder import Vectors
from artifacts.row import PAIRS
from artifacts.text import normalise
from medi_sources.catalog import load_catalog
from medi_sources.fetch import fetch, local_names
from medi_sources.pairs import PairsOptions, build_pairs
from medi_sources.records import Source
from medi_sources.sample import write_sample
from mining.encode import load_encoder
from mining.mine import texts_of
from mining.options import EncoderOptions

Answers = Callable[[str, str], bool]  # (query, text) -> whether the text answers the query


class Lookup:
    """artifacts.encoder.Encode by vectors that are there already."""

    def __init__(self, texts: Sequence[str], vectors: Vectors) -> None:
        self._row = {text: i for i, text in enumerate(texts)}
        self._vectors = vectors

    def __call__(self, texts: Sequence[str]) -> Vectors:
        return self._vectors[[self._row[text] for text in texts]]

    def __contains__(self, text: str) -> bool:
        return text in self._row


@dataclass(frozen=True)
class Case:
    """One dataset: `pairs` (schema PAIRS, no row with negatives), vectors of all their texts."""

    name: str
    pairs: pa.Table
    symmetric: bool
    vectors: Lookup
    answers: Answers


def sample_cases(seed: int, most: int | None = None) -> Iterator[Case]:
    """The pair datasets of the sample world (the first `most`), by the miner that comes with it."""
    catalog = load_catalog().values()
    pairs_alone = [each for each in catalog if each.reader.layout != "superni"]
    sources = [each for each in pairs_alone if each.collection == "medi"][:most]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sample(sources, folder, seed)
        encoder = folder / "mirror" / "huggingface.co" / "medi" / "sample-miner"
        for source in sources:
            raw = folder / "raw" / source.name
            raw.mkdir(parents=True)
            fetch(source.location, raw, folder / "mirror")
            files = [raw / each for each in local_names(source.location)]
            answers = _told(folder / "truth" / f"{source.name}.jsonl")
            yield _case(f"{source.name} {seed}", source, files, str(encoder), answers)


def squad_case(file: Path, encoder: str, most: int | None = None) -> Case:
    """Questions (a seeded draw of `most`) on the paragraphs of a file in SQuAD's layout."""
    source = load_catalog()["squad_xquad"]
    return _case("squad", source, [file], encoder, _holds_answer(file), most)


def _case(
    name: str,
    source: Source,
    files: Sequence[Path],
    encoder: str,
    answers: Answers,
    most: int | None = None,
) -> Case:
    """Negatives of the source are left out: nobody says whose answers they are."""
    rows = build_pairs(source, files, PairsOptions(cap=most)).pairs.to_pylist()
    bare = [{**row, "neg": [], "negatives": None} for row in rows]
    pairs = pa.Table.from_pylist(bare, schema=PAIRS)
    texts = texts_of(pairs)
    encode = load_encoder(encoder, EncoderOptions())
    return Case(name, pairs, source.symmetric, Lookup(texts, encode(texts)), answers)


def _told(file: Path) -> Answers:
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    told = {normalise(line["query"]): set(map(normalise, line["answers"])) for line in lines}
    return lambda query, text: normalise(text) in told[normalise(query)]


def _holds_answer(file: Path) -> Answers:
    strings: dict[str, set[str]] = {}
    for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
        for question in (each for part in article["paragraphs"] for each in part["qas"]):
            texts = {normalise(answer["text"]) for answer in question["answers"]}
            strings.setdefault(normalise(question["question"]), set()).update(texts)

    def holds(query: str, text: str) -> bool:
        said = normalise(text)
        wanted = strings[normalise(query)]
        return any(re.search(rf"(?<!\w){re.escape(each)}(?!\w)", said) for each in wanted)

    return holds
