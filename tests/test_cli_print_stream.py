"""`asr33 print` of pipes, terminals and devices: as it comes, in any encoding, in bounded memory."""

from __future__ import annotations

import codecs
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_sandbox import ROOT, Sandbox, open_sandbox, wait_for
from hypothesis import given
from hypothesis import strategies as st

from tools.cli.errors import ToolError
from tools.cli.text_encoding import TextDecoder


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


def feed(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def test_the_lines_of_tail_are_printed_as_they_come_between_the_operators_lines(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    machine = sandbox.start_machine("--fast")
    sandbox.start_daemon("--fast")
    log = tmp_path / "messages.log"
    log.write_text("first line\n")
    shell = f"tail -f {log} | {sys.executable} -m tools.main print"
    tailing = subprocess.Popen(
        ["sh", "-c", shell], cwd=ROOT, env=sandbox.environ, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        wait_for(lambda: sandbox.paper_text().endswith("READY\nFIRST LINE\n\nREADY\n"))
        feed(machine, b".X\n")  # the operator has the machine
        wait_for(lambda: "NO COMMAND .X" in sandbox.paper_text())
        wait_for(lambda: sandbox.paper_text().endswith("READY\n"))
        with log.open("a") as file:
            file.write("second line\nthird line\n")
        wait_for(lambda: sandbox.paper_text().endswith("READY\nSECOND LINE\nTHIRD LINE\n\nREADY\n"))
        feed(machine, b"AB")
        wait_for(lambda: sandbox.paper_text().endswith("READY\nAB"))
        with log.open("a") as file:
            file.write("fourth line\n")
        assert tailing.stderr is not None
        assert tailing.stderr.readline() == b"asr33: the machine is busy; waiting for a turn\n"
        feed(machine, b"\x03")
        wait_for(lambda: sandbox.paper_text().endswith("FOURTH LINE\n\nREADY\n"))
    finally:
        os.killpg(tailing.pid, signal.SIGINT)
    _, messages = tailing.communicate(timeout=30)
    assert re.fullmatch(rb"asr33: stopped after \d+ characters\n", messages), messages


def test_without_a_daemon_the_lines_come_too_and_a_part_of_one_after_a_pause(sandbox: Sandbox) -> None:
    sandbox.start_machine("--fast")
    printing = sandbox.start("print", "--fast", "--line", str(sandbox.link))
    feed(printing, b"one\ntwo\nthr")
    wait_for(lambda: sandbox.events.exists() and sandbox.paper_text() == "\nONE\nTWO\n")
    feed(printing, b"ee\nfour: ")
    wait_for(lambda: sandbox.paper_text() == "\nONE\nTWO\nTHREE\n")
    begun = time.monotonic()
    wait_for(lambda: "FOUR:" in sandbox.paper_text())
    assert time.monotonic() - begun > 0.5
    feed(printing, b"five")
    _, messages = printing.communicate(timeout=30)
    assert (printing.returncode, messages) == (0, b"")
    wait_for(lambda: sandbox.paper_text() == "\nONE\nTWO\nTHREE\nFOUR:\nFIVE\n")


def test_a_fifo_is_printed_as_it_comes(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.start_machine("--fast")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "head.txt").write_text("head")
    printing = sandbox.start(
        "print", "--fast", "--line", str(sandbox.link), str(tmp_path / "head.txt"), str(tmp_path / "fifo")
    )
    wait_for(lambda: sandbox.events.exists() and sandbox.paper_text() == "\nHEAD\n")
    with (tmp_path / "fifo").open("w") as file:
        file.write("more\n")
        file.flush()
        wait_for(lambda: sandbox.paper_text() == "\nHEAD\nMORE\n")
    assert printing.wait(30) == 0


def test_a_terminal_is_printed_line_by_line(sandbox: Sandbox) -> None:
    sandbox.start_machine("--fast")
    ours, theirs = pty.openpty()
    words = [*sandbox.program, "print", "--fast", "--line", str(sandbox.link)]
    process = subprocess.Popen(words, cwd=ROOT, env=sandbox.environ, stdin=theirs, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        assert b"type the text here" in process.stderr.readline()
        os.write(ours, b"one\n")
        wait_for(lambda: sandbox.events.exists() and sandbox.paper_text() == "\nONE\n")
        os.write(ours, b"two\n\x04")
        assert process.wait(30) == 0
        assert sandbox.paper_text() == "\nONE\nTWO\n"
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("source", ["/dev/zero", "/dev/urandom", "cat /dev/zero |", "yes |", "tr '\\0' a </dev/zero |"])
@pytest.mark.parametrize("command", ["print", "punch", "ask"])
def test_an_endless_input_is_refused_in_bounded_memory(sandbox: Sandbox, source: str, command: str) -> None:
    if command == "ask" and not source.endswith("|"):
        pytest.skip("ask reads no file")
    program = f"{sys.executable} -m tools.main {command}"
    line = " --fast --line /dev/null" if command != "ask" else ""
    shell = f"{source} {program}{line} -" if source.endswith("|") else f"{program}{line} {source}"
    if command == "ask":
        shell = shell.removesuffix(" -")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    begun = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", shell], cwd=ROOT, env=sandbox.environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert time.monotonic() - begun < 20
    assert done.returncode == 65, done.stderr
    assert re.fullmatch(rb"asr33: [^\n]{1,200}\n", done.stderr), done.stderr
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert peak <= max(before, 150_000)  # KiB


def test_a_pipe_faster_than_the_paper_waits(sandbox: Sandbox) -> None:
    """After its first line a pipe may go on for days; it is read no further ahead than the paper needs."""
    sandbox.start_machine()
    shell = f"(echo one; sleep 1.5; yes) | {sys.executable} -m tools.main print --line {sandbox.link}"
    printing = subprocess.Popen(
        ["sh", "-c", shell], cwd=ROOT, env=sandbox.environ, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_for(lambda: "ONE\nY\nY\nY\n" in sandbox.paper_text())
    os.killpg(printing.pid, signal.SIGINT)
    _, messages = printing.communicate(timeout=30)
    assert b"stopped after" in messages


TEXT = "Grüße — «né» №5\n"


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), None),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), None),
        (codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"), None),
        (codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), None),
        (codecs.BOM_UTF8 + TEXT.encode(), None),
        (TEXT.encode(), None),
        (codecs.BOM_UTF8 + TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16"),
        (TEXT.replace("№", "").encode("cp1252"), "cp1252"),
        (TEXT.encode("gb18030"), "gb18030"),
        ("日本\n".encode("iso2022_jp"), "iso2022_jp"),
        (b"a", None),
        (b"\xef", "latin-1"),
        (b"", None),
    ],
)
def test_a_text_is_decoded_however_it_is_cut(raw: bytes, encoding: str | None) -> None:
    whole = TextDecoder("x", encoding).decode(raw, final=True)
    decoder = TextDecoder("x", encoding)
    pieces = [decoder.decode(raw[at : at + 1]) for at in range(len(raw))]
    assert "".join(pieces) + decoder.decode(b"", final=True) == whole
    assert not whole.startswith("\ufeff")
    if len(raw) > 12:
        assert whole in (TEXT, TEXT.replace("№", ""))


