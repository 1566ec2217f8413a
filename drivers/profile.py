"""One machine: its margins, its carriage, its wheel, its parity, and which options are fitted.

Plain data. `asr33 calibrate` finds most of it out and writes it as TOML; `[machine]` in a configuration is the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Literal

from drivers.paper.paper import COLUMNS, PITCH, pitch_of

TypeWheel = Literal["1963", "1968"]
ParityOut = Literal["even", "mark", "space"]
Duplex = Literal["auto", "full", "half"]
BreakDetect = Literal["auto", "marked", "nul"]
MotorSwitchType = Literal["always", "rts", "command"]

CR_TRAVEL_MS = 200  # beyond one character time, from the right margin: two fills - Bulletin 310B 574-100-101TC 3.12
BOUNCE_MS = 100  # what `gentle` adds: the first two characters overprint where the dashpot is off


@dataclass(frozen=True, slots=True)
class Profile:
    """What a driver must know of the machine at its line; the defaults are the machine as it left the factory."""

    name: str = ""  # for the log and for whoever has several
    columns: int = COLUMNS  # the stop can be set: 72 to 74, or 86 on a 12-to-the-inch machine
    travel_ms: int = (
        CR_TRAVEL_MS  # from the right margin, beyond the 100 ms that a CR takes itself; 150 to 400 are about
    )
    gentle: bool = False  # the carriage bounces: leave it a tenth of a second more
    wheel: TypeWheel = "1968"  # 0x5E and 0x5F: up and left arrow on the wheel of 1963, ^ and _ on that of 1968
    send_parity: ParityOut = "even"  # function levers may be coded for level 8 - 574-122-100TC; the type wheel is not
    duplex: Duplex = "auto"  # half: the machine prints what its own keyboard sends
    break_detect: BreakDetect = "auto"  # nul: the adapter (CH340) hands a BREAK on as a bare 0x00
    margin_bell: int = 8  # rings so many columns before the end of a line that is typed; 0 never
    auto_return: bool = False  # option: CR and LF by itself at the last column
    return_feeds: bool = False  # kit 184157: CR feeds the paper too
    feed_returns: bool = False  # kit 185983: LF returns the carriage too
    auto_reader: bool = False  # the reader obeys DC1 and DC3
    auto_punch: bool = False  # the punch obeys DC2 and DC4
    answerback: bool = False  # the drum answers to ENQ
    motor: MotorSwitchType = "always"  # who switches it: nobody, the RTS line, or the two commands
    motor_on: str = ""
    motor_off: str = ""
    spin_up_ms: int = 2000  # bytes that come sooner are lost or garbled
    motor_idle_s: int = 600  # off after so long with nothing typed or struck

    @property
    def full_cr_travel_s(self) -> float:
        """What a CR from the right margin takes beyond its own character time."""
        return (self.travel_ms + self.gentle * BOUNCE_MS) / 1000

    def cr_travel_s(self, column: int) -> float:
        """What it takes beyond that from any column: the way counts, and is shorter at 12 to the inch."""
        return self.full_cr_travel_s * column / COLUMNS * PITCH / pitch_of(self.columns)

    @property
    def usable_columns(self) -> int:
        """Columns that text may fill: the last one stays free where the machine would return by itself."""
        return self.columns - self.auto_return


# What lies beyond is a slip of the pen. By field name: least and most.
RANGES: dict[str, tuple[float, float]] = {
    "columns": (20, 132),
    "travel_ms": (0, 1000),
    "margin_bell": (0, 40),
    "spin_up_ms": (0, 60_000),
    "motor_idle_s": (1, 86_400),
}


def profile_to_toml(profile: Profile) -> str:
    """The profile as a `[machine]` table, the defaults left out; `daemon.config` reads it back."""
    plain = asdict(Profile())
    lines = ["[machine]"]
    for item in fields(profile):
        value = getattr(profile, item.name)
        if value != plain[item.name]:
            lines.append(f"{item.name} = {_toml_literal(value)}")
    return "\n".join(lines) + "\n"


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
