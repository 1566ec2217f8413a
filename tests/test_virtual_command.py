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
from fakes import read_terminal_until, terminal, wait_until

from drivers import errors, events
from drivers.clock import WallClock
from drivers.line.line import open_line
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.text.charset import even_parity
from drivers.virtual import Equipment, TypingUnit, VirtualTeletype
from tools import virtual_options
from tools.main import main
from tools.paper_view.stream import write_strike
from tools.virtual import add_arguments, leave_on_double_press
from tools.virtual_controls import HELP, VirtualControls

ROOT = Path(__file__).resolve().parents[1]
FULL = Path("/dev/full")
COMMAND = [sys.executable, "-W", "error", "-m", "tools.main", "virtual"]
TERMINAL = os.environ | {"TERM": "xterm"}


@contextmanager
def started(*args: str, **streams: int) -> Iterator[Popen[str]]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    with Popen([*COMMAND, *args], cwd=ROOT, env=TERMINAL, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def printed_on(link: Path, text: str) -> None:
    """All of a text, from a driver at the other end."""

    async def main() -> None:
        line = await open_line(str(link))
        tty = Teletype(line, WallClock(), character_s=0.0)
        with suppress(errors.LineLost):
            await tty.print(text)
            await tty.flush()
        await line.close()

    asyncio.run(main())


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_what_comes_and_leaves_cleanly_on_a_signal(tmp_path, number):
    link, log = tmp_path / "tty", tmp_path / "events"
    with started("--link", str(link), "--fast", "--events", str(log)) as process:
        wait_for(link)
        printed_on(link, "Hello, paper.\n")
        deadline = time.monotonic() + 20
        while (not log.exists() or log.read_text().count("\n") < 17) and time.monotonic() < deadline:
            time.sleep(0.02)
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


def test_the_command_types_the_lines_of_stdin(tmp_path):
    link = tmp_path / "tty"
    with started("--link", str(link), "--fast", stdin=subprocess.PIPE) as process:
        wait_for(link)

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


def test_the_command_says_in_one_line_what_is_wrong_with_a_link(tmp_path):
    link = tmp_path / "tty"
    link.write_text("mine")
    with started("--link", str(link)) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (69, "")
    assert re.fullmatch(r"asr33: .* remove it, or name another --link\n", err)


def test_the_command_says_in_one_line_that_the_strikes_have_no_place(tmp_path):
    with started("--events", str(tmp_path / "no" / "strikes")) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (74, "")
    assert re.fullmatch(r"asr33: .*strikes cannot be written .*: name a file in a folder of yours\n", err)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_ends_the_record_of_strikes_and_not_the_paper(tmp_path):
    link = tmp_path / "tty"
    with started("--link", str(link), "--fast", "--events", str(FULL)) as process:
        wait_for(link)
        printed_on(link, "Hello, paper.\n")
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["\n", "HELLO, PAPER.\n"]
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err.count("no more strikes go to /dev/full (No space left on device); the paper goes on\n") == 1
    assert err.count("\n") == 2


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_paper_that_can_go_nowhere_ends_the_command_in_one_line(tmp_path):
    link = tmp_path / "tty"
    full = os.open(FULL, os.O_WRONLY)
    with started("--link", str(link), "--fast", stdout=full) as process:
        os.close(full)
        wait_for(link)
        printed_on(link, "Hello, paper.\n")
        _, err = process.communicate(timeout=30)
    assert process.returncode == 74
    assert re.fullmatch(r"asr33: the paper can go nowhere \(No space left on device\): .*", err.splitlines()[-1])
    assert len(err.splitlines()) == 2


def test_a_reader_of_the_paper_who_leaves_ends_the_command_quietly(tmp_path):
    link = tmp_path / "tty"
    with started("--link", str(link), "--fast") as process:
        wait_for(link)
        assert process.stdout is not None
        process.stdout.close()
        printed_on(link, "Hello, paper.\n")
        assert process.wait(30) == 141
        assert process.stderr is not None
        assert len(process.stderr.read().splitlines()) == 1


def test_with_its_input_closed_the_machine_runs_all_the_same(tmp_path):
    link = tmp_path / "tty"
    words = ["sh", "-c", 'exec "$0" "$@" <&-', *COMMAND, "--link", str(link), "--fast"]
    with Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(link)
        printed_on(link, "Hello.\n")
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["\n", "HELLO.\n"]
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_second_machine_does_not_take_the_link_of_one_that_lives(tmp_path):
    link = tmp_path / "tty"
    with started("--link", str(link)) as first:
        wait_for(link)
        where = link.readlink()
        with started("--link", str(link)) as second:
            _, err = second.communicate(timeout=30)
        assert second.returncode == 69
        assert re.fullmatch(r"asr33: .* which lives: remove it, or name another --link\n", err)
        assert link.readlink() == where
        first.terminate()
        first.communicate(timeout=30)


def test_in_a_terminal_control_c_is_break_and_twice_leaves(tmp_path):
    link = tmp_path / "tty"
    words = ["--link", str(link), "--fast"]
    with terminal() as (hand, tty), started(*words, stdin=tty, stdout=tty, stderr=tty) as process:
        assert "twice at once leaves" in read_terminal_until(hand, "names the levers\r\n")
        deadline = time.monotonic() + 20
        while termios.tcgetattr(tty)[3] & termios.ISIG and time.monotonic() < deadline:
            time.sleep(0.02)

        async def main() -> list[events.Event]:
            line = await open_line(str(link))
            seen: list[events.Event] = []
            asked = asyncio.Event()

            def tap(event: events.Event) -> None:
                seen.append(event)
                if isinstance(event, events.CharacterStruck) and event.byte == 0x20:
                    asked.set()

            reading = asyncio.create_task(Teletype(line, WallClock(), on_event=tap, character_s=0.0).read_line("? "))
            async with asyncio.timeout(30):
                await asked.wait()
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


# What is fitted, and what is kept.


def sent_to(link: Path, data: bytes, until: Callable[[bytes], bool]) -> bytes:
    """Raw bytes to a machine, and all that it says until that is enough."""
    fd = os.open(link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        os.write(fd, data)
        said, deadline = b"", time.monotonic() + 30
        while not until(said):
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
            with suppress(BlockingIOError):
                said += os.read(fd, 4096)
        return said
    finally:
        os.close(fd)


def test_reader_and_punch_are_files_and_the_drum_answers(tmp_path):
    link, tape, punched = tmp_path / "tty", tmp_path / "in", tmp_path / "out"
    tape.write_bytes(b"\x00\x00TAPE\xff")
    punched.write_bytes(b"OLD")
    words = ["--link", str(link), "--fast", "--tape", str(tape), "--punch", str(punched), "--answerback", "HI\\x06"]
    with started(*words) as process:
        wait_for(link)
        assert sent_to(link, b"\x11", lambda said: len(said) >= 8) == b"\x00\x00TAPE\xff\xff"  # marked: FF is doubled
        assert bytes(byte & 0x7F for byte in sent_to(link, b"\x05", lambda said: len(said) >= 3)) == b"HI\x06"
        sent_to(link, b"\x12A\x00\xff\x14B", lambda said: len(punched.read_bytes()) == 7)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert punched.read_bytes() == b"OLDA\x00\xff\x14"


def test_the_sheet_is_kept_as_text_with_the_arrows_of_its_wheel(tmp_path):
    link, paper = tmp_path / "tty", tmp_path / "sheet.txt"
    with started("--link", str(link), "--fast", "--paper", str(paper), "--options", "wheel-1963,lf-returns") as process:
        wait_for(link)
        sent_to(link, b"A^_\nB", lambda said: True)
        assert process.stdout is not None
        assert process.stdout.read(5) == "A^_\nB"
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert paper.read_text() == "A↑←\nB\n"


def test_the_sheet_is_kept_as_a_picture(tmp_path):
    pytest.importorskip("PIL")
    link, paper = tmp_path / "tty", tmp_path / "sheet.png"
    with started("--link", str(link), "--fast", "--paper", str(paper)) as process:
        wait_for(link)
        printed_on(link, "Hello, paper.\n")
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert paper.read_bytes().startswith(b"\x89PNG")


def test_half_duplex_and_a_break_of_no_kind_at_all(tmp_path):
    link = tmp_path / "tty"
    words = ["--link", str(link), "--fast", "--duplex", "half", "--break", "none"]
    with started(*words, stdin=subprocess.PIPE) as process:
        wait_for(link)
        assert sent_to(link, b"\x41\xff", lambda said: len(said) >= 2) == b"\x41\xff"
        assert process.stdin is not None
        process.stdin.write("\x03b")
        process.stdin.flush()
        assert sent_to(link, b"", lambda said: len(said) >= 1) == b"B"
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
        (["--paper", "sheet.jpg"], 2, "sheet.jpg: the sheet is kept as text or as a PNG: name it sheet.png"),
        (["--tape", "/no/tape"], 66, "/no/tape cannot be read"),
        (["--punch", "/no/punch"], 74, "/no/punch cannot be written"),
        (["--paper", "/no/paper.txt"], 74, "/no/paper.txt cannot be written"),
        (["--body", "stout"], 2, "invalid choice: 'stout'"),
        (["--seed", "x"], 2, "invalid int value"),
    ],
)
def test_what_no_machine_is_made_of_is_said_in_a_line(words, code, says, capsys):
    try:
        left = main(["virtual", *words])
    except SystemExit as stop:
        left = stop.code
    out, err = capsys.readouterr()
    assert (left, out) == (code, "")
    assert says in err.splitlines()[-1]
    assert "usage:" in err or err.count("\n") == 1


