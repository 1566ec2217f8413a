"""Many lines on each of the three mechanisms: no smear, no pile-up, no forbidden code, and no lost time."""

import math
import random
from dataclasses import dataclass

import pytest
from fakes_teletype import TeletypeBench, TypingUnitLine, on_jumping_loop, run_jumping

from drivers.paper.paper import CR
from drivers.profile import Profile
from drivers.virtual import GUMMY, MECHANISMS, Mechanism, Strike, TypingUnit

SAMPLE, WHOLE = 600, 100_000
LOST_AT_MOST = 0.03
ALPHABET = "ETAOIN SHRDLU etaoin,.!?-0123456789'\"()&@_^\\{}|~`é—“”½🚀漢\t"


def calibrated_profile(mechanism: Mechanism) -> Profile:
    """Returns the profile that `asr33 calibrate` finds: the travel time from the right margin, in steps of 50 ms."""
    over_ms = mechanism.cr_travel_s(72) * 1000 - 100
    return Profile(duplex="full", travel_ms=max(0, math.ceil(over_ms / 50) * 50))


def random_line(rng: random.Random) -> str:
    """Returns a line with words of any length and blanks at the ends, or an empty line."""
    kind = rng.random()
    if kind < 0.1:
        return ""
    if kind < 0.7:
        words = ["".join(rng.choices(ALPHABET, k=rng.choice([1, 2, 3, 5, 8, 13]))) for _ in range(rng.randrange(1, 12))]
        return " ".join(words)[: rng.choice([5, 20, 36, 37, 71, 72, 73])]
    return "".join(rng.choices(ALPHABET, k=rng.choice([1, 36, 71, 72, 73, 150])))


@dataclass
class Ideal:
    """The earliest time at which a mechanism could have struck the same bytes."""

    mechanism: Mechanism
    now: float = 0.0
    home_at: float = 0.0

    def strike(self, strike: Strike) -> None:
        if strike.byte >= 0x20:
            self.now = max(self.now, self.home_at)
        if strike.byte == CR:
            self.home_at = self.now + self.mechanism.cr_travel_s(strike.column)
        self.now += 0.1


async def fuzz_lines(mechanism: Mechanism, lines: int, seed: int) -> None:
    profile = calibrated_profile(mechanism)
    machine = TypingUnit(profile.columns, mechanism=mechanism)
    bench = TeletypeBench(profile=profile, line=TypingUnitLine(machine))
    bench.events = []
    rng, ideal, checked_count = random.Random(seed), Ideal(mechanism), 0
    for _ in range(lines):
        line = random_line(rng)
        cut = rng.randrange(len(line) + 1)
        await bench.tty.print(line[:cut])
        await bench.tty.print(line[cut:] + "\n")
        bench.events.clear()
        fresh = machine.strike_count - checked_count
        for strike in list(machine.strikes)[-fresh:] if fresh else []:
            ideal.strike(strike)
        checked_count = machine.strike_count
        machine.strikes.clear()
        del machine.paper.lines[:-1]
    await bench.tty.finish()
    bench.assert_clean()
    lost = bench.clock.now() / ideal.now - 1
    assert 0 <= lost <= LOST_AT_MOST, f"{lost:.2%} of the time lost"
    print(f"{lines} lines, {machine.strike_count} characters, {lost:.2%} of the time lost")  # noqa: T201


@pytest.mark.parametrize("lines", [SAMPLE, pytest.param(WHOLE, marks=pytest.mark.soak)], ids=["sample", "whole"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_lines_on_every_mechanism_are_struck_clean_and_in_time(mechanism, lines):
    run_jumping(fuzz_lines(MECHANISMS[mechanism], lines, seed=33))


@on_jumping_loop
async def test_the_fuzz_detects_too_short_a_travel_time():
    machine = TypingUnit(72, mechanism=GUMMY)
    bench = TeletypeBench(profile=Profile(duplex="full", travel_ms=0), line=TypingUnitLine(machine))
    await bench.tty.print("x" * 72 + "\n" + "next\n")
    assert machine.smeared
