import asyncio
import math
import os
import termios

import pytest
from fakes import run_jumping
from fakes_wire import FakeSerialServer, LineRecorder, far_end
from hypothesis import given
from hypothesis import strategies as st
from test_adapter import plug_in, plug_in_usb

from drivers import errors
from drivers.events import Break, Byte, ParmrkDecoder
from drivers.line.line import open_line
from drivers.line.line import open_tty as wired
from drivers.line.line_transport import LineTransport
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
    """An adapter of each kind, and None: the kernel shows nothing."""
    numbers = {"ftdi_sio": "0403:6001", "cp210x": "10c4:ea60", "pl2303": "067b:23c3", "ch341-uart": "1a86:7523"}
    adapters = {driver: plug_in_usb(tmp_path_factory.mktemp(driver), driver, one) for driver, one in numbers.items()}
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
        ("ftdi_sio", SpeedMeasurement(110, 1.0, exact=True), "ok", 100.0),  # whatever it is, it does
        ("cp210x", SpeedMeasurement(300, None), "refused", None),
        ("cp210x", SpeedMeasurement(110, 1.0, exact=True), "ok", 100.0),  # reprogrammed
        ("cdc_acm", SpeedMeasurement(110, 0.004), "unknown", None),
        ("cdc_acm", SpeedMeasurement(9600, 0.004), "refused", None),
        ("", SpeedMeasurement(110, 1.02), "ok", None),  # tcdrain is late: good enough to say yes, not to pace by
        ("", SpeedMeasurement(110, 1.01, exact=True), "ok", 101.0),
        ("", SpeedMeasurement(110, 0.99, exact=True), "ok", 99.0),
        ("", SpeedMeasurement(110, 0.01), "unknown", None),
        ("", SpeedMeasurement(110, 0.01, exact=True), "unknown", None),
        ("", SpeedMeasurement(None, None), "unknown", None),
        ("", SpeedMeasurement(110, math.inf), "refused", None),  # it never came out
        ("pl2303", SpeedMeasurement(110, math.inf), "refused", None),
        ("pl2303", SpeedMeasurement(110, math.inf, exact=True), "refused", None),
        (
            "pl2303",
            SpeedMeasurement(110, math.inf, echo_s=0.1),
            "ok",
            100.0,
        ),  # it did come out, whatever the kernel says
        ("pl2303", SpeedMeasurement(110, 0.06), "ok", None),  # swallowed, and asked again
        ("", SpeedMeasurement(110, 0.24), "unknown", None),
        ("", SpeedMeasurement(110, 0.26), "refused", None),
        ("pl2303", SpeedMeasurement(110, 0.004, exact=True), "unknown", None),  # a clock gone wild, or a UART that lies
        ("ch341-uart", SpeedMeasurement(110, 0.0, exact=True), "unknown", None),
        ("pl2303", SpeedMeasurement(110, 0.004, exact=True, echo_s=0.1), "ok", 100.0),
        ("", SpeedMeasurement(110, 0.115, exact=True), "refused", None),  # the mini-UART at 500 MHz
        ("", SpeedMeasurement(110, 1.02, echo_s=0.1075), "refused", None),
    ],
)
def test_what_was_measured_decides_and_else_what_is_known_of_the_chip(chips, driver, measured, outcome, character_ms):
    found = judge_speed(PORT, chips[driver], measured)
    assert found.outcome == outcome
    assert found.character_s == (None if character_ms is None else pytest.approx(character_ms / 1000))
    assert found.sentence.startswith(PORT)
    assert found.sentence.isprintable()


def test_a_refusal_names_the_chip_its_speed_and_the_cure(chips):
    assert judge_speed(PORT, chips["ftdi_sio"], SpeedMeasurement(110, 0.4)).sentence == (
        f"/dev/ttyUSB0: an FTDI chip (0403:6001) sends at about 275 baud, not at 110: {OTHER_ADAPTER}"
    )
    assert judge_speed(PORT, chips["cp210x"], SpeedMeasurement(300, 0.004)).sentence == (
        f"/dev/ttyUSB0: a CP210x (10c4:ea60) makes 300 baud of 110: {OTHER_ADAPTER}"
    )


@pytest.mark.parametrize("exact", [False, True])
def test_a_line_that_nothing_comes_out_of_is_told_as_that(chips, exact):
    assert judge_speed(PORT, chips["pl2303"], SpeedMeasurement(110, math.inf, exact)).sentence == (
        f"/dev/ttyUSB0: a PL2303 (067b:23c3) takes characters, and nothing goes out: pull it and put it back, "
        f"else {OTHER_ADAPTER}"
    )


def test_a_uart_that_is_done_at_once_is_not_believed(chips):
    said = judge_speed(PORT, chips["pl2303"], SpeedMeasurement(110, 0.004, exact=True)).sentence
    assert "says at once that 10 characters are out, which take a second: if the machine prints garble" in said


@given(st.floats(0.2, 3), st.sampled_from(["ftdi_sio", "cp210x", "pl2303", "ch341-uart", "cdc_acm", ""]))
def test_a_line_that_was_timed_well_is_judged_by_its_time_alone(chips, drain_s, driver):
    found = judge_speed(PORT, chips[driver], SpeedMeasurement(110, drain_s, exact=True))
    assert found.outcome == ("ok" if abs(drain_s / CHARACTERS - 0.1) <= 0.005 else "refused")
    assert (found.character_s is not None) == (found.outcome == "ok")


