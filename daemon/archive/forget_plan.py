"""What is to be forgotten: an answer, a session, all before a date, or a person's, as a selection of each log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from daemon.archive.forget import KEPT_RECORDS, Selection, forget_lines
from daemon.archive.log_records import Record, iter_records, parse_record
from daemon.archive.logged_texts import ReadPosition, read_texts
from daemon.archive.session_list import find_clock_offset, read_summary, session_paths
from daemon.archive.session_reader import read_log_header, read_session
from daemon.archive.turn_spans import find_spans
from daemon.people import is_person

OnLog = Callable[[int, int], None]  # done, total: logs


@dataclass(slots=True)
class ForgetPlan:
    """The selections by log. The counts are of whole sessions, and of answers and printed texts in other sessions."""

    selections: dict[Path, Selection] = field(default_factory=dict)

    @property
    def sessions(self) -> int:
        return sum(chosen.is_whole for chosen in self.selections.values())

    @property
    def answers(self) -> int:
        return sum(len(chosen.turns) for chosen in self.selections.values() if not chosen.is_whole)

    @property
    def logs_with_chats(self) -> int:
        return sum(bool(chosen.chats_of or chosen.chats_until_s) for chosen in self.selections.values())

    @property
    def printed_texts(self) -> int:
        return sum(len(chosen.jobs) for chosen in self.selections.values() if not chosen.is_whole)


def plan_answer(path: Path, number: int) -> ForgetPlan:
    """Forgets one answer, with its line."""
    return _with_later_prompts({path: Selection(turns={number})})


def plan_session(path: Path) -> ForgetPlan:
    """Forgets all that was struck and typed in a session."""
    return _with_later_prompts({path: Selection(is_whole=True)})


def plan_before(folder: Path, moment: datetime, on_log: OnLog) -> ForgetPlan:
    """Forgets the sessions that ended before the moment, and what a longer one has before it. Raises DaemonError."""
    selections: dict[Path, Selection] = {}
    paths = session_paths(folder)
    for done, path in enumerate(paths):
        on_log(done, len(paths))
        summary = read_summary(path)
        if summary is None:
            continue
        # The whole log is searched: to take a wrong clock for a right one would delete the wrong sessions.
        until_s = (moment - summary.wall).total_seconds() - find_clock_offset(path)
        if summary.duration_s < until_s:
            if _has_text(path):
                selections[path] = Selection(is_whole=True)
        elif until_s > 0:
            session = read_session(path)
            turns = {turn.number for turn in session.turns if turn.at_s < until_s}
            jobs = {position for position, job in enumerate(session.jobs) if job.at_s < until_s}
            has_chats = any(record["t"] < until_s for record in _iter_records_of(path, "chat"))
            selections[path] = Selection(turns=turns, jobs=jobs, chats_until_s=until_s if has_chats else 0.0)
    return _with_later_prompts(selections)


def _has_text(path: Path) -> bool:
    """Whether a session was not forgotten whole before."""
    return any(record["ev"] not in KEPT_RECORDS for record in iter_records(path))


def find_chat_logs(folder: Path, name: str) -> list[Path]:
    """Returns the logs with an answer to this person in a chat room, or with a job of the spool by this person."""
    return [path for path in session_paths(folder) if _find_jobs(path, name) or _has_chat(path, name)]


def _has_chat(path: Path, name: str) -> bool:
    chosen = Selection(chats_of=name)
    return any(chosen.has_chat(record) for record in _iter_records_of(path, "chat"))


def _find_jobs(path: Path, name: str) -> set[int]:
    """Returns the positions of the printed texts that have a job of this person."""
    position, found = -1, set()
    for record in _iter_records_of(path, "lent", "job"):
        if record["ev"] == "lent":
            position += 1
        elif is_person(name, [str(record.get("person"))]):
            found.add(position)
    return found


def _iter_records_of(path: Path, *kinds: str) -> Iterator[Record]:
    """Yields the records of these kinds; most lines of a log are not parsed."""
    marks = [f'"ev":"{kind}"'.encode() for kind in kinds]
    with path.open("rb") as file:
        for line in file:
            if any(line.find(mark, 0, 60) > 0 for mark in marks) and (record := parse_record(line)) is not None:
                yield record


def plan_person(paths: Iterable[Path], name: str) -> ForgetPlan:
    """Forgets a person in these logs: sessions whose persona or operator they are, and texts in which they speak."""
    selections: dict[Path, Selection] = {}
    for path in paths:
        header = read_log_header(path)
        if header is None:
            continue
        if is_person(name, (header.persona, header.you)):
            selections[path] = Selection(is_whole=True, person=name)
            continue
        texts = read_texts(path, ReadPosition())
        printed = [text for text in texts if not text.number]
        turns = {text.number for text in texts if text.number and is_person(name, text.speakers)}
        jobs = {position for position, text in enumerate(printed) if is_person(name, text.speakers)}
        jobs |= _find_jobs(path, name)
        selections[path] = Selection(turns=turns, jobs=jobs, chats_of=name if _has_chat(path, name) else "")
    return _with_later_prompts(selections)


def rewrite_log(selection: Selection, old: BinaryIO, new: BinaryIO) -> None:
    """Writes the old log to the new file, without what is selected; reads the old one twice. Raises OSError."""
    size = old.seek(0, 2)
    old.seek(0)
    spans = find_spans(_whole_lines(old, size))
    old.seek(0)
    for line in forget_lines(_whole_lines(old, size), spans, selection):
        new.write(line)


def _whole_lines(file: BinaryIO, size: int) -> Iterable[bytes]:
    """Yields the lines that end within the size; the file is at the end of the last one then."""
    end = 0
    for line in iter(file.readline, b""):
        if end + len(line) > size or not line.endswith(b"\n"):
            file.seek(end)
            return
        end += len(line)
        yield line


def _with_later_prompts(selections: dict[Path, Selection]) -> ForgetPlan:
    """Adds the later prompts of the same conversation, in the same log and in the next ones of the same daemon."""
    chosen = {path: each for path, each in selections.items() if each.removes_text}
    followers = _find_followers(chosen)
    for path, selection in list(chosen.items()):
        if selection.turns:
            selection.memory_after = min(selection.turns)
        if selection.turns or selection.is_whole:
            for later in followers[path]:
                other = chosen.setdefault(later, Selection())
                other.memory_after = 0
    return ForgetPlan(chosen)


def _find_followers(chosen: Iterable[Path]) -> dict[Path, list[Path]]:
    """Returns for each log those that the same run of a daemon began later: their first records are the same."""
    runs: dict[tuple[object, ...], list[Path]] = defaultdict(list)
    run_of: dict[Path, tuple[object, ...]] = {}
    for folder in {path.parent for path in chosen}:
        for path in session_paths(folder):
            if (header := read_log_header(path)) is not None:
                run_of[path] = header.wall, header.monotonic, header.line
                runs[run_of[path]].append(path)
    return {
        path: [later for later in runs[run_of[path]] if later.stem > path.stem] for path in chosen if path in run_of
    }
