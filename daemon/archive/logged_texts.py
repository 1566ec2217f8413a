"""The texts in a log that a search looks at: each line with its answer, and each text that a command printed.

A log that has grown is read on from where it was left, and records of single characters are skipped unparsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from daemon.archive.answer_code import compute_answer_code
from daemon.archive.log_records import Record, is_time, parse_record
from daemon.people import find_speakers

_BYTE = re.compile(rb'"b":"([0-9a-f]{2})"')


@dataclass(frozen=True, slots=True)
class LoggedText:
    """A line and its answer, by the number of the prompt; or a printed text, with the number 0 and no code."""

    number: int
    code: str
    at_s: float
    text: str
    is_complete: bool = True

    @property
    def speakers(self) -> set[str]:
        return find_speakers(self.text)


@dataclass(slots=True)
class ReadPosition:
    """How far a log was read: bytes up to the end of the last whole answer, and the prompts before it."""

    offset: int = 0
    prompts: int = 0
    clock_offset_s: float | None = None  # None: the log does not say that the clock was wrong


@dataclass(slots=True)
class _Answer:
    number: int
    code: str
    at_s: float
    parts: list[str] = field(default_factory=list)

    def close(self, *, is_complete: bool = True) -> LoggedText:
        return LoggedText(self.number, self.code, self.at_s, "".join(self.parts).strip(), is_complete)


def read_texts(path: Path, position: ReadPosition) -> list[LoggedText]:
    """Returns the texts after the position, and moves it. The last is incomplete if the log ends in it. Raises OSError.

    An incomplete text is returned again, longer, by the next call.
    """
    with path.open("rb") as file:
        file.seek(position.offset)
        return list(_extract_texts(path.stem, file, position))


def _extract_texts(session_id: str, file: BinaryIO, position: ReadPosition) -> Iterator[LoggedText]:
    """Yields the texts of the lines from the position on."""
    typed, prompts, offset = "", position.prompts, position.offset
    answer: _Answer | None = None
    for line in file:
        if not line.endswith(b"\n"):
            break  # a torn line, or one that is being written
        offset += len(line)
        is_stroke = line.find(b'"ev":"tx"', 0, 40) > 0
        if is_stroke or line.find(b'"ev":"rx"', 0, 40) > 0:
            if is_stroke and answer is not None and answer.number == 0 and (match := _BYTE.search(line)):
                answer.parts.append(_decode_stroke(int(match[1], 16)))
            continue
        if (record := parse_record(line)) is None:
            continue
        match record["ev"]:
            case "typed":
                typed = _text(record)
            case "prompt":
                prompts += 1
                code = str(record.get("code") or compute_answer_code(session_id, prompts))
                answer = _Answer(prompts, code, record["t"], [typed, "\n"])
                typed = ""
            case "piece" if answer is not None:
                answer.parts.append(_text(record))
            case "lent":
                answer = _Answer(0, "", record["t"])
            case "end" | "returned":
                if answer is not None:
                    yield answer.close()
                answer, position.offset, position.prompts = None, offset, prompts
            case "gap":
                forgotten = record.get("prompts")
                prompts += forgotten if isinstance(forgotten, int) else 0
            case "clock" if is_time(record.get("offset")):
                position.clock_offset_s = record["offset"]
    if answer is not None:
        yield answer.close(is_complete=False)


def _text(record: Record) -> str:
    text = record.get("text")
    return text if isinstance(text, str) else ""


def _decode_stroke(byte: int) -> str:
    char = chr(byte & 0x7F)
    return char if char.isprintable() or char == "\n" else ""
