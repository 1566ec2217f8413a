"""The profile of one machine: its margins, carriage, type wheel, parity, and the options that are fitted.

Plain data. `asr33 calibrate` finds most of it and writes it as the table [machine] of the configuration.
"""

# ruff: noqa: RUF009 - `_option` returns a field of a frozen dataclass

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Literal, TypeVar

T = TypeVar("T")
TypeWheel = Literal["1963", "1968"]
Parity = Literal["even", "mark", "space"]  # of the eighth bit: even parity, always marking, always spacing
Duplex = Literal["auto", "full", "half"]
BreakDetect = Literal["auto", "marked", "nul"]
KeyboardType = Literal["fitted", "none"]
MotorSwitchType = Literal["always", "rts", "command"]

COLUMNS = 72  # 10 to the inch on 8 1/2 inch paper - Teletype Bulletin 310B 574-100-101TC, 2.08
PITCH, FINE_PITCH = 10, 12  # columns to the inch; fine with kit 182056
PRINTABLE_IN = 8  # inches of the paper that a line can have
CR_TRAVEL_MS = 200  # beyond one character time, from the right margin: two fills - Bulletin 310B 574-100-101TC 3.12
BOUNCE_MS = 100  # added by `gentle`: with the dashpot off, the first two characters overprint


def pitch_of(columns: int) -> int:
    """Returns the columns to the inch of a machine with so many columns: 12 if 10 to the inch do not fit the paper."""
    return PITCH if columns <= PITCH * PRINTABLE_IN else FINE_PITCH


def _option(default: T, help: str, bounds: tuple[float, float] | None = None) -> T:
    """Returns a field with its help line and range as metadata; docs/configuration.md is generated from both."""
    return field(default=default, metadata={"help": help} if bounds is None else {"help": help, "range": bounds})


@dataclass(frozen=True, slots=True)
class Profile:
    """The properties of a machine that the driver must know; the defaults are a machine as it left the factory."""

    name: str = _option("", "name of the machine, for the session log")
    columns: int = _option(COLUMNS, "columns up to the right margin: 72 to 74, or 86 at 12 to the inch", (20, 132))
    travel_ms: int = _option(CR_TRAVEL_MS, "ms that a CR from the right margin takes beyond its own 100 ms", (0, 1000))
    gentle: bool = _option(False, "the carriage bounces at the left margin: adds 100 ms to travel_ms")
    wheel: TypeWheel = _option("1968", "type wheel: 0x5E and 0x5F print up and left arrow (1963), or ^ and _ (1968)")
    send_parity: Parity = _option("even", "parity bit of sent bytes, which coded function levers obey")
    duplex: Duplex = _option("auto", "half: the machine prints its own keys; auto: the driver detects it")
    break_detect: BreakDetect = _option(
        "auto", "how the adapter reports BREAK: marked, or as a bare 0x00 (nul); auto: either"
    )
    keyboard: KeyboardType = _option("fitted", "none: a receive-only machine, whose only key is BREAK")
    margin_bell: int = _option(8, "columns before the end of a typed line where the bell rings; 0: never", (0, 40))
    auto_return: bool = _option(False, "the machine returns and feeds by itself at the last column")
    return_feeds: bool = _option(False, "CR feeds the paper too (kit 184157)")
    feed_returns: bool = _option(False, "LF returns the carriage too (kit 185983)")
    auto_reader: bool = _option(False, "the tape reader obeys DC1 and DC3")
    auto_punch: bool = _option(False, "the tape punch obeys DC2 and DC4")
    answerback: bool = _option(False, "the answerback drum answers to ENQ")
    motor: MotorSwitchType = _option("always", "switch of the motor: none (always), the RTS line, or two commands")
    motor_on: str = _option("", 'command that switches the motor on, for motor = "command"')
    motor_off: str = _option("", 'command that switches the motor off, for motor = "command"')
    spin_up_ms: int = _option(2000, "ms from switching the motor on until characters print correctly", (0, 60_000))
    motor_idle_s: int = _option(600, "seconds without typing or printing until the motor is switched off", (1, 86_400))

    @property
    def full_cr_travel_s(self) -> float:
        """Seconds that a CR from the right margin takes beyond its own character time."""
        return (self.travel_ms + self.gentle * BOUNCE_MS) / 1000

    def cr_travel_s(self, column: int) -> float:
        """Returns the seconds for a CR from `column`: they are proportional to the distance in inches."""
        return self.full_cr_travel_s * column / COLUMNS * PITCH / pitch_of(self.columns)

    @property
    def usable_columns(self) -> int:
        """Columns that text may fill: the last one stays free where the machine would return by itself."""
        return self.columns - self.auto_return


RANGES: dict[str, tuple[float, float]] = {
    option.name: option.metadata["range"] for option in fields(Profile) if "range" in option.metadata
}


def profile_to_toml(profile: Profile) -> str:
    """Returns the profile as a `[machine]` table without the defaults; `daemon.config` reads it back."""
    defaults = asdict(Profile())
    changed = {name: value for name, value in asdict(profile).items() if value != defaults[name]}
    return "[machine]\n" + "".join(f"{name} = {_toml_literal(value)}\n" for name, value in changed.items())


def _toml_literal(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = "".join(
        f"\\u{ord(char):04X}" if char < " " or char == "\x7f" else {"\\": "\\\\", '"': '\\"'}.get(char, char)
        for char in value
    )
    return f'"{escaped}"'
