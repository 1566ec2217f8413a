"""`asr33 serve` as a process: keys, log, signals; and the errors that it ends with at once."""

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_model import tiny_folder
from fakes_serve_process import ServeProcess, serve_process

from model.dialogue import Speakers
from model.errors import ModelError
from tools.main import main
from tools.serve import _server_settings, add_arguments

KEY = "north-window-0123456789"


def write_private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def read_notifications(supervisor: socket.socket) -> Iterator[str]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield supervisor.recv(999).decode()


def test_it_serves_with_keys_and_finishes_open_answers_on_sigterm(tmp_path: Path) -> None:
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
            process.wait_for_output("was read again: 1 keys")
            assert process.ask("Rumpelstilzchen", KEY).status == 401

            # Paced, so that the answer is still open at the SIGTERM.
            slow = {"pace": 40.0}
            streamed = process.ask("The sea", "south-window-0123456789", stream=True, max_tokens=50, asr33=slow)
            assert streamed.readline().startswith(b"data: ")
            os.kill(process.process.pid, signal.SIGTERM)
            process.wait_for_output("going down")
            assert process.ask("The land", "south-window-0123456789").status == 503
            assert streamed.read().endswith(b"data: [DONE]\n\n")
            streamed.close()
            assert process.wait_for_exit() == 0
        notifications = list(read_notifications(supervisor))
    all_output = process.output + "".join(notifications)
    assert any(text.startswith("READY=1") for text in notifications)
    assert any(text.startswith("STOPPING=1") for text in notifications)
    assert "POST /v1/completions 200, 20 tokens, " in process.output
    for word in ("Rumpelstilz", KEY, whole["choices"][0]["text"].strip()[:12]):
        assert word not in all_output
    assert len(process.output.splitlines()) < 15


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with serve_process() as process:
        process.wait_until_open()
        streamed = process.ask("The sea", stream=True, max_tokens=400, asr33={"pace": 5.0})
        assert streamed.readline()
        os.kill(process.process.pid, signal.SIGTERM)
        process.wait_for_output("going down")
        os.kill(process.process.pid, signal.SIGTERM)
        assert process.wait_for_exit() == -signal.SIGTERM


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="a pipe cannot be made small here, as on Linux")
def test_an_unread_log_does_not_block_it() -> None:
    with serve_process() as process:
        process.wait_until_open()
        assert process.process.stdout
        size = fcntl.fcntl(process.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        with contextlib.closing(connection):
            for _ in range(size // 20):  # more than the pipe holds
                connection.request("GET", "/nowhere")
                with connection.getresponse() as reply:
                    assert (reply.status, bool(reply.read())) == (404, True)
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
        (["--cors-origin", "https://chat.example"], 78, "--keys"),
        (["--cors-origin", "*", "--keys", "KEYS"], 64, "name one origin"),
        (["--socket", "README.md"], 73, "is no socket"),
        (["--socket", "s", "--port", "0"], 64, "--socket replaces"),
        (["--socket", "s", "--host", "127.0.0.1"], 64, "--socket replaces"),
        (["--socket", "s", "--ray"], 64, "--socket replaces"),
    ],
)
def test_an_impossible_option_gives_one_line_and_an_exit_code(
    options: list[str], code: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = write_private(tmp_path / "keys", f"{KEY} north\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values = {"KEYS": str(keys), "PORT": str(taken.getsockname()[1])}
        assert main(["serve", *(values.get(option, option) for option in options)]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert word in output.err


def test_the_former_names_of_options_still_work() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--lines", "9", "--each", "3", "--body", "1000", "--prompt", "500"])
    assert (args.clients, args.per_key, args.max_body, args.max_prompt) == (9, 3, 1000, 500)
    args = parser.parse_args(["--clients", "8"])
    assert (args.clients, args.per_key, args.max_body, args.max_prompt) == (8, 0, 65_536, 32_768)


def test_a_unix_socket_is_served_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "serve.sock"
    options = (*("--socket", str(path)), "--socket-mode", "600")
    process = ServeProcess(*options, port=None)
    try:
        process.wait_for_output(rf"unix:{re.escape(str(path))}, model")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        command = ["curl", "-s", "--unix-socket", str(path), "http://x/v1/models"]
        if shutil.which("curl"):
            assert b"embedded" in subprocess.run(command, capture_output=True, check=True).stdout
        body = json.dumps({"messages": [{"role": "user", "content": "The sea"}], "max_tokens": 30})
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            head = f"\r\nPOST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(f"{head}{body}".encode())
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"finish_reason":"length"' in answer or b'"finish_reason":"stop"' in answer
        process.process.kill()  # leaves the file
        process.process.wait()
        assert path.exists()
        again = ServeProcess(*options, port=None)
        try:
            again.wait_for_output(", model")
            os.kill(again.process.pid, signal.SIGTERM)
            assert again.wait_for_exit() == 0
        finally:
            again.kill()
    finally:
        process.kill()
    assert not path.exists()


def test_the_speakers_of_a_chat_are_the_models_or_the_options(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)

    def speakers(personas: object, *options: str) -> Speakers:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["training"]["personas"] = personas
        (folder / "manifest.json").write_text(json.dumps(manifest))
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        found: Speakers = _server_settings(parser.parse_args(options), folder)["speakers"]
        return found

    assert speakers(None) == Speakers("Assistant", "User")
    assert speakers(None, "--persona", "Ada") == Speakers("Ada", "User")
    names = {"Ann": 50, "Bob": 40, "Cleo": 9}
    assert speakers(names) == Speakers("Ann", "Bob", ("Ann", "Bob", "Cleo"))
    assert speakers(names, "--persona", "bob") == Speakers("Bob", "Ann", ("Ann", "Bob", "Cleo"))
    assert speakers(names, "--persona", "cleo", "--you", "Zoe").you == "Zoe"
    assert speakers({"Ann": 50}) == Speakers("Ann", "You", ("Ann",))
    with pytest.raises(ModelError, match=r"--persona Anne: .*did you mean 'Ann'"):
        speakers(names, "--persona", "Anne")
