"""Who speaks: the persona that answers, whoever types, and all others who are in the model's corpus. Pure."""

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
class Cast:
    """Nobody in particular, unless there is a `persona`."""

    persona: str = ""
    you: str = "You"
    others: tuple[str, ...] = ()

    @property
    def stops(self) -> tuple[str, ...]:
        """Where an answer ends: at the tag of anybody else."""
        names = dict.fromkeys((self.you, *self.others)) if self.persona else {}
        return tuple(f"\n{name}:" for name in names if name != self.persona)


NOBODY = Cast()


def cast(config: ConversationConfig, known: Sequence[str] = ()) -> Cast:
    """The cast as configured, of those whom the model knows, if it says. Raises ConfigError for a persona it has not.

    Case is not looked at: a Model 33 has only one.
    """
    wanted = config.persona.strip().rstrip(":").rstrip()
    you = config.you.strip().rstrip(":").rstrip() or "You"
    if not wanted:
        return Cast(you=you)
    named = {name.casefold(): name for name in known}
    if known and wanted.casefold() not in named:
        near = difflib.get_close_matches(wanted.casefold(), named, n=1)
        hint = f"did you mean {named[near[0]]!r}?" if near else f"it knows {', '.join(known[:8])}"
        raise ConfigError(f"[conversation] persona = {wanted!r}: the model's corpus has nobody of that name; {hint}")
    you = named.get(you.casefold(), you)
    return Cast(named.get(wanted.casefold(), wanted), you, tuple(known))
