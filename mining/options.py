"""What a person may set for encoding and for mining."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

VERSION = 2  # of the mine stage: raise it when the same pairs and options give another table

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16"]


class EncoderOptions(BaseModel):
    """How texts become vectors.

    `batch_tokens` and `device` bound memory and speed; they move a vector by float noise only.
    fp16 is computed in fp32 on a CPU, and is refused for T5, which overflows in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int | None = Field(256, ge=8)  # of prompt and text; None = the model's own limit
    batch_tokens: int | None = Field(None, ge=1)  # of a batch, padding counted; None: by device
    device: Device = "auto"
    precision: Precision = "fp32"
    prompt: str = ""  # in front of every text; a default prompt of the model is never used

    def budget(self, device: str) -> int:
        """Tokens of a batch: a GPU wants much to do at once, a core's cache holds little."""
        return self.batch_tokens or {"cpu": 1024, "cuda": 16384}[device]


class MiningOptions(BaseModel):
    """Which negatives a row gets.

    A candidate of rank r is the r-th nearest text of the corpus to the query, the query itself not
    counted. `memory_mib` and `device` never change a result: scores are exact on any of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    negatives: int = Field(4, ge=1)  # kept a row
    first_rank: int = Field(1, ge=1)  # of the candidates
    candidates: int = Field(64, ge=1, validate_default=True)  # rank of the last one
    margin: float | None = Field(0.95, gt=0, le=1)  # see choose.score_bound; None = no such rule
    min_score: float | None = Field(None, ge=-1, le=1)  # of a negative
    max_score: float | None = Field(None, ge=-1, le=1)
    # In a symmetric dataset, also never a negative: what is right for one of the query's positives
    # (a=b and b=c: c is none of a's), or what any chain of positives leads to.
    known: Literal["query", "positive", "group"] = "positive"
    choice: Literal["top", "random"] = "top"  # the nearest of those allowed, or a seeded draw
    consistency: int | None = Field(None, ge=1)  # drop a row whose positive has a higher rank
    too_few: Literal["random", "drop"] = "random"
    # For rows that come with negatives of their own: keep them, mine anew, or mine what is missing.
    native: Literal["keep", "replace", "add"] = "keep"
    veto: str | None = None  # folder or Hub name of a model whose score must pass a margin as well
    veto_kind: Literal["cross_encoder", "encoder"] = "cross_encoder"
    veto_margin: float = Field(0.95, gt=0, le=1)  # of the veto's own score of the positive
    seed: int = 0
    memory_mib: int = Field(128, ge=16)  # for the blocks of the search
    device: Device = "auto"

    @field_validator("candidates")
    @classmethod
    def _window_holds_negatives(cls, last: int, before: ValidationInfo) -> int:
        first, need = before.data.get("first_rank", 1), before.data.get("negatives", 1)
        if last - first + 1 < need:
            raise ValueError(
                f"ranks {first} to {last} cannot give negatives={need}: "
                f"candidates must be at least {first + need - 1}"
            )
        return last

    @field_validator("max_score")
    @classmethod
    def _above_min_score(cls, most: float | None, before: ValidationInfo) -> float | None:
        least = before.data.get("min_score")
        if most is not None and least is not None and most < least:
            raise ValueError(f"no score is between min_score={least} and max_score={most}")
        return most
