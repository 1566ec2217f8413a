"""Examines the installation, the line and the running daemon: each finding has the command that mends it.

It asks the running daemon first and opens no line. --loopback and --print do: DTR and RTS go on, which may start a
motor, and the machine prints their texts. It mends nothing itself. What it could not examine it says too.

`asr33 doctor report FILE` writes a file for a bug report: versions, findings, settings, and the daemon's messages,
without names, paths, hosts, keys and texts.

The exit code is 0 if nothing was found, 1 if something was, 2 for a wrong option.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from model.log_format import log_to_stderr
from model.printable import escape_controls
from tools.cli.arguments import add_config_argument
from tools.cli.errors import ToolError
from tools.cli.output import check_writable, print_message, print_output, write_atomic
from tools.cli.progress import ProgressLine
from tools.cli.signals import run_until_interrupted
from tools.doctor.examine import DoctorOptions, examine_all, load_config_or_default
from tools.doctor.finding import Examination

JSON_VERSION = 1
FOUND = 1  # the exit code if something was found
_HEADINGS = {"found": "Findings", "well": "Well", "not examined": "Not examined"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--json", action="store_true", help="print JSON (default: text)")
    line_help = "the only line to examine (default: the configured one and those of daemons, else all ports)"
    add("--line", metavar="PORT", help=line_help)
    loopback_help = "open the line of --line and see whether a text comes back, as with TXD and RXD joined"
    add("--loopback", action="store_true", help=loopback_help)
    add("--print", action="store_true", help="print two lines on the paper, through the daemon or on the opened line")
    add_config_argument(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    purpose = "write a file for a bug report, without names, paths, hosts, keys and texts"
    report = actions.add_parser("report", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    report.add_argument("file", type=Path, metavar="FILE", help="the file to write (required)")


def main(args: argparse.Namespace) -> int:
    """Raises ToolError."""
    log_to_stderr(logging.ERROR)
    options = options_from_arguments(args)
    found: list[Examination] = []
    if args.action == "report":
        check_writable(args.file)
    code = run_until_interrupted(collect_examinations(options, found))
    if code:
        return code
    if args.action == "report":
        write_report(args.file, found, options)
        return 0
    print_output(format_json(found) if args.json else format_text(found))
    return FOUND if any(examination.findings for examination in found) else 0


def options_from_arguments(args: argparse.Namespace) -> DoctorOptions:
    """Raises ToolError."""
    if args.loopback and not args.line:
        raise ToolError("--loopback opens a line: name it with --line PORT", "usage")
    if args.loopback or args.print:
        print_message("asr33: a test uses the machine: opening a line switches DTR and RTS on, and text is printed")
    return DoctorOptions(args.line, args.config, args.loopback, args.print)


def write_report(path: Path, found: Sequence[Examination], options: DoctorOptions) -> None:
    """Raises ToolError."""
    from tools.doctor.report import make_report

    config, _ = load_config_or_default(options)
    write_atomic(path, make_report(found, config, options.root).encode())
    print_message(f"asr33: {path} has the report: read it before you send it")


async def collect_examinations(options: DoctorOptions, found: list[Examination]) -> None:
    with ProgressLine() as progress:
        found += await examine_all(options, lambda stage: progress.show(f"examining {stage}", now=progress.is_terminal))


def format_json(found: Sequence[Examination]) -> str:
    return json.dumps(make_document(found), indent=2, ensure_ascii=True) + "\n"


def make_document(found: Sequence[Examination]) -> dict[str, Any]:
    examinations = [examination.to_json() for examination in found]
    findings = [finding for examination in examinations for finding in examination["findings"]]
    examined = [examination.title for examination in found if examination.state != "not examined"]
    return {
        "version": JSON_VERSION,
        "asr33": version("asr33"),
        "examined": examined,
        "findings": findings,
        "examinations": examinations,
    }


def format_text(found: Sequence[Examination]) -> str:
    return escape_controls("\n".join(_text_lines(found)), keep="\n") + "\n"


def _text_lines(found: Sequence[Examination]) -> Iterator[str]:
    for state, heading in _HEADINGS.items():
        chosen = [examination for examination in found if examination.state == state]
        yield f"{heading}:" if chosen else f"{heading}: nothing"
        for examination in chosen:
            yield from _examination_lines(examination)
        yield ""
    count = sum(len(examination.findings) for examination in found)
    yield f"{count} finding{'' if count == 1 else 's'}. docs/doctor.md explains them."


def _examination_lines(examination: Examination) -> Iterator[str]:
    if examination.state == "well":
        yield f"  {examination.title} ({examination.examined})"
    elif examination.state == "not examined":
        yield f"  {examination.title}: {examination.why_not}"
    for finding in examination.findings:
        yield f"  {finding.severity} {finding.id}: {finding.sentence}"
        yield f"      mend it: {finding.cure}"
