"""Find faults of wording in annotations, all at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from annotations.render import template
from annotations.schema import Annotation, Side

MAX_WORDS = 40
_ARTICLE = re.compile(r"\b(an?) ([A-Za-z][\w-]*)", re.IGNORECASE)
# Spelling and sound disagree: "a university", "a one-line summary"; "an hour".
_CONSONANT_SOUND = re.compile(r"(uni(?!n|m)|us[aeu]|eu|one\b|once\b|ubi|uti)", re.IGNORECASE)
_VOWEL_SOUND = re.compile(r"(hour|hono|honest|heir)", re.IGNORECASE)


def lint(symmetric: Mapping[str, bool], annotations: Mapping[str, Annotation]) -> list[str]:
    """Faults as lines `dataset: field: fault`, sorted; [] if there are none.

    `symmetric` tells for every dataset of the catalog whether it is; a symmetric one has no
    document part. Datasets without an annotation are no fault here (load_annotation says so).
    """
    found = []
    for name, annotation in annotations.items():
        if name not in symmetric:
            found.append(f"{name}: no such dataset in the catalog")
        elif symmetric[name] != (annotation.document is None):
            kind = (
                "symmetric: leave document out" if symmetric[name] else "asymmetric: add document"
            )
            found.append(f"{name}: document: the dataset is {kind}")
        for field, text in _texts(annotation):
            faults = _faults(text) if text.strip() else ["left empty"]
            found += [f"{name}: {field}: {fault}" for fault in faults]
    return sorted(found + _same(annotations))


def _sides(annotation: Annotation) -> Iterator[tuple[str, Side]]:
    yield "query", annotation.query
    if annotation.document is not None:
        yield "document", annotation.document


def _texts(annotation: Annotation) -> Iterator[tuple[str, str]]:
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


def _starts_with_vowel_sound(word: str) -> bool:
    if len(word) > 1 and word.isupper():  # spelt out: an NLP task, a UK address
        return word[0] in "AEFHILMNORSX"
    if word[0] in "aeiouAEIOU":
        return not _CONSONANT_SOUND.match(word)
    return bool(_VOWEL_SOUND.match(word))


def _same(annotations: Mapping[str, Annotation]) -> list[str]:
    """Query instructions shared by two datasets: the model could not tell their tasks apart."""
    found, owner = [], dict[str, str]()
    for name, annotation in sorted(annotations.items()):
        side = annotation.query
        for text in dict.fromkeys((template(side), side.tag, *side.paraphrases)):
            other = owner.setdefault(text.casefold(), name)
            if other != name:
                found.append(f"{name}: same instruction as {other}: {text!r}")
    return found
