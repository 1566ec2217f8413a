import argparse
import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen

import pytest
from fakes_sandbox import ROOT, wait_for
from fakes_teletype import read_terminal_until, terminal, wait_until

from drivers import errors, events
from drivers.clock import WallClock
from drivers.line import line_input
from drivers.line.line import open_line
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.text.charset import even_parity
from drivers.virtual import Equipment, TypingUnit, VirtualTeletype
from tools.main import main
from tools.paper_view.stream import write_strike
from tools.virtual import options
from tools.virtual.command import add_arguments, leave_on_double_press
from tools.virtual.controls import HELP, VirtualControls

FULL = Path("/dev/full")
COMMAND = [sys.executable, "-W", "error", "-m", "tools.main", "virtual"]
TERMINAL = os.environ | {"TERM": "xterm"}


@contextmanager
def start_command(*args: str, **streams: int) -> Iterator[Popen[str]]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    with Popen([*COMMAND, *args], cwd=ROOT, env=TERMINAL, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def print_text(link: Path, text: str) -> None:
    """Prints the text with a driver at the other end of the line."""

    async def main() -> None:
        line = await open_line(str(link))
        tty = Teletype(line, WallClock(), character_s=0.0)
        with suppress(errors.LineLost):
            await tty.print(text)
            await tty.flush()
        await line.close()

    asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_received_bytes_and_ends_cleanly_on_a_signal(tmp_path, number):
    link, log = tmp_path / "tty", tmp_path / "events"
    with start_command("--link", str(link), "--fast", "--events", str(log)) as process:
        wait_for(link.exists)
        print_text(link, "Hello, paper.\n")
        wait_for(lambda: log.exists() and log.read_text().count("\n") >= 17)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == "\nHELLO, PAPER.\n"
    assert re.fullmatch(rf"asr33 virtual: the line is {link}\r?\n", err)
    assert not link.is_symlink()
    strikes = [json.loads(line) for line in log.read_text().splitlines()]
    assert bytes(strike["byte"] for strike in strikes) == b"\r\nHELLO, PAPER.\r\n"
    assert [strike["column"] for strike in strikes[2:5]] == [0, 1, 2]
    assert not any(strike["smeared"] for strike in strikes)
    assert all(abs(strike["start"] - time.monotonic()) < 60 for strike in strikes)


def test_it_types_the_lines_of_standard_input(tmp_path):
    link = tmp_path / "tty"
    with start_command("--link", str(link), "--fast", stdin=subprocess.PIPE) as process:
        wait_for(link.exists)

        async def main() -> str:
            line = await open_line(str(link))
            assert process.stdin is not None
            process.stdin.write("hello\n")
            process.stdin.flush()
            typed = await Teletype(line, WallClock(), character_s=0.0).read_line("? ")
            await line.close()
            return typed

        assert asyncio.run(main()) == "HELLO"
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_bad_link_path_gives_a_one_line_error(tmp_path):
    link = tmp_path / "tty"
    link.write_text("mine")
    with start_command("--link", str(link)) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (69, "")
    assert re.fullmatch(r"asr33: .* remove it, or name another --link\n", err)


def test_an_unwritable_events_file_gives_a_one_line_error(tmp_path):
    with start_command("--events", str(tmp_path / "no" / "strikes")) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (74, "")
    assert re.fullmatch(r"asr33: .*strikes cannot be written .*: name a file in a folder of yours\n", err)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_ends_the_events_file_but_not_the_paper(tmp_path):
    link = tmp_path / "tty"
    with start_command("--link", str(link), "--fast", "--events", str(FULL)) as process:
        wait_for(link.exists)
        print_text(link, "Hello, paper.\n")
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["\n", "HELLO, PAPER.\n"]
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err.count("no more strikes are written to /dev/full (No space left on device); the paper goes on\n") == 1
    assert err.count("\n") == 2


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_output_ends_the_command_with_a_one_line_error(tmp_path):
    link = tmp_path / "tty"
    full = os.open(FULL, os.O_WRONLY)
    with start_command("--link", str(link), "--fast", stdout=full) as process:
        os.close(full)
        wait_for(link.exists)
        print_text(link, "Hello, paper.\n")
        _, err = process.communicate(timeout=30)
    assert process.returncode == 74
    last = err.splitlines()[-1]
    assert re.fullmatch(r"asr33: standard output cannot be written \(No space left on device\): .*", last)
    assert len(err.splitlines()) == 2


def test_a_closed_output_pipe_ends_the_command_quietly(tmp_path):
    link = tmp_path / "tty"
    with start_command("--link", str(link), "--fast") as process:
        wait_for(link.exists)
        assert process.stdout is not None
        process.stdout.close()
        print_text(link, "Hello, paper.\n")
        assert process.wait(30) == 141
        assert process.stderr is not None
        assert len(process.stderr.read().splitlines()) == 1


def test_with_closed_standard_input_the_machine_runs(tmp_path):
    link = tmp_path / "tty"
    words = ["sh", "-c", 'exec "$0" "$@" <&-', *COMMAND, "--link", str(link), "--fast"]
    with Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(link.exists)
        print_text(link, "Hello.\n")
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["\n", "HELLO.\n"]
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_second_machine_does_not_take_the_link_of_a_running_one(tmp_path):
    link = tmp_path / "tty"
    with start_command("--link", str(link)) as first:
        wait_for(link.exists)
        where = link.readlink()
        with start_command("--link", str(link)) as second:
            _, err = second.communicate(timeout=30)
        assert second.returncode == 69
        assert re.fullmatch(r"asr33: .* which is in use: remove it, or name another --link\n", err)
        assert link.readlink() == where
        first.terminate()
        first.communicate(timeout=30)


def test_in_a_terminal_ctrl_c_is_break_and_twice_leaves(tmp_path):
    link = tmp_path / "tty"
    words = ["--link", str(link), "--fast"]
    with terminal() as (hand, tty), start_command(*words, stdin=tty, stdout=tty, stderr=tty) as process:
        assert "twice at once leaves" in read_terminal_until(hand, "lists the controls\r\n")
        wait_for(lambda: not termios.tcgetattr(tty)[3] & termios.ISIG)

        async def main() -> list[events.Event]:
            line = await open_line(str(link))
            seen: list[events.Event] = []
            first_key = asyncio.Event()

            def tap(event: events.Event) -> None:
                seen.append(event)
                if isinstance(event, events.CharacterStruck) and event.byte == 0x20:
                    first_key.set()

            reading = asyncio.create_task(Teletype(line, WallClock(), on_event=tap, character_s=0.0).read_line("? "))
            async with asyncio.timeout(30):
                await first_key.wait()
                os.write(hand, b"a\x7f\x1b[A\x03")
                with pytest.raises(errors.Interrupted):
                    await reading
            await line.close()
            return seen

        seen = asyncio.run(main())
        assert [event.byte for event in seen if isinstance(event, events.KeyReceived)] == []
        assert [event.route for event in seen if isinstance(event, events.BreakPressed)] == ["break"]
        read_terminal_until(hand, r"[?]\x1b\[3G\^C\r*\n")
        os.write(hand, b"\x03\x03")
        assert process.wait(30) == 0


# Options of the machine, and saved files.


def send_raw(link: Path, data: bytes, until: Callable[[bytes], bool]) -> bytes:
    """Sends raw bytes to the machine and reads its answer until the condition holds."""
    fd = os.open(link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        os.write(fd, data)
        answer, deadline = b"", time.monotonic() + 30
        while not until(answer):
            assert time.monotonic() < deadline, answer
            time.sleep(0.01)
            with suppress(BlockingIOError):
                answer += os.read(fd, 4096)
        return answer
    finally:
        os.close(fd)


def test_reader_and_punch_use_files_and_the_drum_answers(tmp_path):
    link, tape, punched = tmp_path / "tty", tmp_path / "in", tmp_path / "out"
    tape.write_bytes(b"\x00\x00TAPE\xff")
    punched.write_bytes(b"OLD")
    words = ["--link", str(link), "--fast", "--tape", str(tape), "--punch", str(punched), "--answerback", "HI\\x06"]
    with start_command(*words) as process:
        wait_for(link.exists)
        assert (
            send_raw(link, b"\x11", lambda answer: len(answer) >= 8) == b"\x00\x00TAPE\xff\xff"
        )  # FF is doubled, since the line marks BREAK
        assert bytes(byte & 0x7F for byte in send_raw(link, b"\x05", lambda answer: len(answer) >= 3)) == b"HI\x06"
        send_raw(link, b"\x12A\x00\xff\x14B", lambda answer: len(punched.read_bytes()) == 7)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert punched.read_bytes() == b"OLDA\x00\xff\x14"


def test_the_sheet_is_saved_as_text_with_the_arrows_of_its_wheel(tmp_path):
    link, paper = tmp_path / "tty", tmp_path / "sheet.txt"
    with start_command(
        "--link", str(link), "--fast", "--paper", str(paper), "--options", "wheel-1963,lf-returns"
    ) as process:
        wait_for(link.exists)
        send_raw(link, b"A^_\nB", lambda answer: True)
        assert process.stdout is not None
        assert process.stdout.read(5) == "A^_\nB"
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert paper.read_text() == "A↑←\nB\n"


def test_the_sheet_is_saved_as_a_picture(tmp_path):
    pytest.importorskip("PIL")
    link, paper = tmp_path / "tty", tmp_path / "sheet.png"
    with start_command("--link", str(link), "--fast", "--paper", str(paper)) as process:
        wait_for(link.exists)
        print_text(link, "Hello, paper.\n")
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert paper.read_bytes().startswith(b"\x89PNG")


def test_half_duplex_and_no_break_encoding(tmp_path):
    link = tmp_path / "tty"
    words = ["--link", str(link), "--fast", "--duplex", "half", "--break", "none"]
    with start_command(*words, stdin=subprocess.PIPE) as process:
        wait_for(link.exists)
        assert send_raw(link, b"\x41\xff", lambda answer: len(answer) >= 2) == b"\x41\xff"
        assert process.stdin is not None
        process.stdin.write("\x03b")
        process.stdin.flush()
        assert send_raw(link, b"", lambda answer: len(answer) >= 1) == b"B"
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert out == "AB"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--options", "acr,gold"], 2, "no option 'gold': there are acr, "),
        (["--faults", "lost=2"], 2, "'lost=2' has no amount: lost wants a share"),
        (["--faults", "lots"], 2, "no fault 'lots': there are lost=N"),
        (["--answerback", "A" * 21], 2, "room for 20 characters"),
        (["--answerback", "É"], 2, "give ASCII"),
        (["--answerback", "\\x0"], 2, "cannot be read"),
        (["--listen", "foo"], 2, "give HOST:PORT"),
        (["--link", "/no/tty"], 69, "/no/tty cannot be made (No such file or directory)"),
        (["--paper", "sheet.jpg"], 2, "sheet.jpg: the sheet is saved as text or as a PNG: name it sheet.png"),
        (["--tape", "/no/tape"], 66, "/no/tape cannot be read"),
        (["--punch", "/no/punch"], 74, "/no/punch cannot be written"),
        (["--paper", "/no/paper.txt"], 74, "/no/paper.txt cannot be written"),
        (["--body", "stout"], 2, "invalid choice: 'stout'"),
        (["--seed", "x"], 2, "invalid int value"),
    ],
)
def test_an_impossible_option_gives_a_one_line_error(words, code, says, capsys):
    try:
        left = main(["virtual", *words])
    except SystemExit as stop:
        left = stop.code
    out, err = capsys.readouterr()
    assert (left, out) == (code, "")
    assert says in err.splitlines()[-1]
    assert "usage:" in err or err.count("\n") == 1


