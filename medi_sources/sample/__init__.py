"""A small upstream of our own: every source in its true layout, about an invented world.

`write_sample` makes the mirror that `--profile sample` builds from, what the profile trains and
mines with, what it evaluates on, and the truth to measure by. No third-party text is in it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

from artifacts.errors import InputError
from medi_sources.records import ParallelLines, Source, SuperNi
from medi_sources.sample.evaluation import evaluation_files
from medi_sources.sample.genres import Row, make_rows
from medi_sources.sample.language_model import write_language_model
from medi_sources.sample.layouts import encode, write_files
from medi_sources.sample.models import (
    SMALL,
    world_sentences,
    world_text,
    write_encoder,
    write_miner,
)
from medi_sources.sample.planted import Leak, leaks_of, planted_instances, planted_rows
from medi_sources.sample.tasks import (
    Instance,
    has_labels,
    make_instances,
    task_file,
    task_kind,
)
from medi_sources.sample.world import World, make_worlds

_TRAIN = 150  # entities a kind: so many that names are not worth learning by heart
_HELD_OUT = 24
_ELSEWHERE = 200
_SETS = ("jsonl_set", "parallel_lines")
_HUB = Path("huggingface.co", "medi")


def write_sample(sources: Sequence[Source], folder: Path, seed: int = 0, rows: int = 48) -> None:
    """Write mirror/ and truth/ into `folder`, the same bytes for the same arguments.

    mirror/<mirror path>: every file of every source, about `rows` rows each; a file's content
    hangs on its path, not on which other sources are there.
    mirror/huggingface.co/medi/: sample-world/eval (held-out evaluation files), sample-encoder,
    sample-encoder-small and sample-miner (sentence-transformers folders), sample-lm (a causal
    language model).
    truth/<dataset>.jsonl: {"query", "answers", "planted"}: all texts of the dataset that answer
    the query, and those of them that no row pairs with it. For Super-NI the texts are inputs,
    answers say the same with the same output, and "label" is the output (null: free answers).
    truth/leaks/<dataset>.jsonl: {"dataset", "side", "text", "task", "kind"}, the evaluation texts
    planted in the dataset.
    Raises InputError for sources that share a file but not its kind of text.
    """
    world, held_out, elsewhere = make_worlds(seed, (max(_TRAIN, rows), _HELD_OUT, _ELSEWHERE))
    mirror, truth = folder / "mirror", folder / "truth"
    contents: dict[str, bytes] = {}
    (truth / "leaks").mkdir(parents=True, exist_ok=True)
    evaluation = evaluation_files(held_out, seed)
    for source in sources:
        leaks = leaks_of(source.name, evaluation)
        files, lines = _dataset(source, world, seed, rows, leaks)
        _add(contents, files, source.name)
        _write_lines(truth / f"{source.name}.jsonl", lines)
        if leaks:
            _write_lines(truth / "leaks" / f"{source.name}.jsonl", map(asdict, leaks))
    write_files(mirror, contents)
    (mirror / _HUB / "sample-world" / "eval").mkdir(parents=True, exist_ok=True)
    for name, content in evaluation.items():
        (mirror / _HUB / "sample-world" / "eval" / name).write_bytes(content)
    vocabulary = world_text(elsewhere, seed)
    write_encoder(mirror / _HUB / "sample-encoder", vocabulary, seed)
    write_encoder(mirror / _HUB / "sample-encoder-small", vocabulary, seed, SMALL)
    write_language_model(mirror / _HUB / "sample-lm", vocabulary, seed)
    known = [*vocabulary, *world_sentences(world), *world_sentences(held_out)]
    write_miner(mirror / _HUB / "sample-miner", known, seed)


def _write_lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")


def _add(contents: dict[str, bytes], files: dict[str, bytes], name: str) -> None:
    for path, content in files.items():
        if contents.setdefault(path, content) != content:
            raise InputError(
                f"{name}: the sample has {path} already with other text, for a source of another "
                "name or reader: sources that share a file need one reader and one kind of text"
            )


def _dataset(
    source: Source, world: World, seed: int, rows: int, leaks: Sequence[Leak]
) -> tuple[dict[str, bytes], list[dict[str, object]]]:
    """The source's files by mirror path, and its truth."""
    paths = [source.location.mirror_path(file) for file in source.location.files]
    if isinstance(source.reader, SuperNi):
        return _task(source.name, paths[0], world, *_drawn(paths[0], seed, rows), leaks)
    files: dict[str, bytes] = {}
    told: list[Row] = []
    together = isinstance(source.reader, ParallelLines)
    for group in [paths] if together else [[path] for path in paths]:
        made = make_rows(source, world, *_drawn(group[0], seed, rows))
        made += planted_rows(made, leaks)
        files |= encode(source.reader, group, made)
        told += [_titled(row) for row in made] if source.reader.layout == "kilt_dpr" else made
    return files, list(_truth(told, source))


def _titled(row: Row) -> Row:
    """The row with its passages as DPR reads them: the title, then the text."""
    told = [
        replace(text, text=f"{row.title} {text.text}") if text.text else text for text in row.pos
    ]
    return replace(row, pos=tuple(told))


def _drawn(path: str, seed: int, rows: int) -> tuple[Random, int]:
    """The generator of a file and its number of rows, which varies a little."""
    rng = Random(f"{path} {seed}")
    return rng, rows - rng.randrange(rows // 8 + 1)


def _task(
    name: str, path: str, world: World, rng: Random, count: int, leaks: Sequence[Leak]
) -> tuple[dict[str, bytes], list[dict[str, object]]]:
    kind = task_kind(zlib.crc32(name.encode()))
    instances = make_instances(kind, world, rng, count)
    instances += planted_instances(instances, leaks)
    return {path: task_file(name, kind, instances)}, list(_task_truth(instances, has_labels(kind)))


def _truth(rows: Sequence[Row], source: Source) -> Iterator[dict[str, object]]:
    """One line a distinct query. Of sets every text is a query; of symmetric datasets every
    query is a document too."""
    asks: dict[str, frozenset[str]] = {}
    documents: dict[str, frozenset[str]] = {}
    paired: dict[str, set[str]] = {}
    for row in rows:
        documents |= {text.text: text.says for text in row.pos if text.text}
        alike = [row.query, *row.pos] if source.reader.layout in _SETS else [row.query]
        for text in alike:
            asks[text.text] = text.says
            paired.setdefault(text.text, set()).update(each.text for each in (*alike, *row.pos))
    asks.pop("", None)
    if source.symmetric or source.reader.layout in _SETS:
        documents |= asks
    for query, asked in asks.items():
        answers = [told for told, says in documents.items() if asked <= says and told != query]
        planted = [told for told in answers if told not in paired[query]]
        yield {"query": query, "answers": answers, "planted": planted}


def _task_truth(instances: Sequence[Instance], labelled: bool) -> Iterator[dict[str, object]]:
    by_meaning: dict[tuple[str, str], list[str]] = {}
    distinct = {i.input: i for i in instances if i.input}
    for instance in distinct.values():
        by_meaning.setdefault((instance.about, instance.output), []).append(instance.input)
    for text, instance in distinct.items():
        same = by_meaning[instance.about, instance.output]
        answers = [other for other in same if other != text]
        label = instance.output if labelled else None
        yield {"query": text, "answers": answers, "planted": [], "label": label}
