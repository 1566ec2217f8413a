import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.systemd import SystemdNotifier


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = f"/tmp/asr33-notify-{os.getpid()}" if request.param == "path" else f"@asr33-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name[1:] if name.startswith("@") else name)
        receiver.settimeout(30)
        yield receiver, name
    if name.startswith("/"):
        Path(name).unlink()


def test_each_message_reaches_the_service_manager(supervisor: tuple[socket.socket, str]) -> None:
    receiver, name = supervisor
    notify = SystemdNotifier({"NOTIFY_SOCKET": name})
    notify.send_ready("PRINTING\n12 CHARS")
    notify.send_status("as it is")
    notify.send_watchdog()
    notify.extend_timeout(60)
    notify.send_stopping()
    assert [receiver.recv(999) for _ in range(5)] == [
        b"READY=1\nSTATUS=PRINTING 12 CHARS",
        b"STATUS=as it is",
        b"WATCHDOG=1",
        b"EXTEND_TIMEOUT_USEC=60000000",
        b"STOPPING=1",
    ]


def test_an_undecodable_status_is_sent_with_replacements(supervisor: tuple[socket.socket, str]) -> None:
    receiver, name = supervisor
    SystemdNotifier({"NOTIFY_SOCKET": name}).send_status("model b\udce9te")
    assert receiver.recv(999) == b"STATUS=model b?te"


def test_without_a_service_manager_nothing_happens(tmp_path: Path) -> None:
    SystemdNotifier({}).send_ready()
    SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).send_ready()
    SystemdNotifier({"NOTIFY_SOCKET": "x" * 200}).send_ready()


def test_the_watchdog_counts_only_for_this_process() -> None:
    assert SystemdNotifier({"WATCHDOG_USEC": "30000000"}).watchdog_s == 30
    assert SystemdNotifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 30
    assert SystemdNotifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert SystemdNotifier({"WATCHDOG_USEC": "soon"}).watchdog_s is None
    assert SystemdNotifier({}).watchdog_s is None
