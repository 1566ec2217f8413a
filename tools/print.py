"""Prints files on the paper: prose with wrapped words, code that can be read back, or art cell by cell.

asr33 print --raw picture.txt
man -P cat ls | asr33 print --line /dev/ttyUSB0

If a daemon runs at the machine, it prints between two lines of its operator; otherwise this command opens the line.
A file is one job. A pipe is printed as it comes, as with tail -f, and the operator gets the machine while it is silent.
a<backspace>b strikes b over a, as nroff writes bold and underline; in --raw a carriage return overprints. Tab stops are
at every eighth column. The control sequences of terminals (colours, titles) are left out, but for --code, which shows
them. BREAK at the machine, or Ctrl-C here, stops the paper within two characters.

--spool leaves the text with the running daemon, which prints it when the operator leaves the machine alone:

fortune | asr33 print --spool --once "fortune $(date +%F)" --keep 8h
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import unicodedata
from collections import deque
from collections.abc import Sequence

from daemon import config
from daemon.config import Config
from daemon.control.client import Machine, acquire_machine, cancelled_after, check_available, stopped_by_operator
from daemon.control.protocol import PrintJob
from daemon.errors import DaemonError, StoppedByOperator
from drivers.clock import CHARACTER_S
from drivers.errors import DriverError
from drivers.text.charset import Style
from drivers.text.control_sequences import ControlSequenceRemover
from model.log_format import log_to_stderr
from tools.cli.arguments import add_config_argument, add_machine_argument
from tools.cli.errors import ToolError
from tools.cli.output import print_message
from tools.cli.progress import ProgressLine, StageProgress
from tools.cli.signals import run_until_interrupted
from tools.cli.stdin import open_stdin
from tools.cli.text_encoding import MAX_MARK_BYTES, TextDecoder
from tools.cli.text_stream import TextStream, is_stream, too_long
from tools.spool import MAX_SPOOL_CHARS, add_spool_arguments, check_spool_arguments, submit_text

TAB_COLUMNS = 8
MAX_CHARS = 1_000_000  # 28 hours of paper
MAX_BYTES = 4 * MAX_CHARS + MAX_MARK_BYTES  # of these characters in UTF-32
# The machine is kept so long while no text comes: shortly if an operator waits for it. A line that is opened again
# costs a test of two seconds and an empty line of paper.
HOLD_S, DIRECT_HOLD_S = 1.0, 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="*", default=["-"], metavar="FILE", help="texts to print (default: -, standard input)")
    encoding_help = "encoding of the texts, such as latin-1 (default: told by the text's mark, else utf-8)"
    add("--encoding", metavar="NAME", help=encoding_help)
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--raw", action="store_true", help="art: no wrapping, carriage returns overprint (default: off)")
    code_help = "escape characters that a Model 33 lacks: \\( for { (default: off)"
    style.add_argument("--code", action="store_true", help=code_help)
    add_spool_arguments(parser)
    add_line_arguments(parser)


def add_line_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of all commands that use a machine."""
    add = parser.add_argument
    add("--line", metavar="PORT", help="the machine's line (default: the running daemon's, or the configured one)")
    add("--wait", action="store_true", help="wait for a turn if the machine is busy (default: off)")
    add("--fast", action="store_true", help="send at full speed, to a machine that is --fast too (default: off)")
    add_machine_argument(parser)
    add_config_argument(parser)


def config_from_line_arguments(args: argparse.Namespace) -> Config:
    """Returns the configuration with these arguments over files and environment. Raises ConfigError."""
    return config.load_config({"line": {"port": args.line}}, config_file=args.config, machine_file=args.machine)


def main(args: argparse.Namespace) -> int:
    """Raises DaemonError, DriverError, ToolError."""
    log_to_stderr(logging.WARNING)
    if args.encoding is not None:
        from tools.corpus.decoding.encodings import check_encoding

        args.encoding = check_encoding(args.encoding)
    chosen = config_from_line_arguments(args)
    check_spool_arguments(args)
    if "-" in args.files and not args.spool:
        check_available_before_stdin(chosen, args)
    with contextlib.ExitStack() as stack:
        texts = TextFeed(args, stack)
        if args.spool:
            return run_until_interrupted(_print_later(chosen, args, texts))
        return run_until_interrupted(_TextPrinter(chosen, args).print_all(texts))


async def _print_later(chosen: Config, args: argparse.Namespace, texts: TextFeed) -> None:
    """Puts the texts into the spool as one job. Raises ToolError, DaemonError."""
    text = ""
    while len(text) <= MAX_SPOOL_CHARS and (piece := await texts.next_piece()) is not None:
        text += end_with_newline(expand_tabs(piece))
    style: Style = "code" if args.code else "prose"
    await submit_text(chosen, args, PrintJob(text, args.raw, style, overstrike=not args.raw))


def check_available_before_stdin(chosen: Config, args: argparse.Namespace) -> None:
    """Refuses a busy machine before the user types a text, and sets --wait. Raises as `check_available`."""
    if not args.wait:
        asyncio.run(check_available(chosen))
        args.wait = True


