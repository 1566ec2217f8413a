import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from textwrap import dedent

import pytest

from daemon import log_file, session_log
from daemon.errors import DaemonError
from daemon.observers import MotorHours, log_events_to
from daemon.session_log import SessionLog
from drivers import events
from drivers.events import CharacterStruck, MotorSwitched


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_a_line_with_its_time_since_the_start(tmp_path: Path) -> None:
    log = SessionLog(tmp_path / "a.jsonl", started_at=100.0)
    log.write(101.25, "typed", text="HÉLLO\n")
    log.close()
    assert records(tmp_path / "a.jsonl") == [{"t": 1.25, "ev": "typed", "text": "HÉLLO\n"}]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    SessionLog(tmp_path / "a.jsonl", started_at=0).close()
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o600


def test_sessions_started_in_the_same_second_get_separate_files(tmp_path: Path) -> None:
    now = datetime(1970, 1, 1, 12, 0, 0)
    logs = [session_log.open_new_log(tmp_path / "new", now, 0.0) for _ in range(3)]
    for log in logs:
        log.close()
    assert [log.path.name for log in logs] == [
        "19700101T120000.jsonl",
        "19700101T120000-2.jsonl",
        "19700101T120000-3.jsonl",
    ]


def test_other_files_in_the_folder_do_not_stop_a_session(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "dangling.jsonl").symlink_to("nowhere")
    session_log.open_new_log(tmp_path, datetime(1970, 1, 1), 0.0).close()
    assert (tmp_path / "19700101T000000.jsonl").exists()


def test_an_impossible_folder_gives_an_error_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DaemonError, match="--log") as caught:
        session_log.open_new_log(tmp_path / "file" / "sessions", datetime(1970, 1, 1), 0.0)
    assert (caught.value.kind, caught.value.exit_code) == ("create", 73)


@pytest.fixture
def disk_without_room(tmp_path: Path) -> Iterator[Path]:
    """Mounts a file system without a free inode."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a disk of one's own to fill takes root: " + mounted.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_at_the_start_is_logged_and_the_session_goes_on(
    disk_without_room: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = session_log.open_new_log(disk_without_room, datetime(1970, 1, 1), 0.0)
    log.write(1.0, "typed", text="STILL GOES")
    log.close()
    assert [record.message.endswith("the paper goes on without a record: make room") for record in caplog.records] == [
        True
    ]


def test_a_closed_log_writes_to_no_other_file(tmp_path: Path) -> None:
    log = SessionLog(tmp_path / "a.jsonl", started_at=0)
    log.close()
    with (tmp_path / "b.jsonl").open("wb"):
        log.write(1.0, "rx", b="41")
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes() == b""


def test_undecodable_bytes_are_logged_as_json_escapes(tmp_path: Path) -> None:
    log = SessionLog(tmp_path / "a.jsonl", started_at=0)
    log.write(0.0, "session", line="x\udcff")
    log.close()
    assert records(tmp_path / "a.jsonl")[0]["line"] == "x\udcff"


def test_a_killed_session_loses_no_written_record(tmp_path: Path) -> None:
    program = dedent("""
        import sys
        from pathlib import Path
        from daemon.session_log import SessionLog
        log = SessionLog(Path(sys.argv[1]), started_at=0)
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
    os.utime(torn, (1000.0, 1000.0))
    assert log_file.repair_torn_files(tmp_path) == [only, torn]
    assert torn.stat().st_mtime == 1000.0
    assert torn.read_text() == '{"t":1}\n{"t":2}\n'
    assert whole.read_text() == '{"t":1}\n'
    assert only.read_text() == ""


def test_a_log_in_use_is_not_repaired(tmp_path: Path) -> None:
    log = SessionLog(tmp_path / "live.jsonl", started_at=0)
    with (tmp_path / "live.jsonl").open("ab") as file:
        file.write(b'{"t":')
    assert log_file.repair_torn_files(tmp_path) == []
    log.close()


@pytest.fixture
def small_disk() -> object:
    """Simulates a full disk by a limit on the file size: write() writes half a record or fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_logged_once_and_stops_nothing(
    tmp_path: Path, small_disk: object, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "full.jsonl"
    log = SessionLog(path, started_at=0)
    for number in range(20):
        log.write(number, "tx", b="41")
    assert log.lost_records > 0
    assert len(caplog.records) == 1
    assert callable(small_disk)
    small_disk()
    log.write(99, "tx", b="42")
    log.close()
    last = path.read_text().splitlines()[-1]
    assert json.loads(last)["t"] == 99
    assert os.path.getsize(path) > 200  # noqa: PTH202


def test_each_event_of_the_teletype_is_a_record_with_its_time(tmp_path: Path) -> None:
    log = SessionLog(tmp_path / "a.jsonl", started_at=10.0)
    tap = log_events_to(log)
    for event in (
        events.KeyReceived(11.0, 0xC1),
        events.KeyReceived(11.1, 0x81, damaged=True),
        events.BreakPressed(11.2, "nul", 7),
        events.LineDisconnected(11.3, "gone"),
        events.LineReconnected(11.4, "/dev/x", 12),
        events.ParameterDetected(11.5, "parity", "mark"),
        events.PrintingPaused(11.6),
        events.PrintingResumed(11.9, 0.3),
        events.PrintingResumed(11.9, 300.0, timed_out=True),
        events.AnswerbackReceived(12.0, b"\x8d\x0a"),
        events.EchoMismatch(12.1, 0x41, 0x40),
        MotorSwitched(12.2, on=True),
        MotorSwitched(15.2, on=False, ran_s=3.0),
    ):
        tap(event)
    log.close()
    assert [list(record.values()) for record in records(tmp_path / "a.jsonl")] == [
        [1.0, "rx", "c1"],
        [1.1, "rx", "81", True],
        [1.2, "break", "nul", 7],
        [1.3, "lost", "gone"],
        [1.4, "found", "/dev/x", 12],
        [1.5, "learned", "parity", "mark"],
        [1.6, "paused"],
        [1.9, "resumed", 0.3],
        [1.9, "resumed", 300.0, True],
        [2.0, "answerback", "8d0a"],
        [2.1, "garbled", "41", "40"],
        [2.2, "motor", True],
        [5.2, "motor", False, 3.0],
    ]


def test_motor_hours_are_summed_over_sessions_and_saved_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "tty.hours"
    first = MotorHours(path)
    first.on_event(MotorSwitched(100.0, on=True))
    first.on_event(MotorSwitched(3700.0, on=False, ran_s=3600.0))
    first.close(4000.0)
    second = MotorHours(path)
    assert second.total_s == 3600.0
    second.on_event(MotorSwitched(0.0, on=True))
    for second_of in range(0, 200, 10):
        second.on_event(CharacterStruck(float(second_of), 0.0, 0x41, 0))
    assert 3700 < MotorHours(path).total_s < 3800  # as after a kill
    second.close(400.0)
    assert MotorHours(path).total_s == 4000.0


def test_motor_hours_that_cannot_be_saved_are_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hours = MotorHours(tmp_path / "nowhere" / "tty.hours")
    for _ in range(2):
        hours.on_event(MotorSwitched(0.0, on=False, ran_s=5.0))
    assert hours.total_s == 10.0
    assert [record.message.endswith("the motor's hours are not saved") for record in caplog.records] == [True]
