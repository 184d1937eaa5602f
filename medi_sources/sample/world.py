"""The invented world: entities with unique names, facts, scenes and opinions about them.

Every invented word belongs to one entity of one world, so a text can be traced to what it is
about, and two worlds made together share relations and vocabulary but no entity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from medi_sources.sample.relations import RELATIONS, VALUES, Relation

KINDS = tuple(dict.fromkeys(relation.kind for relation in RELATIONS))

# Few syllables, so that a name held out is put together of what other names have shown.
_ONSETS = (*"bdfgklmprstv", "br", "dr", "sk", "st", "th")
_VOWELS = (*"aeiou", "ei")
_CODAS = ("", "l", "n", "r")
_ENDINGS = {
    "town": "burg ham mere stead wick ford",
    "country": "ia land stan onia",
    "person": "son ek ini ard ova",
    "machine": "graph ometer ax omat trope",
    "dish": "otto ini ak ush ada",
    "animal": "ox uar ling ark upe",
    "plant": "wort leaf bane weed root",
    "disease": "itis osis pox emia",
    "book": "or iel an us",
    "organisation": "el ond ath",
    "river": "a en ow",
    "coin": "ar ot ek",
    "language": "ish ese ic",
    "substance": "ium ite ol",
}
_LOWER = {"machine", "dish", "animal", "plant", "disease", "coin", "substance"}
_BOOKS = ("{} Gardens", "{} Letters", "{} Days", "{} Nights")
_BODIES = ("Bridge Council", "Music Society", "Farmers Union", "Night School", "Harbour Trust")

ACTIONS = (("pulls", "drags"), ("guards", "watches over"), ("paints", "draws"),
           ("cleans", "washes"), ("sells", "offers"), ("repairs", "fixes"))  # fmt: skip
THINGS = (("a cart", "a wagon"), ("a boat", "a small ship"), ("a bell", "a chime"),
          ("a red door", "a scarlet gate"), ("a ladder", "a set of steps"),
          ("a stove", "an oven"))  # fmt: skip
PLACES = (("at the market", "among the stalls"), ("on the beach", "by the sea"),
          ("in the forest", "under the trees"), ("in the snow", "on a frozen field"),
          ("beside a church", "near a chapel"), ("on a roof", "high above the street"))  # fmt: skip


@dataclass(frozen=True)
class Fact:
    relation: Relation
    subject: str
    object: str

    @property
    def key(self) -> str:
        return f"{self.subject}|{self.relation.name}"


@dataclass(frozen=True)
class Scene:
    """Who does what with what, and where: indexes into ACTIONS, THINGS and PLACES."""

    subject: str
    action: int
    thing: int
    place: int

    @property
    def key(self) -> str:
        return f"{self.subject}|scene {self.action} {self.thing} {self.place}"


@dataclass(frozen=True)
class Opinion:
    subject: str
    good: bool
    fact: Fact

    @property
    def key(self) -> str:
        return f"{self.subject}|{'praise' if self.good else 'complaint'}"


@dataclass(frozen=True)
class World:
    """`names` by kind of entity; `facts` by subject, one for each relation of its kind."""

    names: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, tuple[Fact, ...]]

    def subjects(self, kinds: Sequence[str]) -> list[str]:
        return [name for kind in kinds for name in self.names[kind]]

    def scenes(self, subject: str) -> tuple[Scene, ...]:
        """Four scenes with one agent, no two of them with the same action, thing or place."""
        rng = Random(f"scenes of {subject}")
        columns = [rng.sample(range(len(slot)), 4) for slot in (ACTIONS, THINGS, PLACES)]
        return tuple(Scene(subject, *slots) for slots in zip(*columns, strict=True))

    def opinions(self, subject: str) -> tuple[Opinion, ...]:
        facts = self.facts[subject]
        return (Opinion(subject, True, facts[0]), Opinion(subject, False, facts[1]))


def make_worlds(seed: int, sizes: Sequence[int]) -> list[World]:
    """One world for each size (entities a kind, at least 4); no invented word occurs twice."""
    rng = Random(f"worlds {seed}")
    taken: set[str] = set()
    return [_make_world(rng, size, taken) for size in sizes]


def _make_world(rng: Random, size: int, taken: set[str]) -> World:
    names = {kind: tuple(_name(rng, kind, taken) for _ in range(size)) for kind in _ENDINGS}
    facts: dict[str, list[Fact]] = {}
    for relation in RELATIONS:
        for subject in names[relation.kind]:
            value = _value(rng, relation.value, subject, names)
            facts.setdefault(subject, []).append(Fact(relation, subject, value))
    return World(names, {subject: tuple(told) for subject, told in facts.items()})


def _value(rng: Random, value: str, subject: str, names: Mapping[str, tuple[str, ...]]) -> str:
    if value in names:
        return rng.choice([name for name in names[value] if name != subject])
    if value == "year":
        return str(rng.randint(1412, 1988))
    if value == "number":
        return str(rng.randint(7, 95))
    if value == "initials":
        return "".join(word[0] for word in subject.split())
    return rng.choice(VALUES[value])


def _name(rng: Random, kind: str, taken: set[str]) -> str:
    word = _word(rng, kind, taken)
    if kind in _LOWER:
        return word
    if kind == "person":
        return f"{_word(rng, 'book', taken).capitalize()} {word.capitalize()}"
    if kind == "book":
        return rng.choice(_BOOKS).format(word.capitalize())
    if kind == "organisation":
        return f"{word.capitalize()} {rng.choice(_BODIES)}"
    return word.capitalize()


def _word(rng: Random, kind: str, taken: set[str]) -> str:
    endings = _ENDINGS[kind].split()
    while True:
        stem = "".join(
            rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
            for _ in range(rng.choice((1, 2, 2)))
        )
        word = stem + rng.choice(endings)
        if word not in taken:
            taken.add(word)
            return word
