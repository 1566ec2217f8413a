"""Noise on the line of a whole session: no end, no answer, little paper; and the operator has the machine again."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import run_jumping

from drivers.line.line_input import Break, Byte, FramingError, LineSignal
from drivers.teletype import NOISE_NOTICE

MINUTES = 10
MAX_LINES = 20


def noise_signal(rng: random.Random) -> LineSignal:
    """One character in ten is damaged, one in a hundred is a BREAK."""
    share = rng.random()
    if share < 0.01:
        return Break()
    return FramingError(rng.randrange(1, 256)) if share < 0.11 else Byte(rng.randrange(256))


@pytest.mark.parametrize("is_warm", [False, True], ids=["fresh", "after a typed line"])
@pytest.mark.parametrize("rate", [3, 10, 30])
@pytest.mark.parametrize("seed", range(4))
def test_ten_minutes_of_noise_end_nothing_and_get_no_answer(
    tmp_path: Path, seed: int, rate: int, is_warm: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        model = ScriptedModel(split_words("yes."))
        daemon = DaemonBench(tmp_path, model)
        await daemon.session.listening.wait()
        if is_warm:
            await daemon.type("WHO IS ADA")
            await asyncio.sleep(10)
        lines, prompts = len(daemon.paper.splitlines()), model.prompts
        for _ in range(MINUTES * 60 * rate):
            daemon.line.receive(noise_signal(rng))
            await asyncio.sleep(1 / rate)
        assert not daemon.running.done()
        assert model.prompts == prompts
        assert len(daemon.paper.splitlines()) - lines <= MAX_LINES
        assert daemon.paper.count(NOISE_NOTICE) == 1
        assert daemon.tty.status().is_noisy
        assert daemon.tty.status().counters.noise > MINUTES * 60 * rate * 0.9
        assert len(daemon.log_records("noise")) == 1
        await asyncio.sleep(3)
        daemon.line.press_break()
        await asyncio.sleep(3)
        await daemon.type("WHO IS ADA")
        assert "who is ada" in model.last_prompt.lower()
        daemon.running.cancel()

    with caplog.at_level("INFO", "asr33"):
        run_jumping(main())
    assert sum("noise on the line" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("noise", [b"\x04", b"\x84", b"\x04\x04\x04", b"Q\xd1\x04", b"\xd1Q\x84"])
def test_a_control_d_among_noise_ends_nothing(tmp_path: Path, noise: bytes) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel(split_words("yes.")))
        await daemon.session.listening.wait()
        for byte in b"\x81\x01\xfe" + noise + b"\x81\xfe\x01":
            daemon.line.receive(Byte(byte))
            await asyncio.sleep(0.1)
        await asyncio.sleep(30)
        assert not daemon.running.done()
        daemon.running.cancel()

    run_jumping(main())


@pytest.mark.parametrize("typed", ["", ".NEW\r"])
def test_a_control_d_of_a_typist_ends_the_session(tmp_path: Path, typed: str) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel(split_words("yes.")))
        await daemon.session.listening.wait()
        daemon.line.press_keys(typed)
        await asyncio.sleep(5)
        daemon.line.press_keys("\x04")
        await asyncio.sleep(5)
        assert daemon.running.done()
        assert daemon.paper.endswith("GOODBYE.\n")

    run_jumping(main())


def test_a_short_line_of_a_typist_is_answered_in_any_form(tmp_path: Path) -> None:
    async def main() -> None:
        model = ScriptedModel(split_words("yes."))
        daemon = DaemonBench(tmp_path, model)
        for line in ("A\r", "B\r\n", "\x04\x7fC\r"):
            before = model.prompts
            await daemon.session.listening.wait()
            daemon.line.press_keys(line)
            await asyncio.sleep(8)
            assert model.prompts == before + 1
        daemon.running.cancel()

    run_jumping(main())
