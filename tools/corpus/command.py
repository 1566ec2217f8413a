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

from model.store import store
from tools.cli.output import print_message
from tools.corpus import storage
from tools.corpus.cleaning import STEPS, CleaningOptions
from tools.corpus.errors import CorpusDamaged, CorpusError

if TYPE_CHECKING:
    from tools.corpus.metadata import CorpusMetadata, ImportBatch

KINDS = ("text", "pdf", "tweets", "messenger", "signal", "slack", "log")
MAX_LINES = 20  # of damage, of warnings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    adding = _add_action(actions, "add", "files, folders and ZIPs into a corpus, new or old", _run_add)
    adding.add_argument("paths", type=_parse_path, nargs="+", metavar="PATH", help="a file, a folder or a ZIP")
    adding.add_argument("--name", type=_parse_name, required=True, metavar="NAME", help="the corpus")
    adding.add_argument("--as", dest="kind", choices=KINDS, default="", help="what the paths are, where looking errs")
    _add_cleaning_arguments(adding, "without any of these it is cleaned as it was before")

    cleaning = _add_action(actions, "clean", "clean a corpus again, as asked here", _run_clean)
    cleaning.add_argument("name", type=_parse_name, metavar="NAME", help="the corpus")
    _add_cleaning_arguments(cleaning, "without any of these by all steps, of everybody")

    reporting = _add_action(
        actions, "report", "what is in it, what was left out and why, what training will take", _run_report
    )
    reporting.add_argument("name", type=_parse_name, metavar="NAME", help="the corpus")
    reporting.add_argument(
        "--base", default="embedded", metavar="NAME", help="the model to be trained further: its tokens (%(default)s)"
    )
    reporting.add_argument("--json", action="store_true", help="as JSON")

    showing = _add_action(actions, "show", "some documents as the model will see them", _run_show)
    showing.add_argument("name", type=_parse_name, metavar="NAME", help="the corpus")
    showing.add_argument("count", type=_parse_count, nargs="?", default=5, metavar="N", help="how many (%(default)s)")
    showing.add_argument("--seed", type=int, default=0, metavar="N", help="others (%(default)s)")

    listing = _add_action(actions, "list", "the corpora there are", _run_list)
    listing.add_argument("--json", action="store_true", help="as JSON")
    removing = _add_action(
        actions, "remove", "a corpus and all that is in it; the files it came from stay", _run_remove
    )
    removing.add_argument("name", type=_parse_name, metavar="NAME", help="the corpus")


