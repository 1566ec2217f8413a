"""Logs of sessions that never were: as the daemon writes them, from a seed, as many and as long as wanted."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from daemon.archive.log_records import iter_records
from daemon.archive.session_reader import read_session

_TEXT = """
the of and a to in is was he for it with as his on be at by had not are but from or have an they which one you were
her all she there would their we him been has when who will more no if out so said what up its about into than them
can only other new some could time these two may then do first any my now such like our over man me even most made
after also did many before must through back years where much your way well down should because each just those
people mister how too little state good very make world still own see men work long get here between both life being
under never day same another know while last might us great old year off come since against go came right used take
three teletype wheel paper carriage engine difference analytical steam lantern harbour orchard winter
"""
WORDS = _TEXT.split()
START = datetime.fromisoformat("2026-01-01T08:00:00+00:00")


class FakeSession:
    """Builds one log, record by record; the clock moves as the paper does, ten characters a second."""

    def __init__(self, path: Path, started_at: datetime, **header: object) -> None:
        self.path, self.t, self.column, self.memory, self.prompts = path, 0.0, 0, "", 0
        self._lines: list[str] = []
        fields = {
            "version": 1,
            "asr33": "0.1.0",
            "wall": started_at.isoformat(timespec="milliseconds"),
            "monotonic": started_at.timestamp() % 1e5,
            "line": "/dev/ttyUSB0",
            "model": "embedded",
            "machine": "ASR-33",
        }
        self.record("session", **fields | header)
        self.strike("\r\nREADY\r\n")

    @property
    def size(self) -> int:
        return sum(map(len, self._lines))

    def record(self, ev: str, **fields: object) -> None:
        record = {"t": round(self.t, 4), "ev": ev, **fields}
        self._lines.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")

    def strike(self, text: str) -> None:
        for char in text:
            self.t += 0.1
            t = f"{self.t:.4f}"
            self._lines.append(f'{{"t":{t},"ev":"tx","b":"{ord(char):02x}","q":{t},"at":{t},"col":{self.column}}}\n')
            self.column = 0 if char == "\r" else self.column + (char != "\n")

    def press(self, keys: str) -> None:
        for char in keys:
            self.t += 0.2
            self.record("rx", b=f"{ord(char) | 0x80:02x}")

    def type_line(self, typed: str, *, is_typed_ahead: bool = False) -> None:
        for char in typed + "\r":
            if not is_typed_ahead:
                self.press(char)
            self.strike(char)
        self.strike("\n")
        self.record("typed", text=typed)

    def answer(
        self, typed: str, answer: str, *, ahead: Sequence[str] = (), is_typed_ahead: bool = False, **prompt: object
    ) -> None:
        """The operator types a line, and the model answers it; the lines `ahead` are typed during the answer."""
        self.type_line(typed, is_typed_ahead=is_typed_ahead)
        self.prompts += 1
        prompt_text = f"{self.memory}\n{typed.capitalize()}".strip()
        self.record("prompt", text=prompt_text, seed=1000 + self.prompts, **prompt)
        for word in answer.split(" "):
            self.record("piece", text=f" {word}", tokens=[len(word)], made=round(self.t, 4))
            self.strike(f" {word.upper()}")
        for line in ahead:
            self.press(f"{line}\r")
        self.strike("\r\n")
        self.record("end", finish="sentence")
        self.memory = (prompt_text + " " + answer)[-1500:]
        self.strike("\r\nREADY\r\n")

    def save(self, *, is_closed: bool = True) -> Path:
        if is_closed:
            self.record("close")
        self.path.write_text("".join(self._lines), encoding="utf-8")
        return self.path


def write_session(folder: Path, number: int, size: int, seed: int) -> Path:
    """Writes a log of about so many bytes; each has the words `session NUMBER` in its first line."""
    draw = random.Random(f"{seed}:{number}")
    started_at = START + timedelta(minutes=47 * number)
    session = FakeSession(folder / started_at.strftime("%Y%m%dT%H%M%S.jsonl"), started_at)
    session.answer(f"SESSION {number}", " ".join(draw.choices(WORDS, k=30)))
    while session.size < size:
        session.answer(" ".join(draw.choices(WORDS, k=6)).upper(), " ".join(draw.choices(WORDS, k=80)))
    return session.save()


def write_archive(folder: Path, sessions: int, size: int, seed: int = 1) -> None:
    """Writes the logs of so many sessions, of about `size` bytes each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(sessions):
        write_session(folder, number, size, seed)


def all_text(path: Path) -> str:
    """All that a log tells: its strokes and keys as two texts, and every other record."""
    session = read_session(path)
    strokes = "".join(chr(stroke.byte) for stroke in session.strokes)
    keys = "".join(chr(key.byte & 0x7F) for key in session.keys)
    others = [str(record) for record in iter_records(path) if record["ev"] not in ("tx", "rx")]
    return "\n".join([strokes, keys, *others]).upper()


def find_text(folder: Path, *words: str) -> list[str]:
    """Looks for the words in all files of a folder, in several encodings, in capitals and not."""
    found = []
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        for word in words:
            for text in {word, word.upper(), word.lower(), word.capitalize()}:
                raw = text.encode()
                forms = raw, text.encode("utf-16-le"), text.encode("utf-16-be"), raw.hex().encode()
                parts = (base64.b64encode(raw[shift : shift + (len(raw) - shift) // 3 * 3]) for shift in range(3))
                found += [f"{path.name}: {text}" for form in (*forms, *parts) if form in data]
        told = all_text(path) if path.suffix == ".jsonl" else ""
        found += [f"{path.name}: {word}" for word in words if word.upper() in told]
    return found


if __name__ == "__main__":
    import sys

    write_archive(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
