"""Your own texts, tweets and messages, made ready for `asr33 train`: added, cleaned, looked at.

Recognised by looking: plain text, PDF, tweets (a table of them, or the archive that X gives), Messenger, Signal and
Slack exports, and our own session logs; ZIPs as they are. Nothing leaves this computer, and nothing is passed over in
silence.

asr33 corpus add manuals/ facebook.zip --name attic
asr33 corpus report attic
asr33 train attic --name voice --minutes 60
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from model import store
from tools.corpora import keeping
from tools.corpora.cleaning import STEPS, CleaningOptions
from tools.corpora.errors import CorpusDamaged, CorpusError
from tools.output import say

if TYPE_CHECKING:
    from tools.corpora.ledger import Batch, Ledger

KINDS = ("text", "pdf", "tweets", "messenger", "signal", "slack", "log")
LINES = 20  # of damage, of warnings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    adding = _action(actions, "add", "files, folders and ZIPs into a corpus, new or old", _add)
    adding.add_argument("paths", type=_path, nargs="+", metavar="PATH", help="a file, a folder or a ZIP")
    adding.add_argument("--name", type=_name, required=True, metavar="NAME", help="the corpus")
    adding.add_argument("--as", dest="kind", choices=KINDS, default="", help="what the paths are, where looking errs")
    _add_cleaning(adding, "without any of these it is cleaned as it was before")

    cleaning = _action(actions, "clean", "clean a corpus again, as asked here", _clean)
    cleaning.add_argument("name", type=_name, metavar="NAME", help="the corpus")
    _add_cleaning(cleaning, "without any of these by all steps, of everybody")

    reporting = _action(actions, "report", "what is in it, what was left out and why, what training will take", _report)
    reporting.add_argument("name", type=_name, metavar="NAME", help="the corpus")
    reporting.add_argument(
        "--base", default="embedded", metavar="NAME", help="the model to be trained further: its tokens (%(default)s)"
    )
    reporting.add_argument("--json", action="store_true", help="as JSON")

    showing = _action(actions, "show", "some documents as the model will see them", _show)
    showing.add_argument("name", type=_name, metavar="NAME", help="the corpus")
    showing.add_argument("count", type=_count, nargs="?", default=5, metavar="N", help="how many (%(default)s)")
    showing.add_argument("--seed", type=int, default=0, metavar="N", help="others (%(default)s)")

    listing = _action(actions, "list", "the corpora there are", _list)
    listing.add_argument("--json", action="store_true", help="as JSON")
    removing = _action(actions, "remove", "a corpus and all that is in it; the files it came from stay", _remove)
    removing.add_argument("name", type=_name, metavar="NAME", help="the corpus")


def main(args: argparse.Namespace) -> int:
    """Raises CorpusError, each with its cure and exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names and emoji, on a terminal that has none
    try:
        code: int = args.action(args)
    except CorpusError as error:
        from tools.corpora.adding import plain

        raise type(error)(plain(str(error))) from None  # it names people and files out of somebody's archive
    return code


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    about: str,
    action: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(action=action)
    return parser


def _add_cleaning(parser: argparse.ArgumentParser, otherwise: str) -> None:
    cleaning = parser.add_argument_group("cleaning", otherwise)
    cleaning.add_argument("--person", metavar="NAME", help="what one learns to be: a part of a name; others answer")
    cleaning.add_argument(
        "--since", type=_day, metavar="DATE", help="only what was written since, as 2019 or 2019-06-30"
    )
    cleaning.add_argument("--anonymous", action="store_true", help="names, numbers and addresses become invented ones")
    cleaning.add_argument(
        "--without", action="append", metavar="STEP", help="leave this step out (several by commas); they are below"
    )
    width = max(map(len, STEPS))
    parser.epilog = "steps of cleaning:\n" + "\n".join(
        f"  {step.name:{width}}  {step.about}" for step in STEPS.values()
    )


def _cleaning(args: argparse.Namespace) -> CleaningOptions | None:
    """As asked; None if nothing was."""
    without = frozenset(step.strip() for words in args.without or () for step in words.split(",") if step.strip())
    asked = CleaningOptions(args.person or "", args.since, args.anonymous, without)
    return None if asked == CleaningOptions() else asked


def _add(args: argparse.Namespace) -> int:
    from tools.corpora import adding
    from tools.corpora.progress import progress

    known = keeping.stands(args.name)
    try:
        with progress() as shown:
            added = adding.add(args.name, args.paths, args.kind, _cleaning(args), shown)
    except KeyboardInterrupt:
        say(f"asr33: stopped; {args.name} {'is as it was' if known else 'was not begun'}")
        raise
    for batch in added.batches[:LINES]:
        _tell_batch(batch)
    if rest := added.batches[LINES:]:
        _tell_batch(adding.together(f"{len(rest):,} more", rest))
    for path, count in added.already.items():
        _print(f"{path}: {_files(count)} there already, and not added again")
    if added.records:
        _tell_kept(added.ledger)
    else:
        _print(f"{args.name}: nothing new; {added.ledger.records:,} records as before")
    return 0


