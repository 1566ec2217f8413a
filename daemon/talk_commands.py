"""The operator's commands about the conversation: its temperature, seed and turns, and its name on the disk.

Each returns the line for the paper. It knows no machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from daemon.errors import DaemonError
from daemon.saved_conversations import SavedConversation, SavedConversations
from daemon.tape_memory import TapeMemory
from daemon.turns import Turns
from model.errors import ModelError
from model.interface import PARAMETERS

MAX_SHOWN_CHARS = 40  # of a line that is quoted

NOTHING_SAID = "NOTHING WAS SAID YET: TYPE A LINE FIRST.\n"


class TalkCommands:
    """Answers for one machine. `find_obstacle` returns why nothing may be saved or loaded now, or ""."""

    def __init__(self, turns: Turns, saved: SavedConversations, find_obstacle: Callable[[], str]) -> None:
        self._turns, self._saved, self._find_obstacle = turns, saved, find_obstacle
        self._name = ""  # under which this conversation is saved

    def set_temperature(self, value: str) -> str:
        """.TEMP: of this conversation."""
        low, high = PARAMETERS["temperature"].bounds
        is_number = re.fullmatch(r"\d{1,4}|\d{0,4}[.,]\d{1,6}", value, re.ASCII)
        number = float(value.replace(",", ".")) if is_number else -1.0
        if not value:
            return f"TEMPERATURE {self._turns.settings.temperature:g}; .TEMP 0.9 SETS ANOTHER.\n"
        if not low <= number <= high:
            return f".TEMP TAKES A NUMBER FROM {low:g} TO {high:g}, SUCH AS .TEMP 0.7\n"
        self._turns.settings = replace(self._turns.settings, temperature=number)
        return f"TEMPERATURE {number:g} IN THIS CONVERSATION.\n"

    def choose_seed(self, value: str) -> str:
        """.SEED: of the next answer; each later one has the next number."""
        low, high = PARAMETERS["seed"].bounds
        number = int(value) if re.fullmatch(r"\d{1,19}", value, re.ASCII) else -1
        if not value:
            return f"SEED {self._turns.next_seed} IS NEXT; .SEED 33 SETS ANOTHER.\n"
        if not low <= number <= high:
            return f".SEED TAKES A WHOLE NUMBER FROM {low:.0f} TO 2^63-1, SUCH AS .SEED 33\n"
        self._turns.choose_seed(number)
        return f"SEED {number} IS NEXT.\n"

    def switch_header(self) -> str:
        """.HEADER: a line before and after each answer."""
        settings = self._turns.settings
        self._turns.settings = replace(settings, header=not settings.header)
        return "NO LINES ABOUT THE ANSWERS NOW.\n" if settings.header else "A LINE BEFORE AND AFTER EACH ANSWER NOW.\n"

    def take_back(self) -> str:
        """.BACK: the last exchange leaves the conversation."""
        turn = self._turns.take_back()
        if turn is None:
            return NOTHING_SAID
        return f"TAKEN BACK: {shorten(turn.typed) if turn.typed else 'WHAT CAME WITHOUT A LINE'}\n"

    def switch_ink(self) -> str:
        """.INK: what the model is sure of is struck twice."""
        settings = self._turns.settings
        if not settings.ink and (obstacle := self._turns.find_ink_obstacle()):
            return obstacle
        self._turns.settings = replace(settings, ink=not settings.ink)
        return "EACH GLYPH ONCE NOW.\n" if settings.ink else "WHAT THE MODEL IS SURE OF IS STRUCK TWICE NOW.\n"

    def describe(self) -> str:
        """.WHO: the model, the persona, and how it answers."""
        turns, speakers = self._turns, self._turns.conversation.speakers
        who = f"ANSWERS {speakers.you} AS {speakers.persona}" if speakers.persona else "GOES ON WITH YOUR TEXT"
        return f"{turns.model.name} {who}, TEMPERATURE {turns.settings.temperature:g}, SEED {turns.next_seed}\n"

    def switch_copied_mark(self) -> str:
        """.COPIED: marks in the next answers what the model copies from its training text, or ends that."""
        turns, mark = self._turns, self._turns.copied_mark
        if turns.settings.mark_copied:
            turns.settings = replace(turns.settings, mark_copied=False)
            return "WHAT IS COPIED IS NOT MARKED ANY MORE.\n"
        try:
            description = mark.describe()
        except ModelError as error:
            return f"-- {error} --\n"
        turns.settings = replace(turns.settings, mark_copied=True)
        return description

    def save(self, name: str) -> str:
        """.SAVE: an earlier conversation of another origin is not replaced."""
        turns = self._turns
        if obstacle := self._find_obstacle():
            return obstacle
        if name and not turns.conversation.memory:
            return NOTHING_SAID
        memory, persona = turns.conversation.memory, turns.conversation.speakers.persona
        try:
            saved = SavedConversation(memory, persona, turns.settings.temperature)
            self._saved.save(name, saved, replaces=name.upper() == self._name)
        except DaemonError as error:
            return f"-- {error} --\n"
        self._name = name.upper()
        return f"SAVED AS {self._name}.\n"

    def load(self, name: str) -> str:
        """.LOAD: a saved conversation takes the place of this one."""
        if obstacle := self._find_obstacle():
            return obstacle
        if not name:
            return f"{self._saved.describe_names()}\n"
        try:
            saved = self._saved.load(name)
        except DaemonError as error:
            return f"-- {error} --\n"
        if not self._resume(saved.persona, saved.memory, {"temperature": saved.temperature}):
            return f"{saved.persona} ANSWERED IN {name}, AND IS NOT HERE: .MODEL CHANGES THE MODEL.\n"
        self._name = name.upper()
        return f"{self._name} ENDS: {shorten_start(saved.memory)}\n"

    def _resume(self, persona: str, memory: str, settings: Mapping[str, float]) -> bool:
        """Begins a conversation with this memory; returns False if the persona is not here, and changes nothing."""
        turns, conversation = self._turns, self._turns.conversation
        if persona not in (conversation.speakers.persona, conversation.other_speakers.persona):
            return False
        if persona != conversation.speakers.persona:
            turns.switch_mode()
        turns.forget()
        known = {name: parameter for name, parameter in PARAMETERS.items() if name in settings and name != "seed"}
        kept: dict[str, Any] = {
            name: parameter.kind(min(max(parameter.bounds[0], settings[name]), parameter.bounds[1]))
            for name, parameter in known.items()
        }
        turns.settings = replace(turns.settings, **kept)
        conversation.memory = memory
        turns.begin_line()
        return True

    def make_memory(self, *, only_settings: bool) -> TapeMemory | None:
        """.PUNCH: what a tape keeps of this conversation; None if nothing was said, or nothing may be kept."""
        turns = self._turns
        if self._find_obstacle() or not (turns.conversation.memory or only_settings):
            return None
        settings = {name: getattr(turns.settings, name) for name in PARAMETERS if name != "seed"}
        return TapeMemory(
            turns.model.name,
            turns.model_hash[:16],
            turns.conversation.speakers.persona,
            turns.next_seed,
            {name: value for name, value in settings.items() if isinstance(value, int | float)},
            "" if only_settings else turns.conversation.memory,
        )

    def resume_from_tape(self, saved: TapeMemory) -> str:
        """.READ: a conversation on a tape takes the place of this one."""
        if obstacle := self._find_obstacle():
            return obstacle
        turns = self._turns
        if saved.model.upper() != turns.model.name.upper():
            return f"THE TAPE IS OF {saved.model}: .MODEL {saved.model} FIRST, THEN READ IT AGAIN.\n"
        if not self._resume(saved.persona, saved.memory, saved.settings):
            return f"{saved.persona} ANSWERED ON THE TAPE, AND IS NOT HERE.\n"
        low, high = PARAMETERS["seed"].bounds
        turns.choose_seed(int(min(max(low, saved.seed), high)))
        self._name = ""
        is_other = bool(turns.model_hash) and saved.model_hash != turns.model_hash[:16]
        other = f"{turns.model.name} HERE IS ANOTHER VERSION: WHAT FOLLOWS MAY DIFFER.\n" if is_other else ""
        ends = f"THE TAPE ENDS: {shorten_start(saved.memory)}" if saved.memory else "SETTINGS AS ON THE TAPE"
        return f"{ends}\nSEED {turns.next_seed} IS NEXT.\n{other}"

    def forget_name(self) -> None:
        """The conversation is another one: it is not that of the name any more."""
        self._name = ""


def shorten(text: str) -> str:
    """Returns the first words of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN_CHARS else f"{line[: MAX_SHOWN_CHARS - 3]}..."


def shorten_start(text: str) -> str:
    """Returns the last words of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN_CHARS else f"...{line[3 - MAX_SHOWN_CHARS :]}"
