"""Prepares your own texts, tweets and messages for `asr33 train`: adds, cleans, shows them.

The kind of each file is detected: plain text, PDF, tweets (the archive from X, or a table), other tables (CSV, JSON
Lines), exports of WhatsApp, Telegram, Messenger, Signal and Slack, and asr33's session logs. ZIPs need no extraction.
No data leaves this computer, and every file that is left out is reported.

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
from typing import TYPE_CHECKING

from tools.cli.errors import ToolError
from tools.cli.output import print_message, print_output
from tools.cli.table import format_table
from tools.corpus import storage
from tools.corpus.arguments import (
    add_cleaning_arguments,
    parse_count,
    parse_name,
    parse_numbers,
    parse_path,
    read_cleaning_options,
)
from tools.corpus.cleaning import CleaningOptions
from tools.corpus.fields import format_count, make_printable
from tools.corpus.importers.registry import KINDS, describe_kinds

if TYPE_CHECKING:
    from tools.corpus.metadata import CorpusMetadata, ImportBatch

MAX_LINES = 20  # damaged files, and warnings, printed for one path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = _add_action(actions, "add", "add files, folders and ZIPs to a new or existing corpus", _run_add)
    add.add_argument("paths", type=parse_path, nargs="+", metavar="PATH", help="file, folder or ZIP")
    add.add_argument("--name", type=parse_name, required=True, metavar="NAME", help="name of the corpus (required)")
    kind_help = "kind of all paths (default: detect it)"
    add.add_argument("--as", dest="kind", choices=sorted(KINDS), default="", help=kind_help)
    encoding_help = "encoding of all files, as cp1252 or mac_roman (default: recognise it in each file)"
    add.add_argument("--encoding", default="", metavar="NAME", help=encoding_help)
    column_help = "column of the texts in tables, by name or by number from 1 (default: find it)"
    add.add_argument("--column", default="", metavar="NAME|N", help=column_help)
    dialogue_help = "take only the conversations of stories, as messages of You and Teletype in turn (default: off)"
    add.add_argument("--dialogue", action="store_true", help=dialogue_help)
    leave_help = "numbers of documents to leave out, such as those that a model is scored on (default: none)"
    add.add_argument("--leave-out", type=parse_numbers, default=frozenset(), metavar="N,N", help=leave_help)
    add_cleaning_arguments(add, "without any of these options: the options of the last cleaning")

    clean = _add_action(actions, "clean", "clean a corpus again, with other options", _run_clean)
    clean.add_argument("name", type=parse_name, metavar="NAME", help="name of the corpus")
    add_cleaning_arguments(clean, "without any of these options: all steps, all people")

    report_help = "print the content, what was left out and why, and the cost of training"
    report = _add_action(actions, "report", report_help, _run_report)
    report.add_argument("name", type=parse_name, metavar="NAME", help="name of the corpus")
    base_help = "base model whose vocabulary counts the tokens (default %(default)s)"
    report.add_argument("--base", default="embedded", metavar="NAME", help=base_help)
    report.add_argument("--json", action="store_true", help="print JSON (default: off)")

    show = _add_action(actions, "show", "print some documents as the model will see them", _run_show)
    show.add_argument("name", type=parse_name, metavar="NAME", help="name of the corpus")
    count_help = "number of documents, 1 to 1000 (default %(default)s)"
    show.add_argument("count", type=parse_count, nargs="?", default=5, metavar="N", help=count_help)
    show.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the selection (default %(default)s)")

    listing = _add_action(actions, "list", "list all corpora", _run_list)
    listing.add_argument("--json", action="store_true", help="print JSON (default: off)")
    remove = _add_action(actions, "remove", "remove a corpus, or sources from it; your files stay", _run_remove)
    remove.add_argument("name", type=parse_name, metavar="NAME", help="name of the corpus")
    source_help = "path to take out, as the report names it, or a file in that path (default: the whole corpus)"
    remove.add_argument("sources", type=parse_path, nargs="*", metavar="SOURCE", help=source_help)


def main(args: argparse.Namespace) -> int:
    """Runs an action. Raises ToolError."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the terminal may lack letters and emoji of names
    try:
        code: int = args.action(args)
    except ToolError as error:
        raise ToolError(make_printable(str(error)), error.kind) from None  # it contains names from an archive
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


def _run_add(args: argparse.Namespace) -> int:
    from tools.corpus import add
    from tools.corpus.decoding.encodings import check_encoding
    from tools.corpus.dialogue import make_converter
    from tools.corpus.progress import ImportProgress

    encoding = check_encoding(args.encoding) if args.encoding else ""
    existed = storage.corpus_exists(args.name)
    try:
        with ImportProgress() as progress:
            options = read_cleaning_options(args)
            convert = make_converter(args.dialogue, args.leave_out)
            result = add.add_paths(args.name, args.paths, args.kind, options, progress, encoding, args.column, convert)
    except KeyboardInterrupt:
        print_message(f"asr33: stopped; {args.name} {'is unchanged' if existed else 'was not created'}")
        raise
    for batch in result.batches[:MAX_LINES]:
        _print_batch(batch)
    if unlisted := result.batches[MAX_LINES:]:
        _print_batch(add.merge_batches(f"{len(unlisted):,} more", unlisted))
    for path, count in result.already_present.items():
        _print(f"{path}: {format_count(count, 'file')} in the corpus already, not added again")
    if result.record_count:
        _print_kept(result.metadata)
    else:
        _print(f"{args.name}: nothing new; {format_count(result.metadata.records, 'record')} as before")
    return 0


