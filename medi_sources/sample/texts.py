"""What the texts of the sample look like: one function a style, each tells one item its way.

A style takes an item (fact, scene or opinion), a phrasing number and a random generator, and
returns the text with the keys of everything it says. Phrasings that differ by less than
PHRASINGS are worded differently.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from medi_sources.sample.world import ACTIONS, PLACES, THINGS, Fact, Opinion, Scene, World

PHRASINGS = 12

_OPENERS = ("", "Does anyone know: ", "Quick question. ", "For a school project: ")
# Short, so that no 13 words in a row are without a name: such a run would count as a leak.
_FILLERS = (
    "Letters tell of this.",
    "Opinions differ.",
    "Museums keep papers.",
    "Stories still tell it.",
    "Libraries have more.",
)
_PRAISE = ("I am very happy with it.", "Works perfectly and looks lovely.",
           "It was worth every coin, highly recommended.")  # fmt: skip
_BLAME = ("I am deeply disappointed.", "It broke after two days and the seller never answered.",
          "A waste of money, stay away from it.")  # fmt: skip


@dataclass(frozen=True)
class Text:
    """A text and the keys of the items it says (a query: of the items it asks for)."""

    text: str
    says: frozenset[str]


def sentence(fact: Fact, phrasing: int) -> str:
    told = fact.relation.states[phrasing % 3].format(s=fact.subject, o=fact.object)
    return told[0].upper() + told[1:]


def ask(fact: Fact, phrasing: int) -> str:
    return fact.relation.asks[phrasing % 3].format(s=fact.subject)


def _told(text: str, *items: Fact | Scene | Opinion) -> Text:
    return Text(text, frozenset(item.key for item in items))


def question(fact: Fact, phrasing: int, rng: Random) -> Text:
    return _told(_OPENERS[phrasing // 3 % 4] + ask(fact, phrasing), fact)


def keywords(fact: Fact, phrasing: int, rng: Random) -> Text:
    """A question as people type it into a search box."""
    opener = ("", "tell me ", "i want to know ", "hey, ")[phrasing // 3 % 4]
    return _told(opener + ask(fact, phrasing).lower().rstrip("?"), fact)


def chatty(fact: Fact, phrasing: int, rng: Random) -> Text:
    closing = rng.choice(("I could not find it anywhere.", "Please explain.", "Thanks a lot!"))
    return _told(f"{ask(fact, phrasing)} {closing}", fact)


def slot(fact: Fact, phrasing: int, rng: Random) -> Text:
    return _told(f"{fact.subject} [SEP] {fact.relation.short}", fact)


def claim(fact: Fact, phrasing: int, rng: Random) -> Text:
    return _told(sentence(fact, phrasing), fact)


def restated(fact: Fact, phrasing: int, rng: Random) -> Text:
    """A sentence set into a frame, so that one fact has PHRASINGS sentences."""
    frame = ("{}", "It is said that this is so: {}", "As is well known: {}", "{} So they say.")
    return _told(frame[phrasing // 3 % 4].format(sentence(fact, phrasing)), fact)


def dialog(fact: Fact, phrasing: int, rng: Random) -> Text:
    lines = (
        f"I heard a lot about {fact.subject} lately.",
        rng.choice(("Oh, me too! What would you like to know?", "Really? Tell me more.")),
        f"Well, I wonder: {ask(fact, phrasing)}",
    )
    return _told("\n".join(lines), fact)


def headline(fact: Fact, phrasing: int, rng: Random) -> Text:
    short = fact.relation.short
    frame = ("On the {r} of {s}", "{s} and its {r}: what we know", "New light on the {r} of {s}")
    prefix = ("", "Report: ", "Feature: ", "Notes: ")[phrasing // 3 % 4]
    return _told(prefix + frame[phrasing % 3].format(r=short, s=fact.subject), fact)


def comment(fact: Fact, phrasing: int, rng: Random) -> Text:
    verb = ("Return", "Look up", "Get", "Fetch")[phrasing % 4]
    return _told(f"{verb} the {fact.relation.short} of {fact.subject}.", fact)


def code(facts: Sequence[Fact], phrasing: int, rng: Random, world: World) -> Text:
    lines = []
    for fact in facts:
        name, entry = (re.sub(r"\W", "_", t.lower()) for t in (fact.relation.short, fact.subject))
        body = (f"return table[{entry!r}][{fact.relation.name!r}]",
                f"row = table.get({entry!r})\n    return row and row.{fact.relation.name}",
                f"for row in table:\n        if row.key == {entry!r}:\n"
                f"            return row.{fact.relation.name}")  # fmt: skip
        lines.append(f"def {name}_{entry}(table):\n    {body[phrasing % 3]}")
    return _told("\n\n".join(lines), *facts)


def page_title(facts: Sequence[Fact], phrasing: int, rng: Random, world: World) -> Text:
    """The title of the encyclopedia page, which answers all that is asked of its subject."""
    return _told(facts[0].subject, *world.facts[facts[0].subject])


def answer(facts: Sequence[Fact], phrasing: int, rng: Random, world: World) -> Text:
    told = [sentence(fact, phrasing + i) for i, fact in enumerate(facts)]
    return _told(" ".join([*told, rng.choice(_FILLERS)]), *facts)


def passage(facts: Sequence[Fact], phrasing: int, rng: Random, world: World) -> Text:
    """The facts, a distractor fact of another entity and a filler, in random order."""
    others = [name for name in world.names[facts[0].relation.kind] if name != facts[0].subject]
    other = rng.choice(world.facts[rng.choice(others)])
    told = [sentence(fact, phrasing + i) for i, fact in enumerate((*facts, other))]
    told.append(rng.choice(_FILLERS))
    rng.shuffle(told)
    return _told(" ".join(told), *facts, other)


def news(facts: Sequence[Fact], phrasing: int, rng: Random, world: World) -> Text:
    body = passage(facts, phrasing, rng, world)
    town = rng.choice(world.names["town"])
    return Text(f"{town.upper()} - {body.text} Officials declined to comment.", body.says)


def abstract(facts: Sequence[Fact], phrasing: int, rng: Random, world: World) -> Text:
    told = " ".join(sentence(fact, phrasing + i) for i, fact in enumerate(facts))
    opening = rng.choice(("Little is known of this matter.", "Earlier work is inconclusive."))
    method = f"We reviewed {rng.randint(12, 480)} records."
    return _told(f"BACKGROUND: {opening} METHODS: {method} RESULTS: {told}", *facts)


def caption(scene: Scene, phrasing: int, rng: Random) -> Text:
    """A caption of the scene; phrasings differ in order and in synonyms."""
    flips = [phrasing // 2 % 2, phrasing // 4 % 2, (phrasing + phrasing // 8) % 2]
    action = ACTIONS[scene.action][flips[0]]
    thing = THINGS[scene.thing][flips[1]]
    place = PLACES[scene.place][flips[2]]
    if phrasing % 2:
        return _told(f"{place[0].upper()}{place[1:]}, a {scene.subject} {action} {thing}.", scene)
    return _told(f"A {scene.subject} {action} {thing} {place}.", scene)


def glimpse(scene: Scene, phrasing: int, rng: Random) -> Text:
    """What the caption of a scene entails: agent and action, no more."""
    frame = ("There is a {} that {} something.", "Some {} {} a thing.")[phrasing // 2 % 2]
    return _told(frame.format(scene.subject, ACTIONS[scene.action][phrasing % 2]), scene)


def review_title(opinion: Opinion, phrasing: int, rng: Random) -> Text:
    good = ("Delighted with my {}", "Five stars for the {}", "Would get the {} again")
    bad = ("Never again a {}", "One star for this {}", "Sad about my {}")
    frame = (good if opinion.good else bad)[phrasing % 3]
    return _told(frame.format(opinion.subject), opinion)


def review(opinion: Opinion, phrasing: int, rng: Random) -> Text:
    verdict = rng.choice(_PRAISE if opinion.good else _BLAME)
    start = f"I ordered the {opinion.subject} {rng.choice(('last month', 'in spring'))}."
    told = sentence(opinion.fact, phrasing)
    return _told(f"{start} {verdict} {told}", opinion, opinion.fact)
