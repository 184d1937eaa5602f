"""How a model is trained: the options a person sets, and the job the launcher hands on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# Options that no weight of the model hangs on: they are in no key.
RUN_ONLY = frozenset(
    {"processes", "hostfile", "launcher", "checkpoint_every", "keep_checkpoints", "monitor",
     "log_every", "timeout"}
)  # fmt: skip

Loss = Literal["released", "paper", "gte"]
Mask = Literal["text", "group", "score"]
Monitor = Literal["none", "tensorboard", "wandb", "mlflow", "trackio"]


class TrainingOptions(BaseModel):
    """INSTRUCTOR's training (paper section 3.1 and the released code).

    The paper gives AdamW, learning rate 2e-5, warm-up ratio 0.1, temperature 0.01, 20,000 steps
    and one hard negative a row. Warm-up and decay count steps, never epochs. `batch_rows` (the
    published 4 is second-hand), weight decay and clipping are the released trainer's or ours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(20_000, gt=0)
    batch_rows: int = Field(64, gt=0, description="rows a device; its in-batch candidates")
    batch_tokens: int | None = Field(
        None, gt=0, description="real tokens a device: fewer rows where texts are long"
    )
    negatives: int = Field(1, gt=0, description="hard negatives used of each row")
    max_length: int = Field(512, gt=1, description="tokens; at most what the encoder can read")
    sampling_temperature: float = Field(
        1.0, ge=1, description="T: a dataset is drawn as its rows ** (1 / T)"
    )
    bucket_batches: int = Field(
        32, gt=0, description="rows of like length are put together within so many batches"
    )
    held_out: float = Field(0.0, ge=0, lt=1, description="share of the rows kept to score with")
    seed: int = Field(0, ge=0)

    loss: Loss = "released"
    temperature: float = Field(0.01, gt=0)
    gather: bool = Field(False, description="candidates from the rows of all devices")
    mask: tuple[Mask, ...] = Field(
        (), description="in-batch candidates that count as false negatives: see training.loss"
    )
    learning_rate: float = Field(2e-5, gt=0)
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of `steps`")
    weight_decay: float = Field(0.0, ge=0)
    gradient_clipping: float = Field(1.0, gt=0, description="largest global gradient norm")

    precision: Literal["fp32", "bf16"] = "fp32"
    zero_stage: Literal[0, 1, 2, 3] = 0
    offload: Literal["none", "optimizer", "parameters"] = Field(
        "none", description="what ZeRO keeps in the host's memory; parameters: stage 3 alone"
    )
    gradient_checkpointing: bool = False
    gradcache: bool = Field(False, description="memory of one chunk, whatever the batch")
    chunk_tokens: int = Field(
        16_384, gt=0, description="tokens computed in one forward pass, padding counted"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"

    evaluate_every: int = Field(0, ge=0, description="steps between held-out scores; 0: the last")
    export: Literal["last", "best"] = Field(
        "last", description="best: by held-out nDCG@10, of the checkpoints scored"
    )
    processes: int | None = Field(None, gt=0, description="devices; null: all GPUs, or 1 on CPU")
    hostfile: Path | None = Field(None, description="DeepSpeed's list of nodes; null: this one")
    launcher: Literal["pdsh", "openmpi", "slurm"] = Field(
        "pdsh", description="what starts the other nodes of a hostfile"
    )
    checkpoint_every: int = Field(1000, gt=0, description="steps")
    keep_checkpoints: int = Field(2, gt=0, description="the last so many, and the best")
    monitor: Monitor = "none"
    log_every: int = Field(10, gt=0, description="steps")
    timeout: float | None = Field(
        None, gt=0, description="seconds an attempt may take, the next goes on; null: any"
    )


class TrainingJob(BaseModel):
    """One training. Paths are absolute or relative to the caller's folder.

    medi     the published MEDI folder that the tokens are of; the model card tells of it
    tokens   dataset -> folder of its tokens artifact
    plan     folder of the plan artifact; its world size is how many processes train
    encoder  the starting encoder: a sentence-transformers folder or a Hub name
    called   what medi.json and the card call it, where `encoder` is a path of this machine
    out      the folder the model is exported to; must not exist, or be empty
    work     the folder for job.json, log.jsonl, train.log and the checkpoints
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    medi: Path
    tokens: Mapping[str, Path]
    plan: Path
    encoder: str = Field(min_length=1)
    called: str | None = None
    out: Path
    work: Path
    options: TrainingOptions = TrainingOptions()

    @property
    def partial(self) -> Path:
        """Where the export is written before it is renamed to `out`."""
        return self.out.parent / f".{self.out.name}.partial"
