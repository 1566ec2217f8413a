"""One channel: what of its talk comes to paper, what is remembered, and what the machine answers. Pure.

The machine answers on its command, its name, a question or a timer, as configured. It never answers notices, machines
that say that they are machines, and itself. Of another machine it can only see that it always answers: so after three
turns with one speaker alone it waits for somebody else, or for the command.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from daemon.bridges.chat_text import clean_name, clean_text
from daemon.bridges.irc.flood_guard import FloodGuard
from daemon.bridges.irc.irc_client import ChatLine
from daemon.bridges.irc.loop_guard import MAX_TURNS, LoopGuard
from daemon.people import ForgetScope

Trigger = Literal["command", "name", "question", "timer"]
TRIGGERS: tuple[Trigger, ...] = ("command", "name", "question", "timer")
COMMAND_INTERVAL_S = 10.0  # between two bells, and two answers to !test, in one room

_QUOTES = "\"')]”’» "


@dataclass(frozen=True, slots=True)
class RoomRules:
    """How the machine behaves in a room. `names` are its names beside its nick; `label` is printed before a line."""

    command: str = "!gpt2"
    triggers: frozenset[str] = frozenset({"command", "name"})
    timer_s: float = 1800.0
    ignored: frozenset[str] = frozenset()  # nicks in lower case: neither printed nor answered
    names: tuple[str, ...] = ()
    memory_lines: int = 5
    label: str = ""


@dataclass(frozen=True, slots=True)
class PrintLine:
    """A line for the paper; `person` pays for it."""

    person: str
    text: str


@dataclass(frozen=True, slots=True)
class AskModel:
    """The model shall go on after these lines, as name and text. `nick` is who asked; empty for the timer."""

    nick: str
    person: str
    trigger: Trigger
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RingBell:
    """The bell passes: it disturbs no line of paper."""


@dataclass(frozen=True, slots=True)
class ReplyNotice:
    """A text for the room, or for one nick in it, which no machine answers."""

    text: str
    nick: str = ""


RoomAction = PrintLine | AskModel | RingBell | ReplyNotice


@dataclass(slots=True)
class ChatRoom:
    """One channel. Its memory has the last lines, the machine's own among them."""

    channel: str
    rules: RoomRules = field(default_factory=RoomRules)
    memory: deque[tuple[str, str]] = field(default_factory=deque)
    _floods: FloodGuard = field(default_factory=FloodGuard)
    _loops: LoopGuard = field(default_factory=LoopGuard)
    _last_nick: str = ""  # who spoke last; empty after the machine itself
    _timer_at: float = float("inf")
    _command_at: float = float("-inf")

    def hear(self, line: ChatLine, own_nick: str, now: float) -> list[RoomAction]:
        """Returns what is to be done about a line of a person."""
        if line.nick.lower() in self.rules.ignored or not (text := clean_text(line.text)):
            return []
        if not self._floods.admits(line.nick.lower(), now):
            return []
        name = clean_name(line.name)
        word, _, rest = text.partition(" ")
        is_answerable = line.kind == "say" and not line.is_bot
        if is_answerable and (word := word.lower()) in ("!bell", "!test"):
            return list(self._obey(word, line.nick, now))
        is_command = line.kind == "say" and word == self.rules.command and "command" in self.rules.triggers
        actions: list[RoomAction] = [*self._note_flood(now), PrintLine(name, self._format(name, text, line))]
        if remembered := self._choose_remembered(text, rest, own_nick, is_command=is_command):
            self._remember(name, remembered)
        if not is_answerable:
            return actions
        self._loops.note_line(line.nick.lower(), now, is_command=is_command)
        self._last_nick = line.nick
        self._timer_at = min(self._timer_at, now + self.rules.timer_s)
        if trigger := self._find_trigger(text, own_nick, is_command=is_command):
            actions += self._ask(line.nick, name, trigger, now)
        return actions

    def note_answer(self, name: str, text: str, now: float) -> None:
        """Remembers what the machine itself said."""
        self._remember(name, text)
        self._last_nick, self._timer_at = "", float("inf")
        self._loops.note_answer(now)

    def forget(self, scope: ForgetScope) -> None:
        """Forgets a person's lines. They have no date: before a date is all."""
        is_kept = [not (scope.before or scope.has_person(name) or scope.has_text(text)) for name, text in self.memory]
        self.memory = deque(line for line, kept in zip(self.memory, is_kept, strict=True) if kept)

    def tick(self, now: float) -> list[RoomAction]:
        """Lets the machine speak by itself, if that is configured and people have spoken since it spoke last."""
        if "timer" not in self.rules.triggers or now < self._timer_at:
            return []
        self._timer_at = float("inf")
        return list(self._ask(self._last_nick, clean_name(self._last_nick), "timer", now))

    def next_time(self) -> float:
        """Returns when `tick` has something to do."""
        return self._timer_at if "timer" in self.rules.triggers else float("inf")

    def _obey(self, word: str, nick: str, now: float) -> Iterator[RoomAction]:
        if now - self._command_at < COMMAND_INTERVAL_S:
            return
        self._command_at = now
        if word == "!bell":
            yield RingBell()
        else:
            yield ReplyNotice(f"Hello {nick}. The Teletype hears you; {self.rules.command} makes it answer.")

    def _choose_remembered(self, text: str, rest: str, own_nick: str, *, is_command: bool) -> str:
        """Returns the line as the model shall see it: without commands, and without our name before it."""
        if is_command or text.startswith("!"):
            return rest if is_command else ""
        return re.sub(rf"^@?(?:{self._name_pattern(own_nick)})[:,]? +", "", text, flags=re.IGNORECASE)

    def _name_pattern(self, own_nick: str) -> str:
        return "|".join(re.escape(name) for name in (own_nick, *self.rules.names) if name)

    def _find_trigger(self, text: str, own_nick: str, *, is_command: bool) -> Trigger | None:
        if is_command:
            return "command"
        if text.startswith("!"):
            return None  # the command of another bot
        name = rf"(?<!\w)(?:{self._name_pattern(own_nick)})(?!\w)"
        if "name" in self.rules.triggers and re.search(name, text, re.IGNORECASE):
            return "name"
        is_question = text.rstrip(_QUOTES).endswith("?")
        return "question" if is_question and "question" in self.rules.triggers else None

    def _ask(self, nick: str, person: str, trigger: Trigger, now: float) -> Iterator[RoomAction]:
        verdict = self._loops.judge(nick.lower(), is_command=trigger == "command")
        if verdict == "stop":
            yield ReplyNotice(f"{MAX_TURNS} answers to {nick} alone: say {self.rules.command} and I go on.")
        elif verdict == "go":
            yield AskModel(nick, person, trigger, tuple(self.memory))

    def _note_flood(self, now: float) -> Iterator[RoomAction]:
        if count := self._floods.take_dropped():
            yield PrintLine(clean_name(self.channel), f"{self.rules.label}-- {count} LINES OF A FLOOD LEFT OUT --")

    def _format(self, name: str, text: str, line: ChatLine) -> str:
        return f"{self.rules.label}* {name} {text}" if line.kind == "action" else f"{self.rules.label}{name}: {text}"

    def _remember(self, name: str, text: str) -> None:
        self.memory.append((name, text))
        while len(self.memory) > self.rules.memory_lines:
            self.memory.popleft()
