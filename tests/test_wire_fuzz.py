"""A wire gone mad, into the whole Teletype: no exception, no prompt lost, and memory that stays where it was."""

import asyncio
import contextlib
import random
import tracemalloc
from array import array

import pytest
from fakes import TeletypeBench, run_jumping

from drivers import errors, events
from drivers.events import ParmrkDecoder
from drivers.profile import Profile

SAMPLE, WHOLE = 20_000, 1_000_000
PIECE = 400  # bytes between two prompts that somebody does type


def noise(rng: random.Random, count: int) -> bytes:
    """Bytes as a tty with PARMRK would hand them on: data with FF doubled, BREAKs, bad parity, and what is neither."""
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
def test_no_noise_on_the_wire_breaks_the_teletype_or_loses_a_prompt(count, duplex):
    rng = random.Random(33)

    async def main() -> None:
        bench = TeletypeBench(profile=Profile(duplex=duplex), character_s=0.0)
        marking = ParmrkDecoder()
        sizes = array("q", bytes(8 * (count // PIECE)))

        def hear(data: bytes) -> None:
            while data:  # in any pieces
                cut = rng.randrange(1, len(data) + 1)
                for heard in marking.feed(data[:cut]):
                    bench.line.receive(heard)
                data = data[cut:]

        lines: list[str] = []

        async def read() -> None:
            while True:
                with contextlib.suppress(errors.Interrupted, errors.EndOfInput):
                    lines.append(await bench.tty.read_line())

        reading = asyncio.ensure_future(read())
        for number in range(count // PIECE):
            hear(noise(rng, PIECE))
            await asyncio.sleep(3.0)
            hear(b"\x00" * 2)  # the end of a mark that the noise had begun
            await asyncio.sleep(3.0)
            hear(b"\xff\x00\x00")  # BREAK: what the noise has typed is gone
            await asyncio.sleep(3.0)
            hear(f"WHO IS {number}?\r".encode())
            await asyncio.sleep(3.0)
            assert lines[-1] == f"WHO IS {number}?"
            assert not reading.done()
            lines.clear()
            assert {byte & 0x7F for byte in bench.line.wire} <= {*range(0x20, 0x60), 0x07, 0x0A, 0x0D}
            assert bench.events_of(events.LineDisconnected) == []
            bench.events.clear()
            bench.line.wire.clear()
            bench.typing_unit.strikes.clear()
            bench.typing_unit.forbidden.clear()
            bench.typing_unit.bells_rung.clear()
            del bench.typing_unit.paper.lines[:-1]
            sizes[number] = tracemalloc.get_traced_memory()[0]
        reading.cancel()
        quarter = len(sizes) // 4
        # So many lines of paper are kept and no more; in half duplex the noise has them all forgotten now and then.
        assert max(sizes) < 1_500_000
        assert min(sizes[-quarter:]) < min(sizes[-2 * quarter : -quarter]) + 20_000

    tracemalloc.start()
    try:
        run_jumping(main())
    finally:
        tracemalloc.stop()
