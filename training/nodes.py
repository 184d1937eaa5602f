"""Where a training runs: the devices of this machine, or those of the nodes in a hostfile.

A hostfile is DeepSpeed's, a line a node: `worker-0 slots=8`. Nodes share the folders of the store
and of this checkout, under the same paths.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artifacts.errors import InputError
from training.options import TrainingOptions

_ENTRY = re.compile(r"(\S+)\s+slots=([1-9]\d*)")
# What a driver of GPUs leaves on a machine; without any of it torch need not be asked.
_SIGNS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


@dataclass(frozen=True)
class Devices:
    """`hosts`: node -> processes on it, in the order of their ranks; empty: this machine.

    `accelerator` is None where each node finds its own.
    """

    world_size: int
    accelerator: str | None
    hosts: Mapping[str, int]


def devices_of(options: TrainingOptions) -> Devices:
    """The devices that the options ask for: the hostfile's slots, else `processes`, else all.

    Raises InputError for a hostfile that is none, and for more GPUs than this machine has.
    """
    hosts = {} if options.hostfile is None else _hosts(options.hostfile)
    wanted = sum(hosts.values()) or options.processes
    if options.processes not in (None, wanted):
        raise InputError(
            f"processes is {options.processes}, and {options.hostfile} has {wanted} slots; "
            "leave processes out, or change the hostfile"
        )
    if hosts and not _here(hosts):
        return Devices(sum(hosts.values()), "cpu" if options.device == "cpu" else None, hosts)
    gpus = 0 if options.device == "cpu" else gpu_count()
    if options.device == "cpu" or (options.device == "auto" and gpus == 0):
        return Devices(wanted or 1, "cpu", {})
    if gpus == 0 or (wanted or 1) > gpus:
        raise InputError(f"training asks for {wanted or 'all'} GPUs, this machine has {gpus}")
    return Devices(wanted or gpus, "cuda", {})


def gpu_count() -> int:
    """How many GPUs this process may use."""
    if not any(Path(sign).exists() for sign in _SIGNS):
        return 0
    import torch

    return torch.cuda.device_count()


def _hosts(hostfile: Path) -> dict[str, int]:
    try:
        lines = hostfile.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"hostfile {hostfile} cannot be read ({type(error).__name__}); "
            "give a file with lines like: worker-0 slots=8"
        ) from error
    hosts: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        entry = _ENTRY.fullmatch(line)
        if entry is None or entry[1] in hosts:
            fault = "names a host twice" if entry else "is no entry"
            raise InputError(
                f"hostfile {hostfile}, line {number} {fault}: {line!r}; "
                "valid are lines like: worker-0 slots=8, one a host"
            )
        hosts[entry[1]] = int(entry[2])
    if not hosts:
        raise InputError(f"hostfile {hostfile} is empty; valid are lines like: worker-0 slots=8")
    if len(hosts) > 1 and "localhost" in hosts:
        raise InputError(
            f"hostfile {hostfile}: the other nodes cannot reach localhost by that name; "
            "give the name of this machine"
        )
    return hosts


def _here(hosts: Mapping[str, int]) -> bool:
    return len(hosts) == 1 and not set(hosts) - {"localhost", "127.0.0.1", socket.gethostname()}
