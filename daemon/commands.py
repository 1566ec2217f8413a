"""The table of the operator's commands (name, help line, handler), and the texts that the daemon prints. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from drivers.profile import Profile
from drivers.status import Status
from model.interface import Notice

PrintMessage = Callable[[str], Awaitable[None]]


class SpoolAnswers(Protocol):
    """What the commands ask the spool."""

    def print_queue(self, print_message: PrintMessage) -> Awaitable[None]: ...

    def hush(self, minutes: str, print_message: PrintMessage) -> Awaitable[None]: ...


class TalkAnswers(Protocol):
    """What the commands ask of the conversation; each returns a line for the paper."""

    def set_temperature(self, value: str) -> str: ...

    def choose_seed(self, value: str) -> str: ...

    def switch_header(self) -> str: ...

    def switch_ink(self) -> str: ...

    def describe(self) -> str: ...

    def switch_copied_mark(self) -> str: ...

    def save(self, name: str) -> str: ...

    def load(self, name: str) -> str: ...


class CommandTarget(Protocol):
    """The methods of the session that the commands call."""

    @property
    def talk(self) -> TalkAnswers: ...

    def begin_duologue(self, names: str) -> Awaitable[None]: ...

    def switch_game(self) -> Awaitable[None]: ...

    def answer_again(self) -> Awaitable[None]: ...

    def take_back(self) -> Awaitable[None]: ...

    def go_on(self) -> Awaitable[None]: ...

    def choose_model(self, name: str) -> Awaitable[None]: ...

    def feed_tear_off(self) -> Awaitable[None]: ...

    def print_address(self) -> Awaitable[None]: ...

    @property
    def spool(self) -> SpoolAnswers: ...

    def print_message(self, text: str) -> Awaitable[None]: ...

    def forget_conversation(self) -> Awaitable[None]: ...

    def switch_mode(self) -> Awaitable[None]: ...

    def answer_tape(self) -> Awaitable[None]: ...

    def punch(self, text: str) -> Awaitable[None]: ...

    def print_status(self) -> Awaitable[None]: ...

    def begin_private(self) -> Awaitable[None]: ...

    def end_private(self) -> Awaitable[None]: ...

    def leave(self) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class OperatorCommand:
    """A command; its handler gets the session and the argument, which is "" if none is given."""

    help: str  # in the answer to .HELP
    run: Callable[[CommandTarget, str], Awaitable[None]]
    argument: str = ""  # the argument's name; "": the command takes none


OPERATOR_COMMANDS: dict[str, OperatorCommand] = {
    ".HELP": OperatorCommand("THIS", lambda session, _: session.print_message(HELP_TEXT)),
    ".AGAIN": OperatorCommand("ANSWER THE SAME LINE ANEW", lambda session, _: session.answer_again()),
    ".MORE": OperatorCommand("GO ON WITH THE ANSWER", lambda session, _: session.go_on()),
    ".BACK": OperatorCommand("TAKE THE LAST LINE AND ITS ANSWER BACK", lambda session, _: session.take_back()),
    ".TALK": OperatorCommand(
        "LET TWO SPEAKERS TALK; BREAK LETS YOU SAY A LINE",
        lambda session, names: session.begin_duologue(names),
        argument="A B",
    ),
    ".GUESS": OperatorCommand("GUESS WHICH LINE A HUMAN WROTE", lambda session, _: session.switch_game()),
    ".NEW": OperatorCommand("FORGET WHAT WAS SAID", lambda session, _: session.forget_conversation()),
    ".MODE": OperatorCommand("ANSWER YOU, OR GO ON WITH YOUR TEXT", lambda session, _: session.switch_mode()),
    ".TEMP": OperatorCommand(
        "HOW FREELY THE MODEL CHOOSES, FROM 0 ON",
        lambda session, value: session.print_message(session.talk.set_temperature(value)),
        argument="T",
    ),
    ".SEED": OperatorCommand(
        "SEED OF THE NEXT ANSWER: THE SAME GIVES THE SAME",
        lambda session, value: session.print_message(session.talk.choose_seed(value)),
        argument="N",
    ),
    ".HEADER": OperatorCommand(
        "SHOW HOW EACH ANSWER IS MADE, OR NOT",
        lambda session, _: session.print_message(session.talk.switch_header()),
    ),
    ".INK": OperatorCommand(
        "STRIKE TWICE WHAT THE MODEL IS SURE OF, OR NOT",
        lambda session, _: session.print_message(session.talk.switch_ink()),
    ),
    ".COPIED": OperatorCommand(
        "UNDERLINE WHAT IS COPIED FROM THE MODEL'S TEXT, OR DO NOT",
        lambda session, _: session.print_message(session.talk.switch_copied_mark()),
    ),
    ".WHO": OperatorCommand("WHO ANSWERS", lambda session, _: session.print_message(session.talk.describe())),
    ".MODEL": OperatorCommand(
        "ANSWER WITH ANOTHER MODEL", lambda session, name: session.choose_model(name), argument="NAME"
    ),
    ".SAVE": OperatorCommand(
        "KEEP THE CONVERSATION UNDER A NAME",
        lambda session, name: session.print_message(session.talk.save(name)),
        argument="NAME",
    ),
    ".LOAD": OperatorCommand(
        "GO ON WITH A KEPT CONVERSATION",
        lambda session, name: session.print_message(session.talk.load(name)),
        argument="NAME",
    ),
    ".TEAR": OperatorCommand("FEED THE PAPER TO TEAR IT OFF", lambda session, _: session.feed_tear_off()),
    ".WHERE": OperatorCommand("ADDRESS OF THIS MACHINE", lambda session, _: session.print_address()),
    ".PUNCH": OperatorCommand(
        "KEEP THE CONVERSATION, SEED OR A LINE ON TAPE",
        lambda session, text: session.punch(text),
        argument="X",
    ),
    ".READ": OperatorCommand("TAKE A LINE OR A CONVERSATION FROM TAPE", lambda session, _: session.answer_tape()),
    ".STATUS": OperatorCommand("HOW THE MACHINE IS", lambda session, _: session.print_status()),
    ".PRIVATE": OperatorCommand("KEEP THE NEXT LINES ON THE PAPER ONLY", lambda session, _: session.begin_private()),
    ".PUBLIC": OperatorCommand("LOG THE LINES AGAIN", lambda session, _: session.end_private()),
    ".QUEUE": OperatorCommand(
        "WHAT OTHERS WANT TO BE PRINTED", lambda session, _: session.spool.print_queue(session.print_message)
    ),
    ".HUSH": OperatorCommand(
        "PRINT NOTHING OF OTHERS FOR N MINUTES",
        lambda session, minutes: session.spool.hush(minutes, session.print_message),
        argument="N",
    ),
    ".BYE": OperatorCommand("LEAVE", lambda session, _: session.leave()),
}


def find_command(typed: str) -> Callable[[CommandTarget], Awaitable[None]] | None:
    """Returns the handler of a typed line, with its argument; None if the line is to be answered."""
    name, _, argument = typed.strip().partition(" ")
    command = OPERATOR_COMMANDS.get(name.upper())
    if command is not None and (command.argument or not argument):
        return lambda session: command.run(session, argument.strip())
    if name.startswith(".") and name[1:2].isalpha():
        return lambda session: session.print_message(format_unknown_command(typed.strip().upper()))
    return None


HELP_TEXT: str = """\
TYPE A LINE AND PRESS RETURN: THE MACHINE ANSWERS.
RUBOUT TAKES A LETTER BACK, CTRL-W A WORD, CTRL-U THE WHOLE LINE.
CTRL-R PRINTS THE LINE AGAIN. LINE FEED GOES ON BELOW.
CTRL-S HOLDS THE PAPER, CTRL-Q LETS IT GO ON. BREAK STOPS AN ANSWER.
\\ BEFORE A LETTER KEEPS IT A CAPITAL.
""" + "".join(f"{f'{name} {command.argument}':12}{command.help}\n" for name, command in OPERATOR_COMMANDS.items())

# Printed between two words of an answer: a local model continues it, or no server is reachable at present.
NOTICE_TEXTS: dict[Notice, str] = {"local": "-- LOCAL --\n", "no server": "-- NO SERVER --\n"}

STILL_PRIVATE = "PRIVATE: ON THE PAPER ONLY, UNTIL .PUBLIC\n"
PUBLIC_AGAIN = "PUBLIC: THE LINES ARE LOGGED AGAIN.\n"
LOGGED_AGAIN = "-- LOGGED AGAIN --\n"
VISIT_ENDED = "-- FORGOTTEN: THE NEXT VISITOR BEGINS AFRESH --\n"
STOP_MARK = "-- STOPPED --\n"  # the last line of a daemon that a signal ends
NO_MODEL_REASONS = {
    "system": "THIS COMPUTER HAS TOO LITTLE MEMORY OR TOO FEW THREADS FOR IT.\n",
}


def format_greeting(model: str, now: datetime, *, has_keyboard: bool = True) -> str:
    """Returns the greeting in the style of a time-sharing system of 1970."""
    head = f"ASR33 TIME-SHARING SYSTEM  {now:%d %b %y  %H:%M}\nMODEL {model}   LINE 1   USERS 1\n"
    if not has_keyboard:
        return head + "PRESS BREAK, AND THE MACHINE GOES ON; PRESS IT AGAIN, AND IT STOPS.\n"
    return head + "TYPE A LINE, PRESS RETURN.\n.HELP FOR HELP, .NEW TO START AFRESH, .BYE TO LEAVE\n"


def format_log_state(last_code: str, is_private: bool) -> str:
    """Returns the lines of .STATUS about the log: the code of the last answer in it, and whether it is private now."""
    return (f"LAST ANSWER {last_code}\n" if last_code else "") + (STILL_PRIVATE if is_private else "")


def format_private(survives_restart: bool) -> str:
    """Returns the answer to .PRIVATE."""
    return STILL_PRIVATE + ("" if survives_restart else "A RESTART ENDS IT TOO: IT CANNOT BE NOTED ON THE DISK.\n")


def format_not_logged(reason: str) -> str:
    """Returns the notice to the operator that the disk of the session log takes no records."""
    return f"-- NOT LOGGED: {reason} --\n"


def format_no_model(kind: str) -> str:
    """Returns the last words of a session whose model cannot be loaded; `kind` is that of the ModelError."""
    return "-- NO MODEL --\n" + NO_MODEL_REASONS.get(kind, "")


def format_mode(persona: str) -> str:
    """Returns the message after a change of the mode; `persona` answers, or "" if the typed text is continued."""
    return f"{persona} ANSWERS YOU.\n" if persona else "THE MACHINE GOES ON WITH YOUR TEXT.\n"


def format_unknown_command(name: str) -> str:
    word = name.split()[0]
    if word in OPERATOR_COMMANDS:
        return f"{word} TAKES NO WORD AFTER IT.\n"
    near = difflib.get_close_matches(word, OPERATOR_COMMANDS, n=1)
    hint = f"DID YOU MEAN {near[0]}? " if near else ""
    return f"NO COMMAND {word[:20]}: {hint}.HELP LISTS THEM.\n"


def format_status(now: Status, profile: Profile, adapter_info: str, model: str, device: str) -> str:
    """Returns the state of the machine; `model` and `device` name the model and where it runs ("" before it does)."""
    counters = now.counters
    column = "UNKNOWN" if now.column is None else str(now.column + 1)
    lines = [
        f"MODEL {model}" + (f" ON {device}" if device else ""),
        f"LINE {now.line}" + (" - HUNG UP" if now.lost else ""),
        *([adapter_info] if adapter_info else []),
        f"COLUMN {column} OF {profile.columns}, DUPLEX {now.duplex or 'UNKNOWN'}, "
        f"KEYBOARD PARITY {now.keyboard_parity or 'UNKNOWN'} ({now.wrong_parity} WRONG)",
        f"{now.below} CHARACTERS BELOW, {now.ready} READY, IDLE IN {now.idle_ms} MS, "
        f"{now.character_ms:.1f} MS A CHARACTER",
        f"STRUCK {counters.struck}, TYPED {counters.keyed}, BREAKS {counters.breaks}, HANG-UPS {counters.hang_ups}",
        f"DAMAGED {counters.damaged}, GARBLED {counters.garbled}, WITHOUT ECHO {now.missing_echoes}, "
        f"NOISE {counters.noise}{' AND NOW' if now.is_noisy else ''}",
    ]
    if profile.motor != "always":
        lines.append(f"MOTOR {'ON' if now.motor_on else 'OFF'}, {now.motor_ran_s / 3600:.1f} HOURS SINCE THE START")
    return "\n".join(lines) + "\n"
