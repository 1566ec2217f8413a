"""Lists, cancels, holds and releases the jobs of the spool, which print when the operator leaves the machine alone.

`asr33 print --spool` and the bridges put jobs into the spool of the running daemon. Each job has a number, ID.

asr33 spool list
asr33 spool hold 17
asr33 spool clear --person irc/ada
"""

from __future__ import annotations

import argparse
import getpass
import json
import logging
from typing import Any

from daemon import config
from daemon.config import Config
from daemon.control import protocol
from daemon.control.client import connect_to_daemon
from daemon.spool.rules import OWN_SOURCE, parse_duration
from model.log_format import log_to_stderr
from model.printable import escape_controls
from tools.cli.arguments import add_config_argument
from tools.cli.errors import ToolError
from tools.cli.output import print_message, print_output
from tools.cli.signals import run_until_interrupted
from tools.cli.table import format_table

MAX_SPOOL_CHARS = 15_000  # 25 minutes of paper
COLUMNS = ("ID", "WHO", "LENGTH", "PLACE", "UNTIL PAPER", "STATE")
BLOCK_TEXTS = {
    "hush": "the operator asked for silence with .HUSH",
    "the clock is not set": "there are quiet hours, and this computer's clock is not set yet",
    "quiet hours": "these are quiet hours",
    "paper": "the paper ends soon; put in a new roll, then say asr33 roll new 1000",
}
ACTIONS = {
    "list": "list the jobs in the order of printing",
    "cancel": "remove jobs; they strike nothing more and cost no budget",
    "hold": "let jobs wait until they are released",
    "release": "let held jobs print",
    "clear": "remove all jobs, or those of one person",
}
DONE_TEXTS = {"cancel": "cancelled", "hold": "held", "release": "released"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, summary in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == "list":
            action.add_argument("--json", action="store_true", help="print JSON (default: a table)")
        elif name == "clear":
            person_help = "NAME of any source, or SOURCE/NAME (default: all persons)"
            action.add_argument("--person", metavar="NAME", help=person_help)
        else:
            action.add_argument("ids", nargs="+", type=int, metavar="ID", help="numbers of the jobs (required)")
        add_daemon_arguments(action)
        action.set_defaults(action=name)


def add_daemon_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that choose the daemon."""
    parser.add_argument("--line", metavar="PORT", help="the line of the daemon (default: the only one that runs)")
    add_config_argument(parser)


def config_from_daemon_arguments(args: argparse.Namespace) -> Config:
    """Raises ConfigError."""
    return config.load_config({"line": {"port": args.line}}, config_file=args.config)


def main(args: argparse.Namespace) -> int:
    """Raises ConfigError, DaemonRefused, ProtocolError."""
    log_to_stderr(logging.WARNING)
    chosen = config_from_daemon_arguments(args)
    if args.action == "list":
        return run_until_interrupted(_list_jobs(chosen, as_json=args.json))
    return run_until_interrupted(_change_jobs(chosen, args))


async def _list_jobs(chosen: Config, *, as_json: bool) -> None:
    async with connect_to_daemon(chosen) as daemon:
        report = await daemon.request(protocol.ListJobs(), protocol.SpoolReport)
    if as_json:
        print_output(json.dumps({"jobs": report.jobs, "blocked": report.blocked}, indent=2, ensure_ascii=False) + "\n")
        return
    if not report.jobs:
        print_message("asr33: the spool is empty")
    else:
        print_output("".join(f"{row}\n" for row in format_table(COLUMNS, list(map(_row, report.jobs)), left=(1, 5))))
    if report.blocked:
        print_message(f"asr33: nothing of the spool prints now: {BLOCK_TEXTS.get(report.blocked, report.blocked)}")


async def _change_jobs(chosen: Config, args: argparse.Namespace) -> None:
    async with connect_to_daemon(chosen) as daemon:
        if args.action == "clear":
            request = protocol.ChangeJobs("clear", person=args.person or "")
            changed = await daemon.request(request, protocol.SpoolChanged)
            print_message(f"asr33: {changed.count} job{'' if changed.count == 1 else 's'} removed")
            return
        for job_id in args.ids:
            await daemon.request(protocol.ChangeJobs(args.action, job_id), protocol.SpoolChanged)
            print_message(f"asr33: job {job_id} is {DONE_TEXTS[args.action]}")


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    who = escape_controls(f"{job['source']}/{job['person']}")
    place = str(job["place"]) if job["place"] else "-"
    when = format_wait(job["seconds"]) if job["place"] else "-"
    return str(job["id"]), who, str(job["chars"]), place, when, str(job["state"])


def format_wait(seconds: float) -> str:
    """Returns a time in seconds up to two minutes, else in minutes; "unknown" for a negative one."""
    if seconds < 0:
        return "unknown"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


# For asr33 print --spool.


def add_spool_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    spool_help = "leave the text in the daemon's spool: it prints when no operator types (default: print now)"
    add("--spool", action="store_true", help=spool_help)
    add("--once", metavar="KEY", default="", help="with --spool: no second job with this KEY (default: none)")
    keep_help = "with --spool: do not print a text that is older, such as 30m, 1h or 7d (default: [spool] keep)"
    add("--keep", metavar="TIME", type=_duration, default=0.0, help=keep_help)
    from_help = "with --spool: who sends it, such as mail/ada, for the budgets (default: print/ and your user name)"
    add("--from", metavar="SOURCE/NAME", dest="sender", help=from_help)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def check_spool_arguments(args: argparse.Namespace) -> None:
    """Raises ToolError."""
    if not args.spool and (args.once or args.keep or args.sender):
        raise ToolError("--once, --keep and --from are for --spool: add it", "usage")
    if args.sender and not all(args.sender.partition("/")):
        raise ToolError(f"--from {args.sender}: say SOURCE/NAME, such as mail/ada", "usage")


async def submit_text(chosen: Config, args: argparse.Namespace, job: protocol.PrintJob) -> None:
    """Puts a text into the spool; tells its number, place and time. Raises ToolError, DaemonRefused, ProtocolError."""
    if len(job.text) > MAX_SPOOL_CHARS:
        raise ToolError(f"a job of the spool has at most {MAX_SPOOL_CHARS:,} characters: print it in parts", "damaged")
    source, _, person = (args.sender or f"{OWN_SOURCE}/{getpass.getuser()}").partition("/")
    request = protocol.SubmitJob(job.text, source, person, job.raw, job.style, job.overstrike, args.keep, args.once)
    async with connect_to_daemon(chosen) as daemon:
        accepted = await daemon.request(request, protocol.SpoolAccepted)
    if accepted.place:
        where = f"place {accepted.place}, {format_wait(accepted.seconds)} until paper"
    else:
        where = "printed, cancelled or held"
    print_message(f"asr33: job {accepted.job_id}{' was there already' * accepted.is_repeat}: {where}")
