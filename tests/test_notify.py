import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.systemd import SystemdNotifier


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = f"/tmp/asr33-notify-{os.getpid()}" if request.param == "path" else f"@asr33-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + name[1:] if name.startswith("@") else name)
        heard.settimeout(30)
        yield heard, name
    if name.startswith("/"):
        Path(name).unlink()


def test_a_supervisor_hears_each_word(supervisor: tuple[socket.socket, str]) -> None:
    heard, name = supervisor
    notify = SystemdNotifier({"NOTIFY_SOCKET": name})
    notify.send_ready("PRINTING\n12 CHARS")
    notify.send_status("as it is")
    notify.send_watchdog()
    notify.extend_timeout(60)
    notify.send_stopping()
    assert [heard.recv(999) for _ in range(5)] == [
        b"READY=1\nSTATUS=PRINTING 12 CHARS",
        b"STATUS=as it is",
        b"WATCHDOG=1",
        b"EXTEND_TIMEOUT_USEC=60000000",
        b"STOPPING=1",
    ]


def test_a_name_that_is_no_utf8_is_told_as_it_can_be(supervisor: tuple[socket.socket, str]) -> None:
    heard, name = supervisor
    SystemdNotifier({"NOTIFY_SOCKET": name}).send_status("model b\udce9te")
    assert heard.recv(999) == b"STATUS=model b?te"


def test_without_a_supervisor_and_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    SystemdNotifier({}).send_ready()
    SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).send_ready()
    SystemdNotifier({"NOTIFY_SOCKET": "x" * 200}).send_ready()


def test_the_watchdog_is_ours_if_it_says_so() -> None:
    assert SystemdNotifier({"WATCHDOG_USEC": "30000000"}).watchdog_s == 30
    assert SystemdNotifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 30
    assert SystemdNotifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert SystemdNotifier({"WATCHDOG_USEC": "soon"}).watchdog_s is None
    assert SystemdNotifier({}).watchdog_s is None
