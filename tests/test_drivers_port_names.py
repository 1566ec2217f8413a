import os
import socket
from pathlib import Path

import pytest
from fakes_teletype import raises_driver_error
from hypothesis import given
from hypothesis import strategies as st

from drivers import errors
from drivers.line import port_names


def make_dev_and_sys(root, *names, types=None):
    """Makes a /dev and a /sys with these ttys."""
    for name in names:
        tty = root / "sys" / "class" / "tty" / name
        (tty / "device").mkdir(parents=True)
        if types and name in types:
            (tty / "type").write_text(f"{types[name]}\n")
    (root / "dev").mkdir()
    for name in names:
        (root / "dev" / name).touch()
    return {"dev": root / "dev", "sys": root / "sys"}


def test_ports_are_listed_by_their_lasting_name(tmp_path):
    computer = make_dev_and_sys(tmp_path, "ttyUSB0", "ttyUSB1", "ttyAMA0")
    by_id = tmp_path / "dev" / "serial" / "by-id"
    by_id.mkdir(parents=True)
    (by_id / "usb-Prolific_PL2303-if00-port0").symlink_to("../../ttyUSB1")
    dev = tmp_path / "dev"
    assert port_names.list_ports(**computer) == [
        f"{by_id}/usb-Prolific_PL2303-if00-port0",
        f"{dev}/ttyAMA0",
        f"{dev}/ttyUSB0",
    ]


def test_links_by_id_that_lead_nowhere_or_in_a_circle_are_no_ports(tmp_path):
    computer = make_dev_and_sys(tmp_path, "ttyUSB0")
    by_id = tmp_path / "dev" / "serial" / "by-id"
    by_id.mkdir(parents=True)
    (by_id / "circle").symlink_to("circle")
    (by_id / "there").symlink_to("back")
    (by_id / "back").symlink_to("there")
    (by_id / "gone").symlink_to("../../ttyUSB9")
    assert port_names.list_ports(**computer) == [str(tmp_path / "dev" / "ttyUSB0")]


def test_a_console_and_a_port_with_no_card_in_it_are_no_ports(tmp_path):
    computer = make_dev_and_sys(tmp_path, "ttyS0", "ttyS1", types={"ttyS0": 4, "ttyS1": 0})
    (tmp_path / "sys" / "class" / "tty" / "tty1").mkdir()
    assert port_names.list_ports(**computer) == [str(tmp_path / "dev" / "ttyS0")]


def test_a_computer_without_ports_has_none(tmp_path):
    assert port_names.list_ports(tmp_path / "dev", tmp_path / "sys") == []


def test_a_port_name_with_a_line_break_does_not_break_the_message(tmp_path):
    computer = make_dev_and_sys(tmp_path, "ttyUSB0")
    by_id = tmp_path / "dev" / "serial" / "by-id"
    by_id.mkdir(parents=True)
    (by_id / "usb-Some\nFirm\x1b[2J").symlink_to("../../ttyUSB0")
    message = port_names.list_ports_text(port_names.list_ports(**computer))
    assert r"usb-Some\nFirm" in message
    assert message.isprintable()


def test_a_link_that_leads_nowhere_says_where_it_leads(tmp_path):
    link, target = tmp_path / "tty", tmp_path / "other"
    link.symlink_to(target)
    with raises_driver_error("missing", match=rf"^{link} leads to {target}, which is not there: "):
        port_names.port_kind(str(link))
    target.symlink_to(link)
    with raises_driver_error("missing", match=rf"^{link} is a link that leads to itself: "):
        port_names.port_kind(str(link))


@pytest.mark.parametrize("port", ["/dev/tty", "/dev/tty0", "/dev/tty1", "/dev/tty63"])
def test_a_console_of_this_computer_is_no_port(port):
    if not Path(port).exists():
        pytest.skip(f"no {port} here")
    with raises_driver_error(
        "unavailable", match=rf"^{port} is a console of this computer, not a port: give a port like"
    ):
        port_names.port_kind(port)


@pytest.mark.parametrize("port", ["/dev/ptmx", "/dev/pts/ptmx"])
def test_ptmx_is_no_pty(port):
    if not Path(port).exists():
        pytest.skip(f"no {port} here")
    before = os.listdir("/dev/pts")  # noqa: PTH208
    with raises_driver_error("unavailable", match=rf"^{port} makes ptys and is not one: give the path of a pty"):
        port_names.port_kind(port)
    assert os.listdir("/dev/pts") == before  # noqa: PTH208


