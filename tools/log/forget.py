"""Forget an answer with its line, a session, a person, or all before a date: it is really gone afterwards.

The text leaves the log and the index. A gap in the log keeps the time and the number of records. The prompts of later
answers lose the conversation that they had in their text. LAST is the last answer. Saved conversations lose it too.
--person and --before also take waiting jobs of the spool, saved conversations, and what the bridges remember.

A person is found as in `search`: as the persona or the operator of a session, which goes whole, or by the name before
a line, such as `Ada: Hello`. Other texts may mention the person; their number is printed.

If a daemon has the log open, it forgets the conversation too, says so on the paper, and goes on in a new log. Exports,
carbon copies and a corpus that you made from the logs are not touched, nor is the paper.

asr33 log forget LAST
asr33 log forget --person "Ada Lovelace"
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from daemon.archive import forget_plan
from daemon.archive.forget_plan import ForgetPlan, rewrite_log
from daemon.archive.log_replacement import is_in_use, lock_archive, release_log, replace_log
from daemon.archive.search_query import SearchFilter, build_query
from daemon.archive.session_index import index_exists, open_index, remove_index
from daemon.archive.session_reader import read_log_header, read_session
from daemon.config import resolve_log_folder
from daemon.control.client import acquire_daemon
from daemon.errors import DaemonError
from daemon.people import ForgetScope
from model.printable import quote_briefly
from tools.cli.consent import confirm
from tools.cli.errors import ToolError
from tools.cli.output import print_message, print_output
from tools.cli.progress import ProgressLine, StageProgress
from tools.log.log_folder import (
    LAST,
    find_answer,
    find_session_or_answer,
    list_logs,
    load_log_config,
    open_fresh_index,
    parse_date,
)
from tools.log.stored_texts import count_stored, find_state_of, forget_stored


def add_arguments(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group(required=True)
    name_help = "answer or session to forget; or use --person or --before (required)"
    chosen.add_argument("reference", nargs="?", metavar="LAST|CODE|SESSION", help=name_help)
    chosen.add_argument("--person", metavar="NAME", help="forget all of this person (default: see above)")
    date_help = "forget all before this date, as 2026, 2026-11-30 or 2026-11-30T18:00 (default: see above)"
    chosen.add_argument("--before", type=parse_date, metavar="DATE", help=date_help)
    parser.add_argument("--yes", action="store_true", help="forget without asking (default: ask)")


def run(args: argparse.Namespace) -> int:
    """Raises ToolError, DaemonError, OSError."""
    chosen = load_log_config(args)
    folder = resolve_log_folder(chosen)
    list_logs(folder)
    with lock_archive(folder):
        plan, state = _make_plan(args, folder), find_state_of(folder)
        scope = ForgetScope(args.person or "", args.before.timestamp() if args.before else 0.0)
        texts = _read_texts(plan)
        stored = count_stored(state, scope, texts)
        if not plan.selections and not stored:
            forget_stored(state, scope, texts)  # names alone, and what a daemon has not written yet
            print_message("asr33: nothing to forget")
            return 0
        if not args.yes and not confirm(_describe(plan, folder, stored), "Forget it?"):
            print_message("asr33: nothing is forgotten")
            return 0
        forget_stored(state, scope, texts)
        _forget(plan, folder)
    print_output("forgotten\n")
    if chosen.copy.file is not None and chosen.copy.file.expanduser().exists():
        print_message(f"asr33: the carbon copy {chosen.copy.file} is yours: delete from it what must go")
    if args.person:
        _report_mentions(args.person, folder)
    return 0


def _make_plan(args: argparse.Namespace, folder: Path) -> ForgetPlan:
    if args.before:
        with ProgressLine() as line:
            progress = StageProgress(line)
            return forget_plan.plan_before(folder, args.before, partial(progress.update, "reading the logs"))
    if args.person is not None:
        if not build_query(args.person):
            raise ToolError("--person: a name has letters or digits", "usage")
        with open_fresh_index(folder) as index:
            logs = {*index.find_person(args.person), *forget_plan.find_chat_logs(folder, args.person)}
        return forget_plan.plan_person(sorted(logs), args.person)
    if args.reference.upper() == LAST:
        return forget_plan.plan_answer(*find_answer(folder, LAST))
    path, number = find_session_or_answer(folder, args.reference)
    return forget_plan.plan_session(path) if number is None else forget_plan.plan_answer(path, number)


def _read_texts(plan: ForgetPlan) -> list[tuple[str, str]]:
    """Returns the lines and answers that are forgotten: a saved conversation may have them."""
    texts: list[tuple[str, str]] = []
    for path, chosen in plan.selections.items():
        turns = read_session(path).turns if chosen.is_whole or chosen.turns else []
        texts += [(turn.typed, turn.answer) for turn in turns if chosen.is_whole or turn.number in chosen.turns]
    return texts


def _describe(plan: ForgetPlan, folder: Path, stored: list[str]) -> str:
    if not plan.selections:
        return " and ".join(stored)
    counts = (
        *((plan.sessions, "session"), (plan.answers, "answer"), (plan.printed_texts, "printed text")),
        (plan.logs_with_chats, "log with answers in chat rooms"),
    )
    parts = [f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]
    also = "".join(f", {text}" for text in stored)
    oldest, newest = min(plan.selections).stem, max(plan.selections).stem
    logs = f"the log {oldest}" if oldest == newest else f"logs from {oldest} to {newest}"
    return f"{' and '.join(parts)}{_quote_line(plan)} in {logs} of {folder}{also}"


def _quote_line(plan: ForgetPlan) -> str:
    """Returns the line of the only answer to forget, so that the user can see which it is."""
    if (plan.sessions, plan.answers, plan.printed_texts) != (0, 1, 0):
        return ""
    path = next(path for path, chosen in plan.selections.items() if chosen.turns)
    (turn,) = (turn for turn in read_session(path).turns if turn.number in plan.selections[path].turns)
    return f" ({quote_briefly(turn.typed or turn.answer)})"


def _forget(plan: ForgetPlan, folder: Path) -> None:
    """Removes the texts from index and logs."""
    names = [path.name for path in plan.selections]
    if index_exists(folder):
        with open_index(folder) as index:
            index.check_writable()
            index.remove_sessions(names)
    try:
        _replace_logs(plan)
    except KeyboardInterrupt:
        print_message("asr33: stopped: some is not forgotten yet; say the same again")
        raise
    finally:
        _remove_from_index_again(names, folder)


def _remove_from_index_again(names: Sequence[str], folder: Path) -> None:
    """Removes what a search at the same time has read from the old logs; if it still runs, its index goes whole."""
    try:
        if index_exists(folder):
            with open_index(folder) as index:
                index.remove_sessions(names)
    except DaemonError:
        remove_index(folder)


def _replace_logs(plan: ForgetPlan) -> None:
    """Replaces the logs. Prompts that tell of a forgotten text go before it: if this is stopped, it is found again."""
    with ProgressLine() as line:
        progress = StageProgress(line)
        paths = sorted(plan.selections, key=lambda path: plan.selections[path].removes_text)
        for done, path in enumerate(paths):
            if is_in_use(path):
                line.clear()
                asyncio.run(_forget_in_open_log(plan, path))
            elif (held := replace_log(path, partial(rewrite_log, plan.selections[path]))) is not None:
                release_log(held)
            progress.update("forgetting", done + 1, len(paths))


async def _forget_in_open_log(plan: ForgetPlan, path: Path) -> None:
    """Takes the machine from its operator for a moment, so that no answer is being written."""
    header = read_log_header(path)
    port = header.line if header is not None else ""
    waiting = "asr33: the session goes on: this waits until the machine is free (Ctrl-C stops it)"
    async with acquire_daemon(port, lambda: print_message(waiting)) as daemon:
        await daemon.forget_conversation()
        held = replace_log(path, partial(rewrite_log, plan.selections[path]))
    if held is not None:
        release_log(held)


def _report_mentions(name: str, folder: Path) -> None:
    query = build_query(f'"{name}"')
    with open_fresh_index(folder) as index:
        _, mentions = index.search(query, SearchFilter(), 1)
    if mentions:
        texts = "1 other text has" if mentions == 1 else f"{mentions:,} other texts have"
        print_message(f"asr33: {texts} this name: asr33 log search '\"{name}\"'")