def _print_batch(batch: ImportBatch) -> None:
    from tools.corpus.add import format_counts, format_reasons

    path = make_printable(batch.path)
    if batch.kind:
        is_mixed = all(KINDS[kind].is_generic for kind in batch.kind.split(" and "))
        endings = f" ({format_counts(Counter(batch.taken))})" if len(batch.taken) > 1 and is_mixed else ""
        counts = f"{format_count(batch.members, 'file')}{endings}, {format_count(batch.records, 'record')}"
        _print(f"{path}: {describe_kinds(batch.kind)}, {counts}")
    if batch.skipped:
        _print(f"{path}: left out, without text: {format_reasons(Counter(batch.skipped))}")
    if batch.left:
        cure = "; to import a text among them: name it, with --as text" if batch.left_texts else ""
        _print(f"{path}: files left out, by ending: {format_counts(Counter(batch.left))}{cure}")
    _print_messages("not read", batch.damaged)
    _print_messages("warning", batch.warned)


def _print_messages(label: str, pairs: Sequence[tuple[str, str]]) -> None:
    for source, message in pairs[:MAX_LINES]:
        print_message(f"asr33: {label}: {make_printable(f'{source}: {message}' if source else message)}")
    if len(pairs) > MAX_LINES:
        print_message(f"asr33: {label}: {len(pairs) - MAX_LINES} more, listed in corpus.json")


def _print_kept(metadata: CorpusMetadata) -> None:
    for note in metadata.counts.get("notes", ()):
        print_message(f"asr33: {make_printable(str(note))}")
    records = format_count(metadata.records, "record")
    kept = f"{metadata.kept_records:,} of {records} {'is' if metadata.kept_records == 1 else 'are'} left after cleaning"
    if metadata.kept_records > metadata.records:
        kept = f"cleaning split {records} into {metadata.kept_records:,}"
    _print(f"{metadata.name}: {kept}; asr33 corpus report {metadata.name}")


def _run_clean(args: argparse.Namespace) -> int:
    from tools.corpus import add
    from tools.corpus.progress import ImportProgress

    with ImportProgress() as progress:
        metadata = add.clean_corpus(args.name, read_cleaning_options(args) or CleaningOptions(), progress)
    _print_kept(metadata)
    return 0


def _run_report(args: argparse.Namespace) -> int:
    from tools.corpus import print_report, report

    corpus_report = report.build_report(args.name, args.base)
    if args.json:
        _print(json.dumps(corpus_report.to_dict(), indent=2, ensure_ascii=False))
    else:
        print_report.print_report(corpus_report, sys.stdout)
    return 0


def _run_show(args: argparse.Namespace) -> int:
    from tools.corpus import print_report

    print_report.print_documents(args.name, args.count, args.seed, sys.stdout)
    return 0


def _run_list(args: argparse.Namespace) -> int:
    corpora: list[CorpusMetadata] = []
    faults: list[str] = []
    for name in storage.list_corpora():
        try:
            corpora.append(storage.read_metadata(name))
        except ToolError as error:
            faults.append(str(error))
    if args.json:
        _print(json.dumps([_corpus_json(metadata) for metadata in corpora], indent=2, ensure_ascii=False))
    elif corpora:
        columns = ("NAME", "RECORDS", "KEPT", "MB", "FROM")
        for line in format_table(columns, [_corpus_row(metadata) for metadata in corpora], left=(0, -1)):
            _print(line)
    elif not faults:
        _print(f"no corpora in {storage.corpora_folder()}; make one: asr33 corpus add PATH --name NAME")
    for fault in faults:
        print_message(f"asr33: {fault}")
    return 0


def _corpus_json(metadata: CorpusMetadata) -> dict[str, object]:
    return {
        "name": metadata.name,
        "folder": str(storage.corpora_folder() / metadata.name),
        "records": metadata.records,
        "kept": metadata.kept_records,
        "bytes": metadata.kept_bytes,
        "kinds": metadata.kinds,
        "sources": [batch.path for batch in metadata.batches if batch.kind],
    }


def _corpus_row(metadata: CorpusMetadata) -> tuple[str, ...]:
    numbers = f"{metadata.records:,}", f"{metadata.kept_records:,}", f"{metadata.kept_bytes / 1e6:,.1f}"
    return metadata.name, *numbers, ", ".join(metadata.kinds)


def _run_remove(args: argparse.Namespace) -> int:
    if not args.sources:
        storage.remove_corpus(args.name)
        _print(f"{args.name}: removed; the files that it came from are unchanged")
        return 0
    from tools.corpus import remove
    from tools.corpus.progress import ImportProgress

    with ImportProgress() as progress:
        metadata, lines = remove.remove_sources(args.name, list(map(str, args.sources)), progress)
    _print("\n".join(lines))
    _print_kept(metadata)
    return 0


def _print(line: str) -> None:
    print_output(line + "\n")