def test_an_empty_name_is_reported():
    with raises_driver_error("missing", match=r"^the line has no name: (there are|this computer shows)"):
        port_names.port_kind("")


@pytest.mark.parametrize("port", ["/dev/" + "x" * 300, "/dev/" + "x/" * 3000])
def test_a_name_that_is_too_long_is_not_repeated(port):
    with raises_driver_error("missing", match=rf"^no port has a name of {len(port)} characters: "):
        port_names.port_kind(port)


@pytest.mark.parametrize("port", ["socket://" + "x" * 5000, "socket://" + "\n" * 5000 + ":1", "http://" + "x" * 5000])
def test_a_long_url_is_shortened_in_the_message(port):
    with raises_driver_error("unavailable") as caught:
        port_names.port_kind(port)
    assert len(str(caught.value)) < 500
    assert str(caught.value).startswith(("socket://", "'socket://", "http://"))


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("socket://127.0.0.1:4001", ("127.0.0.1", 4001)),
        ("socket://teletype.local:23/", ("teletype.local", 23)),
        ("socket://[::1]:4001", ("::1", 4001)),
        ("SOCKET://Pi:4001", ("pi", 4001)),
    ],
)
def test_a_socket_line_is_a_host_and_a_port(url, there):
    assert port_names.parse_socket_url(url) == there
    assert port_names.port_kind(url) == "socket"


@pytest.mark.parametrize(
    "url",
    [
        "socket://",
        "socket://host",
        "socket://:4001",
        "socket://host:0",
        "socket://host:65536",
        "socket://host:-1",
        "socket://host:x",
        "socket://[::1:4001",
        "socket://me@host:4001",
        "socket://host:4001/tty",
        "socket://host:4001?logging=debug",
        "socket://host:4001#1",
        "socket://ho\nst:4001",
    ],
)
def test_a_socket_line_with_less_or_more_says_how_to_write_it(url):
    with raises_driver_error("unavailable", match=r"is not a line: write it socket://HOST:PORT") as caught:
        port_names.port_kind(url)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("scheme", ["socket", "telnet", "rfc2217", "Telnet", "RFC2217"])
def test_a_line_on_the_network_has_one_of_three_schemes(scheme):
    assert port_names.port_kind(f"{scheme}://host:4001") == "socket"
    assert port_names.url_scheme(f"{scheme}://host:4001") == scheme.lower()
    with raises_driver_error("unavailable", match=rf"write it {scheme.lower()}://HOST:PORT"):
        port_names.port_kind(f"{scheme}://host")


@pytest.mark.parametrize("url", ["loop://", "spy:///dev/ttyUSB0", "http://host:80"])
def test_other_urls_are_refused_in_one_line(url):
    with raises_driver_error("unavailable", match=r"this kind of line is not supported: give a port like"):
        port_names.port_kind(url)


@given(st.text())
def test_any_name_gives_a_kind_or_a_driver_error(name):
    for port in (name, f"socket://{name}", f"/dev/{name}"):
        try:
            assert port_names.port_kind(port) in ("tty", "pty", "socket")
        except errors.DriverError as error:
            assert str(error).isprintable()  # noqa: PT017


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens at port 4001 of pi: start"),
        (TimeoutError(), "pi does not answer: see that it is on"),
        (TimeoutError(110, "Connection timed out"), "pi does not answer"),
        (socket.gaierror(-2, "Name or service not known"), "no host pi is known: correct the name"),
        (UnicodeError("label too long"), "no host pi is known"),
        (OSError(113, "No route to host"), "pi cannot be reached: see that the network"),
        (OSError("Multiple exceptions: [Errno 111] ..., [Errno 101] ..."), "pi cannot be reached"),
    ],
)
def test_each_connection_error_names_its_cure(error, words):
    translated = port_names.connect_error_for("socket://pi:4001", error)
    assert translated.kind == "missing"
    assert str(translated).startswith(f"socket://pi:4001: {words}")


def test_a_long_host_name_is_shortened_in_the_message():
    assert len(str(port_names.connect_error_for(f"socket://{'x' * 5000}:4001", UnicodeError("label too long")))) < 800
