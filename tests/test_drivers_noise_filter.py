"""Noise is told from typing: by parity, damage and useless codes on any line, by speed too on a serial port."""

from __future__ import annotations

import random

import pytest

from drivers.input.noise_filter import NoiseFilter
from drivers.text.charset import apply_parity

PROSE = b"THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG.\r"


def feed(noise_filter: NoiseFilter, data: bytes, every_s: float = 0.1, start: float = 0.0) -> int:
    """Returns how many of these characters were taken for noise."""
    return sum(noise_filter.note_character(byte, start + number * every_s) for number, byte in enumerate(data))


@pytest.mark.parametrize("parity", ["even", "mark", "space"])
@pytest.mark.parametrize("is_serial", [False, True])
def test_a_typist_with_any_keyboard_is_no_noise(parity, is_serial):
    typed = bytes(apply_parity(byte, parity) for byte in PROSE * 200)
    assert feed(NoiseFilter(is_serial=is_serial), typed) == 0


@pytest.mark.parametrize("first", ["even", "mark", "space"])
@pytest.mark.parametrize("second", ["even", "mark", "space"])
def test_a_replaced_keyboard_is_no_noise(first, second):
    noise_filter = NoiseFilter()
    assert feed(noise_filter, bytes(apply_parity(byte, first) for byte in PROSE * 4)) == 0
    assert feed(noise_filter, bytes(apply_parity(byte, second) for byte in PROSE * 4)) == 0


@pytest.mark.parametrize("share", [0.05, 0.1, 0.15])
def test_a_typist_on_a_poor_line_is_no_noise(share):
    rng, noise_filter, noise = random.Random(33), NoiseFilter(), 0
    for number, byte in enumerate(apply_parity(byte, "even") for byte in PROSE * 100):
        if rng.random() < share:
            noise += noise_filter.note_damaged(number * 0.1)
        else:
            noise += noise_filter.note_character(byte, number * 0.1)
    assert noise < 20


@pytest.mark.parametrize(("every_s", "missed"), [(0.001, 60), (0.1, 60), (1.0, 150)])
@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_are_noise_after_a_few_characters(seed, every_s, missed):
    rng = random.Random(seed)
    noise_filter = NoiseFilter()
    data = bytes(rng.randrange(1, 256) for _ in range(2000))
    assert len(data) - feed(noise_filter, data, every_s) < missed


@pytest.mark.parametrize(
    "text", ["naïve café, “quoted” – and so on; ", "Übergrößen für Öfen, daß es läuft. ", "ls -la /tmp\r"]
)
def test_a_pasted_text_on_a_pty_is_no_noise(text):
    assert feed(NoiseFilter(), text.encode() * 20, every_s=0.0) == 0


def test_a_serial_port_cannot_deliver_more_than_ten_characters_a_second():
    assert feed(NoiseFilter(is_serial=True), PROSE * 20, every_s=0.01) > 500
    assert feed(NoiseFilter(is_serial=False), PROSE * 20, every_s=0.01) == 0


def test_a_serial_port_may_deliver_what_a_fifo_has_held_back():
    noise_filter = NoiseFilter(is_serial=True)
    for start in range(20):
        assert feed(noise_filter, PROSE, every_s=0.0, start=start * len(PROSE) / 10) == 0


def test_a_break_on_a_quiet_line_ends_the_noise_and_one_among_noise_does_not():
    rng = random.Random(33)
    noise_filter = NoiseFilter()
    feed(noise_filter, bytes(rng.randrange(1, 256) for _ in range(200)))
    noise_filter.note_break(20.1)
    assert noise_filter.is_noisy
    noise_filter.note_break(23.0)
    assert not noise_filter.is_noisy
    assert feed(noise_filter, PROSE, start=24.0) == 0
