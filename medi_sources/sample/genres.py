"""Which kind of text a dataset holds, and its rows: queries, right passages, hard negatives.

Rows come in twos about one entity. Mostly they ask different things, so that each row's passage
is a hard negative for the other; in a fifth of the twos the second row's passage answers the
first row's query as well: right, but labelled nowhere - a false negative for a naive miner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from medi_sources.records import Columns, Source
from medi_sources.sample import texts
from medi_sources.sample.texts import PHRASINGS, Text
from medi_sources.sample.world import KINDS, World

Query = Callable[[Any, int, Random], Text]
Body = Callable[[Sequence[Any], int, Random, World], Text]


@dataclass(frozen=True)
class Row:
    """One upstream row; `title` and `answer` fill the fields that only some layouts have."""

    query: Text
    pos: tuple[Text, ...]
    neg: tuple[Text, ...]
    title: str
    answer: str


@dataclass(frozen=True)
class Genre:
    """`body` states several items at once (`joined`) or words one item in its own way."""

    query: Query
    body: Body
    joined: bool = True
    items: Literal["facts", "scenes", "opinions"] = "facts"
    kinds: tuple[str, ...] = KINDS
    positives: int = 1
    native: bool = True  # the upstream layout may carry negatives; here it does


def _alone(query: Query, body: Query, **options: Any) -> Genre:
    def one(items: Sequence[Any], phrasing: int, rng: Random, world: World) -> Text:
        return body(items[0], phrasing, rng)

    return Genre(query, one, joined=False, **options)


_DUPLICATES = _alone(texts.question, texts.question)
_CAPTIONS = _alone(texts.caption, texts.caption, items="scenes", kinds=("animal",), positives=4)
_PARAPHRASES = _alone(texts.restated, texts.restated)
_TITLES = _alone(texts.headline, texts.headline)
_QUESTIONS = Genre(texts.question, texts.passage)
_NEWS = Genre(texts.headline, texts.news)

# The first entry whose word is in the dataset's name (lower case) decides.
_BY_NAME: tuple[tuple[str, Genre], ...] = (
    (
        "amazon-qa",
        Genre(texts.question, texts.answer, kinds=("machine", "book"), positives=2, native=False),
    ),
    ("amazon", _alone(texts.review_title, texts.review, items="opinions", kinds=("machine",))),
    ("pubmed", Genre(texts.question, texts.passage, kinds=("disease", "plant"))),
    ("medmcqa", Genre(texts.question, texts.answer, kinds=("disease", "plant"))),
    ("code", Genre(texts.comment, texts.code, kinds=("machine", "book", "dish"))),
    ("fever", Genre(texts.claim, texts.passage)),
    ("wow", Genre(texts.dialog, texts.passage)),
    ("trex", Genre(texts.slot, texts.passage)),
    ("zero_shot_re", Genre(texts.slot, texts.passage)),
    ("allnli", _alone(texts.caption, texts.glimpse, items="scenes", kinds=("animal",))),
    ("flickr", _CAPTIONS),
    ("multi30k", _CAPTIONS),
    ("coco", _CAPTIONS),
    ("wikianswers", _alone(texts.keywords, texts.keywords, positives=3)),
    ("duplicate", _DUPLICATES),
    ("stackexchange", _DUPLICATES),
    ("quora", _DUPLICATES),
    ("specter", _TITLES),
    ("s2orc", Genre(texts.headline, texts.abstract)),
    ("simple_wiki", _PARAPHRASES),
    ("simplewiki", _PARAPHRASES),
    ("altlex", _PARAPHRASES),
    ("compression", _PARAPHRASES),
    ("xsum", Genre(texts.claim, texts.news)),
    ("wikihow", Genre(texts.claim, texts.passage)),
    ("news", _NEWS),
    ("npr", _NEWS),
    ("yahoo", Genre(texts.chatty, texts.answer)),
    ("eli5", Genre(texts.chatty, texts.answer)),
    ("gooaq", Genre(texts.keywords, texts.answer)),
    ("msmarco", Genre(texts.keywords, texts.passage)),
    ("nq", Genre(texts.keywords, texts.passage)),
)


def genre_of(source: Source) -> Genre:
    """The genre by the dataset's name; without a match by its reader's layout."""
    if source.reader.layout == "kilt":
        named = _by_name(source.name) or _QUESTIONS
        return replace(named, body=texts.page_title, joined=True)
    if source.reader.layout == "parallel_lines":
        return replace(_CAPTIONS, positives=len(source.location.files) - 1)
    if source.reader.layout == "jsonl_set":
        return _by_name(source.name) or replace(_PARAPHRASES, positives=2)
    return _by_name(source.name) or (_PARAPHRASES if source.symmetric else _QUESTIONS)


def _by_name(name: str) -> Genre | None:
    return next((genre for word, genre in _BY_NAME if word in name.lower()), None)


def make_rows(source: Source, world: World, rng: Random, count: int) -> list[Row]:
    """`count` rows of the dataset; of 40 or more rows a few are dirty, as upstream's are.

    Dirt is an empty text (in tables always of the positive: null), a row twice, and a query that
    comes again with another right passage.
    """
    genre = genre_of(source)
    rows = _clean_rows(genre, world, rng, count)
    spoilt = count // 40
    if isinstance(source.reader, Columns) or rng.random() < 0.6:
        for i in range(spoilt):
            in_query = not isinstance(source.reader, Columns) and rng.random() < 0.5
            rows[i * 7 + 3] = _emptied(rows[i * 7 + 3], in_query)
    if rng.random() < 0.6:
        for i in range(spoilt):
            rows[-1 - i] = rows[i * 7 + 5]
    return rows


def _emptied(row: Row, in_query: bool) -> Row:
    empty = Text("", frozenset())
    return replace(row, query=empty) if in_query else replace(row, pos=(empty, *row.pos[1:]))


def _clean_rows(genre: Genre, world: World, rng: Random, count: int) -> list[Row]:
    subjects = rng.sample(world.subjects(genre.kinds), (count + 1) // 2)
    repeats = rng.random() < 0.6
    rows: list[Row] = []
    for i, subject in enumerate(subjects):
        rows += _two(genre, world, rng, subject, i % 5 == 2, repeats and i % 20 == 10)
    return rows[:count]


def _two(
    genre: Genre, world: World, rng: Random, subject: str, planted: bool, repeated: bool
) -> list[Row]:
    items = _items(genre, world, subject)
    rng.shuffle(items)
    first, second, *rest = items
    phrasing = rng.randrange(PHRASINGS)
    after = phrasing + genre.positives + 1
    query = genre.query(first, phrasing, rng)
    rows = [_row(genre, world, rng, query, [first, *rest[:1]], items, phrasing)]
    if repeated or (planted and not genre.joined):
        asked, told = first, [first, *rest[:1]]
    else:
        asked, told = second, [second, *([first] if planted else rest[1:])]
    if not repeated:
        query = genre.query(asked, after, rng)
    return [*rows, _row(genre, world, rng, query, told, items, after)]


def _row(
    genre: Genre,
    world: World,
    rng: Random,
    query: Text,
    told: Sequence[Any],
    items: Sequence[Any],
    phrasing: int,
) -> Row:
    """The row whose positives state `told`; its negatives state what is neither told nor asked."""
    if not genre.joined:
        told = told[:1]
    untold = [item for item in items if item not in told and item.key not in query.says]
    pos = [genre.body(told, phrasing + i + 1, rng, world) for i in range(genre.positives)]
    neg = [genre.body(untold[-2:], phrasing, rng, world)] if genre.native else []
    wrong = tuple(text for text in neg if not query.says <= text.says)
    answer = told[0].object if genre.items == "facts" else ""
    return Row(query, tuple(pos), wrong, told[0].subject, answer)


def _items(genre: Genre, world: World, subject: str) -> list[Any]:
    if genre.items == "scenes":
        return list(world.scenes(subject))
    if genre.items == "opinions":
        return list(world.opinions(subject))
    return list(world.facts[subject])