def fitted(*words: str) -> Equipment:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return virtual_options.equipment_from_arguments(parser.parse_args(words))


def test_each_option_is_fitted():
    plain = fitted()
    assert plain == Equipment(profile=Profile(duplex="full"))
    for name in set(virtual_options.OPTIONS) - {"manual"}:
        assert fitted("--options", name) != plain, name
    assert fitted("--options", "end-bell, margin-bell").bell_columns == (71, 62)
    assert fitted("--punch", "x", "--options", "manual").profile.auto_punch is False
    assert fitted("--body", "gummy", "--break", "nul").break_mode == "nul"


OUT = "reader START: no tape is in it: T puts the punched one there, see also --tape"


async def test_levers_are_behind_an_escape_and_all_else_goes_through():
    notes: list[str] = []
    async with VirtualTeletype(WallClock(), character_s=0.0, equipment=Equipment(tape=b"ROW")) as machine:
        line = await open_line(machine.path)
        heard: list[events.LineInput] = []
        line.listen(heard.append)
        levers = VirtualControls(machine, notes.append)
        await levers.type("A\x1d\x1d")
        await levers.type("\x1d")
        await levers.type("s")
        await wait_until(lambda: len(heard) == 5)
        await levers.type("\x1dx\x1ds\x1dt\x1dp\x1dl\x1dl\x1dm\x1dm\x1du\x1du\x1dh\x1do\x1dq")
        assert bytes(one.value & 0x7F for one in heard if isinstance(one, events.Byte)) == b"A\x1dROW"
        assert machine.sim.punch.is_on
        assert machine.sim.line_switch == "line"
        assert machine.is_plugged
        await line.close()
    assert notes == [
        *[
            "reader START",
            "reader STOP",
            OUT,
            "nothing is punched: P is the punch's switch",
            "punch ON",
            "LOCAL",
            "LINE",
            "motor OFF",
            "motor ON",
            "the cable is out",
        ],
        f"the cable is in: {machine.path}",
        "HERE IS: no drum is fitted, see --answerback",
        "the loop is open for a second",
        HELP,
    ]


