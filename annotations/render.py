"""Annotation -> the instructions that stand in front of a query and of a document."""

from __future__ import annotations

from annotations.schema import AnyAnnotation, AnySide, Level, Wording
from artifacts.errors import InputError

# Colon and one space everywhere: with the T5 vocabulary a prompt that ends in a space tokenizes
# alone as it does in front of a text.
END = ": "


def instructions(
    annotation: AnyAnnotation, level: Level = "detailed", paraphrase: int | None = None
) -> tuple[str, str]:
    """(query instruction, document instruction), each ending in ": "; both "" at level "none".

    `paraphrase` replaces the detailed wording by one of the annotation's paraphrases: 0 or 1 of a
    training dataset, 0 to 4 of an evaluation task. Without a document part, both sides have one
    instruction. Raises InputError for a paraphrase that does not exist and for a field left empty.
    """
    last = len(annotation.query.paraphrases) - 1
    if paraphrase is not None and (level != "detailed" or not 0 <= paraphrase <= last):
        raise InputError(
            f"paraphrase {paraphrase} at level {level}: paraphrases are 0 "
            f"{'and' if last == 1 else 'to'} {last}, of level detailed"
        )
    query = _side(annotation, "query", annotation.query, level, paraphrase)
    if annotation.document is None:
        return query, query
    return query, _side(annotation, "document", annotation.document, level, paraphrase)


def template(side: Wording) -> str:
    """ "Represent the (domain) (text type) for (objective)": domain and objective are optional."""
    domain = f"{side.domain} " if side.domain else ""
    objective = f" for {side.objective}" if side.objective else ""
    return f"Represent the {domain}{side.text_type}{objective}"


def _side(
    annotation: AnyAnnotation, name: str, side: AnySide, level: Level, paraphrase: int | None
) -> str:
    if level == "none":
        return ""
    if level != "detailed":
        field, text = str(level), side.tag if level == "tag" else side.simple
    elif paraphrase is not None:
        field, text = f"paraphrases.{paraphrase}", side.paraphrases[paraphrase]
    else:
        field, text = "text_type", side.text_type
    if not text.strip():
        raise InputError(f"annotation of {annotation.name}: field {name}.{field} is empty")
    return (template(side) if field == "text_type" else text) + END
