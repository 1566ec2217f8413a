"""Conversations that the operator has saved by a name: one file each, in a folder of the user's state.

A file is written as a whole or not at all. It has what was said, who answered, and the temperature.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from daemon.conversation import sentence_case
from daemon.errors import DaemonError
from daemon.people import ForgetScope
from model.store.atomic_file import fsync_path, replace_atomically

MAX_NAME_CHARS = 20
MAX_FILE_BYTES = 1 << 20
SUFFIX = ".json"
_VERSION = 1
_RUN_CHARS = 16  # as many in a row are no coincidence


@dataclass(frozen=True, slots=True)
class SavedConversation:
    """`persona` is "" if the typed text was continued."""

    memory: str
    persona: str
    temperature: float


class SavedConversations:
    """The files of one folder. Without a folder nothing can be saved."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def list_names(self) -> list[str]:
        """Returns the names in order, in capitals."""
        try:
            paths = sorted(self._folder.iterdir()) if self._folder is not None else []
        except OSError:
            return []
        names = [path.stem.upper() for path in paths if path.suffix == SUFFIX]
        return [name for name in names if is_name(name)]

    def save(self, name: str, saved: SavedConversation, *, replaces: bool) -> None:
        """Writes the file; `replaces` an earlier one of this name. Raises DaemonError; then the earlier one stays."""
        path = self._find_path(name)
        try:
            if not replaces and path.exists():
                raise DaemonError(f"{name.upper()} is saved already: choose another name")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replace_atomically(path) as temporary:
                temporary.touch(mode=0o600)
                temporary.write_text(json.dumps({"version": _VERSION, **asdict(saved)}), "utf-8")
            fsync_path(path.parent)
        except OSError as error:
            raise DaemonError(f"not saved: {error.strerror}; see to the disk and try again") from None

    def load(self, name: str) -> SavedConversation:
        """Raises DaemonError."""
        path = self._find_path(name)
        try:
            with path.open("rb") as file:
                record = json.loads(file.read(MAX_FILE_BYTES))
            fields = record["memory"], record["persona"], record["temperature"]
            if not (isinstance(fields[0], str) and isinstance(fields[1], str) and isinstance(fields[2], int | float)):
                raise TypeError
        except FileNotFoundError:
            raise DaemonError(f"no {name.upper()} is saved; {self.describe_names()}") from None
        except OSError as error:
            raise DaemonError(f"{name.upper()} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise DaemonError(f"{name.upper()} is damaged; {self.describe_names()}") from None
        return SavedConversation(*fields)

    def forget(self, scope: ForgetScope, texts: Sequence[tuple[str, str]], *, writes: bool) -> int:
        """Removes conversations with a person or of an earlier time, and answers with their lines from the others.

        `texts`: typed lines and answers. Returns the number of files; with `writes` False nothing is changed. Raises
        OSError, DaemonError.
        """
        count = 0
        for path in sorted(self._folder.iterdir()) if self._folder is not None and self._folder.is_dir() else []:
            if path.suffix != SUFFIX:
                continue
            try:
                saved, is_damaged = self.load(path.stem), False
            except DaemonError:  # its text is searched as a whole
                raw = path.read_bytes().decode("unicode_escape", "replace")
                saved, is_damaged = SavedConversation(raw, "", 0.0), True
            is_gone = scope.has_person(saved.persona) or scope.has_text(saved.memory)
            is_gone = is_gone or scope.has_time(path.stat().st_mtime)
            is_gone = is_gone or (is_damaged and bool(scope.person) and scope.person in saved.memory)
            memory = "" if is_gone else cut_answers(saved.memory, texts)
            if memory == saved.memory.strip():
                continue
            memory = "" if is_damaged else memory
            count += 1
            if writes and memory:
                self.save(path.stem, replace(saved, memory=memory), replaces=True)
            elif writes:
                path.unlink()
                fsync_path(path.parent)
        return count

    def describe_names(self) -> str:
        """Returns the saved names in words."""
        names = self.list_names()
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return f"saved: {' '.join(names[:8])}{more}" if names else "nothing is saved yet"

    def _find_path(self, name: str) -> Path:
        """Returns the path of a checked name. Raises DaemonError."""
        if not is_name(name):
            raise DaemonError(f"a name has up to {MAX_NAME_CHARS} letters, digits and -, such as ADA")
        if self._folder is None:
            raise DaemonError("this user has no home to save in: set STATE_DIRECTORY")
        return self._folder / f"{name.lower()}{SUFFIX}"


def is_name(name: str) -> bool:
    """Whether a conversation may have this name: it is a part of a path."""
    return re.fullmatch(f"[A-Za-z0-9][A-Za-z0-9-]{{0,{MAX_NAME_CHARS - 1}}}", name, re.ASCII) is not None


def cut_answers(memory: str, texts: Sequence[tuple[str, str]]) -> str:
    """Returns the memory without the typed lines and their answers, and without each line that has a part of them."""
    parts = {" ".join(line.split()) for texts_of_one in texts for line in _split_exchange(*texts_of_one)} - {""}
    runs = {part[start : start + _RUN_CHARS] for part in parts for start in range(len(part) - _RUN_CHARS + 1)}

    def has_part(line: str) -> bool:
        line = " ".join(line.split())
        if any(line == part or line.endswith(f": {part}") for part in parts):
            return True
        return any(line[start : start + _RUN_CHARS] in runs for start in range(len(line) - _RUN_CHARS + 1))

    return "\n".join(line for line in memory.split("\n") if not has_part(line)).strip()


def _split_exchange(typed: str, answer: str) -> list[str]:
    """Returns the lines of an exchange as a memory has them: the text went on, or it is a dialogue."""
    own = sentence_case(typed).strip()
    return [*own.split("\n"), *answer.split("\n"), *f"{own}{answer}".split("\n"), *f"{own} {answer}".split("\n")]
