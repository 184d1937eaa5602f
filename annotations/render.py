"""Annotation -> the instructions that stand in front of a query and of a document."""

from __future__ import annotations

from annotations.schema import Annotation, Level, Side
from artifacts.errors import InputError

# Colon and one space everywhere: with the T5 vocabulary a prompt that ends in a space tokenizes
# alone as it does in front of a text.
END = ": "


def instructions(
    annotation: Annotation, level: Level = "detailed", paraphrase: int | None = None
) -> tuple[str, str]:
    """(query instruction, document instruction), each ending in ": "; both "" at level "none".

    `paraphrase` (0 or 1) replaces the detailed wording by one of the annotation's paraphrases.
    A symmetric dataset has one instruction on both sides. Raises InputError for a paraphrase that
    does not exist and for a field left empty.
    """
    if paraphrase is not None and (level != "detailed" or paraphrase not in (0, 1)):
        raise InputError(
            f"paraphrase {paraphrase} at level {level}: paraphrases are 0 and 1, of level detailed"
        )
    query = _side(annotation, "query", annotation.query, level, paraphrase)
    if annotation.document is None:
        return query, query
    return query, _side(annotation, "document", annotation.document, level, paraphrase)


def template(side: Side) -> str:
    """ "Represent the (domain) (text type) for (objective)": domain and objective are optional."""
    domain = f"{side.domain} " if side.domain else ""
    objective = f" for {side.objective}" if side.objective else ""
    return f"Represent the {domain}{side.text_type}{objective}"


def _side(
    annotation: Annotation, name: str, side: Side, level: Level, paraphrase: int | None
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
        raise InputError(f"annotation of {annotation.dataset}: field {name}.{field} is empty")
    return (template(side) if field == "text_type" else text) + END
