"""How a model is trained: the options a person sets, and the job the launcher hands on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingOptions(BaseModel):
    """INSTRUCTOR's training (paper section 3.1 and the released code).

    The paper gives AdamW, learning rate 2e-5, warm-up ratio 0.1, temperature 0.01, 20,000 steps
    and one hard negative a row. Warm-up and decay count steps, never epochs. `batch_rows` (the
    published 4 is second-hand), weight decay and clipping are the released trainer's or ours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(20_000, gt=0)
    batch_rows: int = Field(64, gt=0, description="rows a device; its in-batch candidates")
    negatives: int = Field(1, gt=0, description="hard negatives used of each row")
    max_length: int = Field(512, gt=1, description="tokens; at most what the encoder can read")
    temperature: float = Field(0.01, gt=0)
    learning_rate: float = Field(2e-5, gt=0)
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of `steps`")
    weight_decay: float = Field(0.0, ge=0)
    gradient_clipping: float = Field(1.0, gt=0, description="largest global gradient norm")
    seed: int = Field(0, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    zero_stage: Literal[0, 1, 2] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int | None = Field(None, gt=0, description="devices; null: all GPUs, or 1 on CPU")
    log_every: int = Field(10, gt=0, description="steps")


class TrainingJob(BaseModel):
    """One training. Paths are absolute or relative to the caller's folder.

    medi     a published MEDI folder
    encoder  the starting encoder: a sentence-transformers folder or a Hub name
    called   what medi.json and the card call it, where `encoder` is a path of this machine
    out      the folder the model is exported to; must not exist, or be empty
    work     the folder for job.json, log.jsonl and train.log
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    medi: Path
    encoder: str = Field(min_length=1)
    called: str | None = None
    out: Path
    work: Path
    options: TrainingOptions = TrainingOptions()

    @property
    def partial(self) -> Path:
        """Where the export is written before it is renamed to `out`."""
        return self.out.parent / f".{self.out.name}.partial"
