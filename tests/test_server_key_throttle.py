"""Wrong API keys are slowed down by address, with bounded memory, and are logged; a right key is not."""

import asyncio
import logging
import time
from pathlib import Path

import pytest
from fakes_completion_server import FakeBatchModel, get, running_server, send_request
from hypothesis import given
from hypothesis import strategies as st

from model.server.api_keys import ApiKeys
from model.server.key_throttle import (
    FIRST_DELAY_S,
    FORGET_AFTER_S,
    MAX_ADDRESSES,
    MAX_DELAY_S,
    MAX_HELD,
    MAX_HELD_PER_ADDRESS,
    KeyThrottle,
)

KEY, WRONG = "north-window-0123456789", "north-window-0123456788"


def make_keys(folder: Path) -> ApiKeys:
    path = folder / "keys"
    path.write_text(f"{KEY} north\n")
    path.chmod(0o600)
    return ApiKeys(path)


class JumpingClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_wrong_key_of_an_address_doubles_the_delay_up_to_a_limit() -> None:
    throttle = KeyThrottle(JumpingClock())
    delays = [throttle.record_failure("10.0.0.1") for _ in range(2000)]
    assert delays[:4] == [FIRST_DELAY_S, 2 * FIRST_DELAY_S, 4 * FIRST_DELAY_S, 8 * FIRST_DELAY_S]
    assert set(delays[10:]) == {MAX_DELAY_S}
    assert throttle.record_failure("10.0.0.2") == FIRST_DELAY_S


def test_an_address_is_forgotten_after_a_while_and_memory_is_bounded() -> None:
    clock = JumpingClock()
    throttle = KeyThrottle(clock)
    for number in range(3 * MAX_ADDRESSES):
        throttle.record_failure(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(throttle._failures) == MAX_ADDRESSES
    clock.now += FORGET_AFTER_S + 1
    assert throttle.record_failure("10.0.0.1") == FIRST_DELAY_S
    assert len(throttle._failures) == 1


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("unix", "unix", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_addresses_of_one_network_count_together(one: str, other: str, together: bool) -> None:
    throttle = KeyThrottle(JumpingClock())
    throttle.record_failure(one)
    assert (throttle.record_failure(other) > FIRST_DELAY_S) == together


@given(st.text())
def test_any_address_is_counted(address: str) -> None:
    assert KeyThrottle(JumpingClock()).record_failure(address) == FIRST_DELAY_S


async def test_only_so_many_requests_are_held_at_once() -> None:
    throttle = KeyThrottle()
    one = [asyncio.ensure_future(throttle.hold("10.0.0.1")) for _ in range(MAX_HELD_PER_ADDRESS + 5)]
    many = [asyncio.ensure_future(throttle.hold(f"10.0.1.{number}")) for number in range(MAX_HELD)]
    await asyncio.sleep(0)
    refused = [task for task in (*one, *many) if task.done()]
    assert len(refused) == 5 + MAX_HELD_PER_ADDRESS
    assert not any(task.result() for task in refused)
    for task in (*one, *many):
        task.cancel()
    await asyncio.wait((*one, *many))
    assert throttle._held.total() == len(throttle._held) == 0


async def test_wrong_keys_are_slowed_and_logged_and_a_right_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
            started_at = time.monotonic()
            for _ in range(4):
                assert (await send_request(port, get("/v1/models", key=WRONG))).status == 401
            assert time.monotonic() - started_at > 15 * FIRST_DELAY_S
            slow = asyncio.ensure_future(send_request(port, get("/v1/models", key=WRONG)))
            await asyncio.sleep(0.05)
            started_at = time.monotonic()
            for _ in range(20):
                assert (await send_request(port, get("/v1/models", key=KEY))).status == 200
            assert not slow.done()
            crowd = await asyncio.gather(*(send_request(port, get("/metrics", key=WRONG)) for _ in range(40)))
            assert {reply.status for reply in crowd} == {401, 429}
            refused = next(reply for reply in crowd if reply.status == 429)
            assert (refused.error["code"], refused.headers["retry-after"]) == ("wrong_keys", "5")
            assert (await send_request(port, get("/v1/models", key=KEY))).status == 200
            await slow
    assert caplog.text.count(" 401, 0 tokens, ") >= 5 + MAX_HELD_PER_ADDRESS - 1
    assert all("from 127.0.0.1" in line for line in caplog.text.splitlines() if " 401, " in line or " 429, " in line)
    assert caplog.text.count("10 wrong keys from 127.0.0.1") == 1
    assert WRONG not in caplog.text


async def test_a_held_client_that_goes_leaves_nothing_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
        for _ in range(MAX_HELD_PER_ADDRESS * 2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get("/v1/models", key=WRONG))
            await asyncio.sleep(0)
            writer.transport.abort()
        assert (await send_request(port, get("/v1/models", key=KEY))).status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
