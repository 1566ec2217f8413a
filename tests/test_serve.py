"""`asr33 serve` as a process: what it says, whom it lets in, how it goes down; and what it refuses to begin."""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_serving import serve_process

from tools.main import main

KEY = "north-window-0123456789"


def write_private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def read_notifications(supervisor: socket.socket) -> Iterator[str]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield supervisor.recv(999).decode()


def test_it_serves_says_little_and_ends_what_it_has_begun(tmp_path: Path) -> None:
    keys = write_private(tmp_path / "keys", f"{KEY} north\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"\0asr33-serve-{os.getpid()}")
        supervisor.setblocking(False)
        environ = {"NOTIFY_SOCKET": f"@asr33-serve-{os.getpid()}"}
        with serve_process("--keys", str(keys), **environ) as process:
            process.wait_until_open()
            assert process.ask("Rumpelstilzchen").status == 401
            whole = json.load(process.ask("Rumpelstilzchen went", KEY))
            assert whole["usage"]["completion_tokens"] == 20
            write_private(keys, "south-window-0123456789 south\n")
            os.kill(process.process.pid, signal.SIGHUP)
            process.wait_for_output("1 keys")
            assert process.ask("Rumpelstilzchen", KEY).status == 401

            # Slow by its paper, so that it is under way when the server is told to go.
            slow = {"pace": 40.0}
            streamed = process.ask("The sea", "south-window-0123456789", stream=True, max_tokens=50, asr33=slow)
            assert streamed.readline().startswith(b"data: ")
            os.kill(process.process.pid, signal.SIGTERM)
            process.wait_for_output("going down")
            assert process.ask("The land", "south-window-0123456789").status == 503
            assert streamed.read().endswith(b"data: [DONE]\n\n")
            streamed.close()
            assert process.wait_for_exit() == 0
        heard = list(read_notifications(supervisor))
    everything = process.output + "".join(heard)
    assert any(word.startswith("READY=1") for word in heard)
    assert any(word.startswith("STOPPING=1") for word in heard)
    assert "completions 200, 20 tokens" in process.output
    for word in ("Rumpelstilz", KEY, whole["choices"][0]["text"].strip()[:12]):
        assert word not in everything
    assert len(process.output.splitlines()) < 15


def test_a_second_signal_is_not_argued_with(tmp_path: Path) -> None:
    with serve_process() as process:
        process.wait_until_open()
        streamed = process.ask("The sea", stream=True, max_tokens=400, asr33={"pace": 5.0})
        assert streamed.readline()
        os.kill(process.process.pid, signal.SIGTERM)
        process.wait_for_output("going down")
        os.kill(process.process.pid, signal.SIGTERM)
        assert process.wait_for_exit() == -signal.SIGTERM


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="a pipe cannot be made small here, as on Linux")
def test_a_log_that_nobody_takes_does_not_stop_it() -> None:
    with serve_process() as process:
        process.wait_until_open()
        assert process.process.stdout
        size = fcntl.fcntl(process.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        asking = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        with contextlib.closing(asking):
            for _ in range(size // 20):  # more than it takes
                asking.request("GET", "/nowhere")
                with asking.getresponse() as no:
                    assert (no.status, bool(no.read())) == (404, True)
        os.kill(process.process.pid, signal.SIGTERM)
        assert process.process.wait(30) == 0


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--host", "0.0.0.0"], 78, "--keys"),
        (["--keys", "nowhere"], 66, "nowhere"),
        (["--cert", "nowhere"], 66, "nowhere"),
        (["--cert", "README.md"], 65, "PEM"),
        (["--cert-key", "README.md"], 78, "--cert"),
        (["--model", "nowhere"], 66, "nowhere"),
        (["--host", "localhost.invalid", "--keys", "KEYS"], 68, "no such host"),
        (["--host", "teletype..local", "--keys", "KEYS"], 68, "no such host"),
        (["--host", "192.0.2.1", "--keys", "KEYS"], 68, "no address"),
        (["--port", "PORT"], 69, "is taken"),
    ],
)
def test_what_cannot_be_is_one_line_and_a_code(
    options: list[str], code: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = write_private(tmp_path / "keys", f"{KEY} north\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = {"KEYS": str(keys), "PORT": str(taken.getsockname()[1])}
        assert main(["serve", *(given.get(each, each) for each in options)]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert word in said.err