def build_equipment(*words: str) -> Equipment:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return options.equipment_from_arguments(parser.parse_args(words))


def test_each_option_is_fitted():
    plain = build_equipment()
    assert plain == Equipment(profile=Profile(duplex="full"))
    for name in set(options.OPTIONS) - {"manual"}:
        assert build_equipment("--options", name) != plain, name
    assert build_equipment("--options", "end-bell, margin-bell").bell_columns == (71, 62)
    assert build_equipment("--punch", "x", "--options", "manual").profile.auto_punch is False
    assert build_equipment("--body", "gummy", "--break", "nul").break_mode == "nul"


OUT = "reader START: no tape is in it: T puts the punched tape there, see also --tape"


async def test_controls_follow_an_escape_and_other_keys_pass_through():
    notes: list[str] = []
    async with VirtualTeletype(WallClock(), character_s=0.0, equipment=Equipment(tape=b"ROW")) as machine:
        line = await open_line(machine.path)
        inputs: list[line_input.LineInput] = []
        line.listen(inputs.append)
        controls = VirtualControls(machine, notes.append)
        await controls.type("A\x1d\x1d")
        await controls.type("\x1d")
        await controls.type("s")
        await wait_until(lambda: len(inputs) == 5)
        await controls.type("\x1dx\x1ds\x1dt\x1dp\x1dl\x1dl\x1dm\x1dm\x1du\x1du\x1dh\x1do\x1dq")
        assert bytes(item.value & 0x7F for item in inputs if isinstance(item, line_input.Byte)) == b"A\x1dROW"
        assert machine.sim.punch.is_on
        assert machine.sim.line_switch == "line"
        assert machine.is_plugged
        await line.close()
    assert notes == [
        *[
            "reader START",
            "reader STOP",
            OUT,
            "no tape is punched: P switches the punch on",
            "punch ON",
            "LOCAL",
            "LINE",
            "motor OFF",
            "motor ON",
            "the cable is out",
        ],
        f"the cable is in: {machine.path}",
        "HERE IS: the machine has no drum, see --answerback",
        "the loop is open for a second",
        HELP,
    ]


