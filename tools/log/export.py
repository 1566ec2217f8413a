"""Write a session as a file of another format. It has the paper, its times and the model's name.

asciicast  for asciinema's players; each answer is a marker
text       the sheet as text
html       a page that plays by itself, without a network
svg, png   the sheet as a picture, with overstrike; a long PNG becomes NAME.png, NAME-2.png and so on
tape       the rows of a paper tape, for asr33 punch --binary

--redact and --names replace words by * on the paper, in each format. Columns and times stay.

asr33 log export LAST --format html
asr33 log export 2026-11-30 --format png --names "Ada Lovelace,Babbage" --output sheet.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.cli.errors import ToolError
from tools.cli.output import check_writable, print_message, stdout_errors, write_atomic
from tools.cli.progress import ProgressLine
from tools.log.log_folder import LAST, find_session, resolve_folder

_LARGE_BYTES = 1_000_000  # of a log: more may take over two seconds
SUFFIXES = {
    ".cast": "asciicast", ".txt": "text", ".html": "html", ".svg": "svg", ".png": "png", ".tape": "tape"
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("session", nargs="?", default=LAST, metavar="SESSION", help="the session (default: LAST)")
    format_help = "the format: asciicast, text, html, svg, png or tape (default: told by the name of --output, or text)"
    add("--format", choices=list(SUFFIXES.values()), metavar="FORMAT", help=format_help)
    output_help = "the file; -: standard output (default: the session's name and the suffix of the format)"
    add("--output", metavar="FILE", help=output_help)
    redact_help = "regular expression for what to replace; may be repeated (default: none)"
    add("--redact", action="append", default=[], metavar="RE", help=redact_help)
    add("--names", action="append", default=[], metavar="NAME,NAME", help="names to replace (default: none)")


def run(args: argparse.Namespace) -> int:
    """Raises ToolError, DaemonError, DriverError, and ModuleNotFoundError if Pillow is missing."""
    from daemon.archive.session_reader import read_session
    from tools.log.formats.registry import FORMATS
    from tools.log.recording import record_sheet
    from tools.log.redaction import compile_patterns, redact

    names = [name for group in args.names for name in group.split(",")]
    patterns = compile_patterns(args.redact, names)
    path = find_session(resolve_folder(args), args.session)
    name = choose_format(args.format, args.output)
    chosen = FORMATS[name]
    output = args.output or path.with_suffix(chosen.suffix).name
    is_stdout = output == "-"
    if is_stdout and sys.stdout.isatty() and not chosen.is_text:
        raise ToolError(f"{name} is no text for a terminal: name a file with --output", "usage")
    if not is_stdout:
        check_writable(Path(output))
    is_large = path.stat().st_size > _LARGE_BYTES
    with ProgressLine() as progress:
        progress.show(f"reading {path.name}", now=is_large)
        recording, passages = record_sheet(read_session(path))
        if patterns:
            progress.show("searching the sheet for what is redacted", now=is_large)
            result = redact(recording, passages, patterns)
            recording = result.recording
            _report_redaction(progress, result.places, result.strokes)
        progress.show(f"making the {name} file", now=is_large)
        pages = chosen.encode(recording)
    if is_stdout:
        _write_stdout(pages)
    else:
        _write_files(Path(output), pages, len(recording.strokes))
    return 0


def choose_format(name: str | None, output: str | None) -> str:
    """Returns the name of the format, which the suffix of the output tells if it is not given. Raises ToolError."""
    suffix = Path(output or "").suffix.lower()
    if name is None and suffix and suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise ToolError(f"{output}: its suffix names no format ({known}): choose one with --format", "usage")
    return name or SUFFIXES.get(suffix, "text")


def _report_redaction(progress: ProgressLine, places: int, strokes: int) -> None:
    if places:
        noun = "place" if places == 1 else "places"
        progress.print_line(f"asr33: {places:,} {noun} redacted, {strokes:,} characters")
    else:
        progress.print_line("asr33: nothing on the sheet matches --redact and --names: check their spelling")


def _write_stdout(pages: Sequence[bytes]) -> None:
    if len(pages) > 1:
        raise ToolError(f"the sheet takes {len(pages)} pictures: name a file with --output", "usage")
    with stdout_errors():
        sys.stdout.buffer.write(pages[0])
        sys.stdout.buffer.flush()


def _write_files(path: Path, pages: Sequence[bytes], strokes: int) -> None:
    for number, page in enumerate(pages, start=1):
        write_atomic(path if number == 1 else path.with_stem(f"{path.stem}-{number}"), page)
    more = f" and {len(pages) - 1} more" if len(pages) > 1 else ""
    print_message(f"asr33: {path}{more}: {strokes:,} strokes")
