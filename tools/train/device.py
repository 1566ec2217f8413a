"""The device of a run, and its free memory. No other module of training asks the machine."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch

from model.interface import DeviceChoice
from tools.cli.errors import ToolError
from tools.train.options import PrecisionChoice

TorchDevice = Literal["cpu", "cuda"]
MIN_BFLOAT16_WIDTH = 128  # products of narrower nets are too small to repay the casts
MIN_BFLOAT16_GAIN = 1.3  # how many times as fast bfloat16 must be, for the casts beside the products
_PRODUCT = (1024, 512, 1024)  # rows, inputs and outputs of the measured product: some ms on one core
_PRODUCT_ROUNDS = 20
_DTYPES = (torch.float32, torch.bfloat16)
_KEEP_MEMORY = ((-1, -1), (-4, 0), (-8, 1))  # M_TRIM_THRESHOLD off, no M_MMAP_MAX, one M_ARENA_MAX: malloc.h
CGROUP_LIMITS = (  # of a container: its limit, and its use
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def keep_freed_memory() -> bool:
    """Lets the C library keep what torch frees for the next step; to be called before torch starts threads.

    Returns whether it does.

    glibc gives each large tensor back to the kernel, which clears its pages again at the next one: a sixth of a
    processor's time at 124 million parameters. Other C libraries have no mallopt, or ignore it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(option, value) for option, value in _KEEP_MEMORY])


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


def choose_precision(
    requested: PrecisionChoice, device: TorchDevice, width: int, measure_gain: Callable[[], float] | None = None
) -> tuple[bool, str]:
    """Whether the products of a net of this width are computed in bfloat16, and a phrase that says it, with the reason.

    `measure_gain` returns how many times as fast bfloat16 is on this CPU; the default measures it on one core.
    """
    if requested != "auto":
        return requested == "bfloat16", f"products in {requested} (--precision)"
    if device == "cuda":
        return True, "products in bfloat16"
    if width < MIN_BFLOAT16_WIDTH:
        return False, "products in float32"
    gain = (measure_gain or measure_bfloat16_gain)()
    name = "bfloat16" if gain >= MIN_BFLOAT16_GAIN else "float32"
    return name == "bfloat16", f"products in {name} (here bfloat16 is {gain:.1f} times as fast)"


def measure_bfloat16_gain(clock: Callable[[], float] = time.perf_counter) -> float:
    """How many times as fast a product in bfloat16 is as in float32, on one core, by the medians of alternate rounds.

    It takes a fraction of a second; on a processor that only emulates bfloat16, at most a second or two.
    """
    rows, inputs, outputs = _PRODUCT
    pairs = {
        dtype: (torch.ones(rows, inputs, dtype=dtype), torch.ones(inputs, outputs, dtype=dtype)) for dtype in _DTYPES
    }
    times: dict[torch.dtype, list[float]] = {dtype: [] for dtype in _DTYPES}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(_PRODUCT_ROUNDS):
            for dtype, (left, right) in pairs.items():
                start = clock()
                left @ right
                times[dtype].append(clock() - start)
    finally:
        torch.set_num_threads(threads)
    exact, rounded = (statistics.median(times[dtype]) for dtype in _DTYPES)
    return exact / rounded


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
