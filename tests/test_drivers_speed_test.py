import asyncio
import math
import os
import termios

import pytest
from fakes_serial_line import FakeSerialServer, LineRecorder, far_end, open_pty_as_tty
from fakes_teletype import on_jumping_loop, raises_driver_error, run_jumping
from hypothesis import given
from hypothesis import strategies as st
from test_drivers_serial_chip import plug_in, plug_in_usb

from drivers import errors
from drivers.line.line import open_line
from drivers.line.line_input import Break, Byte
from drivers.line.serial_chip import OTHER_ADAPTER, adapter_at
from drivers.line.speed_test import (
    CHARACTERS,
    SpeedMeasurement,
    character_interval,
    judge_speed,
    measure_speed,
    run_speed_test,
    time_characters,
)

pytestmark = pytest.mark.pace

PORT = "/dev/ttyUSB0"


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    """Returns an adapter of each kind, and None where the kernel shows nothing."""
    numbers = {"ftdi_sio": "0403:6001", "cp210x": "10c4:ea60", "pl2303": "067b:23c3", "ch341-uart": "1a86:7523"}
    adapters = {driver: plug_in_usb(tmp_path_factory.mktemp(driver), driver, usb) for driver, usb in numbers.items()}
    adapters["cdc_acm"] = plug_in_usb(tmp_path_factory.mktemp("acm"), "cdc_acm", "16c0:0483")
    return {**adapters, "": None}


@pytest.mark.parametrize(
    ("driver", "measured", "outcome", "character_ms"),
    [
        ("pl2303", SpeedMeasurement(110, 0.004), "ok", None),
        ("pl2303", SpeedMeasurement(110, 0.004, echo_s=0.1002), "ok", 100.2),
        ("ch341-uart", SpeedMeasurement(110, 0.004), "ok", None),
        ("ch341-uart", SpeedMeasurement(110, 0.004, echo_s=0.0115), "refused", None),  # 960 baud: a clone
        ("ftdi_sio", SpeedMeasurement(110, 0.4), "refused", None),
        ("ftdi_sio", SpeedMeasurement(110, 0.4, exact=True), "refused", None),
        ("ftdi_sio", SpeedMeasurement(110, 0.01), "refused", None),
        ("ftdi_sio", SpeedMeasurement(110, 1.0, exact=True), "ok", 100.0),  # a clone of the chip
        ("cp210x", SpeedMeasurement(300, None), "refused", None),
        ("cp210x", SpeedMeasurement(110, 1.0, exact=True), "ok", 100.0),  # reprogrammed
        ("cdc_acm", SpeedMeasurement(110, 0.004), "unknown", None),
        ("cdc_acm", SpeedMeasurement(9600, 0.004), "refused", None),
        ("", SpeedMeasurement(110, 1.02), "ok", None),  # tcdrain is late: good enough to accept, not to pace by
        ("", SpeedMeasurement(110, 1.01, exact=True), "ok", 101.0),
        ("", SpeedMeasurement(110, 0.99, exact=True), "ok", 99.0),
        ("", SpeedMeasurement(110, 0.01), "unknown", None),
        ("", SpeedMeasurement(110, 0.01, exact=True), "unknown", None),
        ("", SpeedMeasurement(None, None), "unknown", None),
        ("", SpeedMeasurement(110, math.inf), "refused", None),  # no character was sent
        ("pl2303", SpeedMeasurement(110, math.inf), "refused", None),
        ("pl2303", SpeedMeasurement(110, math.inf, exact=True), "refused", None),
        ("pl2303", SpeedMeasurement(110, math.inf, echo_s=0.1), "ok", 100.0),  # the echo proves that it was sent
        ("pl2303", SpeedMeasurement(110, 0.06), "ok", None),  # the chip swallowed the characters
        ("", SpeedMeasurement(110, 0.24), "unknown", None),
        ("", SpeedMeasurement(110, 0.26), "refused", None),
        ("pl2303", SpeedMeasurement(110, 0.004, exact=True), "unknown", None),  # its clock or its report is wrong
        ("ch341-uart", SpeedMeasurement(110, 0.0, exact=True), "unknown", None),
        ("pl2303", SpeedMeasurement(110, 0.004, exact=True, echo_s=0.1), "ok", 100.0),
        ("", SpeedMeasurement(110, 0.115, exact=True), "refused", None),  # the mini-UART at 500 MHz
        ("", SpeedMeasurement(110, 1.02, echo_s=0.1075), "refused", None),
    ],
)
def test_the_measurement_decides_and_otherwise_the_chip(chips, driver, measured, outcome, character_ms):
    verdict = judge_speed(PORT, chips[driver], measured)
    assert verdict.outcome == outcome
    assert verdict.character_s == (None if character_ms is None else pytest.approx(character_ms / 1000))
    assert verdict.sentence.startswith(PORT)
    assert verdict.sentence.isprintable()


