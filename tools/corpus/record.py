"""What every importer gives: one message, tweet or document, or a word on why there is none. Pure; it opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RecordKind = Literal["document", "message", "tweet"]


@dataclass(frozen=True, slots=True)
class Record:
    """One text and whose it is.

    `source` is the file that it was found in, `thread` what it is part of (a conversation, a channel, a book): records
    of one thread come one after the other, oldest first, as they are to be read. `who` is empty where nobody is named,
    and so is `thread` where nothing holds the texts together. `when` is in seconds of UTC since 1970. `mine` tells
    those of the person whose export it is.
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
    """Something that has no text to learn from: `why` is counted, so it has few values: "a photo", "a call"."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class DamagedItem:
    """A file, or a part of one, that could not be read: told to the person by its name, and gone over."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceWarning:
    """What was read, but looks wrong as a whole: told to the person, loudly, with what can be done."""

    source: str
    message: str


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """Somebody whom an export has a name for, whether he writes or not: others may speak of him by it."""

    source: str
    name: str


ImportItem = Record | SkippedItem | DamagedItem | SourceWarning | KnownPerson
