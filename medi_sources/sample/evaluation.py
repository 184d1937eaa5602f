"""Evaluation files about a world that no training row mentions, in the layouts of real ones.

Right answers and scores follow from what the texts share: the same relations and vocabulary as
in training, other entities.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from dataclasses import replace
from random import Random
from typing import Any

from medi_sources.sample import texts
from medi_sources.sample.world import ACTIONS, KINDS, PLACES, THINGS, Fact, Scene, World

_CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
_GROUPS = {
    "rec.food.cooking": "dish",
    "sci.machines": "machine",
    "soc.travel.towns": "town",
    "rec.gardens": "plant",
    "rec.arts.books": "book",
}


def evaluation_files(world: World, seed: int) -> dict[str, bytes]:
    """File name -> content; `world` needs 24 entities a kind."""
    return {
        "sts.csv": _sts(world, Random(f"sts {seed}")),
        "questions.label": _questions(world, Random(f"questions {seed}")),
        "groups.tar.gz": _groups(world, Random(f"groups {seed}")),
        "squad.json": _squad(world, Random(f"squad {seed}")),
        **_captions(world, Random(f"captions {seed}")),
        **_prompts(world, Random(f"prompts {seed}")),
    }


def _changed(scene: Scene, rng: Random, world: World, changes: int) -> Scene:
    """The scene with that many of its four slots filled otherwise."""
    animals = [name for name in world.names["animal"] if name != scene.subject]
    fresh: dict[str, Any] = {"subject": rng.choice(animals)}
    for name, slot in (("action", ACTIONS), ("thing", THINGS), ("place", PLACES)):
        fresh[name] = rng.choice([i for i in range(len(slot)) if i != getattr(scene, name)])
    return replace(scene, **{name: fresh[name] for name in rng.sample(sorted(fresh), changes)})


def _sts(world: World, rng: Random) -> bytes:
    """100 pairs `text,text,score`: 5 times the share of slots (or of a fact's parts) shared."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    for i in range(50):
        scene = rng.choice(world.scenes(rng.choice(world.names["animal"])))
        other = _changed(scene, rng, world, i % 5)
        phrasing = rng.randrange(texts.PHRASINGS)
        pair = (texts.caption(s, phrasing + 5 * j, rng).text for j, s in enumerate((scene, other)))
        writer.writerow([*pair, 5 - 1.25 * (i % 5)])
    for i in range(50):
        fact, other_fact, parts = _fact_pair(world, rng, i % 5)
        start = rng.randrange(3)
        told = (texts.sentence(fact, start), texts.sentence(other_fact, start + 1))
        writer.writerow([*told, round(5 * parts / 3, 3)])
    return out.getvalue().encode()


def _fact_pair(world: World, rng: Random, case: int) -> tuple[Fact, Fact, int]:
    """Two facts and how many of subject, relation and object they share."""
    kind = rng.choice(KINDS)
    subject, stranger = rng.sample(world.names[kind], 2)
    fact, sibling = rng.sample(world.facts[subject], 2)
    (same,) = (f for f in world.facts[stranger] if f.relation == fact.relation)
    if case == 0:
        return fact, fact, 3
    if case == 1 and same.object != fact.object:
        return fact, replace(fact, object=same.object), 2
    if case == 2:
        return fact, replace(same, object=fact.object), 2
    if case == 3:
        return fact, sibling, 1
    far = rng.choice([name for name in world.facts if world.facts[name][0].relation.kind != kind])
    return fact, rng.choice(world.facts[far]), 0


def _questions(world: World, rng: Random) -> bytes:
    """300 lines `COARSE:fine question ?`, 50 of each class."""
    lines = []
    for coarse in _CLASSES:
        asked = rng.sample(_asked_of(world, coarse), 50)
        lines += [f"{label} {text.replace('?', ' ?')}\n" for label, text in asked]
    rng.shuffle(lines)
    return "".join(lines).encode("latin-1")


def _asked_of(world: World, coarse: str) -> list[tuple[str, str]]:
    """(label, question), for every fact of the class and every way to ask it."""
    return [
        (fact.relation.label, texts.ask(fact, phrasing))
        for told in world.facts.values()
        for fact in told
        for phrasing in range(3)
        if fact.relation.label.startswith(coarse)
    ]


def _prompts(world: World, rng: Random) -> dict[str, bytes]:
    """120 questions to choose examples from and 30 to answer, as many of each class: what kind of
    answer is asked for?"""
    parts: dict[str, list[tuple[int, str]]] = {"train": [], "test": []}
    for number, coarse in enumerate(_CLASSES):
        asked = [(number, text) for _, text in rng.sample(_asked_of(world, coarse), 25)]
        parts["train"] += asked[:20]
        parts["test"] += asked[20:]
    files = {}
    for part, rows in parts.items():
        rng.shuffle(rows)
        values = [{"idx": i, "text": text, "label": n} for i, (n, text) in enumerate(rows)]
        files[f"prompt_{part}.json"] = json.dumps(values, indent=2).encode()
    return files


def _groups(world: World, rng: Random) -> bytes:
    """A tar of 30 messages in each of five groups, `groups/<group>/<number>`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for group, kind in _GROUPS.items():
            for number in range(30):
                message = _message(world, rng, group, rng.choice(world.names[kind]))
                info = tarfile.TarInfo(f"groups/{group}/{50100 + number}")
                info.size = len(message)
                tar.addfile(info, io.BytesIO(message))
    return gzip.compress(buffer.getvalue(), mtime=0)


def _message(world: World, rng: Random, group: str, subject: str) -> bytes:
    facts = rng.sample(world.facts[subject], 2)
    start = rng.randrange(3)
    writer = rng.choice(world.names["person"])
    headers = (
        f"From: {writer.lower().replace(' ', '.')}@sample.example ({writer})",
        f"Newsgroups: {group}",
        f"Subject: {texts.headline(facts[0], start, rng).text}",
        f"Message-ID: <{rng.getrandbits(40):010x}@sample.example>",
        "Date: 2 Apr 93 20:57:33 GMT",
    )
    body = texts.passage(facts, start, rng, world).text.replace(". ", ".\n")
    return "\n".join([*headers, "", body, texts.chatty(facts[1], start, rng).text, ""]).encode()


def _squad(world: World, rng: Random) -> bytes:
    """60 questions on 120 paragraphs in the layout of SQuAD 1.1.

    Each of 60 entities has two paragraphs and one question on the first, so that the second is
    its hard negative; distractors are facts of entities that nothing is asked of.
    """
    asked = [name for kind in KINDS for name in world.names[kind][:6]]
    articles = []
    for subject in asked:
        facts = rng.sample(world.facts[subject], 4)
        paragraphs: list[dict[str, Any]] = []
        for half in (facts[:2], facts[2:]):
            bystanders = world.names[facts[0].relation.kind][6:]
            distractor = rng.choice(world.facts[rng.choice(bystanders)])
            told = [texts.sentence(fact, rng.randrange(3)) for fact in (*half, distractor)]
            rng.shuffle(told)
            paragraphs.append({"context": " ".join(told), "qas": []})
        paragraphs[0]["qas"] = [_asked(facts[0], paragraphs[0]["context"], rng)]
        articles.append({"title": subject, "paragraphs": paragraphs})
    return json.dumps({"data": articles, "version": "1.1"}, indent=1).encode()


def _asked(fact: Fact, context: str, rng: Random) -> dict[str, Any]:
    start = context.lower().index(fact.object.lower())
    text = context[start : start + len(fact.object)]
    question = texts.ask(fact, rng.randrange(3))
    return {
        "id": fact.key,
        "question": question,
        "answers": [{"text": text, "answer_start": start}],
    }


def _captions(world: World, rng: Random) -> dict[str, bytes]:
    """80 captions of 20 scenes by four systems; the human score is 5 times the share of slots
    that are right."""
    hypotheses, references = [], []
    for number, subject in enumerate(world.names["animal"][:20]):
        scene = rng.choice(world.scenes(subject))
        segment: dict[str, Any] = {"seg_id": str(1000 + number), "set_id": number}
        refs = [texts.caption(scene, i, rng).text for i in (0, 3, 5, 10)]
        references.append({**segment, "refs": refs})
        for system in range(4):
            wrong = rng.randrange(5)
            told = texts.caption(_changed(scene, rng, world, wrong), rng.choice((1, 6, 7, 8)), rng)
            score = 5 - 1.25 * wrong
            image = f"sample_{1000 + number:012d}.jpg"
            grades = {"P": score, "R": score, "Fl": 0.0, "Inc": 0.0, "Con": 0.0}
            line = {"SYS": f"system-{system}", **segment, "hyp": told.text, "image": image}
            hypotheses.append({**line, **grades, "human_score": score})
    return {
        "captions_THumB-1.0.jsonl": _lines(hypotheses),
        "captions_references.jsonl": _lines(references),
    }


def _lines(values: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()
