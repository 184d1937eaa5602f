"""Prompt retrieval, declared: how an upstream row becomes an in-context example, and what the
prompts may cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")


@dataclass(frozen=True)
class Example:
    """What the language model reads and should answer, and what the embedder sees of it.

    `choices`: the answers to choose among; none where the answer is free text.
    """

    input: str
    answer: str
    embed: str
    choices: tuple[str, ...] = ()


class PromptFormat(BaseModel):
    """From a row's columns to an example. `{column}` in a template stands for the column's value.

    Whitespace within a value becomes one space; a list reads `a, b`, an object `key: value, ...`,
    and either `none` if empty. `input` ends where the language model goes on; `embed` is what the
    embedder sees, the input if not given. One of these makes a choice of the answer, otherwise it
    is free text: `labels`, from the text of `answer` to what the model reads and says instead;
    `choices`, a column with a list of answers, of which `answer` is the index. `rows` names the
    list in a JSON file that is an object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    answer: str
    embed: str | None = None
    labels: dict[str, str] | None = Field(default=None, min_length=2)
    choices: str | None = None
    rows: str | None = None

    @field_validator("input", "answer", "embed")
    @classmethod
    def _plain_columns(cls, template: str | None) -> str | None:
        if template is None:
            return None
        if re.search(r"[{}]", _PLACE.sub("", template)) or not _PLACE.search(template):
            raise ValueError(
                f"{template!r} must name a column, as {{column}}, and nothing else in {{}}"
            )
        return template

    @field_validator("labels", mode="before")
    @classmethod
    def _keys_as_texts(cls, labels: Any) -> Any:
        return {str(k): v for k, v in labels.items()} if isinstance(labels, dict) else labels

    @model_validator(mode="after")
    def _one_kind_of_choice(self) -> PromptFormat:
        if self.labels is not None and self.choices is not None:
            raise ValueError("labels or choices, not both, say what the answers are")
        texts = list((self.labels or {}).values())
        if not all(texts) or len(set(texts)) < len(texts):
            raise ValueError(f"labels {', '.join(texts)}: each needs a text of its own")
        return self

    def example(self, row: Mapping[str, Any]) -> Example:
        """Raises ValueError, in half a sentence, for a row that is not of this format."""
        asked = _filled(self.input, row)
        embed = asked if self.embed is None else _filled(self.embed, row)
        answer = _filled(self.answer, row)
        if not (asked and embed and answer):
            raise ValueError("nothing to ask, to embed or to answer: its columns are empty")
        if self.labels is not None:
            if answer not in self.labels:
                known = ", ".join(self.labels)
                raise ValueError(f"label {answer!r} is none of the record's ({known})")
            return Example(asked, self.labels[answer], embed, tuple(self.labels.values()))
        if self.choices is not None:
            choices = tuple(_text(choice) for choice in _choices(row, self.choices))
            if not answer.isdecimal() or int(answer) >= len(choices):
                raise ValueError(f"answer {answer!r} is no index of its {len(choices)} choices")
            return Example(asked, choices[int(answer)], embed, choices)
        return Example(asked, answer, embed)


class PromptOptions(BaseModel):
    """What is asked of which language model. Lengths are in that model's tokens.

    `lm`: a causal language model; None: only how good the examples are is measured.
    `budget_tokens`: of a prompt, examples included, or what the model's context leaves beside
    `max_new_tokens` if that is less. `train_rows` and `test_rows`: at most so many of a task's rows
    to choose examples from, and to answer. `lm_batch`: answers at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lm: str | None = None
    budget_tokens: int = Field(default=1900, gt=0)
    max_new_tokens: int = Field(default=64, gt=0)
    train_rows: int = Field(default=3000, gt=0)
    test_rows: int = Field(default=256, gt=1)
    lm_batch: int = Field(default=8, gt=0)


def _filled(template: str, row: Mapping[str, Any]) -> str:
    return _PLACE.sub(lambda place: _text(_value(row, place[1])), template).strip()


def _value(row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        raise ValueError(f"no column {column!r} among {', '.join(map(str, row)) or 'none'}")
    return row[column]


def _choices(row: Mapping[str, Any], column: str) -> list[Any]:
    choices = _value(row, column)
    if not isinstance(choices, list) or len(choices) < 2 or not all(map(_text, choices)):
        raise ValueError(f"column {column!r} holds no list of two or more answers")
    return choices


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if value is None:
        raise ValueError("a column that the prompt needs is null")
    return " ".join(str(value).split())
