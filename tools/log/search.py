"""Search all lines, answers and printed texts. The newest are printed first, with the code of the answer.

All words must occur, in capitals or not; "a phrase" in quotes is found as it is, and pri* finds printer. A person is
found as the model's persona or as the speaker of the typed lines in that session, or as a name at the beginning of a
line, such as `Ada: Hello`. Ada finds Ada Lovelace too.

asr33 log search '"difference engine" babb*' --since 2026-11
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime

from daemon.archive.search_query import SearchFilter, SearchHit, build_query
from daemon.archive.transcript import format_date
from tools.cli.arguments import ranged_number
from tools.cli.errors import ToolError
from tools.cli.output import print_message, print_output
from tools.log.log_folder import list_logs, open_fresh_index, parse_date, resolve_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="+", metavar="TEXT", help="words to search for (required)")
    date_help = "first date, as 2026, 2026-11, 2026-11-30 or 2026-11-30T18:00 (default: all dates)"
    parser.add_argument("--since", type=parse_date, metavar="DATE", help=date_help)
    parser.add_argument("--model", metavar="NAME", help="sessions with this model (default: all models)")
    parser.add_argument("--person", metavar="NAME", help="lines and answers of this person (default: all people)")
    count_help = "number of hits to print (default %(default)s)"
    parser.add_argument("--count", type=ranged_number(int, 1, 100_000), default=20, metavar="N", help=count_help)
    parser.add_argument("--json", action="store_true", help="print JSON (default: text)")


def run(args: argparse.Namespace) -> int:
    """Returns 1 if nothing was found. Raises ToolError, DaemonError."""
    query = build_query(" ".join(args.text))
    if not query:
        raise ToolError("nothing to search for: give a word with letters or digits", "usage")
    folder = resolve_folder(args)
    list_logs(folder)
    since = args.since.timestamp() if args.since else None
    with open_fresh_index(folder) as index:
        hits, total = index.search(query, SearchFilter(since, args.model, args.person), args.count)
    if args.json:
        print_output(json.dumps([_json_fields(hit) for hit in hits], indent=2, ensure_ascii=False) + "\n")
    else:
        print_output("".join(map(_format_hit, hits)))
    if total > len(hits):
        print_message(f"asr33: {total - len(hits):,} older hits: search with --count {total}, or with more words")
    if not hits:
        print_message("asr33: nothing found")
    return 0 if hits else 1


def _format_hit(hit: SearchHit) -> str:
    lines = "".join(f"    {line}\n" for line in hit.snippet.splitlines() if line.strip())
    return f"{format_date(hit.at)}  {hit.code or 'printed'}  {hit.model}  {hit.path.stem}\n{lines}"


def _json_fields(hit: SearchHit) -> dict[str, object]:
    return {
        "session": hit.path.stem,
        "date": _iso(hit.at),
        "code": hit.code,
        "number": hit.number,
        "model": hit.model,
        "snippet": hit.snippet,
        "path": str(hit.path),
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone().isoformat(timespec="milliseconds")
