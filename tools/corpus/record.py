"""The items that an importer yields: records, and reports about what is not a record. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RecordKind = Literal["document", "message", "tweet"]


@dataclass(frozen=True, slots=True)
class Record:
    """A text and its writer.

    `source` is the file, `thread` the conversation, channel or book. The records of a thread are consecutive, oldest
    first. `who` and `thread` are empty if unknown. `when` is in seconds of UTC since 1970. `mine` is true if the owner
    of the export wrote the text.
    """

    source: str
    thread: str
    text: str
    who: str = ""
    when: float | None = None
    kind: RecordKind = "document"
    mine: bool = False


@dataclass(frozen=True, slots=True)
class SkippedItem:
    """An item without text. `reason` is counted, so it has few values: "a photo", "a call"."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class DamagedItem:
    """A file, or a part of one, that could not be read."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceWarning:
    """A source was read, but looks wrong. `message` names the cure."""

    source: str
    message: str


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person that an export names, who need not be a writer. Texts may mention the name."""

    source: str
    name: str


ImportItem = Record | SkippedItem | DamagedItem | SourceWarning | KnownPerson