@given(
    st.sampled_from(["ftdi_sio", "cp210x", "pl2303", "ch341-uart", "cdc_acm", ""]),
    st.one_of(st.none(), st.integers(0, 4_000_000)),
    st.one_of(st.none(), st.floats(-1, 10)),
    st.booleans(),
    st.one_of(st.none(), st.floats(0.0001, 1)),
)
def test_every_measure_has_a_verdict_and_only_what_is_right_is_paced_by(chips, driver, speed, drain_s, exact, echo_s):
    found = judge_speed(PORT, chips[driver], SpeedMeasurement(speed, drain_s, exact, echo_s))
    assert found.character_s is None or 0.095 <= found.character_s <= 0.105
    if found.outcome != "ok":
        assert any(cure in found.sentence for cure in ("take an adapter", "take /dev/ttyAMA0"))


class Uart:
    """Sends what it is given, one character after the other, and is empty a little later than it should be."""

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
def test_a_uart_one_in_a_hundred_slow_is_known_for_it(character_s, late_s):
    uart = Uart(character_s, late_s)
    assert run_jumping(time_characters(uart.send, uart.is_out)) / CHARACTERS == pytest.approx(character_s, abs=0.0003)


def test_a_uart_that_sends_nothing_does_not_hold_the_test_up():
    uart = Uart(1000)
    assert run_jumping(time_characters(uart.send, uart.is_out)) == math.inf


def test_a_uart_that_stands_still_on_its_way_has_not_sent():
    uart = Uart(0.1)

    def send():
        uart.send()
        if uart.sent == 5:
            uart.send(1000)

    assert run_jumping(time_characters(send, uart.is_out)) == math.inf


@pytest.mark.parametrize(
    ("echo", "each_s"),
    [
        ([0.1 * n for n in range(10)], 0.1),
        ([5.0, 6.0, *(7 + 0.101 * n for n in range(10))], 0.101),
        ([0.1 * n + 0.016 * (n % 2) for n in range(10)], 0.1018),  # a USB chip's latency timer
        ([0.8] * 8 + [1.4] * 2, None),  # a 16550 with eight in its FIFO
        ([0.1 * n for n in range(9)], None),
        ([], None),
    ],
)
def test_an_echo_tells_the_time_unless_it_comes_in_heaps(echo, each_s):
    assert character_interval(echo) == (None if each_s is None else pytest.approx(each_s, abs=0.0001))


async def test_the_test_takes_its_own_echo_and_leaves_what_was_typed_meanwhile():
    for _ in range(3):  # the computer may be busy with something else
        measured = await echoed()
        if measured.drain_s < 0.05 and measured.echo_s == pytest.approx(0.1, abs=0.01):
            return
    pytest.fail(f"{measured}, three times")


async def echoed():
    with far_end() as end:
        wire = LineTransport(end.path, "tty", ParmrkDecoder())  # as which a pty will do, but for the time it takes
        await wired(wire, end.path, parmrk=False)
        testing = asyncio.create_task(measure_speed(wire))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for n in range(CHARACTERS):
            await asyncio.sleep(max(0.0, begun + 0.1 * n - loop.time()))
            os.write(end.master, b"\x80" if n % 2 else b"\x00")
            if n == 4:
                os.write(end.master, b"A\xff\x00\x00")
        measured = await testing
        assert measured.speed == 110
        assert not measured.exact
        assert LineRecorder(wire).heard == [Byte(0x41), Break()]
        assert os.read(end.master, 100) == bytes(CHARACTERS)
        await wire.close()
        return measured


def test_a_tty_that_takes_nothing_does_not_hold_the_test_up():
    async def main():
        with far_end() as end:
            wire = LineTransport(end.path, "tty", ParmrkDecoder())
            await wired(wire, end.path, parmrk=False)
            termios.tcflow(end.slave, termios.TCOOFF)
            begun = asyncio.get_running_loop().time()
            measured = await measure_speed(wire)
            assert asyncio.get_running_loop().time() - begun < 5
            assert judge_speed(PORT, None, measured).outcome == "refused"
            assert "nothing goes out" in judge_speed(PORT, None, measured).sentence
            await wire.close()

    run_jumping(main())


async def test_a_cable_pulled_during_the_test_is_a_hang_up():
    with far_end() as end:
        wire = LineTransport(end.path, "tty", ParmrkDecoder())
        await wired(wire, end.path, parmrk=False)
        end.hang_up()
        await asyncio.sleep(0.01)
        with pytest.raises(errors.LineLost, match="see that the cable is in"):
            await measure_speed(wire)
        await wire.close()


async def test_a_pty_and_a_serial_server_are_beyond_the_test():
    with far_end() as end:
        line = await open_line(end.path)
        found = await run_speed_test(line)
        assert (found.outcome, found.character_s) == ("unknown", None)
        assert "a pty has no speed" in found.sentence
        await line.close()
        with pytest.raises(BlockingIOError):
            os.read(end.master, 1)
    async with FakeSerialServer() as server:
        line = await open_line(server.url)
        found = await run_speed_test(line)
        assert (found.outcome, found.character_s) == ("unknown", None)
        assert "see that it says 110 baud, 8N2" in found.sentence
        await line.close()


async def test_a_refused_line_is_unfit(tmp_path):
    with far_end() as end:
        plug_in(tmp_path, os.path.basename(end.path), "devices/usb1/1-1", "ftdi_sio")  # noqa: PTH119
        wire = LineTransport(end.path, "tty", ParmrkDecoder())
        await wired(wire, end.path, parmrk=False)
        with pytest.raises(errors.LineUnfit, match=r"FTDI.*cannot do 110 baud.*take an adapter with a PL2303"):
            await run_speed_test(wire, tmp_path)
        await wire.close()


def test_the_kernel_of_this_computer_is_asked_without_harm():
    assert adapter_at("/dev/ttyS0") is None or adapter_at("/dev/ttyS0").sentence
