"""The rank of a process that Open MPI or Slurm started, under the names that torch reads.

`deepspeed` hands a rank its number only where its own program starts it (one node, or pdsh).
"""

from __future__ import annotations

import os

# torch's name -> Open MPI's, Slurm's
_NAMES = {
    "RANK": ("OMPI_COMM_WORLD_RANK", "SLURM_PROCID"),
    "WORLD_SIZE": ("OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"),
    "LOCAL_RANK": ("OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"),
}


def adopt(rendezvous: str | None, device: str) -> None:
    """Sets what is not set of RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT.

    `rendezvous` is HOST:PORT of the first rank; None: the ranks have been told already. With
    `device` "cpu" DeepSpeed takes no GPU, also on a node that has some. To be called before
    DeepSpeed is imported.
    """
    if device == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if rendezvous is None:
        return
    address, _, port = rendezvous.rpartition(":")
    os.environ.setdefault("MASTER_ADDR", address)
    os.environ.setdefault("MASTER_PORT", port)
    for name, theirs in _NAMES.items():
        found = [os.environ[their] for their in theirs if their in os.environ]
        if name not in os.environ and not found:
            raise RuntimeError(f"this process has no {name}: {' or '.join(theirs)} should be set")
        os.environ.setdefault(name, found[0] if found else "")
