"""Simulated faults: a bad line, a slow or fast clock, a pulled cable, an open loop, a cold motor.

The source of randomness is an argument, so that a run can be repeated. Knows bytes; no port and no moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from drivers.errors import DriverError


class RandomSource(Protocol):
    """The methods of `random.Random` that are used here."""

    def random(self) -> float: ...

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares are of the bytes in either direction; the default is a good line."""

    lost: float = 0.0
    doubled: float = 0.0
    flipped: float = 0.0  # one bit of the eight
    split: bool = False  # the bytes to the host come in pieces, and so does the mark of a BREAK
    skew: float = 0.0  # of the line's clock: 0.01 is 1 % slow, -0.01 is 1 % fast
    unplug_after: int = 0  # bytes that the machine has received until the cable is out for a while; 0: never
    open_after: int = 0  # the same until the loop opens for a second
    cold: bool = False  # the motor is switched on as the machine starts


_SWITCHES: dict[str, Callable[[Faults], Faults]] = {
    "split": lambda faults: replace(faults, split=True),
    "slow": lambda faults: replace(faults, skew=0.01),
    "fast": lambda faults: replace(faults, skew=-0.01),
    "cold": lambda faults: replace(faults, cold=True),
}
_AMOUNTS: dict[str, Callable[[Faults, str], Faults]] = {
    "lost": lambda faults, text: replace(faults, lost=_parse_share(text)),
    "doubled": lambda faults, text: replace(faults, doubled=_parse_share(text)),
    "flipped": lambda faults, text: replace(faults, flipped=_parse_share(text)),
    "unplug": lambda faults, text: replace(faults, unplug_after=_parse_count(text)),
    "open": lambda faults, text: replace(faults, open_after=_parse_count(text)),
}


def parse_faults(text: str) -> Faults:
    """Parses `lost=0.001,split,slow`: shares lost, doubled, flipped; unplug=N, open=N; split, slow, fast, cold.

    Raises DriverError.
    """
    faults = Faults()
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, equals, amount = word.partition("=")
        try:
            faults = _AMOUNTS[name](faults, amount) if equals else _SWITCHES[name](faults)
        except KeyError:
            known = ", ".join([f"{name}=N" for name in _AMOUNTS] + list(_SWITCHES))
            raise DriverError(f"no fault {word!r}: there are {known}", "usage") from None
        except ValueError:
            raise DriverError(f"{word!r} has no amount: {name} wants {_amount_hint(name)}", "usage") from None
    return faults


def _parse_share(text: str) -> float:
    if not 0.0 <= (share := float(text)) <= 1.0:
        raise ValueError
    return share


def _parse_count(text: str) -> int:
    if (count := int(text)) < 1:
        raise ValueError
    return count


def _amount_hint(name: str) -> str:
    return "a number of bytes, 1 or more" if name in ("unplug", "open") else "a share from 0 to 1, as 0.001"


class LineNoise:
    """Damages the bytes of a line one by one."""

    def __init__(self, faults: Faults, rng: RandomSource) -> None:
        self._faults = faults
        self._rng = rng

    def distort(self, byte: int) -> bytes:
        """Returns the bytes that arrive for one sent byte: itself, another, none, or two."""
        if self._happens(self._faults.lost):
            return b""
        if self._happens(self._faults.flipped):
            byte ^= 1 << self._rng.randrange(8)
        return bytes((byte,)) * (2 if self._happens(self._faults.doubled) else 1)

    def split_reads(self, data: bytes) -> list[bytes]:
        """Returns the data cut into the reads of the far end."""
        if not self._faults.split:
            return [data]
        pieces = []
        while data:
            cut = 1 + self._rng.randrange(len(data))
            pieces.append(data[:cut])
            data = data[cut:]
        return pieces

    def _happens(self, share: float) -> bool:
        return share > 0.0 and self._rng.random() < share


def garble_byte(byte: int, rng: RandomSource) -> int | None:
    """Returns the byte that the selector makes of a byte while the motor spins up; None if it makes none."""
    return None if rng.random() < 0.5 else byte ^ 1 + rng.randrange(0xFF)
