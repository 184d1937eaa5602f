"""An evaluation task, declared: where its data lies, how it is laid out, what is asked of it."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from annotations.schema import Level
from artifacts.location import PublicLocation
from evaluation.prompts import PromptFormat, PromptOptions

# Of a query and of a document, as they stand in front of a text; both "" for none.
Instructions = tuple[str, str]

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

Layout = Literal[
    "stsb_csv",
    "sts_tsv",
    "label_lines",
    "newsgroups_tar",
    "squad",
    "billboard",
    "prompt_json",
    "prompt_jsonl",
    "prompt_csv",
]
Metric = Literal[
    "cosine_spearman",
    "cosine_pearson",
    "accuracy",
    "v_measure",
    "ndcg_at_10",
    "map_at_1000",
    "max_over_subqueries_map_at_1000",
    "max_ap",
    "rouge_l",
    "same_label_at_8",
]
RETRIEVAL_ONLY: Metric = "same_label_at_8"  # of prompt retrieval, where no language model answers


class EvalTask(BaseModel):
    """One task. `name` is MTEB's where the task is MTEB's own, otherwise ours.

    Its data are mteb's own, from the Hub (`mteb`: repository -> revision, one of each part), or
    files in one of our layouts (`location`). `metric` is the name of the main score among those
    that mteb computes for the task's type. `characters`: of all texts it encodes, about. `seen`:
    MEDI holds training data of it. `symmetric`: its texts are all of one kind, and have one
    instruction. `annotation` names the instructions where another task has the
    same. `test_rows` belongs to `label_lines`, whose single file is split here (see
    evaluation.layouts), `prompt` to prompt retrieval. `note` is printed in the report: whatever
    makes a score less comparable than it looks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=80)
    category: Category
    mteb: dict[str, str] | None = None
    location: PublicLocation | None = None
    layout: Layout | None = None
    metric: Metric
    characters: int = Field(gt=0)
    licence: str  # an SPDX identifier or "unknown"
    seen: bool = False
    symmetric: bool = True
    annotation: str = ""
    test_rows: int | None = Field(default=None, gt=0)
    prompt: PromptFormat | None = None
    note: str = ""

    @property
    def annotated_as(self) -> str:
        return self.annotation or self.name

    @model_validator(mode="after")
    def _one_place(self) -> EvalTask:
        if (self.mteb is None) == (self.location is None):
            raise ValueError(f"{self.name}: either mteb or location says where its data are")
        if (self.location is None) != (self.layout is None):
            raise ValueError(f"{self.name}: layout goes with location, and only with it")
        return self

    @model_validator(mode="after")
    def _what_the_layout_needs(self) -> EvalTask:
        if (self.layout == "label_lines") != (self.test_rows is not None):
            raise ValueError(f"{self.name}: test_rows goes with layout label_lines, and only there")
        prompts = self.layout is not None and self.layout.startswith("prompt_")
        if prompts != (self.prompt is not None):
            raise ValueError(f"{self.name}: prompt goes with layouts prompt_..., and only there")
        return self


class EvaluationOptions(BaseModel):
    """How to evaluate. `max_texts` caps the test rows of every task (None: all of them).

    `instructions` says which models are given their task's instruction: `auto` those whose folder
    has a medi.json; `always` and `never` speak for themselves. `detail` and `paraphrase` (0 to 4)
    choose the wording. `memory_mib` bounds the embeddings held at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=32, gt=0)
    device: str = "auto"
    max_texts: int | None = Field(default=None, gt=1)
    seed: int = 42
    instructions: Literal["auto", "always", "never"] = "auto"
    detail: Level = "detailed"
    paraphrase: int | None = Field(default=None, ge=0, le=4)
    memory_mib: int = Field(default=1024, gt=0)
    prompts: PromptOptions = PromptOptions()


# Options that change how a score is got, not what it is.
NO_CHANGE_OF_SCORE = frozenset({"batch_size", "device", "memory_mib"})
