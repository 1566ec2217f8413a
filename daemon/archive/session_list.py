"""The list of sessions. A summary is made from the beginning and the end of a log, so that a long one costs no more."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from daemon.archive.answer_code import compute_answer_code
from daemon.archive.log_records import Record, is_time, parse_record
from daemon.archive.session_reader import FORGOTTEN, read_header

HEAD_BYTES = 65536  # about 800 characters of paper: the greeting and the first line
TAIL_BYTES = 4096
MAX_LINE_CHARS = 200  # of the first line
MAX_OFFSET_S = 4e9  # 126 years: a computer without a battery clock may begin in 1970


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session: `first_line` is its first line that was answered, and `code` the code of that answer.

    Both are "" if there is none. `clock_offset_s` corrects `wall`; it is 0 if the log has it in the middle.
    """

    path: Path
    wall: datetime
    clock_offset_s: float
    duration_s: float
    model: str
    first_line: str
    code: str
    is_closed: bool
    is_forgotten: bool = False
    persona: str = ""
    you: str = ""

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def started_at(self) -> datetime:
        return self.wall + timedelta(seconds=self.clock_offset_s)


def session_paths(folder: Path) -> list[Path]:
    """Returns the logs of a folder, oldest first by their names; none if there is no folder. Raises OSError."""
    try:
        names = [path for path in folder.iterdir() if path.suffix == ".jsonl" and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    return sorted(names, key=lambda path: path.stem)


def iter_summaries(paths: Iterable[Path]) -> Iterator[SessionSummary]:
    """Yields a summary of each log; files that are none, are empty, or may not be read are left out."""
    for path in paths:
        summary = read_summary(path)
        if summary is not None:
            yield summary


def read_summary(path: Path) -> SessionSummary | None:
    """Returns the summary of a log, or None if the file is none or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            tail = head[-TAIL_BYTES:] if size <= len(head) else file.read(TAIL_BYTES)
    except OSError:
        return None
    header_record = parse_record(head[: head.find(b"\n") + 1])
    if header_record is None or header_record["ev"] != "session":
        return None
    header, last = read_header(header_record), _last_record(tail) or header_record
    first_line, code, is_forgotten = _find_first_answer(path.stem, head)
    return SessionSummary(
        path=path,
        wall=header.wall,
        clock_offset_s=_find_offset(tail) or _find_offset(head),
        duration_s=max(float(last["t"]), 0.0),
        model=header.model,
        first_line=first_line,
        code=code,
        is_closed=last["ev"] == "close",
        is_forgotten=is_forgotten,
        persona=header.persona,
        you=header.you,
    )


def find_clock_offset(path: Path) -> float:
    """Returns by how many seconds the log says that its clock was wrong, wherever it says so. Raises OSError."""
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return 0.0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _find_offset(data)


def _last_record(tail: bytes) -> Record | None:
    lines = tail.split(b"\n")
    return next((record for line in reversed(lines) if (record := parse_record(line)) is not None), None)


def _find_offset(data: bytes | mmap.mmap) -> float:
    """Returns the offset in the last `clock` record of the data; 0 if there is none."""
    start = data.rfind(b'"ev":"clock"')
    if start < 0:
        return 0.0
    end = data.find(b"\n", start)
    record = parse_record(data[data.rfind(b"\n", 0, start) + 1 : end if end >= 0 else len(data)])
    offset: Any = record.get("offset") if record is not None else None
    return float(offset) if is_time(offset) and abs(offset) < MAX_OFFSET_S else 0.0


def _find_first_answer(session_id: str, head: bytes) -> tuple[str, str, bool]:
    """Returns the first answered line, shortened, the code of its answer, and whether records before were forgotten.

    If the log has no line, it is the beginning of the answer.
    """
    typed, code, forgotten, is_forgotten = "", "", 0, False
    answer: list[str] = []
    for line in head.split(b"\n"):
        # These records are most of a log, and a summary needs none of them.
        if line.find(b'"ev":"tx"', 0, 40) > 0 or line.find(b'"ev":"rx"', 0, 40) > 0:
            continue
        if (record := parse_record(line)) is None:
            continue
        match record["ev"]:
            case "typed" if not code:
                typed = str(record.get("text", ""))
            case "gap" if not code:
                prompts = record.get("prompts")
                forgotten += prompts if isinstance(prompts, int) else 0
                is_forgotten = is_forgotten or record.get("why") == FORGOTTEN
            case "prompt" if not code:
                code = str(record.get("code") or compute_answer_code(session_id, forgotten + 1))
                if typed.strip():
                    break
            case "piece" if code:
                answer.append(str(record.get("text", "")))
            case "end" | "prompt" if code:
                break
    text = typed if code and typed.strip() else "".join(answer)
    return " ".join(text.split())[:MAX_LINE_CHARS], code, is_forgotten
