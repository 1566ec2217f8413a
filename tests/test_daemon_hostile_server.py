"""A daemon, a virtual machine and `asr33 ask` as processes, with a server that means harm."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from fakes_hostile_server import (
    STREAM_HEAD,
    HostileServer,
    Play,
    event,
    gzip_bomb,
    json_reply,
    models_reply,
    play,
    play_forever,
    redirect,
    stream_of,
    trickle,
)
from fakes_sandbox import ROOT, Sandbox, open_sandbox, wait_for

MAX_DAEMON_KB = 60_000
ESCAPES = "".join(
    f"word{text} "
    for text in (
        *(
            "\x1b[2J",
            "\x1b]0;title\x07",
            "\x1b]52;c;cm0gLXJm\x1b\\",
            "\x1bP1$r\x1b\\",
            "\x1b_G\x1b\\",
            "\x1b[6n",
            "\x1bc",
        ),
        *(
            "\x9b31m",
            "\x9d0;t\x9c",
            "\x85",
            "\u202eevil\u202c",
            "\x07\x08\x00\x05\x11\x12\x13\x14\x7f",
            "\r\n",
            "\x0b\x0c",
        ),
    )
)
HOSTILE_NAME = "\x1b[2J\x9b31m\u202em\r\nREADY=1\x07"
LINE = "GO ON"

SCRIPTS: dict[str, Play] = {
    "endless words": play_forever(event("word ")),
    "a huge event": play(stream_of("word " * 150_000)),
    "huge events for ever": play_forever(event("x" * 700_000)),
    "escapes": play(stream_of(ESCAPES)),
    "escapes in pieces": play(stream_of(*ESCAPES, "\x1b]0;never ends")),
    "escapes for ever": play_forever(*(event(char) for char in ESCAPES), event(ESCAPES)),
    "an error": play(json_reply({"error": {"message": f"{ESCAPES}\n{HOSTILE_NAME}"}}, "400 Bad")),
    "a redirect": play(redirect(307, "http://127.0.0.1:9/\x1b[2J")),
    "a redirect to itself": play(redirect(302, "/v1/completions")),
    "a content type": play(STREAM_HEAD.replace(b"text/event-stream", b"text/\x1b[2J\xc2\x9b31m")),
    "binary": play(bytes(range(256)) * 1000),
    "an endless head": play_forever(b"X-A: \x1b[2J" + b"a" * 4000 + b"\r\n", start=b"HTTP/1.1 200 OK\r\n"),
    "interim replies": play_forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 50, start=b""),
    "a compressed bomb": play(gzip_bomb(300)),
    "comments for ever": play_forever(b": \x1b[2J\n\n" * 500),
    "an endless line": play_forever(b"\x1b" * 65536),
    "an endless error": play_forever(b"\x1b[2J" * 9000, start=b"HTTP/1.1 503 X\r\nRetry-After: 0\r\n\r\n"),
    "halves of characters": play(stream_of("a\ud83d", "\ude00", "b\udc00", "the end.")),
}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


def start_hostile_daemon(sandbox: Sandbox, *words: str) -> subprocess.Popen[bytes]:
    daemon = sandbox.start("run", "--line", str(sandbox.link), *words)
    wait_for(lambda: sandbox.paper_text().endswith("READY\n"), 60.0)
    return daemon


def end_and_read_journal(daemon: subprocess.Popen[bytes]) -> bytes:
    daemon.terminate()
    _, journal = daemon.communicate(timeout=60)
    return journal


def peak_kb(daemon: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def press(machine: subprocess.Popen[bytes], keys: str) -> None:
    assert machine.stdin is not None
    machine.stdin.write(keys.encode())
    machine.stdin.flush()


def assert_clean(raw: bytes, allowed: bytes = b"\n") -> None:
    """Checks that no byte acts on a terminal: no control but the allowed ones, no C1, no mark that turns text."""
    text = raw.decode()
    assert not re.findall(f"[^ -~\xa0-\U0010ffff{allowed.decode()}]", text)
    assert not re.findall("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


@pytest.mark.pace
def test_no_byte_of_a_hostile_server_reaches_paper_journal_or_log(sandbox: Sandbox) -> None:
    models = play(models_reply(HOSTILE_NAME))
    # A good answer follows each: the daemon tries again after a failure, sooner if there was a success before.
    scripts = [each for script in SCRIPTS.values() for each in (script, play(stream_of("good.")))]
    with HostileServer([*scripts, play(stream_of("the end."))], models=models) as server:
        machine = sandbox.start_machine("--fast")
        daemon = start_hostile_daemon(
            sandbox, "--fast", "--model", server.url, "--length", "100", "--max-tokens", "400"
        )
        lines = 0
        while not sandbox.paper_text().rstrip().endswith("THE END.\n\nREADY"):
            lines += 1
            press(machine, f"{LINE}\r")
            wait_for(lambda lines=lines: sandbox.paper_text().count("READY\n") == lines + 1, 60.0)
            assert lines <= len(scripts)
        peak = peak_kb(daemon)
        sys.stdout.write(f"at most {peak / 1000:.1f} MB\n")
        assert peak < MAX_DAEMON_KB
        journal = end_and_read_journal(daemon)
    assert {byte for byte in sandbox.strikes() if byte < 0x20} <= set(b"\r\n\a")
    assert max(sandbox.strikes()) < 0x60
    assert len(sandbox.strikes()) < 20_000
    assert_clean(journal)
    assert b"Traceback" not in journal
    assert len(journal) < 20_000
    [log] = Path(sandbox.environ["XDG_STATE_HOME"]).rglob("sessions/*.jsonl")
    assert_clean(log.read_bytes())
    assert all(json.loads(line) for line in log.read_text().splitlines())


@pytest.mark.pace
def test_strokes_are_on_time_while_a_server_floods(sandbox: Sandbox) -> None:
    flood = play_forever(*[event("word ") * 200, b": ping\n\n" * 2000], start=STREAM_HEAD + event("word " * 140_000))
    with HostileServer([flood]) as server:
        machine = sandbox.start_machine()
        daemon = sandbox.start("run", "--line", str(sandbox.link), "--model", server.url, "--max-tokens", "60")
        wait_for(lambda: sandbox.events.exists() and len(sandbox.strikes()) > 2, 60.0)
        press(machine, "\x03")  # skips the greeting
        wait_for(lambda: sandbox.paper_text().endswith("READY\n"), 60.0)
        press(machine, f"{LINE}\r")
        wait_for(lambda: sandbox.paper_text().count("READY\n") == 2, 120.0)
        records = [
            json.loads(line) for line in sandbox.events.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]
        peak = peak_kb(daemon)
        assert peak < MAX_DAEMON_KB
    text = "".join(chr(record["byte"]) for record in records)
    answer = records[text.index("WORD") : text.rindex("\r\n\nREADY")]
    assert 200 <= len(answer) < 300
    # From a CR the carriage takes up to 0.3 s.
    late = [b["start"] - a["start"] - (0.4 if a["byte"] in b"\r\n" else 0.1) for a, b in pairwise(answer)]
    sys.stdout.write(f"at most {peak / 1000:.1f} MB; the latest stroke {1000 * max(late):.1f} ms late\n")
    assert max(late) < 0.2


@pytest.mark.pace
def test_a_server_that_trickles_is_named_on_the_paper_and_in_the_journal(sandbox: Sandbox) -> None:
    slow = trickle(event("word ") * 9, STREAM_HEAD + event("Slow. "))
    with HostileServer([slow]) as server:
        machine = sandbox.start_machine("--fast")
        daemon = start_hostile_daemon(sandbox, "--fast", "--model", server.url)
        press(machine, f"{LINE}\r")
        wait_for(lambda: "SLOW." in sandbox.paper_text())
        start = time.monotonic()
        wait_for(lambda: "-- NO SERVER --" in sandbox.paper_text(), 20.0)
        assert 9 < time.monotonic() - start < 13
        press(machine, "\x03")
        wait_for(lambda: sandbox.paper_text().endswith("READY\n"))
        assert sandbox.paper_text().count("NO SERVER") == 1
        assert b"is the server stopped, or too slow?" in end_and_read_journal(daemon)


def test_a_daemon_whose_server_is_down_does_not_say_that_the_model_runs(sandbox: Sandbox) -> None:
    sandbox.start_machine("--fast")
    daemon = start_hostile_daemon(sandbox, "--fast", "--model", "http://127.0.0.1:1")
    journal = end_and_read_journal(daemon).decode()
    assert "no server answers yet" in journal
    assert "runs on" not in journal


@pytest.mark.parametrize("case", ["escapes", "escapes in pieces", "endless words", "an error", "binary"])
def test_ask_writes_no_controls_to_a_terminal(sandbox: Sandbox, case: str) -> None:
    with HostileServer([SCRIPTS[case]], models=play(models_reply(HOSTILE_NAME))) as server:
        ours, theirs = pty.openpty()
        words = [*sandbox.program, "ask", "--max-tokens", "200", "--model", server.url, "GO"]
        asking = subprocess.Popen(words, cwd=ROOT, env=sandbox.environ, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = _read_terminal(ours)
        asking.wait(60)
    assert_clean(shown, b"\r\n\t")
    assert b"Traceback" not in shown
    assert (asking.returncode == 0) == ("word" in case or "escapes" in case)
    assert len(shown) < 4000


def _read_terminal(hand: int) -> bytes:
    data = b""
    while select.select([hand], [], [], 60.0)[0]:
        try:
            data += os.read(hand, 65536)
        except OSError:  # EIO: the command has ended
            break
    os.close(hand)
    return data


def test_ask_leaves_a_file_as_it_is(sandbox: Sandbox) -> None:
    with HostileServer([play(stream_of("a\x1b[1mb"))]) as server:
        words = [*sandbox.program, "ask", "--model", server.url, "GO"]
        done = subprocess.run(words, cwd=ROOT, env=sandbox.environ, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"a\x1b[1mb\n"