def test_a_refusal_names_the_chip_its_speed_and_the_cure(chips):
    assert judge_speed(PORT, chips["ftdi_sio"], SpeedMeasurement(110, 0.4)).sentence == (
        f"/dev/ttyUSB0: an FTDI chip (0403:6001) sends at about 275 baud, not at 110: {OTHER_ADAPTER}"
    )
    assert judge_speed(PORT, chips["cp210x"], SpeedMeasurement(300, 0.004)).sentence == (
        f"/dev/ttyUSB0: a CP210x (10c4:ea60) makes 300 baud of 110: {OTHER_ADAPTER}"
    )


@pytest.mark.parametrize("exact", [False, True])
def test_a_line_that_sends_nothing_is_reported(chips, exact):
    assert judge_speed(PORT, chips["pl2303"], SpeedMeasurement(110, math.inf, exact)).sentence == (
        f"/dev/ttyUSB0: a PL2303 (067b:23c3) takes characters, and nothing goes out: pull it and put it back, "
        f"else {OTHER_ADAPTER}"
    )


def test_a_uart_that_is_done_at_once_is_not_trusted(chips):
    sentence = judge_speed(PORT, chips["pl2303"], SpeedMeasurement(110, 0.004, exact=True)).sentence
    assert "says at once that 10 characters are out, which take a second: if the machine prints garble" in sentence


@given(st.floats(0.2, 3), st.sampled_from(["ftdi_sio", "cp210x", "pl2303", "ch341-uart", "cdc_acm", ""]))
def test_a_line_that_was_timed_well_is_judged_by_its_time_alone(chips, drain_s, driver):
    verdict = judge_speed(PORT, chips[driver], SpeedMeasurement(110, drain_s, exact=True))
    assert verdict.outcome == ("ok" if abs(drain_s / CHARACTERS - 0.1) <= 0.005 else "refused")
    assert (verdict.character_s is not None) == (verdict.outcome == "ok")


@given(
    st.sampled_from(["ftdi_sio", "cp210x", "pl2303", "ch341-uart", "cdc_acm", ""]),
    st.one_of(st.none(), st.integers(0, 4_000_000)),
    st.one_of(st.none(), st.floats(-1, 10)),
    st.booleans(),
    st.one_of(st.none(), st.floats(0.0001, 1)),
)
def test_every_measurement_has_a_verdict(chips, driver, speed, drain_s, exact, echo_s):
    verdict = judge_speed(PORT, chips[driver], SpeedMeasurement(speed, drain_s, exact, echo_s))
    assert verdict.character_s is None or 0.095 <= verdict.character_s <= 0.105
    if verdict.outcome != "ok":
        assert any(cure in verdict.sentence for cure in ("take an adapter", "take /dev/ttyAMA0"))


class Uart:
    """Sends its bytes one after the other, and is empty a little later than it should be."""

    def __init__(self, character_s, late_s=0.0):
        self._character_s = character_s
        self._late_s = late_s
        self._free_at = 0.0
        self.sent = 0

    def send(self, lasting_s=None):
        self.sent += 1
        self._free_at = max(self._free_at, asyncio.get_running_loop().time()) + (lasting_s or self._character_s)

    def is_out(self):
        return asyncio.get_running_loop().time() >= self._free_at + self._late_s


@pytest.mark.parametrize("character_s", [0.1, 0.101, 0.099, 0.04, 11 / 9600])
@pytest.mark.parametrize("late_s", [0.0, 0.009, 0.03])
def test_a_uart_one_percent_slow_is_measured(character_s, late_s):
    uart = Uart(character_s, late_s)
    assert run_jumping(time_characters(uart.send, uart.is_out)) / CHARACTERS == pytest.approx(character_s, abs=0.0003)


def test_a_uart_that_sends_nothing_does_not_block_the_test():
    uart = Uart(1000)
    assert run_jumping(time_characters(uart.send, uart.is_out)) == math.inf


