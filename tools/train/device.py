"""Where a run is worked out, and how much memory is free there. Nothing else of training asks the machine."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch

from model.interface import DeviceChoice
from tools.train.errors import DeviceMissing

TorchDevice = Literal["cpu", "cuda"]
CGROUP_LIMITS = (  # of a container: what it may have, and what it has
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def choose_device(requested: DeviceChoice) -> TorchDevice:
    """Raises DeviceMissing."""
    there = torch.cuda.is_available()
    if requested == "cuda" and not there:
        raise DeviceMissing("--device cuda: torch sees no such card here; take --device cpu, or install torch for CUDA")
    if requested == "cpu" or not there:
        return "cpu"
    torch.set_float32_matmul_precision("high")  # of what is not in bfloat16
    return "cuda"


def device_name(device: TorchDevice) -> str:
    """For a person."""
    return torch.cuda.get_device_name() if device == "cuda" else "the CPU"


def free_memory(device: TorchDevice) -> int | None:
    """Bytes that this process can have, with those that it has; None where nobody says."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    known = [
        count
        for count in (_read_kernel_table("/proc/meminfo", "MemAvailable"), *map(_cgroup_free, CGROUP_LIMITS))
        if count is not None
    ]
    return min(known) + (_read_kernel_table("/proc/self/status", "RssAnon") or 0) if known else None


def trim_heap() -> None:
    """Memory that was freed goes to the system: glibc keeps two nets of it after an export, in pieces of no use."""
    with suppress(OSError, AttributeError):  # another libc has no such call
        ctypes.CDLL(None).malloc_trim(0)


def _read_kernel_table(path: str, key: str) -> int | None:
    """A line of one of the kernel's tables, in bytes."""
    try:
        lines = Path(path).read_text("ascii", "replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _cgroup_free(limit: tuple[str, str]) -> int | None:
    try:
        most, used = (int(Path(path).read_text("ascii")) for path in limit)
    except (OSError, ValueError):  # there is no limit
        return None
    return max(0, most - used)
