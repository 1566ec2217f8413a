import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import errors, ports


def kernel_shows(root, *names, types=None):
    """A /dev and a /sys with these ttys."""
    for name in names:
        tty = root / "sys" / "class" / "tty" / name
        (tty / "device").mkdir(parents=True)
        if types and name in types:
            (tty / "type").write_text(f"{types[name]}\n")
    (root / "dev").mkdir()
    return {"dev": root / "dev", "sys": root / "sys"}


def test_ports_go_by_the_name_that_stays_where_there_is_one(tmp_path):
    computer = kernel_shows(tmp_path, "ttyUSB0", "ttyUSB1", "ttyAMA0")
    by_id = tmp_path / "dev" / "serial" / "by-id"
    by_id.mkdir(parents=True)
    (by_id / "usb-Prolific_PL2303-if00-port0").symlink_to("../../ttyUSB1")
    dev = tmp_path / "dev"
    assert ports.ports(**computer) == [
        f"{by_id}/usb-Prolific_PL2303-if00-port0",
        f"{dev}/ttyAMA0",
        f"{dev}/ttyUSB0",
    ]


def test_a_console_and_a_port_with_no_card_in_it_are_no_ports(tmp_path):
    computer = kernel_shows(tmp_path, "ttyS0", "ttyS1", types={"ttyS0": 4, "ttyS1": 0})
    (tmp_path / "sys" / "class" / "tty" / "tty1").mkdir()
    assert ports.ports(**computer) == [str(tmp_path / "dev" / "ttyS0")]


def test_a_computer_without_ports_has_none(tmp_path):
    assert ports.ports(tmp_path / "dev", tmp_path / "sys") == []


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
    assert ports.address(url) == there
    assert ports.kind_of(url) == "socket"


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
    with pytest.raises(errors.LineUnfit, match=r"is no line: write it socket://HOST:PORT") as caught:
        ports.kind_of(url)
    assert str(caught.value).isprintable()


def test_rfc_2217_is_refused_with_what_to_do_instead():
    with pytest.raises(errors.LineUnfit, match=r"^rfc2217://host:4001: RFC 2217 is not .*raw, and write it socket://"):
        ports.kind_of("rfc2217://host:4001")


@pytest.mark.parametrize("url", ["loop://", "spy:///dev/ttyUSB0", "http://host:80"])
def test_other_urls_are_refused_in_one_line(url):
    with pytest.raises(errors.LineUnfit, match=r"no line of that kind here: give a port like"):
        ports.kind_of(url)


@given(st.text())
def test_no_name_is_an_error_of_another_kind(name):
    for where in (name, f"socket://{name}", f"/dev/{name}"):
        try:
            assert ports.kind_of(where) in ("tty", "pty", "socket")
        except errors.DriverError as error:
            assert str(error).isprintable()  # noqa: PT017


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens at port 4001 of pi: start"),
        (TimeoutError(), "pi does not answer: see that it is switched on"),
        (TimeoutError(110, "Connection timed out"), "pi does not answer"),
        (socket.gaierror(-2, "Name or service not known"), "no host pi is known: correct the name"),
        (UnicodeError("label too long"), "no host pi is known"),
        (OSError(113, "No route to host"), "pi cannot be reached: see that the network"),
        (OSError("Multiple exceptions: [Errno 111] ..., [Errno 101] ..."), "pi cannot be reached"),
    ],
)
def test_each_way_not_to_be_reached_has_its_cure(error, words):
    translated = ports.unreached("socket://pi:4001", error)
    assert isinstance(translated, errors.LineNotFound)
    assert str(translated).startswith(f"socket://pi:4001: {words}")
