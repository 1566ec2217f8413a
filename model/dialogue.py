"""A dialogue as a GPT-2 reads it: lines of `Name: text`, as in a corpus of messages. Pure.

Speaker tags such as `Ann:` are in the model's text only; neither the paper nor a chat client shows them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model.errors import ModelError

INDENT = "  "  # before further lines of a message, so that none looks like a tag


@dataclass(frozen=True, slots=True)
class Speakers:
    """`persona` is empty if the model continues the text without speakers. `cue` is the text before the dialogue.

    `ends_with_line`: each message of the persona is one line.
    """

    persona: str = ""
    you: str = "You"
    others: tuple[str, ...] = ()
    cue: str = ""
    ends_with_line: bool = False

    @property
    def persona_tag(self) -> str:
        """The tag before each of the persona's messages."""
        return f"\n{self.persona}:" if self.persona else ""

    @property
    def stop_sequences(self) -> tuple[str, ...]:
        """The tags of all other speakers: the answer ends before them, or at the end of its line."""
        if self.ends_with_line:
            return ("\n",)
        names = dict.fromkeys((self.you, *self.others)) if self.persona else {}
        return tuple(f"\n{name}:" for name in names if name != self.persona)


NO_PERSONA = Speakers()
# The machine in person, for a GPT-2 that was trained on no dialogue: it goes on in the manner of this text.
MACHINE_PERSONA = Speakers(
    "Teletype",
    cue="""\
A visitor talks to Teletype, an old machine that types its answers. The answers are short and friendly.

You: Good morning!
Teletype: Good morning. I am glad that you came. What would you like to know?
You: Are you a computer?
Teletype: No, I am only a typewriter with a motor. A computer sends me the words.""",
)


def read_known_speakers(training: Mapping[str, object]) -> tuple[tuple[str, ...], str]:
    """Returns the speakers in the `training` of a manifest, the most talkative first, and the one who answers or "".

    A manifest from elsewhere may have anything there.
    """
    personas, persona = training.get("personas"), training.get("persona")
    names = tuple(personas) if isinstance(personas, dict) else ()
    return names, persona if isinstance(persona, str) and persona in names else ""


def choose_speakers(persona: str, you: str, known_names: Sequence[str] = ()) -> Speakers:
    """Returns the speakers with the spelling of the model's `known_names`. Case is ignored.

    Without `you` it is the first known name that is not the persona's, since the persona has answered that speaker.
    A model without names accepts any persona. Raises ModelError for a persona that is not among the names.
    """
    persona, you = (name.strip().rstrip(":").rstrip() for name in (persona, you))
    if not persona:
        return Speakers(you=you or "You")
    by_folded_name = {name.casefold(): name for name in known_names}
    if known_names and persona.casefold() not in by_folded_name:
        near = difflib.get_close_matches(persona.casefold(), by_folded_name, n=1)
        hint = f"did you mean {by_folded_name[near[0]]!r}?" if near else f"it knows {', '.join(known_names[:8])}"
        raise ModelError(f"the model's corpus has no such speaker; {hint}", "config")
    you = you or next((name for name in known_names if name.casefold() != persona.casefold()), "You")
    you = by_folded_name.get(you.casefold(), you)
    return Speakers(by_folded_name.get(persona.casefold(), persona), you, tuple(known_names))


def stop_sequences_for(prompt: str, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the tags of all known speakers but the one whose message the prompt ends in: an answer ends before them.

    A prompt that is no dialogue ends in no speaker's message.
    """
    last_line = next((line for line in reversed(prompt.splitlines()) if line and not line[0].isspace()), "")
    return tuple(f"\n{name}:" for name in names if not last_line.startswith(f"{name}:"))


def indent_further_lines(text: str) -> str:
    """Indents all lines of a message but its first."""
    return text.replace("\n", f"\n{INDENT}")


def join_dialogue(messages: Iterable[tuple[str, str]], persona: str) -> str:
    """Returns the prompt for the persona's next message: the messages, as name and text, then the persona's tag.

    A message without a name has no tag. The prompt never ends in a blank: GPT-2's tokens begin with the blank before a
    word.
    """
    lines = []
    for name, text in messages:
        if text := text.strip():
            lines.append(f"{name}: {indent_further_lines(text)}" if name else text)
    return "\n".join([*lines, f"{persona}:"])


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


class ChatTextFilter:
    """Turns the text of a dialogue back into a chat message: without tags, indentation, and blanks at its ends."""

    def __init__(self, tag: str) -> None:
        self._tags = SpeakerTagFilter(tag)
        self._blanks = ""  # blanks and line feeds that may be the message's last

    def feed(self, text: str) -> str:
        """Returns the text of the message that is certain now."""
        return self._hold_blanks(self._tags.feed(text))

    def flush(self) -> str:
        """Returns the rest of the message, at the end of the answer."""
        return self._hold_blanks(self._tags.flush())

    def _hold_blanks(self, text: str) -> str:
        text = self._blanks + text
        certain = text.rstrip()
        self._blanks = text[len(certain) :]
        return certain.replace(f"\n{INDENT}", "\n")
