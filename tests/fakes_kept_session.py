"""A session log made by the driver's own editor and printer, with times of a machine at ten characters a second."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from daemon.archive.session_reader import ArchivedSession, parse_session
from drivers.clock import CHARACTER_S
from drivers.input.line_editor import LineEditor
from drivers.output.pacing import StrikeTiming
from drivers.profile import Profile
from drivers.text.printer import Printer, Stroke

START = "2026-11-30T18:00:00.000+00:00"


class KeptSession:
    """Prints and types on a machine that is not there, and keeps the records of its log. `now_s`: end of the last."""

    def __init__(self, machine: Profile | None = None, /, **header: Any) -> None:
        self.now_s = 0.0
        self.records: list[dict[str, Any]] = []
        self._printer = Printer(machine or Profile(), column=0)
        self._timing = StrikeTiming()
        fields = {"wall": START, "line": "/dev/serial/by-id/bobs-adapter", "model": "embedded", **header}
        self._add("session", **fields)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def print(self, text: str, *, overstrike: bool = False) -> None:
        self._strike([*self._printer.feed(text, overstrike=overstrike), *self._printer.flush()])

    def print_raw(self, text: str) -> None:
        self._strike([*self._printer.feed_raw(text), *self._printer.flush()])

    def type(self, keys: str, *, is_logged: bool = True) -> str:
        """Types a line, `\\x7f` for RUBOUT; RETURN follows. Returns the line."""
        editor = LineEditor()
        for key in f"{keys}\r":
            self._add("rx", b=f"{ord(key):02x}")
            self._strike(self._printer.echo_keys(editor.press(key).echo))
            self.wait(0.1)
        if is_logged:
            self._add("typed", text=editor.text)
        return editor.text

    def answer(self, text: str, prompt: str = "", finish: str = "end", **fields: Any) -> None:
        self._add("prompt", **{"text": prompt, "seed": 7, **fields})
        self._add("piece", text=text, tokens=[], made=self.now_s)
        self.print(text)
        self._add("end", finish=finish)
        self._strike(self._printer.fresh_line())

    def close(self) -> None:
        self._add("close")

    def read(self, name: str = "20261130T180000") -> ArchivedSession:
        return parse_session(Path(f"{name}.jsonl"), self.records)

    def write(self, folder: Path, name: str = "20261130T180000") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in self.records))
        return path

    def _strike(self, strokes: Iterable[Stroke]) -> None:
        for stroke in strokes:
            at = self._timing.note_written(stroke, self.now_s)
            self.now_s = at + CHARACTER_S
            self._add("tx", b=f"{stroke.byte:02x}", q=at, at=round(at, 4), col=stroke.column)

    def _add(self, ev: str, **fields: Any) -> None:
        self.records.append({"t": round(self.now_s, 4), "ev": ev, **fields})
