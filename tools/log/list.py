"""List the sessions: date, length, model, code of the first answer, and first line. The last is the newest."""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from pathlib import Path

from daemon.archive.session_list import SessionSummary, iter_summaries
from daemon.archive.transcript import format_date
from daemon.errors import DaemonError
from tools.cli.arguments import ranged_number
from tools.cli.output import print_message, print_output, terminal_width
from tools.cli.progress import format_duration
from tools.cli.table import format_table
from tools.log.log_folder import list_logs, open_fresh_index, resolve_folder

DEFAULT_COUNT = 20
COLUMNS = ("DATE", "LENGTH", "MODEL", "CODE", "FIRST LINE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    count = parser.add_mutually_exclusive_group()
    count_help = f"number of sessions (default {DEFAULT_COUNT})"
    number = ranged_number(int, 1, 1_000_000)
    count.add_argument("--count", type=number, default=DEFAULT_COUNT, metavar="N", help=count_help)
    count.add_argument("--all", action="store_true", help="list all sessions (default: the newest)")
    parser.add_argument("--json", action="store_true", help="print JSON (default: a table)")


def run(args: argparse.Namespace) -> int:
    """Raises ToolError, ConfigError."""
    folder = resolve_folder(args)
    paths = list_logs(folder)
    entries = _read_all(folder, paths) if args.all else list(islice(iter_summaries(reversed(paths)), args.count))[::-1]
    if args.json:
        print_output(json.dumps([_json_fields(entry) for entry in entries], indent=2, ensure_ascii=False) + "\n")
        return 0
    width = terminal_width(sys.stdout) if sys.stdout.isatty() else None
    print_output(
        "".join(f"{row[:width]}\n" for row in format_table(COLUMNS, list(map(_row, entries)), left=(0, 2, 3, 4)))
    )
    if len(entries) == args.count < len(paths) and not args.all:
        print_message(f"asr33: {len(paths) - len(entries):,} older sessions: asr33 log list --all")
    return 0


def _read_all(folder: Path, paths: list[Path]) -> list[SessionSummary]:
    """Returns all summaries: from the index, which reads new logs only, or from the logs if it cannot be used."""
    try:
        with open_fresh_index(folder, summaries_only=True) as index:
            return index.list_summaries()
    except DaemonError:
        return list(iter_summaries(paths))


def _row(entry: SessionSummary) -> tuple[str, ...]:
    line = entry.first_line or ("(forgotten)" if entry.is_forgotten else "-")
    return format_date(entry.started_at), format_duration(entry.duration_s), entry.model, entry.code or "-", line


def _json_fields(entry: SessionSummary) -> dict[str, object]:
    return {
        "id": entry.id,
        "date": entry.started_at.isoformat(timespec="milliseconds"),
        "seconds": entry.duration_s,
        "model": entry.model,
        "first_line": entry.first_line,
        "code": entry.code,
        "closed": entry.is_closed,
        "path": str(entry.path),
    }