def _tell_batch(batch: Batch) -> None:
    from tools.corpora.adding import plain, told_counts

    path = plain(batch.path)
    if batch.kind:
        records = "1 record" if batch.records == 1 else f"{batch.records:,} records"
        _print(f"{path}: {batch.kind}, {_files(batch.members)}, {records}")
    if batch.skipped:
        _print(f"{path}: no text in {told_counts(Counter(batch.skipped))}")
    if batch.left:
        _print(f"{path}: left alone, by their endings: {told_counts(Counter(batch.left))}")
    _say_some("damaged", batch.damaged)
    _say_some("look at this", batch.warned)


def _say_some(word: str, pairs: Sequence[tuple[str, str]]) -> None:
    from tools.corpora.adding import plain

    for place, what in pairs[:LINES]:
        say(f"asr33: {word}: {plain(f'{place}: {what}' if place else what)}")
    if len(pairs) > LINES:
        say(f"asr33: {word}: {len(pairs) - LINES} lines more, in corpus.json")


def _tell_kept(ledger: Ledger) -> None:
    from tools.corpora.adding import plain

    for note in ledger.counts.get("notes", ()):
        say(f"asr33: {plain(str(note))}")
    _print(
        f"{ledger.name}: {ledger.kept_records:,} of {ledger.records:,} records are left after cleaning; "
        f"asr33 corpus report {ledger.name}"
    )


def _clean(args: argparse.Namespace) -> int:
    from tools.corpora import adding
    from tools.corpora.progress import progress

    with progress() as shown:
        ledger = adding.clean(args.name, _cleaning(args) or CleaningOptions(), shown)
    _tell_kept(ledger)
    return 0


def _report(args: argparse.Namespace) -> int:
    from tools.corpora import report, showing

    figures = report.figures(args.name, args.base)
    if args.json:
        _print(json.dumps(figures.data(), indent=2, ensure_ascii=False))
    else:
        showing.show_report(figures, sys.stdout)
    return 0


def _show(args: argparse.Namespace) -> int:
    from tools.corpora import showing

    showing.show(args.name, args.count, args.seed, sys.stdout)
    return 0


def _list(args: argparse.Namespace) -> int:
    ledgers: list[Ledger] = []
    faults: dict[str, str] = {}
    for name in keeping.names():
        try:
            ledgers.append(keeping.read(name))
        except CorpusDamaged as error:
            faults[name] = str(error)
    if args.json:
        _print(json.dumps([_figures(ledger) for ledger in ledgers], indent=2, ensure_ascii=False))
    elif not ledgers and not faults:
        _print(f"no corpora in {keeping.home()}; make one: asr33 corpus add PATH --name NAME")
    else:
        _table([_row(ledger) for ledger in ledgers])
    for fault in faults.values():
        say(f"asr33: {fault}")
    return 0


def _figures(ledger: Ledger) -> dict[str, object]:
    return {
        "name": ledger.name,
        "folder": str(keeping.home() / ledger.name),
        "records": ledger.records,
        "kept": ledger.kept_records,
        "bytes": ledger.kept_bytes,
        "kinds": sorted({batch.kind for batch in ledger.batches if batch.kind}),
        "sources": [batch.path for batch in ledger.batches if batch.kind],
    }


def _row(ledger: Ledger) -> tuple[str, ...]:
    kinds = ", ".join(sorted({batch.kind for batch in ledger.batches if batch.kind}))
    return ledger.name, f"{ledger.records:,}", f"{ledger.kept_records:,}", f"{ledger.kept_bytes / 1e6:,.1f}", kinds


def _table(rows: list[tuple[str, ...]]) -> None:
    table = [("NAME", "RECORDS", "KEPT", "MB", "FROM"), *rows] if rows else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, *numbers, kinds in table:
        middle = "  ".join(text.rjust(width) for text, width in zip(numbers, widths[1:], strict=False))
        _print(f"{name.ljust(widths[0])}  {middle}  {kinds}")


def _remove(args: argparse.Namespace) -> int:
    keeping.remove(args.name)
    _print(f"{args.name}: removed; the files that it came from are where they were")
    return 0


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _name(text: str) -> str:
    if not store.NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits, dots, dashes and underlines make a name")
    return text


def _path(text: str) -> Path:
    if not text:  # of a variable that is not set; it would be all of the folder that one stands in
        raise argparse.ArgumentTypeError("an empty path; name a file, a folder or a ZIP")
    return Path(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


def _day(text: str) -> float:
    """Its first second, in UTC."""
    try:
        year, month, day = ([int(part) for part in text.split("-")] + [1, 1])[:3]
        return datetime(year, month, day, tzinfo=UTC).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2019, 2019-06 or 2019-06-30") from None


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