async def test_the_punched_tape_goes_into_the_reader_and_again():
    notes: list[str] = []

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():  # noqa: ASYNC110 - the machine has no event for it
                await asyncio.sleep(0.001)

    async with VirtualTeletype(WallClock(), character_s=0.0) as machine:
        line = await open_line(machine.path)
        heard: list[events.LineInput] = []
        line.listen(heard.append)
        levers = VirtualControls(machine, notes.append)

        async def read(rows: int) -> bytes:
            heard.clear()
            await levers.type("\x1dt\x1ds")
            await until(lambda: len(heard) >= rows)
            return bytes(one.value for one in heard if isinstance(one, events.Byte))

        async def punched(data: bytes) -> None:
            rows = len(machine.sim.punch.tape) + len(data)
            await levers.type("\x1dp")
            for byte in data:
                line.write(byte)
            await until(lambda: len(machine.sim.punch.tape) >= rows)
            await levers.type("\x1dp")

        await punched(b"A\xc2")
        assert [await read(2), await read(2)] == [b"A\xc2"] * 2
        await punched(b"C")
        assert await read(1) == b"C"
        await line.close()
    assert notes.count("the punched tape is in the reader, 2 rows: S starts it") == 2


# In a terminal, and beside it.


@contextmanager
def in_a_terminal(link: Path, *words: str, wide: int = 80) -> Iterator[tuple[int, Popen[str]]]:
    """Its keyboard and its screen, when it listens."""
    with terminal() as (hand, tty):
        termios.tcsetwinsize(tty, (24, wide))
        with started("--link", str(link), "--fast", *words, stdin=tty, stdout=tty, stderr=tty) as process:
            read_terminal_until(hand, "names the levers\r\n")
            yield hand, process


