"""As many evaluations at once as there are devices, each with one to itself."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.devices import Devices

NAMES = ["cuda:0", "cuda:1"]


def test_devices_are_held_by_one_at_a_time_and_all_are_used() -> None:
    devices = Devices()
    both = threading.Barrier(2, timeout=30)  # passed only by two that hold a device at once
    held: list[str] = []
    at_once: list[list[str]] = []

    def work(_: int) -> None:
        with devices.any_of(NAMES) as name:
            held.append(name)
            at_once.append(sorted(held))
            both.wait()
            held.remove(name)
            both.wait()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert NAMES in at_once
    assert all(len(set(names)) == len(names) <= 2 for names in at_once)


def test_a_failure_gives_the_device_back() -> None:
    devices = Devices()
    with pytest.raises(ValueError), devices.any_of(["cpu"]):
        raise ValueError
    with devices.any_of(["cpu"]) as name:
        assert name == "cpu"
