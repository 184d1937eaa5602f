"""An evaluation task, declared: where its data lies, how it is laid out, what is asked of it."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from artifacts.location import PublicLocation

# The nine categories of the paper's main table, in its order.
Category = Literal[
    "Retrieval",
    "Reranking",
    "Clustering",
    "Pair Classification",
    "Classification",
    "STS",
    "Summarization",
    "Billboard",
    "Prompt retrieval",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)

Layout = Literal["stsb_csv", "sts_tsv", "label_lines", "newsgroups_tar", "squad", "billboard"]


class EvalTask(BaseModel):
    """One task. `name` is MTEB's where the task is MTEB's, otherwise ours.

    `metric` is the name of the main score among those that mteb computes for the task's type.
    `test_rows` belongs to `label_lines`, whose single file is split here (see evaluation.layouts).
    `note` is printed in the report: whatever makes a score less comparable than it looks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=80)
    category: Category
    location: PublicLocation
    layout: Layout
    query_instruction: str
    doc_instruction: str  # equal to query_instruction where both are texts of one kind
    metric: Literal["cosine_spearman", "accuracy", "v_measure", "ndcg_at_10", "cosine_pearson"]
    licence: str  # an SPDX identifier or "unknown"
    test_rows: int | None = Field(default=None, gt=0)
    note: str = ""

    @field_validator("query_instruction", "doc_instruction")
    @classmethod
    def _unified_template(cls, instruction: str) -> str:
        if not instruction.startswith("Represent ") or not instruction.endswith(": "):
            raise ValueError(
                f"{instruction!r} must read 'Represent the (domain) (text type) for (objective): ' "
                "with the colon and one space at its end"
            )
        return instruction

    @model_validator(mode="after")
    def _split_where_needed(self) -> EvalTask:
        if (self.layout == "label_lines") != (self.test_rows is not None):
            raise ValueError(f"{self.name}: test_rows goes with layout label_lines, and only there")
        return self


class EvaluationOptions(BaseModel):
    """How to evaluate. `max_texts` caps the test rows of every task (None: all of them).

    `instructions` says which models are given their task's instruction: `auto` those whose folder
    has a medi.json; `always` and `never` speak for themselves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=32, gt=0)
    device: str = "auto"
    max_texts: int | None = Field(default=None, gt=1)
    seed: int = 42
    instructions: Literal["auto", "always", "never"] = "auto"
