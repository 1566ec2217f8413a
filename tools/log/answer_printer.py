"""Prints an answer of the past, cell by cell as it was, after its model has made it once more."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from daemon.archive.session_reader import ArchivedSession, Turn
from daemon.config import Config
from daemon.control.client import acquire_machine
from daemon.control.protocol import PrintJob
from drivers.clock import CHARACTER_S
from drivers.profile import Profile
from drivers.text.charset import fold_text
from model.errors import ModelError
from tools.cli.progress import ProgressLine, StageProgress
from tools.log.recording import SheetRecording, record_sheet, visible_lines
from tools.log.regeneration import Comparison, find_obstacle, generate_again
from tools.print import report_waiting


async def check_answer(session: ArchivedSession, turn: Turn, chosen: Config) -> str:
    """Makes the answer again; returns a message that says whether it came out the same, or why that is not known."""
    if obstacle := find_obstacle(turn, session.header):
        return f"{turn.code} is printed from the log: {obstacle}"
    recording, _ = record_sheet(session)
    with ProgressLine() as line:
        progress = StageProgress(line, "characters")
        progress.update("load the model", 0, 1)  # a stage of its own, which counts for no speed
        try:
            result = await generate_again(
                turn,
                session.header,
                chosen,
                recording.profile,
                lambda done, total: progress.update("make again", done, total),
            )
        except ModelError as error:
            return f"{turn.code} is printed from the log: {error}"
    return describe_comparison(turn, session.header.model_hash, result)


def describe_comparison(turn: Turn, model_hash: str, result: Comparison) -> str:
    how = f"model {turn.model}, seed {turn.seed}"
    if result.is_same:
        return f"{turn.code} came out the same: {how}, {len(turn.answer):,} characters"
    reason = "another processor or number of threads rounds otherwise"
    if not model_hash:
        reason = "the log has no hash of the model, which may have changed"
    return (
        f"{turn.code} came out otherwise after {result.characters:,} of {len(turn.answer):,} characters: {how}; "
        f"{reason}. It is printed from the log"
    )


def format_answer(session: ArchivedSession, turn: Turn) -> str:
    sheet = cut_answer(session, turn)
    answer = "\n".join(visible_lines(sheet)).strip("\n") if sheet.strokes else fold_text(turn.answer).strip()
    return "\n".join([*wrap_line(turn.typed, sheet.profile.usable_columns), answer, ""])


async def print_on_machine(session: ArchivedSession, turn: Turn, chosen: Config, args: argparse.Namespace) -> None:
    """Raises DaemonError, DriverError."""
    character_s = 0.0 if args.fast else CHARACTER_S
    async with acquire_machine(chosen, wait=args.wait, character_s=character_s, on_queued=report_waiting) as machine:
        job = make_job(session, turn, machine.profile)
        with ProgressLine(line_interval_s=None) as line:
            progress = StageProgress(line, "characters")
            await machine.run_job(job, lambda done, total: progress.update("print", done, total))


def make_job(session: ArchivedSession, turn: Turn, profile: Profile) -> PrintJob:
    """Returns the job that prints the line and the answer: cell by cell, or wrapped anew for a narrower machine."""
    sheet = cut_answer(session, turn)
    if sheet.strokes and sheet.profile.usable_columns <= profile.usable_columns:
        lines = [*wrap_line(turn.typed, profile.usable_columns), *_trim_lines(sheet.paper().overprint_lines())]
        return PrintJob("\n".join([*lines, ""]), raw=True)
    return PrintJob("\n".join([*turn.typed.splitlines(), turn.answer.strip(), ""]))


def cut_answer(session: ArchivedSession, turn: Turn) -> SheetRecording:
    """Returns the recording of the answer alone."""
    alone = replace(session, strokes=session.strokes[turn.first_stroke : turn.last_stroke + 1], keys=[], turns=[])
    return replace(record_sheet(alone)[0], profile=record_sheet(session)[0].profile)


def wrap_line(typed: str, columns: int) -> list[str]:
    """Returns a typed line as it was echoed: cut at the margin."""
    return [line[at : at + columns] for line in typed.splitlines() for at in range(0, max(len(line), 1), columns)]


def _trim_lines(lines: Sequence[str]) -> list[str]:
    """Returns the lines without empty ones at the beginning and the end."""
    inked = [number for number, line in enumerate(lines) if line]
    return list(lines[inked[0] : inked[-1] + 1]) if inked else []