async def test_the_punched_tape_can_be_put_into_the_reader_repeatedly():
    notes: list[str] = []

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - the machine has no event for this
                await asyncio.sleep(0.001)

    async with VirtualTeletype(WallClock(), character_s=0.0) as machine:
        line = await open_line(machine.path)
        inputs: list[line_input.LineInput] = []
        line.listen(inputs.append)
        controls = VirtualControls(machine, notes.append)

        async def read(rows: int) -> bytes:
            inputs.clear()
            await controls.type("\x1dt\x1ds")
            await until(lambda: len(inputs) >= rows)
            return bytes(item.value for item in inputs if isinstance(item, line_input.Byte))

        async def punched(data: bytes) -> None:
            rows = len(machine.sim.punch.tape) + len(data)
            await controls.type("\x1dp")
            for byte in data:
                line.write(byte)
            await until(lambda: len(machine.sim.punch.tape) >= rows)
            await controls.type("\x1dp")

        await punched(b"A\xc2")
        assert [await read(2), await read(2)] == [b"A\xc2"] * 2
        await punched(b"C")
        assert await read(1) == b"C"
        await line.close()
    assert notes.count("the punched tape is in the reader, 2 rows: S starts it") == 2


# The terminal view.


@contextmanager
def start_in_terminal(link: Path, *words: str, wide: int = 80) -> Iterator[tuple[int, Popen[str]]]:
    """Starts the command in a terminal; yields the terminal and the process when it reads keys."""
    with terminal() as (hand, tty):
        termios.tcsetwinsize(tty, (24, wide))
        with start_command("--link", str(link), "--fast", *words, stdin=tty, stdout=tty, stderr=tty) as process:
            read_terminal_until(hand, "lists the controls\r\n")
            yield hand, process


