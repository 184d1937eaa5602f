"""Find faults of wording in annotations, all at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from annotations.render import template
from annotations.schema import Annotation, AnyAnnotation, AnySide, EvaluationAnnotation

MAX_WORDS = 40
_ARTICLE = re.compile(r"\b(an?) ([A-Za-z][\w-]*)", re.IGNORECASE)
# Spelling and sound disagree: "a university", "a one-line summary"; "an hour".
_CONSONANT_SOUND = re.compile(r"(uni(?!n|m)|us[aeu]|eu|one\b|once\b|ubi|uti)", re.IGNORECASE)
_VOWEL_SOUND = re.compile(r"(hour|hono|honest|heir)", re.IGNORECASE)

# Number is judged without a tagger. After "a" and "every" a word in -s is a plural. After words
# that stand alone as well ("each asks", "these differ"), and across adjectives, only these nouns
# are judged: those that instructions speak of.
_NOUNS = (
    "abstract|answer|argument|article|author|caption|category|chat|choice|claim|clause|code|"
    "comment|command|context|conversation|country|description|dialogue|document|ending|entity|"
    "event|example|fact|feature|film|gap|headline|image|instruction|item|label|language|letter|"
    "line|list|meaning|message|name|number|object|opinion|option|pair|paper|paragraph|"
    "paraphrase|part|passage|person|phrase|place|poem|post|product|program|property|query|"
    "question|reason|relation|reply|report|response|review|rule|scene|section|sentence|side|"
    "situation|statement|step|story|summary|task|term|text|thing|title|topic|tweet|turn|"
    "utterance|verb|version|word|year"
)
_ADJECTIVES = (
    r"(?:(?:big|certain|common|different|first|full|good|hard|last|long|main|new|next|odd|old|"
    r"other|real|right|same|second|short|similar|simple|single|small|true|whole|wrong|"
    r"movie|news|science|trivia|web|[a-z]+-[a-z-]+|"
    r"[a-z]+(?:able|al|ed|ful|ible|ic|ing|ish|ive|less|ous)) ){0,2}"
)
# In no plural: "a news item", "a means"; endings -ss, -us, -is are left out below.
_SINGULAR_IN_S = (
    "atlas|bias|canvas|chaos|economics|ethics|gas|goods|lens|linguistics|mathematics|means|news|"
    "physics|politics|series|species|sports|statistics|yes"
)
# What may follow a noun phrase: "two question words" is a compound, "two question for" is a fault.
_CLOSES = (
    r"(?=$|[,;:.)?!]| (?:about|are|as|at|by|for|from|if|in|into|is|of|on|so|to|was|were|when|"
    r"which|while|who|whose|with|without)\b)"
)
# "each answers the question" is no noun phrase, and "a readers' guide" is no plural of its own.
_NOT_A_VERB = r"(?!['’-]| (?:an?|her|his|how|into|its?|the|their|what|whether)\b)"


def _plural(noun: str) -> str:
    if noun == "person":
        return "persons|people"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


_PLURAL_AFTER_A = re.compile(
    rf"\b((?:an?|every) (?!(?:{_SINGULAR_IN_S})\b)[a-z]+(?<![sui])s)\b(?!['’-])"
)
_PLURAL_AFTER_ONE = re.compile(
    rf"\b((?:an?|another|each(?! other)|every|this) {_ADJECTIVES}"
    rf"(?:{'|'.join(map(_plural, _NOUNS.split('|')))}))\b{_NOT_A_VERB}"
)
_SINGULAR_AFTER_MANY = re.compile(
    r"\b((?:two|three|four|five|six|seven|eight|nine|ten|both|few|many|several|these|those|various)"
    rf" {_ADJECTIVES}(?:{_NOUNS})){_CLOSES}",
    re.IGNORECASE,
)


def lint(symmetric: Mapping[str, bool], annotations: Mapping[str, Annotation]) -> list[str]:
    """Faults as lines `dataset: field: fault`, sorted; [] if there are none.

    `symmetric` tells for every dataset of the catalog whether it is; a symmetric one has no
    document part. A dataset without an annotation is a fault, and so is an annotation without one.
    """
    return sorted(_lint("dataset", symmetric, annotations) + _same(annotations))


def lint_evaluation(
    names_to_symmetric: Mapping[str, bool], annotations: Mapping[str, EvaluationAnnotation]
) -> list[str]:
    """Faults of evaluation tasks, as `lint` finds them in datasets.

    Tasks of the generated world, named Sample*, imitate real ones and may share instructions.
    """
    real = {name: a for name, a in annotations.items() if not name.startswith("Sample")}
    return sorted(_lint("task", names_to_symmetric, annotations) + _same(real))


def _lint(
    kind: str, symmetric: Mapping[str, bool], annotations: Mapping[str, AnyAnnotation]
) -> list[str]:
    """Faults of each annotation by itself; `kind` is what it annotates, in words."""
    found = [
        f"{name}: no annotation: write {name}.yaml, next to the others"
        for name in symmetric.keys() - annotations.keys()
    ]
    for name, annotation in annotations.items():
        if name not in symmetric:
            found.append(f"{name}: no such {kind} in the catalog")
        elif symmetric[name] != (annotation.document is None):
            fix = "symmetric: leave document out" if symmetric[name] else "asymmetric: add document"
            found.append(f"{name}: document: the {kind} is {fix}")
        for field, text in _texts(annotation):
            faults = _faults(text) if text.strip() else ["left empty"]
            found += [f"{name}: {field}: {fault}" for fault in faults]
        found += [f"{name}: {fault}" for fault in _paraphrases(annotation)]
    return found


def _sides(annotation: AnyAnnotation) -> Iterator[tuple[str, AnySide]]:
    yield "query", annotation.query
    if annotation.document is not None:
        yield "document", annotation.document


def _texts(annotation: AnyAnnotation) -> Iterator[tuple[str, str]]:
    """Every text of both sides; domain, text type and objective as the one sentence they make."""
    for name, side in _sides(annotation):
        yield f"{name}.tag", side.tag
        yield f"{name}.simple", side.simple
        for i, text in enumerate(side.paraphrases):
            yield f"{name}.paraphrases.{i}", text
        parts = {"text_type": side.text_type, "domain": side.domain, "objective": side.objective}
        empty = [field for field, text in parts.items() if text is not None and not text.strip()]
        yield from ((f"{name}.{field}", "") for field in empty)
        if not empty:
            yield f"{name} (detailed)", template(side)


def _faults(text: str) -> Iterator[str]:
    if text != text.strip() or re.search(r"\s\s|[^\S ]", text):
        yield "space at an end, or two in a row"
    if text[-1] in ":;.,":
        yield f"ends in {text[-1]!r}; the ending is added when rendering"
    if (words := len(text.split())) > MAX_WORDS:
        yield f"{words} words, more than {MAX_WORDS}"
    for article, word in _ARTICLE.findall(text):
        right = "an" if _starts_with_vowel_sound(word) else "a"
        if article.lower() != right:
            yield f"'{article} {word}' should be '{right} {word}'"
    yield from (f"{phrase!r} mixes singular and plural" for phrase in _wrong_number(text))


def _starts_with_vowel_sound(word: str) -> bool:
    if len(word) > 1 and word.isupper():  # spelt out: an NLP task, a UK address
        return word[0] in "AEFHILMNORSX"
    if word[0] in "aeiouAEIOU":
        return not _CONSONANT_SOUND.match(word)
    return bool(_VOWEL_SOUND.match(word))


def _wrong_number(text: str) -> list[str]:
    """Phrases such as "a questions" and "two new sentence", each once."""
    kinds = (_PLURAL_AFTER_A, _PLURAL_AFTER_ONE, _SINGULAR_AFTER_MANY)
    return list(dict.fromkeys(phrase for kind in kinds for phrase in kind.findall(text)))


def _paraphrases(annotation: AnyAnnotation) -> Iterator[str]:
    """Paraphrases that are no instruction, or that repeat the detailed one or each other."""
    for name, side in _sides(annotation):
        seen = {_plain(template(side)): "the detailed instruction"}
        for i, text in enumerate(side.paraphrases):
            if text.strip() and not text.startswith("Represent "):
                yield f"{name}.paraphrases.{i}: does not start with 'Represent '"
            if text.strip() and _plain(text) in seen:
                yield f"{name}.paraphrases.{i}: says the same as {seen[_plain(text)]}"
            seen.setdefault(_plain(text), f"paraphrases.{i}")


def _same(annotations: Mapping[str, AnyAnnotation]) -> list[str]:
    """Instructions shared by two datasets or tasks: the model could not tell them apart."""
    found, owner = [], dict[str, str]()
    for name, annotation in sorted(annotations.items()):
        texts = [
            text
            for _, side in _sides(annotation)
            for text in (template(side), side.tag, side.simple, *side.paraphrases)
        ]
        for text in dict.fromkeys(filter(str.strip, texts)):
            other = owner.setdefault(_plain(text), name)
            if other != name:
                found.append(f"{name}: same instruction as {other}: {text!r}")
    return found


def _plain(text: str) -> str:
    """What is left of a text when case, hyphens and spaces make no difference."""
    return " ".join(text.casefold().replace("-", " ").split())
