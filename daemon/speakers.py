"""The speakers of a conversation: the persona that answers, the operator, and the others in the model's corpus. Pure.

Speaker tags such as `Ann:` are in the model's text only; the paper shows none.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.config import ConversationConfig
from daemon.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Speakers:
    """`persona` is empty if the model continues the text without speakers."""

    persona: str = ""
    you: str = "You"
    others: tuple[str, ...] = ()

    @property
    def persona_tag(self) -> str:
        """The tag before each of the persona's messages."""
        return f"\n{self.persona}:" if self.persona else ""

    @property
    def stop_sequences(self) -> tuple[str, ...]:
        """The tags of all other speakers: the answer ends before them."""
        names = dict.fromkeys((self.you, *self.others)) if self.persona else {}
        return tuple(f"\n{name}:" for name in names if name != self.persona)


NO_PERSONA = Speakers()


class SpeakerTagFilter:
    """Removes the persona's tag from a streamed answer; each of its messages begins at the margin."""

    def __init__(self, tag: str = "") -> None:
        self._tag = tag
        self._pending = ""  # text that may be the start of a tag
        self._at_margin = True

    def feed(self, text: str) -> str:
        """Returns the text that can be printed now."""
        *messages, last = (self._pending + text).split(self._tag) if self._tag else [text]
        out = "".join(self._strip_at_margin(message) + self._begin_message() for message in messages)
        held = next((size for size in range(len(self._tag) - 1, 0, -1) if last.endswith(self._tag[:size])), 0)
        self._pending = last[len(last) - held :]
        return out + self._strip_at_margin(last[: len(last) - held])

    def restart_at_margin(self) -> None:
        """Drops blanks before the next text, which begins a line: a notice was printed."""
        self._at_margin = True

    def flush(self) -> str:
        """Returns the text that is still held back, at the end of the answer."""
        held, self._pending = self._pending, ""
        return self._strip_at_margin(held)

    def _strip_at_margin(self, text: str) -> str:
        # GPT-2 writes a blank before each word; at the margin it is dropped.
        text = text.lstrip() if self._at_margin else text
        self._at_margin = self._at_margin and not text
        return text

    def _begin_message(self) -> str:
        needs_newline, self._at_margin = not self._at_margin, True
        return "\n" if needs_newline else ""


def resolve_speakers(config: ConversationConfig, known_names: Sequence[str] = ()) -> Speakers:
    """Returns the configured speakers. Raises ConfigError for a persona that is not among the model's `known_names`.

    Case is ignored, since a Model 33 has capitals only. A model without names accepts any persona.
    """
    persona = config.persona.strip().rstrip(":").rstrip()
    you = config.you.strip().rstrip(":").rstrip() or "You"
    if not persona:
        return Speakers(you=you)
    by_folded_name = {name.casefold(): name for name in known_names}
    if known_names and persona.casefold() not in by_folded_name:
        near = difflib.get_close_matches(persona.casefold(), by_folded_name, n=1)
        hint = f"did you mean {by_folded_name[near[0]]!r}?" if near else f"it knows {', '.join(known_names[:8])}"
        raise ConfigError(f"[conversation] persona = {persona!r}: the model's corpus has no such speaker; {hint}")
    you = by_folded_name.get(you.casefold(), you)
    return Speakers(by_folded_name.get(persona.casefold(), persona), you, tuple(known_names))