class _TextPrinter:
    """Prints texts as jobs. While it waits for input, it gives the machine back."""

    def __init__(self, chosen: Config, args: argparse.Namespace) -> None:
        self._chosen, self._args = chosen, args
        self._struck = 0  # in all jobs
        self._is_waiting_told = self._are_long_lines_told = False

    async def print_all(self, texts: TextFeed) -> None:
        """Prints all texts in order. An error or a cancellation says how many characters were struck."""
        try:
            while (piece := await texts.next_piece()) is not None:
                await self._print_until_pause(piece, texts)
        except StoppedByOperator:
            raise stopped_by_operator(self._struck) from None
        except asyncio.CancelledError:
            raise cancelled_after(self._struck) from None
        except (DaemonError, DriverError, ToolError) as error:
            if self._struck:
                error.args = (f"{error} (after {self._struck:,} characters)",)
            raise
        finally:
            texts.close()

    async def _print_until_pause(self, piece: str | None, texts: TextFeed) -> None:
        """Takes the machine, prints the piece and those that follow, and gives the machine back at a pause."""
        character_s = 0.0 if self._args.fast else CHARACTER_S
        async with acquire_machine(
            self._chosen, wait=self._args.wait, character_s=character_s, on_queued=self._report_waiting
        ) as machine:
            before, hold_s = self._struck, HOLD_S if machine.is_shared else DIRECT_HOLD_S
            while piece is not None:
                try:
                    await self._print_piece(machine, piece)
                finally:
                    self._struck = before + machine.struck
                try:
                    piece = await texts.next_piece(hold_s)
                except TimeoutError:
                    return

    async def _print_piece(self, machine: Machine, piece: str) -> None:
        text, columns = end_with_newline(expand_tabs(piece)), machine.profile.usable_columns
        args = self._args
        job = PrintJob(text, raw=args.raw, style="code" if args.code else "prose", overstrike=not args.raw)
        if args.raw and not self._are_long_lines_told and (count := count_long_lines(text, columns)):
            self._are_long_lines_told = True
            lines = "1 line is" if count == 1 else f"{count} lines are"
            print_message(f"asr33: {lines} longer than {columns} characters; the excess is cut off")
        with ProgressLine(line_interval_s=None) as line:
            progress = StageProgress(line, "characters")
            await machine.run_job(job, lambda done, total: progress.update("print", done, total))

    def _report_waiting(self) -> None:
        if not self._is_waiting_told:
            self._is_waiting_told = True
            report_waiting()


def report_waiting() -> None:
    print_message("asr33: the machine is busy; waiting for a turn")


class TextCleaner(TextDecoder):
    """Decodes a text and leaves out the control sequences of terminals; in code each character can be read back."""

    def __init__(self, source: str, args: argparse.Namespace) -> None:
        super().__init__(source, args.encoding)
        self._remover = None if args.code else ControlSequenceRemover()

    def decode(self, data: bytes, *, final: bool = False) -> str:
        text = super().decode(data, final=final)
        return text if self._remover is None else self._remover.feed(text)


class TextFeed:
    """The texts to print: files, which are read at the start as one piece, and pipes and terminals, as they come."""

    def __init__(self, args: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        """Raises ToolError. The stack closes the files."""
        self._sources: deque[str | TextStream] = deque()
        chars = 0
        for name in args.files:
            source = _open_source(name, args, stack)
            if isinstance(source, str):
                source = end_with_newline(expand_tabs(source))
                if (chars := chars + len(source)) > MAX_CHARS:
                    raise too_long(name, MAX_CHARS)
                if self._sources and isinstance(self._sources[-1], str):
                    source = f"{self._sources.pop()}{source}"
            self._sources.append(source)

    async def next_piece(self, timeout_s: float | None = None) -> str | None:
        """Returns the next piece; None at the end. Raises ToolError, and TimeoutError if none comes in time."""
        while self._sources:
            source = self._sources[0]
            piece = source if isinstance(source, str) else await source.next_piece(timeout_s)
            if isinstance(source, str) or piece is None:
                self._sources.popleft()
            if piece is not None:
                return piece
        return None

    def close(self) -> None:
        for source in self._sources:
            if isinstance(source, TextStream):
                source.close()


def _open_source(name: str, args: argparse.Namespace, stack: contextlib.ExitStack) -> str | TextStream:
    label = "standard input" if name == "-" else name
    try:
        if name == "-":
            file = open_stdin("text", "name a file")
            if file.isatty():
                print_message("asr33: type the text here; Ctrl-D on a line of its own ends it")
        else:  # a FIFO is opened before its writer comes
            descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            file = stack.enter_context(open(descriptor, "rb"))  # noqa: PTH123, SIM115 - of a descriptor
        cleaner = TextCleaner(label, args)
        if is_stream(file):
            return TextStream(file, label, cleaner, MAX_CHARS)
        raw = file.read(MAX_BYTES + 1) or b""  # None: a device that has nothing now
    except OSError as error:
        raise ToolError(f"{label}: {error.strerror}; name a file that can be read", "missing") from None
    except ValueError:  # a NUL in the name
        raise ToolError(f"{name!r} cannot be the name of a file; name a file that can be read", "missing") from None
    if len(raw) > MAX_BYTES:
        raise too_long(label, MAX_CHARS)
    return cleaner.decode(raw, final=True)


def expand_tabs(text: str) -> str:
    """Replaces each tab by blanks up to the next eighth column; a backspace goes back one column."""
    out: list[str] = []
    column = 0
    for char in text:
        if char == "\t":
            char = " " * (TAB_COLUMNS - column % TAB_COLUMNS)
        out.append(char)
        # A combining accent takes no column.
        step = -1 if char == "\b" else sum(not unicodedata.combining(cell) for cell in char)
        column = 0 if char in ("\n", "\r") else max(0, column + step)
    return "".join(out)


def end_with_newline(text: str) -> str:
    """Ends the text with a newline, so that two files do not share a line."""
    return text if not text or text.endswith("\n") else text + "\n"


def count_long_lines(text: str, columns: int) -> int:
    """Counts the lines with a pass that exceeds the columns; blanks at its end do not count."""
    return sum(longest_pass(line.split("\r")) > columns for line in text.split("\n"))


def longest_pass(passes: Sequence[str]) -> int:
    return max(len(text.rstrip()) for text in passes)