def test_the_terminal_shows_a_pile_at_the_margin_and_spaces_wipe_nothing_out(tmp_path):
    link = tmp_path / "tty"
    with in_a_terminal(link) as (hand, process):
        sent_to(link, b"A" * 71 + b"XYZ\r\nBB\r B\nEND", lambda said: True)
        shown = read_terminal_until(hand, "END")
        assert re.search(r"A{71}X\x1b\[72G\x1b\[1mY\x1b\[m\x1b\[72G\x1b\[1mZ\x1b\[m", shown), shown
        assert "BB\r\x1b[2G\x1b[1mB\x1b[m\r\n\x1b[3GEND" in shown
        os.write(hand, b"\x03\x03")
        assert read_terminal_until(hand, r"END\r\n|\n$")  # and the shell's prompt on a line of its own
        assert process.wait(30) == 0


def test_a_word_of_the_program_does_not_cut_the_line_of_the_paper(tmp_path):
    link = tmp_path / "tty"
    with in_a_terminal(link) as (hand, _):
        sent_to(link, b"OTHE", lambda said: True)
        read_terminal_until(hand, "OTHE")
        os.write(hand, b"\x1dh")
        shown = read_terminal_until(hand, r"answerback\r\nOTHE")
        assert "\r\x1b[Jasr33 virtual: HERE IS: no drum" in shown
        sent_to(link, b"R", lambda said: True)
        assert read_terminal_until(hand, "R") == "R"


def test_a_terminal_narrower_than_the_sheet_is_told_so(tmp_path):
    with terminal() as (hand, tty):
        termios.tcsetwinsize(tty, (24, 60))
        with started("--link", str(tmp_path / "tty"), stdout=tty, stderr=tty):
            read_terminal_until(
                hand, "the sheet has 72 columns and this terminal 60: a long line goes on in the next row\r\n"
            )


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_what_goes_wrong_at_the_end_has_a_line_of_its_own(tmp_path):
    link = tmp_path / "tty"
    with started("--link", str(link), "--fast", "--paper", str(FULL), stderr=subprocess.STDOUT) as process:
        wait_for(link)
        assert process.stdout is not None
        process.stdout.readline()
        sent_to(link, b"THE QUICK BROWN", lambda said: True)
        assert process.stdout.read(15) == "THE QUICK BROWN"
        process.terminate()
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 74
    assert rest.startswith("\nasr33: /dev/full cannot be written (No space left on device): make room")


def test_with_its_output_closed_the_command_says_so_in_one_line(tmp_path):
    words = ["sh", "-c", 'exec "$0" "$@" >&-', *COMMAND, "--link", str(tmp_path / "tty")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 74
    assert re.fullmatch(r"asr33: the paper can go nowhere \(it is closed\): .*\n", done.stderr)


def test_the_sheet_is_there_at_the_end_and_not_half_of_it_before(tmp_path):
    link, paper = tmp_path / "tty", tmp_path / "sheet.txt"
    with started("--link", str(link), "--fast", "--paper", str(paper)) as process:
        wait_for(link)
        printed_on(link, "Hello.\n")
        assert process.stdout is not None
        assert process.stdout.read(8) == "\nHELLO.\n"
        assert not paper.exists()
        process.terminate()
        process.communicate(timeout=30)
    assert paper.read_text() == "\nHELLO.\n\n"
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.txt"]


def test_a_terminal_that_is_closed_ends_the_command_well(tmp_path):
    link = tmp_path / "tty"
    hand, tty = os.openpty()
    with started("--link", str(link), "--fast", stdin=tty, stdout=tty) as process:
        os.close(tty)
        wait_for(link)
        sent_to(link, b"HALF A LINE", lambda said: True)
        read_terminal_until(hand, "LINE")
        os.close(hand)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Error" not in err


# Its parts.


def test_a_file_gets_the_text_and_no_carriage_returns_and_no_bells():
    machine, out = TypingUnit(character_s=0.0, coded_levers=True), io.StringIO()
    for moment, byte in enumerate(map(even_parity, b"AB\r\nC\x07\nD")):
        write_strike(machine.receive(byte, moment), out)
    write_strike(machine.receive(0x0A | 0x80, 9.0), out)  # passed over: an LF has even parity as it is
    assert out.getvalue() == "AB\nC\nD"


def test_control_c_leaves_the_second_time_within_a_second():
    moments = iter([5.0, 6.5, 7.2])
    leaves = leave_on_double_press(1.0, lambda: next(moments))
    assert [leaves(0), leaves(0), leaves(0)] == [False, False, True]
