"""Hang-ups, BREAK, ^S, keys and cancellations at random times in a conversation."""

import asyncio
import contextlib
import random
from collections.abc import Iterator

import pytest
from fakes_teletype import TeletypeBench, TypingUnitLine, overstruck_cells, run_jumping

from drivers import events
from drivers.errors import Interrupted
from drivers.profile import Profile
from drivers.virtual import FAST, GUMMY, TYPICAL, TypingUnit
from drivers.virtual.mechanics import Mechanism


def profile_for(mechanism: Mechanism) -> Profile:
    """Returns travel times that this mechanism keeps, so that a smear is an error of the driver."""
    return Profile(duplex="full", travel_ms=500 if mechanism is GUMMY else 200)


class DisturbedConversation:
    """A conversation in which the plug is pulled, BREAK is pressed and keys are typed at random."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.mechanism = self.chance.choice([FAST, TYPICAL, GUMMY])
        self.bench = TeletypeBench(
            profile=profile_for(self.mechanism),
            line=TypingUnitLine(TypingUnit(mechanism=self.mechanism)),
            wait_for_line=True,
        )
        self.whole: list[str] = []  # words that must all be on the paper, in order
        self._numbers = iter(range(10**6))

    async def disturb(self) -> None:
        while True:
            await asyncio.sleep(self.chance.random() * self.chance.choice([0.05, 0.3, 1.0, 5.0, 20.0]))
            match self.chance.choice(["hang up", "hang up", "break", "^S", "^Q", "key"]):
                case "hang up":
                    self.bench.line.hang_up()
                    await asyncio.sleep(self.chance.random() * self.chance.choice([0.0, 0.1, 1.0, 30.0]))
                    self.bench.reconnect()
                case "break":
                    self.bench.line.press_break()
                case "^S":
                    self.bench.line.press_keys("\x13")
                case "^Q":
                    self.bench.line.press_keys("\x11")
                case "key":
                    self.bench.line.press_keys("K")

    def words(self) -> list[str]:
        count = self.chance.randrange(1, 30)
        return [f"W{next(self._numbers):05}" + "X" * self.chance.choice([0, 0, 3, 20]) for _ in range(count)]

    def pieces(self, words: list[str]) -> Iterator[str]:
        text, at = "".join(word + self.chance.choice([" ", " ", "\n", "  "]) for word in words), 0
        while at < len(text):
            step = self.chance.choice([1, 3, 8, 60])
            yield text[at : at + step]
            at += step

    async def print(self, words: list[str]) -> None:
        for piece in self.pieces(words):
            await self.bench.tty.print(piece)
            if self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.choice([0.01, 0.5, 1.5]))
        await self.bench.tty.flush()

    async def act(self) -> None:
        tty, words, breaks = self.bench.tty, self.words(), self.bench.tty.counters.breaks
        match self.chance.choice(["print", "print in a scope", "print and cancel", "read"]):
            case "print":
                await self.print(words)
                if tty.counters.breaks == breaks:
                    self.whole += words
            case "print in a scope":
                start = self.bench.clock.now()
                async with tty.until_break() as scope:
                    await self.print(words)
                if scope.is_broken:
                    self._at_most_two_since(start)
                else:
                    self.whole += words
            case "print and cancel":
                printing = asyncio.ensure_future(self.print(words))
                await asyncio.sleep(self.chance.random() * self.chance.choice([0.01, 1.0, 10.0]))
                was_done = printing.done()
                printing.cancel()
                await asyncio.wait({printing})
                assert printing.cancelled() or was_done
            case "read":
                reading = asyncio.ensure_future(tty.read_line("> "))
                await asyncio.sleep(self.chance.random() * 5.0)
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError, Interrupted):
                    await reading
        await self._fresh_line()

    async def _fresh_line(self) -> None:
        breaks = -1
        while breaks != self.bench.tty.counters.breaks:  # a BREAK drops this new line too
            breaks = self.bench.tty.counters.breaks
            await self.bench.tty.fresh_line()

    def _at_most_two_since(self, start: float) -> None:
        pressed = max(start, self.bench.events_of(events.BreakPressed)[-1].at)
        assert sum(struck.at > pressed + 1e-9 for struck in self.bench.events_of(events.CharacterStruck)) <= 2


@pytest.mark.parametrize(
    "seeds", [pytest.param(range(60), id="sample"), pytest.param(range(60, 6000), id="soak", marks=pytest.mark.soak)]
)
def test_random_events_cause_no_pile_up_and_lose_no_word(seeds: range) -> None:
    async def main(seed: int) -> None:
        conversation = DisturbedConversation(seed)
        loop_errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: loop_errors.append(context))
        disturbing = asyncio.ensure_future(conversation.disturb())
        try:
            async with asyncio.timeout(24 * 3600):
                for _ in range(conversation.chance.randrange(3, 10)):
                    await conversation.act()
        finally:
            disturbing.cancel()
            await asyncio.wait({disturbing})
        if conversation.bench.tty.hang_up_reason is not None:
            conversation.bench.reconnect()
        conversation.bench.line.press_keys("\x11")
        await conversation.bench.tty.finish()
        await conversation.bench.tty.close()
        machine = conversation.bench.typing_unit
        assert machine.driver_errors == []
        assert overstruck_cells(machine.paper) == []
        assert conversation.bench.line.max_in_flight <= 2
        printed = iter(machine.paper.text().split())
        assert [word for word in conversation.whole if word not in printed] == []
        assert loop_errors == []

    for seed in seeds:
        try:
            run_jumping(main(seed))
        except BaseException as error:
            error.add_note(f"with seed {seed}")
            raise
