"""The serial chip behind a tty, from the kernel's /sys, and whether that chip can do 110 baud.

Knows chips by their kernel drivers and USB numbers; opens no port and measures nothing. The chip's own report of its
speed is not used: an FTDI reports 110 baud and sends at 275.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

OTHER_ADAPTER = "take an adapter with a PL2303 or CH340, a 16550 or PL011 of the computer's own, or socket://HOST:PORT"
_PL011 = "put dtoverlay=disable-bt into config.txt, restart, and take /dev/ttyAMA0"


@dataclass(frozen=True, slots=True)
class Chip:
    """The abilities of a kind of chip; None: unknown."""

    name: str
    can_110: bool | None
    marks_break: bool | None  # whether its driver reports a BREAK; otherwise at most a bare NUL arrives
    why: str = ""  # the reason why it cannot, or why that is unknown
    cure: str = OTHER_ADAPTER


@dataclass(frozen=True, slots=True)
class Adapter:
    """The serial adapter at one tty."""

    port: str
    driver: str
    chip: Chip
    usb: str = ""  # vendor:product of a USB device
    product: str = ""  # the product name that the device reports

    @property
    def name(self) -> str:
        words = ", ".join(word for word in (self.product, self.usb) if word)
        return f"{self.chip.name} ({words})" if words else self.chip.name

    @property
    def sentence(self) -> str:
        """One line about the adapter, with the cure where one is needed."""
        chip = self.chip
        match chip.can_110:
            case True:
                ability = "does 110 baud"
            case False:
                ability = f"cannot do 110 baud, {chip.why}: {chip.cure}"
            case None:
                ability = f"may do 110 baud or not, {chip.why}"
        no_break = "; it does not report BREAK" if chip.marks_break is False else ""
        return f"{self.port}: {self.name} {ability}{no_break}"


_UART = Chip("a 16550 UART", True, True)
# The lowest speed of the mini-UART is clk/(8*65536) at 250 to 500 MHz.
_MINI = Chip("the mini-UART of a Raspberry Pi", False, False, "for its divisor ends at 477 to 954", _PL011)
_CP210X = Chip("a CP210x", False, True, "for it does nothing below 300 unless its EEPROM is reprogrammed")
_FTDI = Chip("an FTDI chip", False, True, "for its divisor ends at 183: it says 110 and sends at about 275")
_CH340 = Chip("a CH340 or CH341", True, False)  # Linux ch341.c leaves the line's errors unread
_PL2303 = Chip("a PL2303", True, True)
_PL2303TA = replace(_PL2303, name="a PL2303TA", can_110=None, why="for that takes Linux 5.13 or later")
_MCP2200 = Chip("an MCP2200", False, None, "for it does nothing below 300")
_FIRMWARE = Chip("a USB device with firmware of its own", None, None, "for its firmware sets the speed")
_UNKNOWN = Chip("an adapter that is not known here", None, None, "and nobody has tried")

# By the name of the kernel driver, the nearest to the tty first; serial_core adds its own `port` and `ctrl`.
_DRIVERS = {
    "ftdi_sio": _FTDI,
    "cp210x": _CP210X,
    "ch341": _CH340,
    "ch341-uart": _CH340,
    "pl2303": _PL2303,
    "cdc_acm": _FIRMWARE,
    "uart-pl011": replace(_UART, name="a PL011 UART"),
    "serial": _UART,
    "serial8250": _UART,
    "of_serial": _UART,
    "dw-apb-uart": _UART,
    "bcm2835-aux-uart": _MINI,
    "8250_bcm2835aux": _MINI,
}
_USB = {"04d8:00df": _MCP2200}
_BUS_DRIVERS = {"port", "ctrl"}


def adapter_at(port: str, sys: Path = Path("/sys")) -> Adapter | None:
    """Returns the adapter at a tty or at a link to one, as in /dev/serial/by-id; None if the kernel shows none."""
    device = sys / "class" / "tty" / Path(os.path.realpath(port)).name / "device"
    if not device.exists():
        return None
    top, device = sys.resolve(), device.resolve()
    folders = list(takewhile(lambda folder: folder != top, (device, *device.parents)))
    drivers = [name for folder in folders if (name := _driver_name(folder)) and name not in _BUS_DRIVERS]
    usb = next((folder for folder in folders if (folder / "idVendor").exists()), None)
    driver = next((name for name in drivers if name in _DRIVERS), drivers[0] if drivers else "")
    chip = _DRIVERS.get(driver, _UNKNOWN)
    if usb is None:
        return Adapter(port, driver, chip)
    number = f"{_read_attribute(usb / 'idVendor')}:{_read_attribute(usb / 'idProduct')}"
    if chip is _PL2303 and _read_attribute(usb / "version") == "2.00" and _read_attribute(usb / "bcdDevice") == "0300":
        chip = _PL2303TA  # Linux pl2303.c tells it from an HX in the same way: an HX reports USB 1.10
    return Adapter(port, driver, _USB.get(number, chip), number, _read_attribute(usb / "product"))


def _driver_name(device: Path) -> str:
    try:
        return (device / "driver").readlink().name
    except OSError:
        return ""


def _read_attribute(file: Path) -> str:
    """Returns a text attribute of a USB device, without unprintable characters."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return ""
    return "".join(char for char in text.strip() if char.isprintable())
