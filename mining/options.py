"""What a person may set for encoding and for mining."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

VERSION = 1  # of the mine stage: raise it when the same pairs and options give another table

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16"]


class EncoderOptions(BaseModel):
    """How texts become vectors.

    `batch_tokens` and `device` bound memory and speed; they move a vector by float noise only.
    fp16 is computed in fp32 on a CPU, and is refused for T5, which overflows in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int | None = Field(256, ge=8)  # of prompt and text; None = the model's own limit
    batch_tokens: int = Field(16384, ge=1)  # of a batch, padding counted
    device: Device = "auto"
    precision: Precision = "fp32"
    prompt: str = ""  # in front of every text; a default prompt of the model is never used


class MiningOptions(BaseModel):
    """Which negatives a row gets.

    `memory_mib` and `device` never change a result: scores are exact on any of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    negatives: int = Field(4, ge=1)  # kept a row
    margin: float = Field(0.95, gt=0, le=1)  # of the positive's score; see choose.score_bound
    candidates: int = Field(64, ge=1)  # nearest texts looked at for a row
    too_few: Literal["random", "drop"] = "random"
    # For rows that come with negatives of their own: keep them, mine anew, or mine what is missing.
    native: Literal["keep", "replace", "add"] = "keep"
    seed: int = 0
    memory_mib: int = Field(512, ge=16)  # for the blocks of the search
    device: Device = "auto"

    @model_validator(mode="after")
    def _enough_candidates(self) -> Self:
        if self.candidates < self.negatives:
            raise ValueError(
                f"candidates={self.candidates} cannot give negatives={self.negatives}: "
                f"candidates must be at least {self.negatives}"
            )
        return self
