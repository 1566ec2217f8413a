"""The end of a daemon: no task beside the session keeps it from ending."""

from __future__ import annotations

import asyncio

import pytest

from daemon import build


async def test_a_task_that_loses_the_first_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_CANCEL_AGAIN_S", 0.01)
    cancellations = 0

    async def lose_one() -> None:
        nonlocal cancellations
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancellations += 1
                if cancellations > 1:
                    raise

    task = asyncio.ensure_future(lose_one())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await build._cancel_and_wait(task)
    assert cancellations == 2
