"""What people write for a dataset or an evaluation task: its instructions (paper section 2.3)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["none", "tag", "simple", "detailed"]
"""How much an instruction says (paper Fig. 5); `detailed` is the unified template."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Wording(_Frozen):
    """The instruction of one side. Texts carry no final punctuation: rendering ends them in ": ".

    text_type, domain, objective: parts of "Represent the (domain) (text type) for (objective): ".
    tag: names dataset and side. simple: text type and domain in a few words.
    """

    text_type: str
    domain: str | None = None
    objective: str | None = None
    tag: str
    simple: str


class Side(Wording):
    """One side of a training dataset.

    paraphrases: the detailed instruction in other words, each a sentence of its own.
    """

    paraphrases: tuple[str, str]


class EvaluationSide(Wording):
    """One side of an evaluation task; five paraphrases, as the paper's Fig. 4 compares."""

    paraphrases: tuple[str, str, str, str, str]


class Annotation(_Frozen):
    """One file annotations/data/<dataset>.yaml. Without `document`, both sides share `query`."""

    dataset: str = Field(min_length=1)
    query: Side
    document: Side | None = None

    @property
    def name(self) -> str:
        return self.dataset


class EvaluationAnnotation(_Frozen):
    """One file annotations/evaluation/<task>.yaml. Without `document`, both sides share `query`."""

    task: str = Field(min_length=1)
    query: EvaluationSide
    document: EvaluationSide | None = None

    @property
    def name(self) -> str:
        return self.task


AnySide = Side | EvaluationSide
AnyAnnotation = Annotation | EvaluationAnnotation