def main(args: argparse.Namespace) -> int:
    """Raises CorpusError, each with its cure and exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names and emoji, on a terminal that has none
    try:
        code: int = args.action(args)
    except CorpusError as error:
        from tools.corpus.add import make_printable

        raise type(error)(make_printable(str(error))) from None  # it names people and files out of somebody's archive
    return code


def _add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    description: str,
    action: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=description,
        description=f"{description[0].upper()}{description[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(action=action)
    return parser


def _add_cleaning_arguments(parser: argparse.ArgumentParser, description: str) -> None:
    cleaning = parser.add_argument_group("cleaning", description)
    cleaning.add_argument("--person", metavar="NAME", help="what one learns to be: a part of a name; others answer")
    cleaning.add_argument(
        "--since", type=_parse_date, metavar="DATE", help="only what was written since, as 2019 or 2019-06-30"
    )
    cleaning.add_argument("--anonymous", action="store_true", help="names, numbers and addresses become invented ones")
    cleaning.add_argument(
        "--without", action="append", metavar="STEP", help="leave this step out (several by commas); they are below"
    )
    width = max(map(len, STEPS))
    parser.epilog = "steps of cleaning:\n" + "\n".join(
        f"  {step.name:{width}}  {step.description}" for step in STEPS.values()
    )


def _cleaning_options(args: argparse.Namespace) -> CleaningOptions | None:
    """As asked; None if nothing was."""
    without = frozenset(step.strip() for words in args.without or () for step in words.split(",") if step.strip())
    asked = CleaningOptions(args.person or "", args.since, args.anonymous, without)
    return None if asked == CleaningOptions() else asked


def _run_add(args: argparse.Namespace) -> int:
    from tools.corpus import add
    from tools.corpus.progress import show_progress

    known = storage.corpus_exists(args.name)
    try:
        with show_progress() as shown:
            added = add.add_paths(args.name, args.paths, args.kind, _cleaning_options(args), shown)
    except KeyboardInterrupt:
        print_message(f"asr33: stopped; {args.name} {'is as it was' if known else 'was not begun'}")
        raise
    for batch in added.batches[:MAX_LINES]:
        _print_batch(batch)
    if rest := added.batches[MAX_LINES:]:
        _print_batch(add.merge_batches(f"{len(rest):,} more", rest))
    for path, count in added.already_present.items():
        _print(f"{path}: {_format_files(count)} there already, and not added again")
    if added.record_count:
        _print_kept(added.metadata)
    else:
        _print(f"{args.name}: nothing new; {added.metadata.records:,} records as before")
    return 0


def _print_batch(batch: ImportBatch) -> None:
    from tools.corpus.add import format_counts, make_printable

    path = make_printable(batch.path)
    if batch.kind:
        records = "1 record" if batch.records == 1 else f"{batch.records:,} records"
        _print(f"{path}: {batch.kind}, {_format_files(batch.members)}, {records}")
    if batch.skipped:
        _print(f"{path}: no text in {format_counts(Counter(batch.skipped))}")
    if batch.left:
        _print(f"{path}: left alone, by their endings: {format_counts(Counter(batch.left))}")
    _print_messages("damaged", batch.damaged)
    _print_messages("look at this", batch.warned)


def _print_messages(word: str, pairs: Sequence[tuple[str, str]]) -> None:
    from tools.corpus.add import make_printable

    for place, what in pairs[:MAX_LINES]:
        print_message(f"asr33: {word}: {make_printable(f'{place}: {what}' if place else what)}")
    if len(pairs) > MAX_LINES:
        print_message(f"asr33: {word}: {len(pairs) - MAX_LINES} lines more, in corpus.json")


def _print_kept(metadata: CorpusMetadata) -> None:
    from tools.corpus.add import make_printable

    for note in metadata.counts.get("notes", ()):
        print_message(f"asr33: {make_printable(str(note))}")
    _print(
        f"{metadata.name}: {metadata.kept_records:,} of {metadata.records:,} records are left after cleaning; "
        f"asr33 corpus report {metadata.name}"
    )


def _run_clean(args: argparse.Namespace) -> int:
    from tools.corpus import add
    from tools.corpus.progress import show_progress

    with show_progress() as shown:
        ledger = add.clean_corpus(args.name, _cleaning_options(args) or CleaningOptions(), shown)
    _print_kept(ledger)
    return 0


def _run_report(args: argparse.Namespace) -> int:
    from tools.corpus import print_report, report

    figures = report.build_report(args.name, args.base)
    if args.json:
        _print(json.dumps(figures.to_dict(), indent=2, ensure_ascii=False))
    else:
        print_report.print_report(figures, sys.stdout)
    return 0


def _run_show(args: argparse.Namespace) -> int:
    from tools.corpus import print_report

    print_report.print_documents(args.name, args.count, args.seed, sys.stdout)
    return 0


def _run_list(args: argparse.Namespace) -> int:
    ledgers: list[CorpusMetadata] = []
    faults: dict[str, str] = {}
    for name in storage.list_corpora():
        try:
            ledgers.append(storage.read_metadata(name))
        except CorpusDamaged as error:
            faults[name] = str(error)
    if args.json:
        _print(json.dumps([_corpus_json(ledger) for ledger in ledgers], indent=2, ensure_ascii=False))
    elif not ledgers and not faults:
        _print(f"no corpora in {storage.corpora_folder()}; make one: asr33 corpus add PATH --name NAME")
    else:
        _print_table([_corpus_row(ledger) for ledger in ledgers])
    for fault in faults.values():
        print_message(f"asr33: {fault}")
    return 0


def _corpus_json(metadata: CorpusMetadata) -> dict[str, object]:
    return {
        "name": metadata.name,
        "folder": str(storage.corpora_folder() / metadata.name),
        "records": metadata.records,
        "kept": metadata.kept_records,
        "bytes": metadata.kept_bytes,
        "kinds": sorted({batch.kind for batch in metadata.batches if batch.kind}),
        "sources": [batch.path for batch in metadata.batches if batch.kind],
    }


def _corpus_row(metadata: CorpusMetadata) -> tuple[str, ...]:
    kinds = ", ".join(sorted({batch.kind for batch in metadata.batches if batch.kind}))
    return (
        metadata.name,
        f"{metadata.records:,}",
        f"{metadata.kept_records:,}",
        f"{metadata.kept_bytes / 1e6:,.1f}",
        kinds,
    )


def _print_table(rows: list[tuple[str, ...]]) -> None:
    table = [("NAME", "RECORDS", "KEPT", "MB", "FROM"), *rows] if rows else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, *numbers, kinds in table:
        middle = "  ".join(text.rjust(width) for text, width in zip(numbers, widths[1:], strict=False))
        _print(f"{name.ljust(widths[0])}  {middle}  {kinds}")


def _run_remove(args: argparse.Namespace) -> int:
    storage.remove_corpus(args.name)
    _print(f"{args.name}: removed; the files that it came from are where they were")
    return 0


def _format_files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _parse_name(text: str) -> str:
    if not store.MODEL_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits, dots, dashes and underlines make a name")
    return text


def _parse_path(text: str) -> Path:
    if not text:  # of a variable that is not set; it would be all of the folder that one stands in
        raise argparse.ArgumentTypeError("an empty path; name a file, a folder or a ZIP")
    return Path(text)


def _parse_count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


def _parse_date(text: str) -> float:
    """Its first second, in UTC."""
    try:
        year, month, day = ([int(part) for part in text.split("-")] + [1, 1])[:3]
        return datetime(year, month, day, tzinfo=UTC).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2019, 2019-06 or 2019-06-30") from None


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
