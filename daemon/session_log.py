"""The session log: JSON Lines, one record per event. All statistics and the archive come from it.

Records are collected, and one write appends them: at each line of paper, at RETURN, at the end of an answer, at a
hang-up, and after a second without a record. A daemon that is killed loses no record of an earlier line of paper.

`t` and all other times are seconds since the start of the session, on the monotonic clock; the first record has the
wall clock too. A disk that is full, read-only, failing or not permitted never stops the paper: the lost records are
counted, and a `gap` record follows when the disk takes records again. A log that was removed, moved or truncated is
begun anew, with the `session` record and a gap.

The records, by `ev`; a reader ignores fields and records that it does not know:

    session  the first record: format version, wall clock, monotonic clock, line, model, machine; newer
             logs have `profile` too (the fields of [machine] that are not the default, and `columns`), `model_hash`
             (of the graph; "" for a server's model), `seed` (as configured, or null), `settings` ([answer]),
             `persona`, `you`, and `input` false if nothing is kept that the operator types
    clock    the system clock is known to be right, or was set: `offset`, seconds to add to `wall` of the first record
    typed    the operator submitted a line: text
    prompt   the model got a prompt: text ("" without input), `code` of the answer, `seed` and `parameters` in use;
             in a talk of two personas `speaker`, whose turn it is
    said     in such a talk the line before is that of `speaker`: the operator, or a persona in whose place he spoke
    piece    a chunk of the answer: text, tokens, `made` when its last token was generated, `t` when the paper took it
    forgot   the context was full: number of `characters` dropped, in the oldest lines
    end      the answer ended: the model's finish reason, or "break", "error", "lost", "stopped"
    tx       a byte sent to the line: b (hex), at when its strike begins, col, and q when it was queued; without q: at
             the same time as the tx record before it
    rx       a byte received, with its parity bit: b (hex), and bad if it came damaged
    break    the operator pressed BREAK: its route, and the number of unprinted characters
    error    the model failed: text
    lost     the line hung up: text
    found    the line is back: line, and `again`, how many characters are sent again
    learned  a property detected from the machine's behaviour: what ("parity", "duplex"), value
    paused   the operator pressed ^S
    resumed  printing goes on: `after` seconds, `forgotten` if the pause timed out
    answerback  the answer to ENQ: b (hex, raw), empty if there was none
    garbled  half duplex: the echo differs from the character: sent, b (hex)
    noise    noise comes from the line, `on`, or keys again; count of its characters
    motor    the motor was switched: on, and when off `ran`, the seconds it had run
    tape     a prompt was read from tape: rows (hex, raw)
    job      a job of the spool begins to print, or goes on: id, source, person, and its first `line` here
    chat     the model answered in a chat room: `source` such as "irc", `channel`, `nick` of who asked, the `prompt`
             ("" without input), `seed`, and the `text` that was sent
    pair     the game `.GUESS` asked: the `human` line, the `made` one, its `seed`, and the `place` of the human's
    guess    the operator guessed: whether `right`, and the `score`
    model    the operator chose another model: name
    lent     a command got the machine; `returned`: it is back
    private  the operator typed .PRIVATE, `on`, or .PUBLIC. Between them only the records of `KEPT_IN_PRIVATE` are kept
    rotated  the oldest logs of the folder were deleted: how many `files`, how many `bytes`
    gap      records were lost: `from` and `to`, when; `lost`, how many; `why`. A chunk of an answer may be among them.
             why "private": what was struck is on the paper only; "forgotten": `asr33 log forget` removed them
    close    the last record of a session that was not killed
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from daemon import commands
from daemon.archive.answer_code import compute_answer_code
from daemon.errors import DaemonError
from daemon.log_file import repair_torn_files
from daemon.log_writer import LogWriter, encode_record

VERSION = 1
IDLE_S = 1.0  # records wait no longer for the end of their line
MAX_WAITING_S = 10  # nor longer than this while more records come: a line of paper takes seven seconds
MAX_WAITING_BYTES = 1 << 16
SYNC_DELAY_S = 30.0  # of a sync that the budget does not allow
# With these the waiting records are written at once.
LAST_OF_BATCH = {"session", "typed", "end", "lost", "error", "clock", "private", "rotated", "close"}
KEPT_IN_PRIVATE = {
    *("session", "clock", "private", "rotated", "gap", "close"),
    *("lost", "found", "learned", "noise", "motor", "lent", "returned"),
}
INPUT_RECORDS = {"rx", "typed", "said", "tape", "garbled"}

LogValue = Any  # what JSON can hold
CallLater = Callable[[float, Callable[[], None]], object]

_log = logging.getLogger("asr33.log")


class SessionLog:
    """The log of one session. Its seconds count from `started_at`, a monotonic time.

    `path` is the file in use, or the file that it will begin once the disk permits it (`is_kept` False).
    """

    def __init__(
        self, path: Path, started_at: float, *, call_later: CallLater | None = None, keeps_input: bool = True
    ) -> None:
        """Begins the file. Raises OSError only if its folder can never be one; no other method raises it.

        `call_later` of the event loop lets records wait for the end of their line; without it each is written at once.
        `keeps_input` False: nothing that the operator types is kept.
        """
        self.keeps_input = keeps_input
        self.is_typing = False  # the operator types a line: what is struck is its echo
        self.is_private = False
        self._started_at = started_at
        self._call_later = call_later
        self._writer = LogWriter(path)
        self.last_code = ""  # of the last answer in the log
        self._prompts = 0
        self._private_since, self._private_records = 0.0, 0
        self._waiting: list[bytes] = []
        self._waiting_bytes, self._waiting_since, self._last_t = 0, 0.0, 0.0
        self._idle_checks, self._records_at_check, self._records = 0, 0, 0
        self._queued_at: LogValue = None  # `q` of the tx record before in this batch
        self._is_sync_delayed = False
        self._noted_failure = ""  # what the operator knows of the disk

    @property
    def path(self) -> Path:
        return self._writer.path

    @property
    def is_kept(self) -> bool:
        return self._writer.is_kept

    @property
    def lost_records(self) -> int:
        """Records that could not be written; those of a private time are not among them."""
        return self._writer.lost_records

    def take_notice(self) -> str:
        """Returns a line for the paper if the disk has begun or ceased to fail since the last call; otherwise ""."""
        failure, before = self._writer.failure, self._noted_failure
        self._noted_failure = failure
        if bool(failure) == bool(before):
            return ""
        return commands.format_not_logged(failure) if failure else commands.LOGGED_AGAIN

    def log_time(self, moment: float) -> float:
        """Converts a monotonic time to seconds of the log, to the millisecond."""
        return round(moment - self._started_at, 3)

    def write(self, moment: float, ev: str, /, **fields: LogValue) -> None:
        """Appends one record; `moment` is monotonic time. What the operator keeps private is counted only."""
        if self.is_private and ev not in KEPT_IN_PRIVATE:
            self._private_records += 1
            return
        if not self.keeps_input and (ev in INPUT_RECORDS or (ev == "tx" and self.is_typing)):
            return
        if ev == "tx" and "q" in fields:
            if fields["q"] == self._queued_at:
                del fields["q"]
            else:
                self._queued_at = fields["q"]
        t = self.log_time(moment)
        record = encode_record(t, ev, fields)
        if ev == "session":
            self._writer.header = record
        self._add(record, t)
        is_line_feed = ev == "tx" and fields.get("b") == "0a"
        if self._call_later is None or is_line_feed or ev in LAST_OF_BATCH or self._waiting_bytes > MAX_WAITING_BYTES:
            self.flush()

    def write_prompt(
        self, moment: float, text: str, seed: int, parameters: dict[str, LogValue], speaker: str = ""
    ) -> None:
        """Appends the record of a prompt, with the code of its answer."""
        if not self.is_private:
            self._prompts += 1
            self.last_code = compute_answer_code(self.path.stem, self._prompts)
        shown = text if self.keeps_input else ""
        whose = {"speaker": speaker} if speaker and self.keeps_input else {}  # the operator may have typed the name
        self.write(moment, "prompt", text=shown, code=self.last_code, seed=seed, parameters=parameters, **whose)

    def switch_private(self, moment: float, on: bool) -> None:
        """Begins or ends a private time. Its records are not kept; a gap at its end says how many there were."""
        if on and not self.is_private:
            self.write(moment, "private", on=True)
            self._writer.sync()
            self.is_private, self._private_since, self._private_records = True, self.log_time(moment), 0
        elif self.is_private and not on:
            self._end_private(moment)
            self.write(moment, "private", on=False)

    def flush(self) -> None:
        """Writes the waiting records with one write, and syncs them, now or as soon as the budget allows it."""
        if not self._waiting:
            return
        batch, records, since = b"".join(self._waiting), len(self._waiting), self._waiting_since
        self._waiting.clear()
        self._waiting_bytes, self._queued_at = 0, None
        self._writer.append(batch, records, since, self._last_t)
        self._sync_soon()

    def close(self) -> None:
        """Writes, syncs and closes; a later record is counted as lost."""
        self.flush()
        self._writer.close()

    def write_close(self, moment: float) -> None:
        """Appends the last record, after the gap of a private time that lasts."""
        if self.is_private:
            self._end_private(moment)
        self.write(moment, "close")

    def _end_private(self, moment: float) -> None:
        t, lost = self.log_time(moment), self._private_records
        self.write(moment, "gap", **{"from": self._private_since, "to": t, "lost": lost, "why": "private"})
        self.is_private = False

    def _add(self, record: bytes, t: float) -> None:
        if not self._waiting:
            self._waiting_since = t
            if self._call_later is not None and not self._idle_checks:
                self._idle_checks, self._records_at_check = 1, self._records
                self._call_later(IDLE_S, self._check_idle)
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        self._records, self._last_t = self._records + 1, t

    def _check_idle(self) -> None:
        """Writes the waiting records if none came in the last second, or if they have waited for many."""
        is_idle = self._records == self._records_at_check
        self._records_at_check = self._records
        if is_idle or self._idle_checks >= MAX_WAITING_S or not self._waiting:
            self._idle_checks = 0
            self.flush()
        else:
            self._idle_checks += 1
            assert self._call_later is not None
            self._call_later(IDLE_S, self._check_idle)

    def _sync_soon(self) -> None:
        if self._writer.sync_within_budget() or self._is_sync_delayed or self._call_later is None:
            return
        self._is_sync_delayed = True
        self._call_later(SYNC_DELAY_S, self._sync_delayed)

    def _sync_delayed(self) -> None:
        self._is_sync_delayed = False
        self._writer.sync()


def open_new_log(
    folder: Path,
    now: datetime,
    started_at: float,
    *,
    call_later: CallLater | None = None,
    keeps_input: bool = True,
) -> SessionLog:
    """Creates a log in the folder, named by the time, after it has repaired the logs that a power failure tore.

    If the disk takes no records now, it reports that; the log begins when the disk does. Raises DaemonError("create")
    if the path can never be a folder.
    """
    for path in _repair_logs(folder):
        _log.warning("%s: its last record was torn, and was cut off", path)
    try:
        path = folder / now.strftime("%Y%m%dT%H%M%S.jsonl")
        return SessionLog(path, started_at, call_later=call_later, keeps_input=keeps_input)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DaemonError(
            f"no session can be kept in {folder}: {reason}; choose another with --log", "create"
        ) from None


def _repair_logs(folder: Path) -> list[Path]:
    try:
        return repair_torn_files(folder)
    except (OSError, ValueError):
        return []
