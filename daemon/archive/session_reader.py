"""Reads one session log: its header, the strokes on the paper, the keys, and each prompt with its answer.

Logs of all versions are read. A damaged field counts as missing, a torn last line is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from daemon.archive.answer_code import compute_answer_code
from daemon.archive.log_records import Record, is_time, iter_records, parse_record
from daemon.errors import DaemonError

FORGOTTEN = "forgotten"  # `why` of a gap that `asr33 log forget` made


@dataclass(frozen=True, slots=True)
class SessionHeader:
    """The first record of a log. Fields that an old log lacks have their defaults; `wall` is uncorrected."""

    wall: datetime
    version: int = 1
    asr33: str = ""
    monotonic: float = 0.0
    line: str = ""
    model: str = ""
    machine: str = ""
    profile: dict[str, Any] = field(default_factory=dict)
    model_hash: str = ""
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    persona: str = ""
    you: str = ""


@dataclass(frozen=True, slots=True)
class StruckByte:
    """A byte sent to the machine: when its strike began, in seconds of the session; the column, None if unknown."""

    at_s: float
    byte: int
    column: int | None


@dataclass(frozen=True, slots=True)
class PressedKey:
    """A byte from the keyboard, raw with its parity bit. A damaged one was not typed."""

    at_s: float
    byte: int
    is_damaged: bool = False


@dataclass(frozen=True, slots=True)
class LostSpan:
    """Records that are missing, in seconds of the session. `why` is "private", "forgotten" or an error."""

    from_s: float
    to_s: float
    lost: int
    why: str


@dataclass(frozen=True, slots=True)
class LoggedJob:
    """The machine was lent to a command, such as `asr33 print`: strokes[first_stroke : last_stroke + 1] are its."""

    at_s: float
    first_stroke: int
    last_stroke: int


@dataclass(slots=True)
class Turn:
    """A prompt and its answer. `number` counts from 1.

    `typed` is the operator's line as it was typed ("" if the log has none), `answer` the model's text before it was
    folded for the type wheel. The answer's strokes are strokes[first_stroke : last_stroke + 1]; `at_s` and `end_s` are
    the times of the prompt and of its end.
    """

    number: int
    code: str
    at_s: float
    typed: str
    prompt: str
    model: str
    seed: int | None
    parameters: dict[str, Any]
    first_stroke: int
    answer: str = ""
    tokens: list[int] = field(default_factory=list)
    finish_reason: str = ""  # "" if the log ends before the answer does
    last_stroke: int = -1
    end_s: float = 0.0


@dataclass(slots=True)
class ArchivedSession:
    """All of one log. Times are seconds since the start of the session; `id` is the stem of the file's name."""

    path: Path
    id: str
    header: SessionHeader
    clock_offset_s: float = 0.0
    duration_s: float = 0.0
    strokes: list[StruckByte] = field(default_factory=list)
    keys: list[PressedKey] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    jobs: list[LoggedJob] = field(default_factory=list)
    gaps: list[LostSpan] = field(default_factory=list)
    is_closed: bool = False
    is_half_duplex: bool = False  # the machine has printed its own keys, which are no strokes

    @property
    def started_at(self) -> datetime:
        """The start by the wall clock, corrected once the system's clock was known to be right."""
        try:
            return self.header.wall + timedelta(seconds=self.clock_offset_s)
        except OverflowError:
            return self.header.wall


def read_session(path: Path) -> ArchivedSession:
    """Reads a log from its file. Raises DaemonError if it is not one or cannot be read."""
    try:
        return parse_session(path, iter_records(path))
    except OSError as error:
        raise DaemonError(f"{path}: {error.strerror}") from None


def parse_session(path: Path, records: Iterable[Record]) -> ArchivedSession:
    """Returns the session of these records. Raises DaemonError if the first is not the header of a log."""
    reader: _SessionBuilder | None = None
    for record in records:
        if reader is None:
            if record["ev"] != "session":
                break
            reader = _SessionBuilder(path, read_header(record))
        reader.add(record)
    if reader is None:
        raise DaemonError(f"{path}: it does not begin with the record of a session, so it is no session log")
    return reader.finish()


def read_log_header(path: Path) -> SessionHeader | None:
    """Returns the header of a log; None if the file is none or cannot be read."""
    try:
        with path.open("rb") as file:
            record = parse_record(file.readline())
    except OSError:
        return None
    return read_header(record) if record is not None and record["ev"] == "session" else None


def read_header(record: Record) -> SessionHeader:
    """Returns the header in a `session` record; fields of a wrong type have their defaults."""
    return SessionHeader(
        wall=_read_wall(record.get("wall")),
        version=_typed(record, "version", int, 1),
        asr33=_typed(record, "asr33", str, ""),
        monotonic=_seconds(record, "monotonic", 0.0),
        line=_typed(record, "line", str, ""),
        model=_typed(record, "model", str, ""),
        machine=_typed(record, "machine", str, ""),
        profile=_typed(record, "profile", dict, {}),
        model_hash=_typed(record, "model_hash", str, ""),
        seed=_typed(record, "seed", int, None),
        settings=_typed(record, "settings", dict, {}),
        persona=_typed(record, "persona", str, ""),
        you=_typed(record, "you", str, ""),
    )


