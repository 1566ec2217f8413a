"""Conversations that the operator has saved by a name: one file each, in a folder of the user's state.

A file is written as a whole or not at all. It has what was said, who answered, and the temperature.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from daemon.errors import DaemonError
from model.store.atomic_file import fsync_path, replace_atomically

MAX_NAME_CHARS = 20
MAX_FILE_BYTES = 1 << 20
SUFFIX = ".json"
_VERSION = 1


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
