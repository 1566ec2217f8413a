"""The paper's own pace, in real time and between two processes: no drift, and a stall is late, never hurried."""

import asyncio
import os
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from drivers.clock import CHARACTER_S, WallClock
from drivers.paper.paper import CR
from drivers.virtual import Strike, VirtualTeletype

pytestmark = pytest.mark.pace

ROOT = Path(__file__).resolve().parents[1]
PRINTER = """
import asyncio, sys
from drivers.clock import WallClock
from drivers.line.line import open_line
from drivers.profile import Profile
from drivers.teletype import Teletype

async def main(path, lines, length):
    line = await open_line(path)
    tty = Teletype(line, WallClock(), Profile(duplex="full"))
    for number in range(lines):
        await tty.print(f"{number:05} THE TYPE WHEEL NEVER WAITS, AND NEVER RUNS AWAY. 0123456789 ABC"[:length] + "\\n")
    await tty.finish()
    await line.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def printed(
    lines: int, length: int, stall: tuple[float, float] | None = None
) -> tuple[list[Strike], VirtualTeletype, float]:
    """What a machine here was made to strike by a process that may be stopped for a while: (after, for so long).

    And for how long it was stopped indeed: a busy computer may come back to it later.
    """
    stopped_s = 0.0
    strikes: list[Strike] = []
    due = asyncio.Event()

    def on_strike(strike: Strike) -> None:
        strikes.append(strike)
        if stall is not None and len(strikes) * CHARACTER_S >= stall[0]:
            due.set()

    async with VirtualTeletype(WallClock(), on_strike=on_strike) as machine:
        daemon = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PRINTER, machine.path, str(lines), str(length), cwd=ROOT, env={**os.environ}
        )
        if stall is not None:
            await due.wait()
            stopped_at = time.monotonic()
            daemon.send_signal(signal.SIGSTOP)
            await asyncio.sleep(stall[1])
            daemon.send_signal(signal.SIGCONT)
            stopped_s = time.monotonic() - stopped_at
        assert await daemon.wait() == 0
        await machine.wait_until_idle()
    assert machine.typing_unit.driver_errors == []
    return strikes, machine, stopped_s


def ideal_s(strikes: list[Strike]) -> float:
    """From the first strike to the last, with every CR given the time that its driver gives it."""
    now, home_at = 0.0, 0.0
    for strike in strikes[:-1]:
        if strike.byte >= 0x20:
            now = max(now, home_at)
        if strike.byte == CR:
            home_at = now + CHARACTER_S + 0.2 * (strike.column if now else 72) / 72
        now += CHARACTER_S
    return now


async def test_after_a_stop_of_three_seconds_the_paper_is_late_and_never_hurried():
    strikes, machine, stopped_s = await printed(1, 24, stall=(1.0, 3.0))
    starts = [strike.start for strike in strikes]
    gaps = [after - before for before, after in pairwise(starts)]
    assert min(gaps) > 0.099
    assert abs(sum(gap - CHARACTER_S for gap in gaps if gap > 1.0) - stopped_s) < 0.5
    assert machine.max_backlog <= 2


@pytest.mark.soak
async def test_ten_minutes_of_paper_drift_by_less_than_a_thousandth():
    strikes, machine, _ = await printed(85, 70)
    took_s, wanted_s = strikes[-1].start - strikes[0].start, ideal_s(strikes)
    drift = took_s / wanted_s - 1
    print(f"{len(strikes)} characters in {took_s:.3f} s, {wanted_s:.3f} s wanted: {drift:.5%}")  # noqa: T201
    assert took_s > 600
    assert abs(drift) < 0.001
    assert machine.max_backlog <= 2
