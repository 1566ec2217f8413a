"""When the session log writes the records that it has collected, and how often it syncs them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.log_writer import SyncBudget
from daemon.session_log import IDLE_S, MAX_WAITING_S, SessionLog


class Timers:
    """A `call_later` whose time the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._due.append((self.now + delay_s, callback))

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [item for item in self._due if item[0] <= end]:
            item = min(due, key=lambda item: item[0])
            self._due.remove(item)
            self.now = item[0]
            item[1]()
        self.now = end


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def log(tmp_path: Path, timers: Timers) -> SessionLog:
    return SessionLog(tmp_path / "a.jsonl", 0.0, call_later=timers.call_later)


def read_records(log: SessionLog) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.path.read_text().splitlines()]


def strike(log: SessionLog, at: float, byte: int, queued: float = 0.0) -> None:
    log.write(at, "tx", b=f"{byte:02x}", q=queued, at=at, col=0)


def test_the_records_of_a_line_are_written_at_its_line_feed(log: SessionLog) -> None:
    for number, byte in enumerate(b"HELLO\r"):
        strike(log, number / 10, byte)
    assert read_records(log) == []
    strike(log, 0.6, 0x0A)
    assert [record["b"] for record in read_records(log)] == ["48", "45", "4c", "4c", "4f", "0d", "0a"]


@pytest.mark.parametrize("ev", ["typed", "end", "lost", "error", "private", "rotated", "close"])
def test_the_waiting_records_are_written_before_a_pause_can_come(log: SessionLog, ev: str) -> None:
    strike(log, 0.0, 0x41)
    log.write(0.1, ev)
    assert [record["ev"] for record in read_records(log)] == ["tx", ev]


def test_a_begun_line_is_written_after_a_second_without_a_record(log: SessionLog, timers: Timers) -> None:
    strike(log, 0.0, 0x41)
    timers.advance(0.5)
    strike(log, 0.5, 0x42)
    timers.advance(0.6)
    assert read_records(log) == []
    timers.advance(IDLE_S)
    assert len(read_records(log)) == 2


def test_a_line_without_a_line_feed_waits_no_longer_than_one_of_paper(log: SessionLog, timers: Timers) -> None:
    for number in range(200):
        strike(log, timers.now, 0x41 + number % 26)
        timers.advance(0.1)
    newest = max(record["t"] for record in read_records(log))
    assert newest >= timers.now - MAX_WAITING_S - IDLE_S


def test_an_idle_session_sets_no_timer_and_writes_nothing(log: SessionLog, timers: Timers) -> None:
    strike(log, 0.0, 0x0A)
    timers.advance(100)
    before = log.path.stat()
    timers.advance(3600)
    assert timers._due == []
    assert log.path.stat().st_mtime_ns == before.st_mtime_ns


def test_the_queued_time_stands_once_for_a_word_and_in_each_batch(log: SessionLog) -> None:
    for at, byte, queued in [(0.1, 0x41, 0.0), (0.2, 0x42, 0.0), (0.3, 0x20, 0.3), (0.4, 0x0A, 0.3), (0.5, 0x43, 0.3)]:
        strike(log, at, byte, queued)
    log.flush()
    assert [record.get("q") for record in read_records(log)] == [0.0, None, 0.3, None, 0.3]


def test_a_disk_that_becomes_full_within_a_batch_keeps_its_first_records(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, write = 200, os.write

    def write_while_there_is_room(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(fd, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write_while_there_is_room)
    for number in range(10):
        strike(log, float(number), 0x41)
    log.flush()
    kept = read_records(log)
    assert [record["t"] for record in kept] == [0.0, 1.0, 2.0, 3.0]
    assert log.lost_records == 6
    room = 10_000
    strike(log, 10.0, 0x42)
    log.flush()
    gap, last = read_records(log)[len(kept) :]
    assert (gap["from"], gap["to"], gap["lost"], last["t"]) == (4.0, 10.0, 6, 10.0)


@given(st.lists(st.tuples(st.floats(0, 60), st.integers(1, 8000)), max_size=400))
def test_an_hour_of_any_printing_is_synced_within_the_budget(writes: list[tuple[float, int]]) -> None:
    budget, t, synced_bytes, written_bytes = SyncBudget(), 0.0, 0, 0
    for pause, size in writes:
        t += pause
        budget.spend(t, size)
        written_bytes += size
        if budget.allows_sync():
            budget.spend(t, budget.page_bytes)
            synced_bytes += budget.page_bytes
    assert synced_bytes <= budget.limit_bytes + t * budget.bytes_per_s


def test_a_conversation_is_synced_at_each_line_and_a_book_is_not() -> None:
    line_bytes, line_s = 5000, 7.2
    budget, synced = SyncBudget(), []
    for number in range(500):
        budget.spend(number * line_s, line_bytes)
        if budget.allows_sync():
            budget.spend(number * line_s, budget.page_bytes)
            synced.append(number)
    assert synced[:8] == list(range(8))
    assert 100 < len(synced) < 400
