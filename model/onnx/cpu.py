"""The default number of threads, and whether sums of int8 products overflow on this CPU.

The number of threads respects CPU affinity, container limits and hyperthreads, but not the load of other processes.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MAX_THREADS = 8  # memory limits a step: more cores do not speed it up
VNNI_FLAGS = {"avx512_vnni", "avx_vnni"}
_SIBLINGS_FILE = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_CGROUP_FOLDER = "sys/fs/cgroup"


def thread_count(root: Path = Path("/"), cpus: Iterable[int] | None = None) -> int:
    """The threads for one model, at most MAX_THREADS. `root` has /proc and /sys; `cpus` are the logical CPUs to use."""
    cores = _count_physical_cores(root, _allowed_cpus() if cpus is None else set(cpus))
    # Rounded down: with 1.5 cores, two threads would wait for each other.
    return max(1, min([MAX_THREADS, cores, *(int(limit) for limit in _cgroup_cpu_limits(root))]))


def int8_saturates(root: Path = Path("/"), machine: str = "") -> bool:
    """Whether sums of byte products saturate at 16 bits: on x86 without VNNI, and if the CPU is unknown."""
    if (machine or platform.machine()).lower() not in {"x86_64", "amd64", "i686"}:
        return False
    return not VNNI_FLAGS & set(_read_text(root / "proc/cpuinfo").partition("flags")[2].partition("\n")[0].split())


def _allowed_cpus() -> set[int]:
    """The logical CPUs that this process may run on; all CPUs if the system does not tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _count_physical_cores(root: Path, cpus: set[int]) -> int:
    """Hyperthreads of one core count once; a CPU without topology counts as a core."""
    return len({_read_text(root / _SIBLINGS_FILE.format(cpu)) or str(cpu) for cpu in cpus})


def _cgroup_cpu_limits(root: Path) -> Iterator[float]:
    """The CPU limits of this process's control group and of its parents, in CPUs."""
    for line in (_read_text(root / "proc/self/cgroup") or "0::/").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / _CGROUP_FOLDER / controllers
        # Inside a container the path may be the host's, which does not exist here; then the top folder counts.
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            yield from _cgroup_cpu_limit(group)
            if group == top:
                break


def _cgroup_cpu_limit(group: Path) -> Iterator[float]:
    files_of_version_1 = (group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us")
    limit = _read_text(group / "cpu.max") or " ".join(map(_read_text, files_of_version_1))
    with suppress(ValueError, ZeroDivisionError):  # "max", and -1 in version 1, mean no limit
        quota, period = map(int, limit.split())
        if quota > 0:
            yield quota / period


def _read_text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except (OSError, ValueError):
        return ""
