"""A log as readable text: lines, answers, printed texts, and what came between. Pure; it takes record by record."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from daemon.archive.answer_code import compute_answer_code
from daemon.archive.log_records import Record, is_time
from daemon.archive.session_reader import SessionHeader

_REASONS = {
    "break": "BREAK",
    "error": "the model failed",
    "lost": "the line hung up",
    "stopped": "the daemon stopped",
}


class Transcript:
    """Turns the records of one log into text; each call returns the text that the record adds."""

    def __init__(self, session_id: str, header: SessionHeader) -> None:
        self._id, self._header = session_id, header
        self._offset_s, self._prompts = 0.0, 0
        self._is_job = self._is_answer = False

    def format_record(self, record: Record) -> str:
        """Returns the text for a record; "" if readers do not need it."""
        text = str(record.get("text", ""))
        match record["ev"]:
            case "typed":
                return f"\n> {text}\n"
            case "prompt":
                self._prompts, self._is_answer = self._prompts + 1, True
                code = record.get("code") or compute_answer_code(self._id, self._prompts)
                speaker = record.get("speaker")  # of a talk of two personas
                return f"[{self._format_time(record['t'])} {code}]" + (f" {speaker}:" if speaker else "")
            case "piece":
                return text
            case "end":
                self._is_answer = False
                reason = _REASONS.get(str(record.get("finish")))
                return f"\n-- {reason} --\n" if reason else "\n"
            case "lent":
                self._is_job = True
                return f"\n-- {self._format_time(record['t'])}: a command printed --\n"
            case "returned":
                self._is_job = False
                return "\n"
            case "tx" if self._is_job:
                return _decode_stroke(record)
            case "gap":
                forgotten = record.get("prompts")
                self._prompts += forgotten if isinstance(forgotten, int) else 0
                return self._on_new_line(_format_gap(record))
            case "clock" if is_time(record.get("offset")):
                self._offset_s = record["offset"]
            case "error":
                return self._on_new_line(f"-- {text} --\n")
            case "found":
                return self._on_new_line("-- the line is back --\n")
            case "lost" if not self._is_answer:
                return self._on_new_line(f"-- the line hung up: {text} --\n")
        return ""

    def _on_new_line(self, text: str) -> str:
        return "\n" + text if self._is_answer or self._is_job else text

    def _format_time(self, t: float) -> str:
        try:
            return format_date(self._header.wall + timedelta(seconds=t + self._offset_s)).partition("T")[2]
        except OverflowError:
            return "-"


def format_date(moment: datetime) -> str:
    """Returns the local time to the second."""
    return moment.astimezone().strftime("%Y-%m-%dT%H:%M:%S")


def _format_gap(record: Record) -> str:
    start: Any = record.get("from")
    end: Any = record.get("to")
    seconds = f"{end - start:.0f} s" if is_time(start) and is_time(end) else "some time"
    return f"-- {seconds} without a record: {record.get('why') or 'unknown'} --\n"


def _decode_stroke(record: Record) -> str:
    try:
        char = chr(int(record["b"], 16) & 0x7F)
    except (KeyError, TypeError, ValueError):
        return ""
    return char if char.isprintable() or char == "\n" else ""
