"""A held BREAK is one BREAK, in whatever form the adapter reports the open line."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fakes_teletype import TeletypeBench, on_jumping_loop

from drivers import errors, events
from drivers.line.line_input import Byte, LineSignal, ParmrkDecoder
from drivers.line.telnet import TelnetCodec
from drivers.profile import BreakDetect, Profile

HELD_S = 10.0


class RawDecoder:
    """A line whose marks are not decoded."""

    def feed(self, data: bytes) -> list[LineSignal]:
        return list(map(Byte, data))


FORMS = {
    "marked": (ParmrkDecoder, b"\xff\x00\x00"),
    "nul": (RawDecoder, b"\x00"),
    "telnet": (TelnetCodec, b"\xff\xf3"),
    "marked, with its NUL": (ParmrkDecoder, b"\xff\x00\x00\x00"),
    "NUL, then marked": (ParmrkDecoder, b"\x00\xff\x00\x00"),
    "marks not decoded": (RawDecoder, b"\xff\x00\x00"),
    "marked, with a DEL": (ParmrkDecoder, b"\xff\x00\x00\xff\xff"),
    "marked, then damaged": (ParmrkDecoder, b"\xff\x00\x00\xff\x00\x80"),
    "NUL and DEL": (RawDecoder, b"\x00\x7f"),
    "telnet, by RFC 2217": (lambda: TelnetCodec(baud=110), b"\xff\xfa\x2c\x6a\x10\xff\xf0"),
    "^C under REPT": (RawDecoder, b"\x03"),
}


async def count_breaks(form: str, every_s: float, *, break_detect: BreakDetect = "auto", presses: int = 1) -> int:
    """Returns the BREAKs that the driver reports while the key is held `presses` times, with a pause between."""
    make_decoder, report = FORMS[form]
    bench, decoder = TeletypeBench(profile=Profile(duplex="full", break_detect=break_detect)), make_decoder()

    async def read() -> None:
        while True:
            with contextlib.suppress(errors.Interrupted):
                await bench.tty.read_line("READY\n")

    reading = asyncio.ensure_future(read())
    for _ in range(presses):
        for _ in range(round(HELD_S / every_s)):
            for signal in decoder.feed(report):
                bench.line.receive(signal)
            await asyncio.sleep(every_s)
        await asyncio.sleep(2.0)
    assert bench.typing_unit.paper.text().count("^C") == presses
    reading.cancel()
    return len(bench.events_of(events.BreakPressed))


@pytest.mark.parametrize("every_s", [0.02, 0.1, 0.3125, 0.5])
@pytest.mark.parametrize("form", [form for form in FORMS if form != "^C under REPT"])
@on_jumping_loop
async def test_a_break_held_for_ten_seconds_is_one_break(form, every_s):
    assert await count_breaks(form, every_s) == 1


@pytest.mark.parametrize("form", FORMS)
@on_jumping_loop
async def test_after_a_pause_the_next_break_counts(form):
    assert await count_breaks(form, 0.1, presses=3) == 3


@on_jumping_loop
async def test_a_held_break_is_one_for_an_adapter_that_is_set_to_nul():
    assert await count_breaks("nul", 0.1, break_detect="nul") == 1


@on_jumping_loop
async def test_after_a_clean_character_the_next_break_counts():
    bench = TeletypeBench()
    for _ in range(3):
        bench.line.press_break()
        await asyncio.sleep(0.2)
        bench.line.press_break()
        bench.line.press_keys("A")
    assert len(bench.events_of(events.BreakPressed)) == 3


@on_jumping_loop
async def test_the_rubouts_of_a_tape_after_a_break_are_rows():
    bench = TeletypeBench()
    bench.line.press_break()
    with bench.tty.capture_input("tape") as rows:
        for byte in (0x00, 0x00, 0xFF, 0xC1, 0xFF):
            bench.line.receive(Byte(byte))
    assert rows == bytes((0x00, 0x00, 0xFF, 0xC1, 0xFF))
