"""The device that an option names."""

from __future__ import annotations

import torch

from artifacts.errors import InputError
from mining.options import Device


def resolve_device(device: Device) -> torch.device:
    """`auto` is the GPU where there is one. Raises InputError for a GPU that is not there."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("device 'cuda': torch finds no GPU here; valid are 'auto' and 'cpu'")
    return torch.device("cuda" if available and device != "cpu" else "cpu")
