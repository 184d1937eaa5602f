"""Reading evaluation data: one function per upstream layout, from local files to plain rows.

All raise DatasetError, naming file and line, for a file that is not of its layout.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from artifacts.errors import DatasetError
from artifacts.unpacked import open_gzip


@dataclass(frozen=True)
class Pair:
    """Two sentences and the human judgement of their similarity, 0 to 5."""

    first: str
    second: str
    score: float


@dataclass(frozen=True)
class Labelled:
    label: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question and the one paragraph (position in Paragraphs.paragraphs) it was asked of."""

    id: str
    text: str
    paragraph: int


@dataclass(frozen=True)
class Paragraphs:
    questions: list[Question]
    paragraphs: list[str]  # distinct, in the order of the file


@dataclass(frozen=True)
class Judged:
    """A generated text, its human-written references, and the human score of the former."""

    hypothesis: str
    references: tuple[str, ...]
    human_score: float


def read_stsb_csv(files: Sequence[Path]) -> list[Pair]:
    """CSV lines sentence, sentence, score; no header."""
    pairs = []
    for path in files:
        with path.open(encoding="utf-8", newline="") as file:
            for line, cells in enumerate(csv.reader(file), start=1):
                if len(cells) != 3:
                    raise _bad(path, line, f"{len(cells)} columns, not sentence,sentence,score")
                pairs.append(Pair(cells[0].strip(), cells[1].strip(), _score(path, line, cells[2])))
    return pairs


def read_sts_tsv(files: Sequence[Path]) -> list[Pair]:
    """Lines score<TAB>sentence<TAB>sentence. A line without a score was never judged: left out."""
    pairs = []
    for path in files:
        for line, text in _lines(path, "utf-8"):
            cells = text.split("\t")
            if len(cells) != 3:
                raise _bad(path, line, f"{len(cells)} columns, not score, sentence, sentence")
            if cells[0].strip():
                pairs.append(Pair(cells[1].strip(), cells[2].strip(), _score(path, line, cells[0])))
    return pairs


def read_label_lines(files: Sequence[Path]) -> list[Labelled]:
    """Lines `COARSE:fine text` in latin-1, as TREC's questions come; the label is the coarse one.

    A line that says the same as an earlier one is left out, so that no question is on both sides
    of a split.
    """
    rows: dict[Labelled, None] = {}
    for path in files:
        for line, content in _lines(path, "latin-1"):
            label, _, text = content.partition(" ")
            coarse, colon, _ = label.partition(":")
            if not (coarse and colon and text.strip()):
                raise _bad(path, line, "not 'COARSE:fine text'")
            rows[Labelled(coarse, text.strip())] = None
    return list(rows)


def split_rows(rows: Sequence[Labelled], test: int) -> tuple[list[Labelled], list[Labelled]]:
    """(train, test): `test` rows by the order of their texts' SHA-256, the others to learn from.

    The hash is the seed: the split depends on the texts alone, on no library's random numbers.
    """
    if test >= len(rows):
        raise DatasetError(f"{test} test rows of {len(rows)} leave none to learn from")
    order = sorted(rows, key=lambda row: hashlib.sha256(row.text.encode()).hexdigest())
    chosen = set(order[:test])
    return [row for row in rows if row not in chosen], [row for row in rows if row in chosen]


# Lines that quote, or announce a quotation.
_QUOTE = re.compile(r"writes in|writes:|wrote:|says:|said:|^In article|^Quoted from|^\||^>")


def message_body(message: str) -> str:
    """A newsgroup message without headers, quoted lines and signature.

    What remains is what the author wrote in this message, by the rules of scikit-learn's
    `fetch_20newsgroups(remove=("headers", "footers", "quotes"))`.
    """
    _, _, body = message.replace("\r\n", "\n").partition("\n\n")
    lines = body.strip().split("\n")
    breaks = [i for i, line in enumerate(lines) if not line.strip().strip("-")]
    if breaks and breaks[-1] > 0:
        lines = lines[: breaks[-1]]
    return "\n".join(line for line in lines if not _QUOTE.search(line)).strip()


def read_newsgroups(files: Sequence[Path]) -> list[Labelled]:
    """tar.gz of <folder>/<group>/<message> in latin-1; the label is the group.

    Members that are not so deep are no messages. A message of which nothing remains is left out.
    """
    rows = []
    for path in files:
        try:
            with open_gzip(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
                bodies = [
                    (member.name, message_body(packed.read().decode("latin-1")))
                    for member in archive
                    if member.name.count("/") == 2 and (packed := _file_of(archive, member))
                ]
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise DatasetError(f"{path.name}: not a readable tar.gz ({error})") from error
        bodies.sort(key=lambda named: named[0])
        rows += [Labelled(name.split("/")[1], body) for name, body in bodies if body]
    return rows


def _file_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes] | None:
    return archive.extractfile(member) if member.isfile() else None


def read_squad(files: Sequence[Path]) -> Paragraphs:
    """SQuAD v1.1: {data: [{paragraphs: [{context, qas: [{id, question}]}]}]}."""
    positions: dict[str, int] = {}
    questions = []
    for path in files:
        try:
            for article in json.loads(path.read_bytes())["data"]:
                for paragraph in article["paragraphs"]:
                    at = positions.setdefault(paragraph["context"].strip(), len(positions))
                    for asked in paragraph["qas"]:
                        questions.append(Question(asked["id"], asked["question"].strip(), at))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{path.name}: not SQuAD v1.1 JSON ({type(error).__name__}: {error})"
            ) from error
    return Paragraphs(questions, list(positions))


def read_billboard(files: Sequence[Path]) -> list[Judged]:
    """Two JSON-lines files: judged texts {seg_id, hyp, human_score}, references {seg_id, refs}."""
    if len(files) != 2:
        raise DatasetError(f"{len(files)} files instead of two: judged texts, then references")
    judged_path, references_path = files
    references: dict[str, tuple[str, ...]] = {}
    for line, record in _records(references_path, ("seg_id", "refs")):
        if not record["refs"]:
            raise _bad(references_path, line, "no reference: each needs at least one")
        references[record["seg_id"]] = tuple(text.strip() for text in record["refs"])
    rows = []
    for line, record in _records(judged_path, ("seg_id", "hyp", "human_score")):
        if record["seg_id"] not in references:
            raise _bad(judged_path, line, f"seg_id {record['seg_id']!r} has no references")
        score = _score(judged_path, line, record["human_score"])
        rows.append(Judged(record["hyp"].strip(), references[record["seg_id"]], score))
    return rows


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """(line number, line), without blank lines. Only \\n ends a line: texts hold other breaks."""
    try:
        text = path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name}: not {encoding} ({error.reason})") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def _records(path: Path, fields: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path, "utf-8"):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise _bad(path, number, f"not JSON ({error})") from error
        missing = [f for f in fields if not isinstance(record, dict) or f not in record]
        if missing:
            raise _bad(path, number, f"no {missing[0]!r} among its fields")
        yield number, record


def _score(path: Path, line: int, cell: str | float) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError) as error:
        raise _bad(path, line, f"score {cell!r} is not a number") from error


def _bad(path: Path, line: int, what: str) -> DatasetError:
    return DatasetError(f"{path.name}, line {line}: {what}")
