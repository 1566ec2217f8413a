import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.line.serial_chip import Adapter, adapter_at

HUB = "devices/pci0000:00/usb1/1-1"


def make_link(link, target):
    link.parent.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def plug_in(sys, tty, folder, *drivers, usb=None):
    """Makes the /sys of a tty: its device, and the kernel drivers of the device and its parents."""
    device = sys / folder
    make_link(sys / "class" / "tty" / tty / "device", device)
    for owner, driver in zip((device, *device.parents), drivers, strict=False):
        if driver:
            make_link(owner / "driver", sys / "bus" / "some" / "drivers" / driver)
    if usb:
        for name, value in usb.items():
            (sys / HUB / name).write_text(f"{value}\n")


def plug_in_usb(sys, driver, number, product="", **more):
    """Makes a USB adapter as ttyUSB0; `more` are further attributes of the device."""
    vendor, code = number.split(":")
    usb = {"idVendor": vendor, "idProduct": code, "product": product, **more}
    plug_in(sys, "ttyUSB0", f"{HUB}/1-1:1.0/ttyUSB0", driver, driver.removesuffix("-uart"), "usb", usb=usb)
    return adapter_at("/dev/ttyUSB0", sys)


@pytest.mark.parametrize(
    ("driver", "number", "can_110", "marks_break"),
    [
        ("ftdi_sio", "0403:6001", False, True),
        ("cp210x", "10c4:ea60", False, True),
        ("pl2303", "067b:23c3", True, True),
        ("ch341-uart", "1a86:7523", True, False),
        ("ch341", "1a86:5523", True, False),
        ("cdc_acm", "16c0:0483", None, None),
        ("cdc_acm", "04d8:00df", False, None),
        ("mos7840", "9710:7840", None, None),
    ],
)
def test_a_usb_adapter_is_known_by_its_driver_and_number(tmp_path, driver, number, can_110, marks_break):
    adapter = plug_in_usb(tmp_path, driver, number)
    assert (adapter.driver, adapter.usb) == (driver, number)
    assert (adapter.chip.can_110, adapter.chip.marks_break) == (can_110, marks_break)


@pytest.mark.parametrize(
    ("tty", "drivers", "driver", "can_110", "marks_break"),
    [
        ("ttyS0", ("port", "ctrl", "serial"), "serial", True, True),
        ("ttyS0", ("serial8250",), "serial8250", True, True),
        ("ttyS0", ("port", "ctrl", "bcm2835-aux-uart"), "bcm2835-aux-uart", False, False),
        ("ttyS0", ("8250_bcm2835aux",), "8250_bcm2835aux", False, False),
        ("ttyAMA0", ("port", "ctrl", "uart-pl011"), "uart-pl011", True, True),
        ("ttyXYZ0", ("", "nobodys-uart"), "nobodys-uart", None, None),
        ("ttyXYZ0", (), "", None, None),
    ],
)
def test_a_uart_of_the_computer_is_known_by_its_driver(tmp_path, tty, drivers, driver, can_110, marks_break):
    plug_in(tmp_path, tty, "devices/platform/soc/a/b/c", *drivers)
    adapter = adapter_at(f"/dev/{tty}", tmp_path)
    assert (adapter.driver, adapter.usb) == (driver, "")
    assert (adapter.chip.can_110, adapter.chip.marks_break) == (can_110, marks_break)


@pytest.mark.parametrize(
    ("version", "device", "can_110"),
    [(" 2.00", "0300", None), (" 1.10", "0300", True), (" 2.00", "0500", True), (" 2.00", "0305", True)],
)
def test_a_pl2303ta_depends_on_the_kernel(tmp_path, version, device, can_110):
    adapter = plug_in_usb(tmp_path, "pl2303", "067b:2303", version=version, bcdDevice=device)
    assert adapter.chip.can_110 is can_110
    assert ("Linux 5.13" in adapter.sentence) == (can_110 is None)


def test_the_sentence_names_the_chip_the_reason_and_the_cure(tmp_path):
    adapter = plug_in_usb(tmp_path, "ftdi_sio", "0403:6001", "FT232R USB UART")
    assert adapter.name == "an FTDI chip (FT232R USB UART, 0403:6001)"
    assert adapter.sentence == (
        "/dev/ttyUSB0: an FTDI chip (FT232R USB UART, 0403:6001) cannot do 110 baud, for its divisor ends at 183: "
        "it says 110 and sends at about 275: take an adapter with a PL2303 or CH340, a 16550 or PL011 of the "
        "computer's own, or socket://HOST:PORT"
    )


def test_the_mini_uart_names_the_line_of_config_txt(tmp_path):
    plug_in(tmp_path, "ttyS0", "devices/platform/soc/fe215040.serial", "bcm2835-aux-uart")
    assert "dtoverlay=disable-bt" in adapter_at("/dev/ttyS0", tmp_path).sentence


def test_the_sentence_says_that_a_ch340_hides_break(tmp_path):
    assert plug_in_usb(tmp_path, "ch341-uart", "1a86:7523").sentence == (
        "/dev/ttyUSB0: a CH340 or CH341 (1a86:7523) does 110 baud; it does not report BREAK"
    )


def test_a_name_by_id_leads_to_the_same_adapter(tmp_path):
    plug_in_usb(tmp_path / "sys", "pl2303", "067b:23c3")
    link = tmp_path / "usb-Prolific-if00-port0"
    link.symlink_to(tmp_path / "ttyUSB0")
    (tmp_path / "ttyUSB0").touch()
    assert adapter_at(str(link), tmp_path / "sys").driver == "pl2303"


@pytest.mark.parametrize("port", ["/dev/ttyNONE", "/dev/pts/0", "/dev/null", "/"])
def test_a_tty_without_a_device_has_no_adapter(tmp_path, port):
    assert adapter_at(port, tmp_path) is None
    assert adapter_at(port) is None


@given(st.binary())
def test_any_product_name_gives_one_line(tmp_path_factory, product):
    sys = tmp_path_factory.mktemp("sys")
    plug_in_usb(sys, "ftdi_sio", "0403:6001")
    (sys / HUB / "product").write_bytes(product)
    adapter = adapter_at("/dev/ttyUSB0", sys)
    assert isinstance(adapter, Adapter)
    assert adapter.sentence.isprintable()


def test_a_link_that_leads_to_itself_has_no_adapter(tmp_path):
    link = tmp_path / "circle"
    link.symlink_to(link)
    assert adapter_at(str(link), tmp_path / "sys") is None
