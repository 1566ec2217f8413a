"""Many lines on each of the three bodies: nothing in flight, nothing piled up, nothing forbidden, no time lost."""

import math
import random
from dataclasses import dataclass

import pytest
from fakes import TeletypeBench, TypingUnitLine, run_jumping

from drivers.paper.paper import CR
from drivers.profile import Profile
from drivers.virtual import GUMMY, MECHANISMS, Mechanism, Strike, TypingUnit

SAMPLE, WHOLE = 600, 100_000
LOST_AT_MOST = 0.03
ALPHABET = "ETAOIN SHRDLU etaoin,.!?-0123456789'\"()&@_^\\{}|~`é—“”½🚀漢\t"


def calibrated(body: Mechanism) -> Profile:
    """What `asr33 calibrate` finds for it: the travel time from the right margin, in steps of 50 ms."""
    over_ms = body.cr_travel_s(72) * 1000 - 100
    return Profile(duplex="full", travel_ms=max(0, math.ceil(over_ms / 50) * 50))


def random_line(rng: random.Random) -> str:
    """Lines of paper and lines that must be wrapped; short words and long, blanks at the ends, and empty ones."""
    kind = rng.random()
    if kind < 0.1:
        return ""
    if kind < 0.7:
        words = ["".join(rng.choices(ALPHABET, k=rng.choice([1, 2, 3, 5, 8, 13]))) for _ in range(rng.randrange(1, 12))]
        return " ".join(words)[: rng.choice([5, 20, 36, 37, 71, 72, 73])]
    return "".join(rng.choices(ALPHABET, k=rng.choice([1, 36, 71, 72, 73, 150])))


@dataclass
class Ideal:
    """The soonest that a body could have struck the same bytes: no driver can do better."""

    body: Mechanism
    now: float = 0.0
    home_at: float = 0.0

    def strike(self, strike: Strike) -> None:
        if strike.byte >= 0x20:
            self.now = max(self.now, self.home_at)
        if strike.byte == CR:
            self.home_at = self.now + self.body.cr_travel_s(strike.column)
        self.now += 0.1


async def fuzz(body: Mechanism, lines: int, seed: int) -> None:
    profile = calibrated(body)
    machine = TypingUnit(profile.columns, mechanism=body)
    bench = TeletypeBench(profile=profile, line=TypingUnitLine(machine))
    bench.events = []
    rng, ideal, taken = random.Random(seed), Ideal(body), 0
    for _ in range(lines):
        line = random_line(rng)
        cut = rng.randrange(len(line) + 1)
        await bench.tty.print(line[:cut])
        await bench.tty.print(line[cut:] + "\n")
        bench.events.clear()
        fresh = machine.strike_count - taken
        for strike in list(machine.strikes)[-fresh:] if fresh else []:
            ideal.strike(strike)
        taken = machine.strike_count
        machine.strikes.clear()
        del machine.paper.lines[:-1]
    await bench.tty.finish()
    bench.assert_clean()
    lost = bench.clock.now() / ideal.now - 1
    assert 0 <= lost <= LOST_AT_MOST, f"{lost:.2%} of the time lost"
    print(f"{lines} lines, {machine.strike_count} characters, {lost:.2%} of the time lost")  # noqa: T201


@pytest.mark.parametrize("lines", [SAMPLE, pytest.param(WHOLE, marks=pytest.mark.soak)], ids=["sample", "whole"])
@pytest.mark.parametrize("body", MECHANISMS)
def test_lines_on_every_body_are_struck_clean_and_without_loss(body, lines):
    run_jumping(fuzz(MECHANISMS[body], lines, seed=33))


def test_the_fuzz_sees_a_carriage_that_is_hurried():
    async def main() -> None:
        machine = TypingUnit(72, mechanism=GUMMY)
        bench = TeletypeBench(profile=Profile(duplex="full", travel_ms=0), line=TypingUnitLine(machine))
        await bench.tty.print("x" * 72 + "\n" + "next\n")
        assert machine.smeared

    run_jumping(main())
