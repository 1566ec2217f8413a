from __future__ import annotations

import os
from pathlib import Path

import pytest

from model.onnx import cpu


def write_kernel_files(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def sibling_files(*pairs: tuple[int, ...]) -> dict[str, str]:
    """The topology files of a machine whose cores have these logical CPUs."""
    lists = {number: ",".join(map(str, pair)) for pair in pairs for number in pair}
    return {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": text for n, text in lists.items()}


def cgroup_file(path: str, limit: str) -> dict[str, str]:
    return {f"sys/fs/cgroup{path}/cpu.max": limit}


def test_two_hyperthreads_count_as_one_core(tmp_path: Path) -> None:
    root = write_kernel_files(tmp_path, sibling_files((0, 4), (1, 5), (2, 6), (3, 7)))
    assert cpu.thread_count(root, range(8)) == 4
    assert cpu.thread_count(root, [0, 4]) == 1
    assert cpu.thread_count(root, [0, 5, 6]) == 3


def test_without_topology_each_cpu_counts_as_a_core(tmp_path: Path) -> None:
    assert cpu.thread_count(tmp_path, range(3)) == 3


def test_there_are_eight_threads_at_most(tmp_path: Path) -> None:
    assert cpu.thread_count(tmp_path, range(96)) == 8


@pytest.mark.parametrize(
    ("limit", "threads"), [("200000 100000", 2), ("150000 100000", 1), ("5000 100000", 1), ("max 100000", 4), ("", 4)]
)
def test_a_container_limit_is_respected(tmp_path: Path, limit: str, threads: int) -> None:
    root = write_kernel_files(tmp_path, {"proc/self/cgroup": "0::/"} | cgroup_file("", limit))
    assert cpu.thread_count(root, range(4)) == threads


def test_the_lowest_limit_of_nested_control_groups_counts(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/machine/unit/scope"} | cgroup_file("/machine/unit/scope", "max 100000")
    for path, limit in (("/machine", 600_000), ("/machine/unit", 300_000), ("/other", 100_000)):
        files |= cgroup_file(path, f"{limit} 100000")
    assert cpu.thread_count(write_kernel_files(tmp_path, files), range(8)) == 3


def test_a_host_path_that_is_absent_in_the_container_falls_back_to_the_top_group(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/docker/0123abc"} | cgroup_file("", "200000 100000")
    assert cpu.thread_count(write_kernel_files(tmp_path, files), range(8)) == 2


@pytest.mark.parametrize(("quota", "threads"), [("300000", 3), ("-1", 8)])
def test_control_groups_version_1_are_read(tmp_path: Path, quota: str, threads: int) -> None:
    group = "sys/fs/cgroup/cpu,cpuacct/box"
    files = {"proc/self/cgroup": "5:memory:/box\n4:cpu,cpuacct:/box\n0::/box"}
    files |= {f"{group}/cpu.cfs_quota_us": quota, f"{group}/cpu.cfs_period_us": "100000"}
    files |= {"sys/fs/cgroup/memory/box/cpu.max": "100000 100000"}
    assert cpu.thread_count(write_kernel_files(tmp_path, files), range(8)) == threads


@pytest.mark.parametrize("content", ["", "nonsense", "::", "0::/../../etc"])
def test_unreadable_kernel_files_are_no_error(tmp_path: Path, content: str) -> None:
    root = write_kernel_files(tmp_path, {"proc/self/cgroup": content, "sys/fs/cgroup/cpu.max": "one 0"})
    assert cpu.thread_count(root, range(2)) == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_thread_count_of_this_machine_is_within_its_cpus() -> None:
    allowed = os.sched_getaffinity(0)
    assert 1 <= cpu.thread_count() <= min(len(allowed), cpu.MAX_THREADS)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cpu.thread_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("machine", "flags", "saturates"),
    [
        ("x86_64", "fpu avx2 fma", True),
        ("x86_64", "fpu avx2 avx512_vnni", False),
        ("x86_64", "fpu avx2 avx_vnni fma", False),
        ("AMD64", "", True),
        ("aarch64", "fp asimd", False),
        ("armv7l", "", False),
    ],
)
def test_int8_sums_saturate_on_x86_without_vnni(tmp_path: Path, machine: str, flags: str, saturates: bool) -> None:
    cpuinfo = f"processor : 0\nmodel name : Xeon\nflags\t\t: {flags}\nbugs : vnni"
    root = write_kernel_files(tmp_path, {"proc/cpuinfo": cpuinfo})
    assert cpu.int8_saturates(root, machine) == saturates
    assert cpu.int8_saturates(tmp_path / "nothing", machine) == (machine in {"x86_64", "AMD64"})
