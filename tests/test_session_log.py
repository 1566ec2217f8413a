import json
import os
import resource
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from textwrap import dedent

import pytest

from daemon import session_log
from daemon.session_log import SessionLog


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_a_line_with_its_time_since_the_session_began(tmp_path: Path) -> None:
    log = SessionLog(tmp_path / "a.jsonl", begun=100.0)
    log.write(101.25, "typed", text="HÉLLO\n")
    log.close()
    assert records(tmp_path / "a.jsonl") == [{"t": 1.25, "ev": "typed", "text": "HÉLLO\n"}]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    SessionLog(tmp_path / "a.jsonl", begun=0).close()
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o600


def test_two_sessions_in_one_second_have_two_files(tmp_path: Path) -> None:
    now = datetime(1970, 1, 1, 12, 0, 0)
    first = session_log.new_path(tmp_path, now)
    first.touch()
    assert [first.name, session_log.new_path(tmp_path, now).name] == [
        "19700101T120000.jsonl",
        "19700101T120000-2.jsonl",
    ]


def test_a_killed_session_loses_no_record_that_was_written(tmp_path: Path) -> None:
    program = dedent("""
        import sys
        from pathlib import Path
        from daemon.session_log import SessionLog
        log = SessionLog(Path(sys.argv[1]), begun=0)
        for number in range(1000):
            log.write(number, "tx", b="41")
        print("written", flush=True)
        sys.stdin.read()
    """)
    path = tmp_path / "killed.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert [record["t"] for record in records(path)] == list(range(1000))


def test_a_torn_last_record_is_cut_off_and_the_others_stay(tmp_path: Path) -> None:
    torn, whole, only = tmp_path / "torn.jsonl", tmp_path / "whole.jsonl", tmp_path / "only.jsonl"
    torn.write_text('{"t":1}\n{"t":2}\n{"t":')
    whole.write_text('{"t":1}\n')
    only.write_text('{"t"')
    assert session_log.repair(tmp_path) == [only, torn]
    assert torn.read_text() == '{"t":1}\n{"t":2}\n'
    assert whole.read_text() == '{"t":1}\n'
    assert only.read_text() == ""


def test_a_log_in_use_is_not_repaired(tmp_path: Path) -> None:
    log = SessionLog(tmp_path / "live.jsonl", begun=0)
    with (tmp_path / "live.jsonl").open("ab") as file:
        file.write(b'{"t":')
    assert session_log.repair(tmp_path) == []
    log.close()


@pytest.fixture
def small_disk() -> object:
    """A limit on the size of files stands in for the full disk: write() then writes half a record, or fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_told_of_once_and_stops_nothing(
    tmp_path: Path, small_disk: object, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "full.jsonl"
    log = SessionLog(path, begun=0)
    for number in range(20):
        log.write(number, "tx", b="41")
    assert log.lost > 0
    assert len(caplog.records) == 1
    assert callable(small_disk)
    small_disk()
    log.write(99, "tx", b="42")
    log.close()
    last = path.read_text().splitlines()[-1]
    assert json.loads(last)["t"] == 99
    assert os.path.getsize(path) > 200  # noqa: PTH202