def test_the_terminal_shows_overstrikes_at_the_margin_and_spaces_erase_nothing(tmp_path):
    link = tmp_path / "tty"
    with start_in_terminal(link) as (hand, process):
        send_raw(link, b"A" * 71 + b"XYZ\r\nBB\r B\nEND", lambda answer: True)
        shown = read_terminal_until(hand, "END")
        assert re.search(r"A{71}X\x1b\[72G\x1b\[1mY\x1b\[m\x1b\[72G\x1b\[1mZ\x1b\[m", shown), shown
        assert "BB\r\x1b[2G\x1b[1mB\x1b[m\r\n\x1b[3GEND" in shown
        os.write(hand, b"\x03\x03")
        assert read_terminal_until(hand, r"END\r\n|\n$")  # a shell's prompt then begins on a new line
        assert process.wait(30) == 0


def test_a_message_does_not_split_the_line_of_the_paper(tmp_path):
    link = tmp_path / "tty"
    with start_in_terminal(link) as (hand, _):
        send_raw(link, b"OTHE", lambda answer: True)
        read_terminal_until(hand, "OTHE")
        os.write(hand, b"\x1dh")
        shown = read_terminal_until(hand, r"answerback\r\nOTHE")
        assert "\r\x1b[Jasr33 virtual: HERE IS: the machine has no drum" in shown
        send_raw(link, b"R", lambda answer: True)
        assert read_terminal_until(hand, "R") == "R"