class _SessionBuilder:
    """Adds up the records of a log."""

    def __init__(self, path: Path, header: SessionHeader) -> None:
        self._session = ArchivedSession(path, path.stem, header, is_half_duplex=header.profile.get("duplex") == "half")
        self._prompts = 0
        self._typed = ""
        self._open_turn: Turn | None = None
        self._open_job: tuple[float, int] | None = None

    def add(self, record: Record) -> None:
        session, t = self._session, float(record["t"])
        session.duration_s = max(session.duration_s, t)
        match record["ev"]:
            case "tx":
                self._add_stroke(record, t)
            case "rx":
                if (byte := _read_byte(record)) is not None:
                    session.keys.append(PressedKey(t, byte, record.get("bad") is True))
            case "typed":
                self._typed = _typed(record, "text", str, "")
            case "prompt":
                self._begin_turn(record, t)
            case "piece" if self._open_turn is not None:
                self._open_turn.answer += _typed(record, "text", str, "")
                self._open_turn.tokens += [token for token in _typed(record, "tokens", list, []) if type(token) is int]
            case "end":
                self._end_turn(_typed(record, "finish", str, ""), t)
            case "lent":
                self._open_job = t, len(session.strokes)
            case "returned":
                self._end_job()
            case "gap":
                self._add_gap(record, t)
            case "learned" if record.get("what") == "duplex":
                session.is_half_duplex = record.get("value") == "half"
            case "clock":
                session.clock_offset_s = _seconds(record, "offset", 0.0)
            case "close":
                session.is_closed = True

    def finish(self) -> ArchivedSession:
        """Ends a turn and a job that the log leaves open, and returns the session."""
        self._end_turn("", self._session.duration_s)
        self._end_job()
        return self._session

    def _add_stroke(self, record: Record, t: float) -> None:
        byte = _read_byte(record)
        if byte is not None:
            at = _seconds(record, "at", t)
            self._session.strokes.append(StruckByte(at, byte & 0x7F, _typed(record, "col", int, None)))
            self._session.duration_s = max(self._session.duration_s, at)

    def _begin_turn(self, record: Record, t: float) -> None:
        self._end_turn("", t)  # of a log with a gap
        session = self._session
        self._prompts += 1
        self._open_turn = Turn(
            number=self._prompts,
            code=_typed(record, "code", str, "") or compute_answer_code(session.id, self._prompts),
            at_s=t,
            typed=self._typed,
            prompt=_typed(record, "text", str, ""),
            model=_typed(record, "model", str, "") or session.header.model,
            seed=_typed(record, "seed", int, None),
            parameters=_typed(record, "parameters", dict, {}),
            first_stroke=len(session.strokes),
        )
        session.turns.append(self._open_turn)
        self._typed = ""

    def _end_turn(self, finish_reason: str, t: float) -> None:
        if self._open_turn is not None:
            self._open_turn.finish_reason, self._open_turn.end_s = finish_reason, t
            self._open_turn.last_stroke = len(self._session.strokes) - 1
            self._open_turn = None

    def _end_job(self) -> None:
        if self._open_job is not None:
            at, first = self._open_job
            self._session.jobs.append(LoggedJob(at, first, len(self._session.strokes) - 1))
            self._open_job = None

    def _add_gap(self, record: Record, t: float) -> None:
        from_s, to_s = _seconds(record, "from", t), _seconds(record, "to", t)
        lost, why = _typed(record, "lost", int, 0), _typed(record, "why", str, "")
        self._session.gaps.append(LostSpan(from_s, to_s, lost, why))
        # Forgotten prompts keep their numbers, so that the codes of the later ones stay.
        self._prompts += _typed(record, "prompts", int, 0)


def _typed(record: Record, name: str, kind: type, default: Any) -> Any:
    """Returns a field, or the default if it is missing or of another type; true and false are no numbers."""
    value = record.get(name)
    return value if isinstance(value, kind) and not (kind is int and isinstance(value, bool)) else default


def _seconds(record: Record, name: str, default: float) -> float:
    value: Any = record.get(name)
    return float(value) if is_time(value) else default


def _read_byte(record: Record) -> int | None:
    try:
        return int(record["b"], 16) & 0xFF
    except (KeyError, TypeError, ValueError):
        return None


def _read_wall(text: object) -> datetime:
    """Returns a time with its zone; the epoch if the header has none."""
    try:
        wall = datetime.fromisoformat(str(text))
        if 1970 <= wall.year < 2200:  # of other years not every time zone can be computed
            return wall if wall.tzinfo is not None else wall.astimezone()
    except (ValueError, OverflowError):
        pass
    return datetime.fromtimestamp(0, UTC)
