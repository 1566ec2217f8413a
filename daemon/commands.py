"""What the daemon says on paper in its own words: greeting, help, status. Text only; no teletype, no clock."""

from __future__ import annotations

from datetime import datetime

from drivers.profile import Profile
from drivers.status import Status
from model.interface import Notice

OPERATOR_COMMANDS = {
    ".HELP": "THIS",
    ".NEW": "FORGET WHAT WAS SAID",
    ".READ": "TAKE THE LINE FROM TAPE",
    ".STATUS": "HOW THE MACHINE IS",
    ".BYE": "LEAVE",
}

HELP_TEXT = """\
TYPE A LINE AND PRESS RETURN: THE MACHINE GOES ON FROM THERE.
RUBOUT TAKES A LETTER BACK, BREAK STOPS AN ANSWER.
\\ BEFORE A LETTER KEEPS IT A CAPITAL.
""" + "".join(f"{command:9}{says}\n" for command, says in OPERATOR_COMMANDS.items())

# Between two words of an answer: from here on another answers, or for now nobody does.
NOTICE_TEXTS: dict[Notice, str] = {"local": "-- LOCAL --\n", "no server": "-- NO SERVER --\n"}


def format_greeting(model: str, now: datetime) -> str:
    """A few short lines, in the manner of a time-sharing system of 1970."""
    return (
        f"ASR33 TIME-SHARING SYSTEM  {now:%d %b %y  %H:%M}\n"
        f"MODEL {model}   LINE 1   USERS 1\n"
        ".HELP FOR HELP, .NEW TO START AFRESH, .BYE TO LEAVE\n"
    )


def format_unknown_command(command: str) -> str:
    return f"NO COMMAND {command}; THERE ARE {' '.join(OPERATOR_COMMANDS)}\n"


def format_status(now: Status, profile: Profile, adapter_info: str) -> str:
    """How the machine is, in lines that fit its paper."""
    seen = now.counters
    column = "UNKNOWN" if now.column is None else str(now.column + 1)
    lines = [
        f"LINE {now.line}" + (" - HUNG UP" if now.lost else ""),
        *([adapter_info] if adapter_info else []),
        f"COLUMN {column} OF {profile.columns}, DUPLEX {now.duplex or 'UNKNOWN'}, "
        f"KEYBOARD PARITY {now.keyboard_parity or 'UNKNOWN'} ({now.wrong_parity} WRONG)",
        f"{now.below} CHARACTERS BELOW, {now.ready} READY, IDLE IN {now.idle_ms} MS, "
        f"{now.character_ms:.1f} MS A CHARACTER",
        f"STRUCK {seen.struck}, TYPED {seen.keyed}, BREAKS {seen.breaks}, HANG-UPS {seen.hang_ups}",
        f"DAMAGED {seen.damaged}, GARBLED {seen.garbled}, WITHOUT ECHO {now.missing_echoes}",
    ]
    if profile.motor != "always":
        lines.append(f"MOTOR {'ON' if now.motor_on else 'OFF'}, {now.motor_ran_s / 3600:.1f} HOURS SINCE THE START")
    return "\n".join(lines) + "\n"