def test_a_terminal_narrower_than_the_sheet_gets_a_warning(tmp_path):
    with terminal() as (hand, tty):
        termios.tcsetwinsize(tty, (24, 60))
        with start_command("--link", str(tmp_path / "tty"), stdout=tty, stderr=tty):
            read_terminal_until(
                hand, "the sheet has 72 columns and this terminal 60: a long line goes on in the next row\r\n"
            )


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_an_error_at_the_end_begins_on_a_new_line(tmp_path):
    link = tmp_path / "tty"
    with start_command("--link", str(link), "--fast", "--paper", str(FULL), stderr=subprocess.STDOUT) as process:
        wait_for(link.exists)
        assert process.stdout is not None
        process.stdout.readline()
        send_raw(link, b"THE QUICK BROWN", lambda answer: True)
        assert process.stdout.read(15) == "THE QUICK BROWN"
        process.terminate()
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 74
    assert output.startswith("\nasr33: /dev/full cannot be written (No space left on device): make room")


def test_a_closed_standard_output_gives_a_one_line_error(tmp_path):
    words = ["sh", "-c", 'exec "$0" "$@" >&-', *COMMAND, "--link", str(tmp_path / "tty")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 74
    assert re.fullmatch(r"asr33: standard output cannot be written \(it is closed\): .*\n", done.stderr)


def test_the_sheet_is_written_at_the_end_and_never_in_part(tmp_path):
    link, paper = tmp_path / "tty", tmp_path / "sheet.txt"
    with start_command("--link", str(link), "--fast", "--paper", str(paper)) as process:
        wait_for(link.exists)
        print_text(link, "Hello.\n")
        assert process.stdout is not None
        assert process.stdout.read(8) == "\nHELLO.\n"
        assert not paper.exists()
        process.terminate()
        process.communicate(timeout=30)
    assert paper.read_text() == "\nHELLO.\n\n"
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.txt"]


def test_a_closed_terminal_ends_the_command_cleanly(tmp_path):
    link = tmp_path / "tty"
    hand, tty = os.openpty()
    with start_command("--link", str(link), "--fast", stdin=tty, stdout=tty) as process:
        os.close(tty)
        wait_for(link.exists)
        send_raw(link, b"HALF A LINE", lambda answer: True)
        read_terminal_until(hand, "LINE")
        os.close(hand)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Error" not in err


# Parts of the command.


def test_a_file_gets_plain_text_without_carriage_returns_and_bells():
    machine, out = TypingUnit(character_s=0.0, coded_levers=True), io.StringIO()
    for moment, byte in enumerate(map(even_parity, b"AB\r\nC\x07\nD")):
        write_strike(machine.receive(byte, moment), out)
    write_strike(machine.receive(0x0A | 0x80, 9.0), out)  # ignored: the parity bit of an LF is 0
    assert out.getvalue() == "AB\nC\nD"


def test_ctrl_c_twice_within_a_second_leaves():
    moments = iter([5.0, 6.5, 7.2])
    leaves = leave_on_double_press(1.0, lambda: next(moments))
    assert [leaves(0), leaves(0), leaves(0)] == [False, False, True]
