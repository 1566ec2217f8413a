"""A message for the notify entity becomes the text of a job, or a reason why it does not. Pure."""

from __future__ import annotations

from daemon.bridges.chat_text import clean_text

MAX_NOTE_BYTES = 16_384  # the broker keeps longer messages back
MAX_NOTE_LINES = 60
MAX_LINE_CHARS = 2_000


class NoteRefused(ValueError):
    """The message is not printed; the text is one line with the reason, without anything of the message."""


def read_note(payload: bytes, *, is_retained: bool = False) -> str:
    """Returns the text of a message, without controls. Raises NoteRefused."""
    if is_retained:  # the broker kept it: it was for a time when the machine was away
        raise NoteRefused("it was retained, so it is old: send it without retain")
    if len(payload) > MAX_NOTE_BYTES:
        raise NoteRefused(f"it is longer than {MAX_NOTE_BYTES:,} bytes")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise NoteRefused("it is no text in UTF-8") from None
    if "\0" in text:
        raise NoteRefused("it is binary: it has a NUL")
    lines = [clean_text(line, MAX_LINE_CHARS) for line in text.strip().splitlines()]
    if len(lines) > MAX_NOTE_LINES:
        raise NoteRefused(f"it has more than {MAX_NOTE_LINES} lines")
    if not any(lines):
        raise NoteRefused("it has no text")
    return "\n".join(lines)
