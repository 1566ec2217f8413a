"""Noise, BREAKs and damage into the keyboard decoder, cut anywhere: no exception, no lost prompt, constant memory."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Iterator

import pytest
from test_drivers_line_editor import ReferenceEditor

from drivers.input.keyboard import BREAK_KEY, INTERRUPT, SAME_BREAK_S, Keyboard
from drivers.input.line_editor import MAX_LINE_CHARACTERS, LineEditor
from drivers.line.line_input import Break, Byte, ParmrkDecoder
from drivers.profile import BreakDetect

SAMPLE, WHOLE = 20_000, 1_000_000
READ_S = 0.1  # between two reads; the bytes of one read have the same time


def noise(size: int, rng: random.Random) -> bytes:
    """Returns any bytes, doubled and single FFs, BREAKs, bad parity, and sometimes a prompt that is too long."""
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


def cut_into_reads(data: bytes, rng: random.Random) -> Iterator[tuple[bytes, float]]:
    """Yields the same bytes as a driver reads them, cut anywhere, each read with its time."""
    start = index = 0
    while start < len(data):
        end = start + rng.choice([1, 1, 1, 2, 3, 7, 64])
        yield data[start:end], index * READ_S
        start, index = end, index + 1


def times_of(data: bytes, pieces: list[tuple[bytes, float]]) -> list[float]:
    times = [at for piece, at in pieces for _ in piece]
    assert len(times) == len(data)
    return times


def reference_prompts(data: bytes, times: list[float], break_detect: BreakDetect) -> list[str]:
    """Returns the prompts that a simple reference finds in all of the noise."""
    reference = ReferenceEditor(MAX_LINE_CHARACTERS)
    nul_at = -1.0
    for match in re.finditer(rb"\xff\x00(?s:.)|\xff\xff|\xff(?!$)[^\x00\xff]|[^\xff]", data):
        sequence, at = match[0], times[match.end() - 1]
        if sequence == b"\xff\x00\x00":
            reference.press("\x03")
        elif not sequence.startswith(b"\xff\x00"):
            for byte in b"\xff" if sequence == b"\xff\xff" else sequence:
                if byte == 0x00 and break_detect == "nul" and at - nul_at > SAME_BREAK_S:
                    reference.press("\x03")
                nul_at = at if byte == 0x00 else nul_at
                reference.press(chr(byte & 0x7F))
    return reference.submitted


def decoded_prompts(pieces: list[tuple[bytes, float]], break_detect: BreakDetect) -> Iterator[str]:
    """Yields the prompts that the keyboard decoder and the editor find."""
    decoder, keyboard, editor = ParmrkDecoder(), Keyboard(break_detect), LineEditor("? ")
    for data, at in pieces:
        for line_input in decoder.feed(data):
            key = BREAK_KEY if isinstance(line_input, Break) else ""
            if isinstance(line_input, Byte):
                key = keyboard.decode_byte(line_input.value, at)
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
    pieces = list(cut_into_reads(data, rng))
    prompts = reference_prompts(data, times_of(data, pieces), break_detect)
    assert len(prompts) > size / 200
    assert any(len(prompt) == MAX_LINE_CHARACTERS for prompt in prompts)
    decoded = decoded_prompts(pieces, break_detect)
    tracemalloc.start()
    try:
        for count, prompt in enumerate(prompts):
            assert next(decoded) == prompt
            if count == len(prompts) // 10:
                before = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - before < 65536
    finally:
        tracemalloc.stop()
    assert next(decoded, None) is None
