"""Who speaks: the persona that answers, whoever types, and all others who are in the model's corpus. Pure.

On paper nobody has a tag: what is typed stands below READY, and what is answered below that.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ConversationConfig:
    """[conversation]: who answers, by the name that stands in the tags of the model's corpus; what is typed is `you`'s.

    Without a persona the model goes on with the text that is typed.
    """

    persona: str = ""
    you: str = "You"


@dataclass(frozen=True, slots=True)
class Speakers:
    """Nobody in particular, unless there is a `persona`."""

    persona: str = ""
    you: str = "You"
    others: tuple[str, ...] = ()

    @property
    def persona_tag(self) -> str:
        """Where the persona begins another message."""
        return f"\n{self.persona}:" if self.persona else ""

    @property
    def stop_sequences(self) -> tuple[str, ...]:
        """Where an answer ends: at the tag of anybody else."""
        names = dict.fromkeys((self.you, *self.others)) if self.persona else {}
        return tuple(f"\n{name}:" for name in names if name != self.persona)


NO_PERSONA = Speakers()


class SpeakerTagFilter:
    """An answer as it stands on paper, a piece at a time: it begins at the margin, and so does each message in it."""

    def __init__(self, tag: str = "") -> None:
        self._tag = tag
        self._pending = ""  # what may yet become a tag
        self._at_margin = True

    def feed(self, text: str) -> str:
        """What of the answer so far can be struck now."""
        *messages, last = (self._pending + text).split(self._tag) if self._tag else [text]
        out = "".join(self._strip_at_margin(message) + self._begin_message() for message in messages)
        kept = next((size for size in range(len(self._tag) - 1, 0, -1) if last.endswith(self._tag[:size])), 0)
        self._pending = last[len(last) - kept :]
        return out + self._strip_at_margin(last[: len(last) - kept])

    def restart_at_margin(self) -> None:
        """A line that is no part of it was struck: what follows begins at the margin, as if it were a message."""
        self._at_margin = True

    def flush(self) -> str:
        """What was held back and is no tag, at the end."""
        held, self._pending = self._pending, ""
        return self._strip_at_margin(held)

    def _strip_at_margin(self, text: str) -> str:
        # The blank that GPT-2 puts before a word is not for the paper.
        text = text.lstrip() if self._at_margin else text
        self._at_margin = self._at_margin and not text
        return text

    def _begin_message(self) -> str:
        begun, self._at_margin = not self._at_margin, True
        return "\n" if begun else ""


def resolve_speakers(config: ConversationConfig, known_names: Sequence[str] = ()) -> Speakers:
    """The cast as configured, of those whom the model knows, if it says. Raises ConfigError for a persona it has not.

    Case is not looked at: a Model 33 has only one.
    """
    wanted = config.persona.strip().rstrip(":").rstrip()
    you = config.you.strip().rstrip(":").rstrip() or "You"
    if not wanted:
        return Speakers(you=you)
    named = {name.casefold(): name for name in known_names}
    if known_names and wanted.casefold() not in named:
        near = difflib.get_close_matches(wanted.casefold(), named, n=1)
        hint = f"did you mean {named[near[0]]!r}?" if near else f"it knows {', '.join(known_names[:8])}"
        raise ConfigError(f"[conversation] persona = {wanted!r}: the model's corpus has nobody of that name; {hint}")
    you = named.get(you.casefold(), you)
    return Speakers(named.get(wanted.casefold(), wanted), you, tuple(known_names))
