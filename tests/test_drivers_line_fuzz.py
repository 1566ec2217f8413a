"""Random noise from the line into the whole Teletype: no exception, no lost prompt, and constant memory."""

import asyncio
import contextlib
import random
import tracemalloc
from array import array

import pytest
from fakes_teletype import TeletypeBench, run_jumping

from drivers import errors, events
from drivers.line.line_input import ParmrkDecoder
from drivers.profile import Profile

SAMPLE, WHOLE = 20_000, 1_000_000
PIECE = 400  # bytes between two typed prompts


def noise(rng: random.Random, count: int) -> bytes:
    """Returns bytes as from a tty with PARMRK: data with FF doubled, BREAKs, bad parity, and invalid marks."""
    data = bytearray()
    while len(data) < count:
        match rng.randrange(12):
            case 0:
                data += b"\xff\x00\x00"
            case 1:
                data += bytes((0xFF, 0x00, rng.randrange(1, 256)))
            case 2:
                data += rng.choice([b"\xff\xff", b"\xff", b"\x00", b"\x13", b"\x11", b"\r", b"\n", b"\x7f", b"\x04"])
            case _:
                data.append(rng.randrange(256))
    return bytes(data[:count])


@pytest.mark.parametrize("duplex", ["full", "auto", "half"])
@pytest.mark.parametrize("count", [SAMPLE, pytest.param(WHOLE, marks=pytest.mark.soak)], ids=["sample", "whole"])
def test_noise_on_the_line_neither_breaks_the_teletype_nor_loses_a_prompt(count, duplex):
    rng = random.Random(33)

    async def main() -> None:
        bench = TeletypeBench(profile=Profile(duplex=duplex), character_s=0.0)
        decoder = ParmrkDecoder()
        sizes = array("q", bytes(8 * (count // PIECE)))

        def feed_line(data: bytes) -> None:
            while data:  # in any pieces
                cut = rng.randrange(1, len(data) + 1)
                for line_input in decoder.feed(data[:cut]):
                    bench.line.receive(line_input)
                data = data[cut:]

        lines: list[str] = []

        async def read() -> None:
            while True:
                with contextlib.suppress(errors.Interrupted, errors.EndOfInput):
                    lines.append(await bench.tty.read_line())

        reader = asyncio.ensure_future(read())
        for number in range(count // PIECE):
            feed_line(noise(rng, PIECE))
            await asyncio.sleep(3.0)
            feed_line(b"\x00" * 2)  # completes a mark that the noise had begun
            await asyncio.sleep(3.0)
            feed_line(b"\xff\x00\x00")  # BREAK: the noise typed so far is dropped
            await asyncio.sleep(3.0)
            feed_line(f"WHO IS {number}?\r".encode())
            await asyncio.sleep(3.0)
            assert lines[-1] == f"WHO IS {number}?"
            assert not reader.done()
            lines.clear()
            assert {byte & 0x7F for byte in bench.line.written} <= {*range(0x20, 0x60), 0x07, 0x0A, 0x0D}
            assert bench.events_of(events.LineDisconnected) == []
            bench.events.clear()
            bench.line.written.clear()
            bench.typing_unit.strikes.clear()
            bench.typing_unit.forbidden.clear()
            bench.typing_unit.bells_rung.clear()
            del bench.typing_unit.paper.lines[:-1]
            sizes[number] = tracemalloc.get_traced_memory()[0]
        reader.cancel()
        quarter = len(sizes) // 4
        # A limited number of lines is kept; in half duplex the noise sometimes makes the driver forget them all.
        assert max(sizes) < 1_500_000
        assert min(sizes[-quarter:]) < min(sizes[-2 * quarter : -quarter]) + 20_000

    tracemalloc.start()
    try:
        run_jumping(main())
    finally:
        tracemalloc.stop()
