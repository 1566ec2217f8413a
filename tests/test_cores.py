from __future__ import annotations

import os
from pathlib import Path

import pytest

from model.onnx import cpu


def kernel(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def siblings(*pairs: tuple[int, ...]) -> dict[str, str]:
    """The topology of a machine whose cores have these processors."""
    text = {processor: ",".join(map(str, pair)) for pair in pairs for processor in pair}
    return {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": told for n, told in text.items()}


def group(path: str, limit: str) -> dict[str, str]:
    return {f"sys/fs/cgroup{path}/cpu.max": limit}


def test_two_hyperthreads_are_one_core(tmp_path: Path) -> None:
    root = kernel(tmp_path, siblings((0, 4), (1, 5), (2, 6), (3, 7)))
    assert cpu.thread_count(root, range(8)) == 4
    assert cpu.thread_count(root, [0, 4]) == 1
    assert cpu.thread_count(root, [0, 5, 6]) == 3


def test_a_machine_that_tells_nothing_has_a_core_for_each_processor(tmp_path: Path) -> None:
    assert cpu.thread_count(tmp_path, range(3)) == 3


def test_eight_threads_are_enough(tmp_path: Path) -> None:
    assert cpu.thread_count(tmp_path, range(96)) == 8


@pytest.mark.parametrize(
    ("limit", "threads"), [("200000 100000", 2), ("150000 100000", 1), ("5000 100000", 1), ("max 100000", 4), ("", 4)]
)
def test_a_containers_share_holds(tmp_path: Path, limit: str, threads: int) -> None:
    root = kernel(tmp_path, {"proc/self/cgroup": "0::/"} | group("", limit))
    assert cpu.thread_count(root, range(4)) == threads


def test_the_narrowest_of_the_groups_that_one_is_in_counts(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/machine/unit/scope"}
    files |= (
        group("/machine", "600000 100000") | group("/machine/unit", "300000 100000") | group("/other", "100000 100000")
    )
    assert cpu.thread_count(kernel(tmp_path, files | group("/machine/unit/scope", "max 100000")), range(8)) == 3


def test_a_path_of_the_host_that_is_not_to_be_seen_here_leaves_the_top(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/docker/0123abc"} | group("", "200000 100000")
    assert cpu.thread_count(kernel(tmp_path, files), range(8)) == 2


@pytest.mark.parametrize(("quota", "threads"), [("300000", 3), ("-1", 8)])
def test_control_groups_of_the_first_version_are_read_too(tmp_path: Path, quota: str, threads: int) -> None:
    own = "sys/fs/cgroup/cpu,cpuacct/box"
    files = {"proc/self/cgroup": "5:memory:/box\n4:cpu,cpuacct:/box\n0::/box"}
    files |= {f"{own}/cpu.cfs_quota_us": quota, f"{own}/cpu.cfs_period_us": "100000"}
    files |= {"sys/fs/cgroup/memory/box/cpu.max": "100000 100000"}
    assert cpu.thread_count(kernel(tmp_path, files), range(8)) == threads


@pytest.mark.parametrize("told", ["", "nonsense", "::", "0::/../../etc"])
def test_a_strange_kernel_is_no_error(tmp_path: Path, told: str) -> None:
    root = kernel(tmp_path, {"proc/self/cgroup": told, "sys/fs/cgroup/cpu.max": "one 0"})
    assert cpu.thread_count(root, range(2)) == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_this_machine_gives_no_more_than_it_may() -> None:
    allowed = os.sched_getaffinity(0)
    assert 1 <= cpu.thread_count() <= min(len(allowed), cpu.MAX_THREADS)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cpu.thread_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("machine", "flags", "so"),
    [
        ("x86_64", "fpu avx2 fma", True),
        ("x86_64", "fpu avx2 avx512_vnni", False),
        ("x86_64", "fpu avx2 avx_vnni fma", False),
        ("AMD64", "", True),
        ("aarch64", "fp asimd", False),
        ("armv7l", "", False),
    ],
)
def test_sums_of_bytes_overflow_on_x86_that_does_not_tell_of_vnni(
    tmp_path: Path, machine: str, flags: str, so: bool
) -> None:
    root = kernel(tmp_path, {"proc/cpuinfo": f"processor : 0\nmodel name : Xeon\nflags\t\t: {flags}\nbugs : vnni"})
    assert cpu.int8_saturates(root, machine) == so
    assert cpu.int8_saturates(tmp_path / "nothing", machine) == (machine in {"x86_64", "AMD64"})