@given(st.binary(max_size=80), st.sampled_from([None, "utf-8", "utf-16", "cp1252", "shift_jis", "utf-7", "utf-32"]))
def test_any_bytes_give_a_text_or_one_line(raw: bytes, encoding: str | None) -> None:
    refusals = []
    try:
        TextDecoder("x", encoding).decode(raw, final=True)
    except ToolError as error:
        refusals.append(error)
    assert all(error.exit_code == 65 and "\n" not in str(error) for error in refusals)
    lenient = TextDecoder("x", encoding)
    lenient.is_strict = False
    lenient.decode(raw, final=True)


@pytest.mark.parametrize("name", ["latin9000", "rot13", "base64", "", "undefined", "hex", "idna"])
def test_a_wrong_name_of_an_encoding_is_refused(sandbox: Sandbox, name: str) -> None:
    code, message = sandbox.run_command("print", "--line", "/dev/null", "--encoding", name, stdin=b"x")
    assert code == 64
    assert re.fullmatch(rf"asr33: --encoding {name}: no such encoding; .*\n", message)


def test_an_encoding_is_told_by_its_mark_or_named(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.start_machine("--fast")
    printing = ("print", "--fast", "--line", str(sandbox.link))
    (tmp_path / "16.txt").write_bytes("Notepad\r\nsaves\r\n".encode("utf-16"))
    assert sandbox.run_command(*printing, str(tmp_path / "16.txt")) == (0, "")
    wait_for(lambda: sandbox.paper_text() == "\nNOTEPAD\nSAVES\n")
    code, message = sandbox.run_command(*printing, stdin=b"caf\xe9 cr\xe8me\n")
    assert code == 65
    assert message == (
        "asr33: standard input is not UTF-8 at byte 3: name its encoding, as with --encoding latin-1, "
        "or convert it: iconv -f LATIN1 -t UTF-8\n"
    )
    assert sandbox.run_command(*printing, "--encoding", "latin-1", stdin=b"caf\xe9 cr\xe8me\n") == (0, "")
    wait_for(lambda: sandbox.paper_text().endswith("CAFE CREME\n"))
    code, message = sandbox.run_command(*printing, "--encoding", "ascii", stdin=b"caf\xe9\n")
    assert (code, "name another encoding" in message) == (65, True)
    cured = subprocess.run(
        ["iconv", "-f", "LATIN1", "-t", "UTF-8"], input=b"caf\xe9\n", capture_output=True, check=True
    )
    assert sandbox.run_command(*printing, stdin=cured.stdout) == (0, "")
    code, message = sandbox.run_command(*printing, sys.executable)
    assert (code, message) == (
        65,
        f"asr33: {sys.executable} is binary, not a text: name a text; "
        "UTF-16 without its mark takes --encoding utf-16-le\n",
    )


def test_a_bad_byte_in_a_log_that_goes_on_does_not_end_it(sandbox: Sandbox) -> None:
    sandbox.start_machine("--fast")
    printing = sandbox.start("print", "--fast", "--line", str(sandbox.link))
    feed(printing, b"one\n")
    wait_for(lambda: sandbox.events.exists() and sandbox.paper_text() == "\nONE\n")
    feed(printing, b"caf\xe9\nb\xe9b\xe9\n")
    wait_for(lambda: sandbox.paper_text() == "\nONE\nCAF?\nB?B?\n")
    _, messages = printing.communicate(timeout=30)
    assert (printing.returncode, messages.count(b"\n")) == (0, 1)


def test_ctrl_c_while_it_waits_says_what_was_struck(sandbox: Sandbox) -> None:
    sandbox.start_machine("--fast")
    sandbox.start_daemon("--fast")
    before = len(sandbox.strikes())
    printing = sandbox.start("print")
    feed(printing, b"twelve chars\n")
    wait_for(lambda: sandbox.paper_text().endswith("TWELVE CHARS\n\nREADY\n"))
    struck = len(sandbox.strikes()) - before - len("\nREADY\r\n")
    printing.send_signal(signal.SIGINT)
    assert printing.wait(30) == 130  # its standard input is still open
    _, messages = printing.communicate(timeout=30)
    assert messages == b"asr33: stopped after %d characters\n" % struck


def test_a_daemon_that_ends_says_how_far_the_text_came(sandbox: Sandbox) -> None:
    sandbox.start_machine()
    daemon = sandbox.start("run", "--line", str(sandbox.link))
    wait_for(lambda: sandbox.events.exists() and sandbox.paper_text().endswith("READY\n"), 60.0)
    printing = sandbox.start("print")
    feed(printing, b"so it goes on and on, " * 20 + b"\n")
    wait_for(lambda: "SO IT GOES" in sandbox.paper_text())
    daemon.terminate()
    _, messages = printing.communicate(timeout=60)
    assert printing.returncode in (69, 75)
    assert re.fullmatch(rb"asr33: the daemon [^\n]* \(after \d+ characters\)\n", messages), messages
