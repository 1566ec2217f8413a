"""Noise, BREAKs and damage into the keyboard side, in any splits: no exception, no lost prompt, memory flat."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Iterator

import pytest
from test_editor import Typist

from drivers.events import Break, Byte, ParmrkDecoder
from drivers.input.keyboard import BREAK_KEY, INTERRUPT, Keyboard
from drivers.input.line_editor import MAX_LINE_CHARACTERS, LineEditor
from drivers.profile import BreakDetect

SAMPLE, WHOLE = 20_000, 1_000_000
READ_S = 0.1  # from one read to the next; what comes in one has one moment


def noise(size: int, rng: random.Random) -> bytes:
    """Any bytes, doubled FFs and single ones; BREAKs, bytes with bad parity; and now and then a prompt too long."""
    out = bytearray()
    while len(out) < size:
        kind = rng.random()
        if kind < 0.80:
            out += rng.randbytes(1)
        elif kind < 0.85:
            out += b"\xff\xff"
        elif kind < 0.90:
            out += b"\xff\x00" + rng.randbytes(1)
        elif kind < 0.92:
            out += b"\xff\x00\x00"
        elif kind < 0.93:
            out += bytes(rng.randrange(1, 12))
        elif kind < 0.9999:
            out += rng.choice([b"WHO IS THERE\r", b"A\nB\nC\r\n", b"X\x7fY\r", b"ONE TWO\x17\r", b"\r"])
        else:
            out += bytes(rng.randrange(0x20, 0x5F) for _ in range(MAX_LINE_CHARACTERS + 100)) + b"\r"
    return bytes(out)


def reads(data: bytes, rng: random.Random) -> Iterator[tuple[bytes, float]]:
    """The same bytes as a driver hands them on: cut anywhere, and when."""
    start = index = 0
    while start < len(data):
        end = start + rng.choice([1, 1, 1, 2, 3, 7, 64])
        yield data[start:end], index * READ_S
        start, index = end, index + 1


def moments(data: bytes, pieces: list[tuple[bytes, float]]) -> list[float]:
    when = [at for piece, at in pieces for _ in piece]
    assert len(when) == len(data)
    return when


def expected(data: bytes, when: list[float], break_detect: BreakDetect) -> list[str]:
    """The prompts that a person finds who has all of the noise before him, and time."""
    typist = Typist(MAX_LINE_CHARACTERS)
    nul_at = -1.0
    for found in re.finditer(rb"\xff\x00(?s:.)|\xff\xff|\xff(?!$)[^\x00\xff]|[^\xff]", data):
        mark, at = found[0], when[found.end() - 1]
        if mark == b"\xff\x00\x00":
            typist.press("\x03")
        elif not mark.startswith(b"\xff\x00"):
            for byte in b"\xff" if mark == b"\xff\xff" else mark:
                if byte == 0x00 and break_detect == "nul" and at - nul_at > 0.25:
                    typist.press("\x03")
                nul_at = at if byte == 0x00 else nul_at
                typist.press(chr(byte & 0x7F))
    return typist.submitted


def submitted(pieces: list[tuple[bytes, float]], break_detect: BreakDetect) -> Iterator[str]:
    """The prompts that our keyboard side finds."""
    marking, keyboard, editor = ParmrkDecoder(), Keyboard(break_detect), LineEditor("? ")
    for data, at in pieces:
        for heard in marking.feed(data):
            if isinstance(heard, Break):
                key = INTERRUPT
            elif isinstance(heard, Byte):
                key = keyboard.decode_byte(heard.value, at)
            else:
                key = ""
            if not key:
                continue
            outcome = editor.press(INTERRUPT if key == BREAK_KEY else key).outcome
            if outcome == "submit":
                yield editor.text
            if outcome in ("submit", "interrupt"):
                editor = LineEditor("? ")


@pytest.mark.parametrize("break_detect", ["marked", "nul"])
@pytest.mark.parametrize("size", [SAMPLE, pytest.param(WHOLE, marks=pytest.mark.soak)], ids=["sample", "whole"])
def test_noise_loses_no_prompt_and_leaves_nothing_behind(size: int, break_detect: BreakDetect) -> None:
    rng = random.Random(33)
    data = noise(size, rng)
    pieces = list(reads(data, rng))
    prompts = expected(data, moments(data, pieces), break_detect)
    assert len(prompts) > size / 200
    assert any(len(prompt) == MAX_LINE_CHARACTERS for prompt in prompts)
    found = submitted(pieces, break_detect)
    tracemalloc.start()
    try:
        for count, prompt in enumerate(prompts):
            assert next(found) == prompt
            if count == len(prompts) // 10:
                before = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - before < 65536
    finally:
        tracemalloc.stop()
    assert next(found, None) is None
