"""DeepSpeed: the process group, the engine, the learning rate, and one update of the weights."""

from __future__ import annotations

import math
import os
import socket
from typing import Any

import deepspeed
import deepspeed.comm
import deepspeed.ops
import torch
import torch.distributed
from deepspeed.accelerator import get_accelerator
from deepspeed.constants import default_pg_timeout
from torch import Tensor, nn

from artifacts.errors import InputError
from training.options import TrainingOptions

LOOPBACK = "127.0.0.1"  # MASTER_ADDR where no other machine takes part
# Elements that DeepSpeed reduces at once. Its own 5e8 takes 2 GB of every device.
_BUCKET = 50_000_000


def join_processes() -> tuple[int, int]:
    """Joins the group the launcher started (nccl, or gloo on CPU): (rank, world size)."""
    # On CPU DeepSpeed would compile a shared-memory all-reduce at this point, with a C++ compiler
    # the machine may not have. An empty table of buildable operators leaves it gloo.
    deepspeed.ops.__compatible_ops__ = {}
    backend = get_accelerator().communication_backend_name()
    if os.environ.get("MASTER_ADDR") == LOOPBACK and not torch.distributed.is_initialized():
        _meet_here(backend)
    deepspeed.init_distributed(backend, verbose=False)
    return deepspeed.comm.get_rank(), deepspeed.comm.get_world_size()


def _meet_here(backend: str) -> None:
    """Ranks of one machine meet on its loopback: torch would listen on every address it has."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    port = int(os.environ["MASTER_PORT"])
    listening = socket.create_server((LOOPBACK, port)).detach() if rank == 0 else None
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
        LOOPBACK, port, size, rank == 0, default_pg_timeout, master_listen_fd=listening
    )
    # DeepSpeed, too, tells NCCL its device where there are several.
    several = size > 1 and get_accelerator().device_name() == "cuda"
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if several else None
    torch.distributed.init_process_group(
        backend, None, default_pg_timeout, size, rank, store, device_id=device
    )


def start_engine(model: nn.Module, options: TrainingOptions, steps: int) -> Any:
    """A DeepSpeedEngine around the model, with torch's AdamW (DeepSpeed's own must be compiled).

    `steps` is the plan's length: the learning rate rises and falls over it. Raises InputError for
    an offload that the ZeRO stage cannot do.
    """
    config = engine_config(options)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in trained if w.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [w for w in trained if w.ndim <= 1], "weight_decay": 0.0},  # norms and biases
    ]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: learning_rate_factor(done, steps, options.warmup_ratio)
    )
    engine, *_ = deepspeed.initialize(
        model=model,
        model_parameters=trained,
        optimizer=optimizer,
        lr_scheduler=schedule,
        config=config,
    )
    if options.zero_stage == 0 and deepspeed.comm.get_world_size() == 1:
        engine.enable_backward_allreduce = False  # it would copy all gradients there and back
    return engine


def engine_config(options: TrainingOptions) -> dict[str, Any]:
    """DeepSpeed's configuration. It knows nothing of bf16: autocast is the model's own.

    Without ZeRO it would clip weight by weight; apply_step clips all at once.
    """
    return {
        "train_micro_batch_size_per_gpu": options.batch_rows,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": options.gradient_clipping if options.zero_stage else 0.0,
        "zero_optimization": {
            "stage": options.zero_stage,
            "reduce_bucket_size": _BUCKET,
            "allgather_bucket_size": _BUCKET,
            # How far ahead ZeRO-3 looks for another use of a weight before it lets it go. With
            # several chunks a step the search, a loop in Python, would take longer than the step.
            "stage3_max_reuse_distance": 0,
            **_offload(options),
        },
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }


def _offload(options: TrainingOptions) -> dict[str, Any]:
    stages = {"none": (0, 1, 2, 3), "optimizer": (1, 2, 3), "parameters": (3,)}[options.offload]
    if options.zero_stage not in stages:
        raise InputError(
            f"offload {options.offload!r} with zero_stage {options.zero_stage}; "
            f"valid are the stages {list(stages)}"
        )
    host = {"device": "cpu", "pin_memory": get_accelerator().device_name() != "cpu"}
    kinds = {"none": [], "optimizer": ["optimizer"], "parameters": ["optimizer", "param"]}
    return {f"offload_{kind}": host for kind in kinds[options.offload]}


def learning_rate_factor(done: int, steps: int, warmup_ratio: float) -> float:
    """What the learning rate is multiplied with after `done` of `steps` steps.

    Rises in equal steps to 1 over the first ceil(warmup_ratio * steps) steps, then falls in equal
    steps towards 0, which it would reach one step past the last: no step is without effect.
    """
    warmup = math.ceil(warmup_ratio * steps)
    if done < warmup:
        return (done + 1) / warmup
    return max(steps - done, 0) / max(steps - warmup, 1)


def apply_step(engine: Any, loss: Tensor, options: TrainingOptions) -> tuple[float, float]:
    """Clips, updates the weights, moves the learning rate.

    Called after the backward pass with this device's loss. Returns the mean loss of all devices
    and the gradient norm before clipping. Where one of them is no finite number the weights stay
    as they are.
    """
    mean = loss.detach().double() / deepspeed.comm.get_world_size()
    if deepspeed.comm.get_world_size() > 1:
        deepspeed.comm.all_reduce(mean)
    if engine.zero_optimization():
        if not math.isfinite(float(mean)):
            return float(mean), math.nan
        engine.step()  # passes over gradients that are not finite
        return float(mean), float(engine.get_global_grad_norm())
    # Without ZeRO the gradients lie averaged on every device.
    weights = [weight for weight in engine.module.parameters() if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights])
    values = torch.stack([mean, norm.double()]).tolist()  # the one wait for the device
    if all(map(math.isfinite, values)):
        torch.nn.utils.clip_grads_with_norm_(weights, options.gradient_clipping, norm)
        engine.step()
    return values[0], values[1]


def whole_weights(engine: Any, module: nn.Module) -> dict[str, Tensor]:
    """Name -> weight of `module`, a part of the engine's, on CPU; empty but on rank 0.

    Every device must call it: ZeRO-3 has a part of each weight on each.
    """
    weights = {}
    for name, weight in module.named_parameters():
        with deepspeed.zero.GatheredParameters([weight], enabled=hasattr(weight, "ds_id")):
            if deepspeed.comm.get_rank() == 0:
                # ZeRO keeps weights as windows of one buffer; a copy is as large as the weight.
                weights[name] = weight.detach().to("cpu", copy=True).contiguous()
    return weights


def sum_over_devices(values: list[float], device: torch.device | str) -> list[float]:
    """Sums each value over all devices; every device must call it."""
    total = torch.tensor(values, dtype=torch.float64, device=device)
    if deepspeed.comm.get_world_size() > 1:
        deepspeed.comm.all_reduce(total)
    return [float(value) for value in total]


def of_every_rank(value: Any) -> list[Any]:
    """What each rank gives, in their order; every rank must call it."""
    values: list[Any] = [None] * deepspeed.comm.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def of_rank_0(value: Any) -> Any:
    """What rank 0 gives; every rank must call it."""
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


def leave_processes() -> None:
    deepspeed.comm.destroy_process_group()