def test_a_uart_that_stops_in_between_counts_as_not_sending():
    uart = Uart(0.1)

    def send():
        uart.send()
        if uart.sent == 5:
            uart.send(1000)

    assert run_jumping(time_characters(send, uart.is_out)) == math.inf


@pytest.mark.parametrize(
    ("echo", "interval_s"),
    [
        ([0.1 * n for n in range(10)], 0.1),
        ([5.0, 6.0, *(7 + 0.101 * n for n in range(10))], 0.101),
        ([0.1 * n + 0.016 * (n % 2) for n in range(10)], 0.1018),  # a USB chip's latency timer
        ([0.8] * 8 + [1.4] * 2, None),  # a 16550 with eight in its FIFO
        ([0.1 * n for n in range(9)], None),
        ([], None),
    ],
)
def test_echoes_give_the_time_unless_they_come_in_bursts(echo, interval_s):
    assert character_interval(echo) == (None if interval_s is None else pytest.approx(interval_s, abs=0.0001))


async def test_the_test_consumes_its_echo_and_keeps_typed_keys():
    for _ in range(3):  # the computer may be busy
        measured = await measure_with_echo()
        if measured.drain_s < 0.05 and measured.echo_s == pytest.approx(0.1, abs=0.01):
            return
    pytest.fail(f"{measured}, three times")


async def measure_with_echo():
    with far_end() as end:
        line = await open_pty_as_tty(end.path, parmrk=False)
        testing = asyncio.create_task(measure_speed(line))
        loop = asyncio.get_running_loop()
        start = loop.time()
        for n in range(CHARACTERS):
            await asyncio.sleep(max(0.0, start + 0.1 * n - loop.time()))
            os.write(end.master, b"\x80" if n % 2 else b"\x00")
            if n == 4:
                os.write(end.master, b"A\xff\x00\x00")
        measured = await testing
        assert measured.speed == 110
        assert not measured.exact
        assert LineRecorder(line).inputs == [Byte(0x41), Break()]
        assert os.read(end.master, 100) == bytes(CHARACTERS)
        await line.close()
        return measured


@on_jumping_loop
async def test_a_tty_that_accepts_nothing_does_not_block_the_test():
    with far_end() as end:
        line = await open_pty_as_tty(end.path, parmrk=False)
        termios.tcflow(end.slave, termios.TCOOFF)
        start = asyncio.get_running_loop().time()
        measured = await measure_speed(line)
        assert asyncio.get_running_loop().time() - start < 5
        assert judge_speed(PORT, None, measured).outcome == "refused"
        assert "nothing goes out" in judge_speed(PORT, None, measured).sentence
        await line.close()


async def test_a_cable_pulled_during_the_test_is_a_hang_up():
    with far_end() as end:
        line = await open_pty_as_tty(end.path, parmrk=False)
        end.hang_up()
        await asyncio.sleep(0.01)
        with pytest.raises(errors.LineLost, match="see that the cable is in"):
            await measure_speed(line)
        await line.close()


async def test_a_pty_and_a_serial_server_are_not_tested():
    with far_end() as end:
        line = await open_line(end.path)
        verdict = await run_speed_test(line)
        assert (verdict.outcome, verdict.character_s) == ("unknown", None)
        assert "a pty has no speed" in verdict.sentence
        await line.close()
        with pytest.raises(BlockingIOError):
            os.read(end.master, 1)
    async with FakeSerialServer() as server:
        line = await open_line(server.url)
        verdict = await run_speed_test(line)
        assert (verdict.outcome, verdict.character_s) == ("unknown", None)
        assert "see that it says 110 baud, 8N2" in verdict.sentence
        await line.close()


async def test_a_refused_line_is_unfit(tmp_path):
    with far_end() as end:
        plug_in(tmp_path, os.path.basename(end.path), "devices/usb1/1-1", "ftdi_sio")  # noqa: PTH119
        line = await open_pty_as_tty(end.path, parmrk=False)
        with raises_driver_error("unavailable", match=r"FTDI.*cannot do 110 baud.*take an adapter with a PL2303"):
            await run_speed_test(line, tmp_path)
        await line.close()


def test_the_kernel_calls_do_no_harm():
    assert adapter_at("/dev/ttyS0") is None or adapter_at("/dev/ttyS0").sentence
