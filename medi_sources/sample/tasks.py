"""Super-Natural-Instructions task files about the world: closed labels and free answers.

The instances of a task come in twos: inputs about one thing, in classification tasks once with
the same label and once with another, so that near inputs agree and disagree by construction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from medi_sources.sample import texts
from medi_sources.sample.world import Fact, Opinion, World


@dataclass(frozen=True)
class Instance:
    """`about` is equal for inputs that say the same; with an equal output they are a true pair."""

    input: str
    output: str
    about: str


@dataclass(frozen=True)
class _Task:
    definition: str
    category: str
    closed: bool
    make: Callable[[World, str, Random], list[Instance]]


def _facts(world: World, subject: str, rng: Random, count: int) -> list[Fact]:
    return rng.sample(world.facts[subject], count)


def _question_class(world: World, subject: str, rng: Random) -> list[Instance]:
    start = rng.randrange(texts.PHRASINGS)
    return [
        Instance(texts.question(f, start + i, rng).text, f.relation.label.split(":")[0], f.key)
        for f in _facts(world, subject, rng, 2)
        for i in range(2)
    ]


def _topic(world: World, subject: str, rng: Random) -> list[Instance]:
    facts = _facts(world, subject, rng, 2)
    return [
        Instance(texts.passage(facts, i, rng, world).text, facts[0].relation.kind, subject)
        for i in range(2)
    ]


def _true_claim(world: World, subject: str, rng: Random) -> list[Instance]:
    fact, other = _facts(world, subject, rng, 2)
    start = rng.randrange(3)
    passage = texts.passage([fact, other], start, rng, world).text
    others = [
        told.object
        for name in world.names[fact.relation.kind]
        for told in world.facts[name]
        if told.relation == fact.relation and told.object != fact.object
    ]
    wrong = replace(fact, object=rng.choice(others))
    claims = [(texts.sentence(fact, start + i), "True") for i in (1, 2)]
    claims += [(texts.sentence(wrong, start + i), "False") for i in (1, 2)]
    return [
        Instance(f"Passage: {passage}\nClaim: {claim}", label, f"{fact.key} {label}")
        for claim, label in claims
    ]


def _sentiment(world: World, subject: str, rng: Random) -> list[Instance]:
    def one(opinion: Opinion, phrasing: int) -> Instance:
        label = "positive" if opinion.good else "negative"
        return Instance(texts.review(opinion, phrasing, rng).text, label, opinion.key)

    return [one(opinion, i) for opinion in world.opinions(subject) for i in range(2)]


def _same_question(world: World, subject: str, rng: Random) -> list[Instance]:
    first, second = _facts(world, subject, rng, 2)
    start = rng.randrange(texts.PHRASINGS)
    pairs = [(first, first, "yes", 0), (first, first, "yes", 1), (first, second, "no", 0)]
    return [
        Instance(f"1. {texts.ask(a, start + i)} 2. {texts.ask(b, start + i + 1)}", label,
                 f"{a.key} {b.key}")
        for a, b, label, i in pairs
    ]  # fmt: skip


def _answering(world: World, subject: str, rng: Random) -> list[Instance]:
    facts = _facts(world, subject, rng, 2)
    start = rng.randrange(3)
    passage = texts.passage(facts, start, rng, world).text
    return [
        Instance(f"Passage: {passage}\nQuestion: {texts.ask(facts[0], start + i)}",
                 facts[0].object, facts[0].key)
        for i in range(2)
    ]  # fmt: skip


def _asking(world: World, subject: str, rng: Random) -> list[Instance]:
    facts = _facts(world, subject, rng, 2)
    return [
        Instance(texts.passage(facts[:1], i, rng, world).text, texts.ask(facts[0], 0), facts[0].key)
        for i in range(2)
    ]


def _titling(world: World, subject: str, rng: Random) -> list[Instance]:
    (fact,) = _facts(world, subject, rng, 1)
    title = texts.headline(fact, rng.randrange(3), rng).text
    return [Instance(texts.news([fact], i, rng, world).text, title, fact.key) for i in range(2)]


def _rewording(world: World, subject: str, rng: Random) -> list[Instance]:
    (fact,) = _facts(world, subject, rng, 1)
    told = texts.sentence(fact, 2)
    return [Instance(texts.restated(fact, i, rng).text, told, fact.key) for i in range(2)]


def _completion(world: World, subject: str, rng: Random) -> list[Instance]:
    return [
        Instance(f"{fact.subject}, {fact.relation.short}:", f"{fact.object} ({subject})", fact.key)
        for fact in _facts(world, subject, rng, 2)
    ]


_TASKS = (
    _Task("Classify the question by what it asks for: ABBR, DESC, ENTY, HUM, LOC or NUM.",
          "Question Understanding", True, _question_class),
    _Task("Read the passage and answer the question in a few words.",
          "Question Answering", False, _answering),
    _Task("Name the kind of thing the passage is about.", "Text Categorization", True, _topic),
    _Task("Write a question that the passage answers.", "Question Generation", False, _asking),
    _Task("Decide by the passage whether the claim is True or False.",
          "Fact Verification", True, _true_claim),
    _Task("Write a title for the news item.", "Title Generation", False, _titling),
    _Task("Judge the review: positive or negative.", "Sentiment Analysis", True, _sentiment),
    _Task("Say the same in other words.", "Paraphrasing", False, _rewording),
    _Task("Answer yes if the two questions ask the same, else no.",
          "Text Matching", True, _same_question),
    _Task("Complete the entry of the encyclopedia.", "Information Extraction", False, _completion),
)  # fmt: skip


def make_instances(kind: int, world: World, rng: Random, count: int) -> list[Instance]:
    """`count` instances of the task kind; of 40 or more a few are empty or come twice."""
    subjects = list(world.facts) if _TASKS[kind].make is not _sentiment else world.names["machine"]
    made: list[Instance] = []
    for subject in rng.sample(subjects, min(count, len(subjects))):
        made += _TASKS[kind].make(world, subject, rng)
        if len(made) >= count:
            break
    made = made[:count]
    if rng.random() < 0.5:
        for i in range(count // 40):
            made[i * 7 + 3] = Instance("", made[i * 7 + 3].output, "")
            made[-1 - i] = made[i * 7 + 5]
    return made


def task_kind(number: int) -> int:
    return number % len(_TASKS)


def has_labels(kind: int) -> bool:
    return _TASKS[kind].closed


def task_file(name: str, kind: int, instances: Sequence[Instance]) -> bytes:
    """A task file of version 2; the first two instances serve as examples too."""
    task = _TASKS[kind]
    examples = [
        {"input": i.input, "output": i.output, "explanation": "So it is said in the sample."}
        for i in instances[:2]
    ]
    number = name.split("_")[0]
    document = {
        "Contributors": ["medi"],
        "Source": ["medi_sample"],
        "URL": ["https://huggingface.co/medi/sample-world"],
        "Categories": [task.category],
        "Reasoning": [],
        "Definition": [task.definition],
        "Input_language": ["English"],
        "Output_language": ["English"],
        "Instruction_language": ["English"],
        "Domains": ["Miscellaneous"],
        "Positive Examples": examples,
        "Negative Examples": [],
        "Instances": [
            {"id": f"{number}-{i:032x}", "input": instance.input, "output": [instance.output]}
            for i, instance in enumerate(instances)
        ],
        "Instance License": ["CC0 1.0"],
    }
    return json.dumps(document, indent=4, ensure_ascii=False).encode()
