"""The device of a run, and its free memory. No other module of training asks the machine."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch

from model.interface import DeviceChoice
from tools.cli.errors import ToolError

TorchDevice = Literal["cpu", "cuda"]
CGROUP_LIMITS = (  # of a container: its limit, and its use
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def choose_device(requested: DeviceChoice) -> TorchDevice:
    """The device to train on. Raises ToolError if cuda is requested and torch cannot use it."""
    is_available = torch.cuda.is_available()
    if requested == "cuda" and not is_available:
        cure = "take --device cpu, or install torch for CUDA"
        raise ToolError(f"--device cuda: torch sees no such card here; {cure}", "unavailable")
    if requested == "cpu" or not is_available:
        return "cpu"
    torch.set_float32_matmul_precision("high")  # for products that are not in bfloat16
    return "cuda"


def device_name(device: TorchDevice) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "the CPU"


def free_memory(device: TorchDevice) -> int | None:
    """Bytes that this process can use, including those it uses now; None if unknown."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    available = (_read_kernel_table("/proc/meminfo", "MemAvailable"), *map(_cgroup_free, CGROUP_LIMITS))
    known = [count for count in available if count is not None]
    return min(known) + (_read_kernel_table("/proc/self/status", "RssAnon") or 0) if known else None


def trim_heap() -> None:
    """Returns freed memory to the system. Without it glibc keeps two nets of fragments after an export."""
    with suppress(OSError, AttributeError):  # another libc has no such call
        ctypes.CDLL(None).malloc_trim(0)


def _read_kernel_table(path: str, key: str) -> int | None:
    """A value in a file of /proc, given in kB, as bytes; None if it is missing."""
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
