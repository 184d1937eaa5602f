"""DeepSpeed: the process group, the engine and the learning rate."""

from __future__ import annotations

import math
from typing import Any

import deepspeed
import deepspeed.comm
import deepspeed.ops
import torch
from deepspeed.accelerator import get_accelerator
from torch import nn

from training.options import TrainingOptions


def join_processes() -> tuple[int, int]:
    """Joins the group the launcher started (nccl, or gloo on CPU): (rank, world size)."""
    # On CPU DeepSpeed would compile a shared-memory all-reduce at this point, with a C++ compiler
    # the machine may not have. An empty table of buildable operators leaves it gloo.
    deepspeed.ops.__compatible_ops__ = {}
    deepspeed.init_distributed(get_accelerator().communication_backend_name(), verbose=False)
    return deepspeed.comm.get_rank(), deepspeed.comm.get_world_size()


def start_engine(model: nn.Module, options: TrainingOptions) -> Any:
    """A DeepSpeedEngine around the model, with torch's AdamW (DeepSpeed's own must be compiled)."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in trained if w.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [w for w in trained if w.ndim <= 1], "weight_decay": 0.0},  # norms and biases
    ]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: learning_rate_factor(done, options.steps, options.warmup_ratio)
    )
    engine, *_ = deepspeed.initialize(
        model=model,
        model_parameters=trained,
        optimizer=optimizer,
        lr_scheduler=schedule,
        config=engine_config(options),
    )
    return engine


def engine_config(options: TrainingOptions) -> dict[str, Any]:
    """DeepSpeed's configuration. bf16 is autocast: the weights stay fp32, as they are exported."""
    return {
        "train_micro_batch_size_per_gpu": options.batch_rows,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": options.gradient_clipping,
        "zero_optimization": {"stage": options.zero_stage},
        "torch_autocast": {"enabled": options.precision == "bf16", "dtype": "bfloat16"},
        "steps_per_print": None,
    }


def learning_rate_factor(done: int, steps: int, warmup_ratio: float) -> float:
    """What the learning rate is multiplied with after `done` of `steps` steps.

    Rises in equal steps to 1 over the first ceil(warmup_ratio * steps) steps, then falls in equal
    steps towards 0, which it would reach one step past the last: no step is without effect.
    """
    warmup = math.ceil(warmup_ratio * steps)
    if done < warmup:
        return (done + 1) / warmup
    return max(steps - done, 0) / (steps - warmup)


def apply_step(engine: Any) -> float:
    """Clips, updates the weights, moves the learning rate: the gradient norm before clipping.

    Called after engine.backward. Without ZeRO the gradients lie averaged on every device, and
    DeepSpeed does not say their norm.
    """
    norm: float | None = None
    if not engine.zero_optimization():
        gradients = [w.grad for w in engine.module.parameters() if w.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
    engine.step()
    return norm if norm is not None else float(engine.get_global_grad_norm())


def mean_over_devices(value: float, device: torch.device | str) -> float:
    return sum_over_devices([value], device)[0] / deepspeed.comm.get_world_size()


def sum_over_devices(values: list[float], device: torch.device | str) -> list[float]:
    """Sums each value over all devices; every device must call it."""
    total = torch.tensor(values, dtype=torch.float64, device=device)
    deepspeed.comm.all_reduce(total)
    return [float(value) for value in total]


def leave_processes() -> None:
    deepspeed.comm.destroy_process_group()
