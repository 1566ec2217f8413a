"""How many threads a model gets where nobody says: the cores that this process may really use; and how they add.

Affinity, the shares of a container and hyperthreads are respected; what else runs on the machine is not looked at.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MOST = 8  # a step waits for memory; more cores than this do not make it come sooner
VNNI = {"avx512_vnni", "avx_vnni"}
_SIBLINGS = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_GROUPS = "sys/fs/cgroup"


def choose(root: Path = Path("/"), processors: Iterable[int] | None = None) -> int:
    """At least one, at most MOST. `root` holds the kernel's /proc and /sys; `processors` are those allowed."""
    cores = _cores(root, _allowed() if processors is None else set(processors))
    # A share of one core and a half keeps two threads waiting for each other: what is cut off is not used.
    return max(1, min([MOST, cores, *(int(share) for share in _shares(root))]))


def overflows(root: Path = Path("/"), machine: str = "") -> bool:
    """Whether products of bytes may be added in sixteen bits here: on x86 without VNNI, or where nothing is known."""
    if (machine or platform.machine()).lower() not in {"x86_64", "amd64", "i686"}:
        return False
    return not VNNI & set(_read(root / "proc/cpuinfo").partition("flags")[2].partition("\n")[0].split())


def _allowed() -> set[int]:
    """The processors that this process may run on, where the system tells; else all."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _cores(root: Path, processors: set[int]) -> int:
    """Two hyperthreads are one core; a processor of which the system says nothing is one too."""
    return len({_read(root / _SIBLINGS.format(processor)) or str(processor) for processor in processors})


def _shares(root: Path) -> Iterator[float]:
    """What the control groups of this process allow, in processors: its own, and those that it is in."""
    for line in (_read(root / "proc/self/cgroup") or "0::/").splitlines():
        _, kinds, path = [*line.split(":", 2), "", ""][:3]
        if kinds and "cpu" not in kinds.split(","):
            continue
        top = root / _GROUPS / kinds
        # Inside a container the path may be the host's, which is not to be seen: then the top is ours.
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            yield from _share(group)
            if group == top:
                break


def _share(group: Path) -> Iterator[float]:
    limit = _read(group / "cpu.max") or " ".join(_read(group / f"cpu.cfs_{what}_us") for what in ("quota", "period"))
    with suppress(ValueError, ZeroDivisionError):  # "max": no limit; so says version 1 with -1
        quota, period = map(int, limit.split())
        if quota > 0:
            yield quota / period


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except (OSError, ValueError):
        return ""
