"""What people write for a dataset: its instructions (paper section 2.3), one YAML a dataset."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["none", "tag", "simple", "detailed"]
"""How much an instruction says (paper Fig. 5); `detailed` is the unified template."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(_Frozen):
    """The instruction of one side. Texts carry no final punctuation: rendering ends them in ": ".

    text_type, domain, objective: parts of "Represent the (domain) (text type) for (objective): ".
    tag: names dataset and side. simple: text type and domain in a few words.
    paraphrases: the detailed instruction in other words, each a sentence of its own.
    """

    text_type: str
    domain: str | None = None
    objective: str | None = None
    tag: str
    simple: str
    paraphrases: tuple[str, str]


class Annotation(_Frozen):
    """One file annotations/data/<dataset>.yaml. Without `document`, both sides share `query`."""

    dataset: str = Field(min_length=1)
    query: Side
    document: Side | None = None
