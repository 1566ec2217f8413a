"""How many threads a model gets where nobody says: the cores that this process may really use; and how they add.

Affinity, the shares of a container and hyperthreads are respected; what else runs on the machine is not looked at.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MAX_THREADS = 8  # a step waits for memory; more cores than this do not make it come sooner
VNNI_FLAGS = {"avx512_vnni", "avx_vnni"}
_SIBLINGS_FILE = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_CGROUP_FOLDER = "sys/fs/cgroup"


def thread_count(root: Path = Path("/"), cpus: Iterable[int] | None = None) -> int:
    """At least one, at most MOST. `root` holds the kernel's /proc and /sys; `processors` are those allowed."""
    cores = _count_physical_cores(root, _allowed_cpus() if cpus is None else set(cpus))
    # A share of one core and a half keeps two threads waiting for each other: what is cut off is not used.
    return max(1, min([MAX_THREADS, cores, *(int(share) for share in _cgroup_cpu_limits(root))]))


def int8_saturates(root: Path = Path("/"), machine: str = "") -> bool:
    """Whether products of bytes may be added in sixteen bits here: on x86 without VNNI, or where nothing is known."""
    if (machine or platform.machine()).lower() not in {"x86_64", "amd64", "i686"}:
        return False
    return not VNNI_FLAGS & set(_read_text(root / "proc/cpuinfo").partition("flags")[2].partition("\n")[0].split())


def _allowed_cpus() -> set[int]:
    """The processors that this process may run on, where the system tells; else all."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _count_physical_cores(root: Path, cpus: set[int]) -> int:
    """Two hyperthreads are one core; a processor of which the system says nothing is one too."""
    return len({_read_text(root / _SIBLINGS_FILE.format(processor)) or str(processor) for processor in cpus})


def _cgroup_cpu_limits(root: Path) -> Iterator[float]:
    """What the control groups of this process allow, in processors: its own, and those that it is in."""
    for line in (_read_text(root / "proc/self/cgroup") or "0::/").splitlines():
        _, kinds, path = [*line.split(":", 2), "", ""][:3]
        if kinds and "cpu" not in kinds.split(","):
            continue
        top = root / _CGROUP_FOLDER / kinds
        # Inside a container the path may be the host's, which is not to be seen: then the top is ours.
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            yield from _cgroup_cpu_limit(group)
            if group == top:
                break


def _cgroup_cpu_limit(group: Path) -> Iterator[float]:
    limit = _read_text(group / "cpu.max") or " ".join(
        _read_text(group / f"cpu.cfs_{what}_us") for what in ("quota", "period")
    )
    with suppress(ValueError, ZeroDivisionError):  # "max": no limit; so says version 1 with -1
        quota, period = map(int, limit.split())
        if quota > 0:
            yield quota / period


def _read_text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except (OSError, ValueError):
        return ""
