"""Old logs are deleted, the oldest first; the log says when the system clock was set."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.archive import session_index
from daemon.log_retention import (
    DAY_S,
    MB,
    Deleted,
    Retention,
    delete_from_index,
    delete_old_logs,
    delete_old_logs_forever,
)
from daemon.session_log import SessionLog
from daemon.system_clock import ClockWatch, is_synchronised

NOW = 1_000_000_000.0


def make_log(folder: Path, name: str, age_days: float = 0.0, size: int = MB) -> Path:
    path = folder / name
    path.touch()
    os.truncate(path, size)
    os.utime(path, (NOW - age_days * DAY_S,) * 2)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_over_its_size_loses_its_oldest_logs(tmp_path: Path) -> None:
    for age, name in enumerate(["d.jsonl", "c.jsonl", "b.jsonl", "a.jsonl"]):
        make_log(tmp_path, name, age)
    make_log(tmp_path, "other.hours", 99)
    assert delete_old_logs(tmp_path, Retention(max_mb=2), NOW) == Deleted(("a.jsonl", "b.jsonl"), 2 * MB)
    assert names(tmp_path) == ["c.jsonl", "d.jsonl", "other.hours"]
    assert delete_old_logs(tmp_path, Retention(max_mb=2), NOW) == Deleted()


def test_a_log_over_its_age_goes_and_one_that_a_daemon_has_open_stays(tmp_path: Path) -> None:
    make_log(tmp_path, "old.jsonl", 31)
    make_log(tmp_path, "new.jsonl", 29)
    with make_log(tmp_path, "open.jsonl", 365).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert delete_old_logs(tmp_path, Retention(max_days=30), NOW) == Deleted(("old.jsonl",), MB)
        assert names(tmp_path) == ["new.jsonl", "open.jsonl"]
        assert delete_old_logs(tmp_path, Retention(max_mb=1), NOW) == Deleted(("new.jsonl",), MB)
        assert names(tmp_path) == ["open.jsonl"]


def test_no_limit_deletes_nothing_and_a_missing_folder_is_no_error(tmp_path: Path) -> None:
    make_log(tmp_path, "old.jsonl", 9999, 1 << 40)
    assert delete_old_logs(tmp_path, Retention(), NOW) == Deleted()
    assert delete_old_logs(tmp_path / "none", Retention(1, 1), NOW) == Deleted()


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 3 * MB)), max_size=20), st.integers(1, 20))
def test_what_stays_is_newer_than_what_goes(
    tmp_path_factory: pytest.TempPathFactory, logs: list[tuple[int, int]], max_mb: int
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    paths = {make_log(folder, f"{n:02}.jsonl", age, size): (age, size) for n, (age, size) in enumerate(logs)}
    deleted = delete_old_logs(folder, Retention(max_mb=max_mb), NOW)
    kept = [paths[path] for path in paths if path.exists()]
    gone = [paths[path] for path in paths if not path.exists()]
    assert sum(size for _, size in kept) <= max_mb * MB
    assert not kept or not gone or max(age for age, _ in kept) <= min(age for age, _ in gone)
    assert (len(deleted.names), deleted.bytes) == (len(gone), sum(size for _, size in gone))


def test_a_deletion_is_told_in_the_journal_and_to_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_log(tmp_path, "old.jsonl", (time.time() - NOW) / -DAY_S + 3)
    reports: list[Deleted] = []

    async def main() -> None:
        reported = asyncio.Event()

        def report(deleted: Deleted) -> None:
            reports.append(deleted)
            reported.set()

        task = asyncio.ensure_future(delete_old_logs_forever(tmp_path, Retention(max_days=2), report))
        await reported.wait()
        task.cancel()

    asyncio.run(main())
    assert reports == [Deleted(("old.jsonl",), MB)]
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "deleted the oldest 1 session log of 1.0 MB, as [log] max_days = 2 demands"
    ]


def test_the_text_of_a_deleted_log_leaves_the_index_too(tmp_path: Path) -> None:
    for name in ("old", "new"):
        log = SessionLog(tmp_path / f"{name}.jsonl", 0.0)
        log.write(0.0, "session", version=1, wall="2026-01-01T00:00:00+00:00")
        log.write(1.0, "typed", text=f"SECRET {name} TEXT")
        log.write_prompt(1.0, f"SECRET {name} TEXT", 1, {})
        log.close()
    with session_index.open_index(tmp_path) as index:
        index.refresh(lambda stage, done, total: None)
    assert b"old TEXT" in (tmp_path / session_index.FILE_NAME).read_bytes()
    delete_from_index(tmp_path, ["old.jsonl"])
    assert b"old TEXT" not in (tmp_path / session_index.FILE_NAME).read_bytes()
    assert b"new TEXT" in (tmp_path / session_index.FILE_NAME).read_bytes()


def test_the_offset_of_the_clock_is_told_once_it_is_right_and_after_each_step() -> None:
    watch = ClockWatch(started_wall=1000.0, started_boottime=50.0)
    assert watch.observe(1010.0, 60.0, is_right=False) is None
    assert watch.observe(91020.0, 70.0, is_right=True) == 90_000.0
    assert watch.observe(91030.1, 80.0, is_right=True) is None
    assert watch.observe(94640.1, 90.0, is_right=False) == 93600.1


def test_a_clock_that_is_right_from_the_start_has_no_offset() -> None:
    watch = ClockWatch(1000.0, 50.0)
    assert watch.observe(1001.0, 51.0, is_right=True) == 0.0
    assert watch.observe(2001.0, 1051.0, is_right=True) is None


def test_a_clock_that_is_set_without_a_time_server_is_noted() -> None:
    watch = ClockWatch(1000.0, 50.0)
    assert watch.observe(1000.4 + 60, 110.0, is_right=False) is None
    assert watch.observe(9000.0, 111.0, is_right=False) == 7939.0


def test_the_mark_of_systemd_timesyncd_says_that_the_clock_is_right(tmp_path: Path) -> None:
    (tmp_path / "synchronized").touch()
    assert is_synchronised(tmp_path / "synchronized")
