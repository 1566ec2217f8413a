"""Whatever comes, whenever it comes: hang-ups, BREAK, ^S, keys and cancellations at random into a conversation."""

import asyncio
import contextlib
import random
from collections.abc import Iterator

import pytest
from fakes import TeletypeBench, TypingUnitLine, overstruck_cells, run_jumping

from drivers import events
from drivers.errors import Interrupted
from drivers.profile import Profile
from drivers.virtual import FAST, GUMMY, TYPICAL, TypingUnit
from drivers.virtual.mechanics import Mechanism


def fitting(body: Mechanism) -> Profile:
    """Carriage times that this body keeps, so that a smear is our fault and not the profile's."""
    return Profile(duplex="full", travel_ms=500 if body is GUMMY else 200)


class Disturbed:
    """A conversation, and somebody who pulls the plug, presses BREAK and types while it goes on."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.body = self.chance.choice([FAST, TYPICAL, GUMMY])
        self.bench = TeletypeBench(
            profile=fitting(self.body), line=TypingUnitLine(TypingUnit(mechanism=self.body)), wait_for_line=True
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
                    self.put_back()
                case "break":
                    self.bench.line.press_break()
                case "^S":
                    self.bench.line.press_keys("\x13")
                case "^Q":
                    self.bench.line.press_keys("\x11")
                case "key":
                    self.bench.line.press_keys("K")

    def put_back(self) -> None:
        self.bench.line = self.bench.line.reconnect()
        self.bench.tty.attach(self.bench.line)

    def words(self) -> list[str]:
        numbers = range(self.chance.randrange(1, 30))
        return [f"W{next(self._numbers):05}" + "X" * self.chance.choice([0, 0, 3, 20]) for _ in numbers]

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
                begun = self.bench.clock.now()
                async with tty.until_break() as scope:
                    await self.print(words)
                if scope.is_broken:
                    self._at_most_two_since(begun)
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
        while breaks != self.bench.tty.counters.breaks:  # a BREAK takes this new line away too
            breaks = self.bench.tty.counters.breaks
            await self.bench.tty.fresh_line()

    def _at_most_two_since(self, begun: float) -> None:
        pressed = max(begun, self.bench.events_of(events.BreakPressed)[-1].at)
        assert sum(struck.at > pressed + 1e-9 for struck in self.bench.events_of(events.CharacterStruck)) <= 2


@pytest.mark.parametrize(
    "seeds", [pytest.param(range(60), id="sample"), pytest.param(range(60, 6000), id="soak", marks=pytest.mark.soak)]
)
def test_whatever_comes_nothing_piles_up_and_no_word_is_lost(seeds: range) -> None:
    async def main(seed: int) -> None:
        talk = Disturbed(seed)
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        disturbing = asyncio.ensure_future(talk.disturb())
        try:
            async with asyncio.timeout(24 * 3600):
                for _ in range(talk.chance.randrange(3, 10)):
                    await talk.act()
        finally:
            disturbing.cancel()
            await asyncio.wait({disturbing})
        if talk.bench.tty.hang_up_reason is not None:
            talk.put_back()
        talk.bench.line.press_keys("\x11")
        await talk.bench.tty.finish()
        await talk.bench.tty.close()
        machine = talk.bench.typing_unit
        assert machine.faults == []
        assert overstruck_cells(machine.paper) == []
        assert talk.bench.line.max_in_flight <= 2
        printed = iter(machine.paper.text().split())
        assert [word for word in talk.whole if word not in printed] == []
        assert complaints == []

    for seed in seeds:
        try:
            run_jumping(main(seed))
        except BaseException as error:
            error.add_note(f"with seed {seed}")
            raise
