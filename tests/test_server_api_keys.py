import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ModelError
from model.server.api_keys import ApiKeys

NORTH, SOUTH = "north-window-0123456789", "south-window-0123456789"


def write_private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_key_has_the_name_behind_it_or_the_number_of_its_line(tmp_path: Path) -> None:
    keys = ApiKeys(write_private(tmp_path / "keys", f"# the room\n\n{NORTH}  the north window\n  {SOUTH}\n"))
    assert (keys.name_of(NORTH), keys.name_of(SOUTH)) == ("the north window", "line 4")
    assert len(keys) == 2


def test_a_byte_order_mark_tabs_and_cr_lf_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"\xef\xbb\xbf" + f"# the room\r\n{NORTH}\tthe north\twindow \r\n \t{SOUTH}\t \r\n".encode())
    path.chmod(0o600)
    keys = ApiKeys(path)
    assert (keys.name_of(NORTH), keys.name_of(SOUTH)) == ("the northwindow", "line 3")


def test_a_file_that_is_too_large_is_an_error(tmp_path: Path) -> None:
    path = write_private(tmp_path / "keys", "#" * (1_000_000 - 20) + f"\n{NORTH}-and-its-end north\n")
    with pytest.raises(ModelError, match="1,000,000 bytes") as caught:
        ApiKeys(path)
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize("key", ["", "x", NORTH[:-1], NORTH + "0", NORTH.upper(), "ключ", "\udcff"])
def test_any_other_key_is_unknown(tmp_path: Path, key: str) -> None:
    assert ApiKeys(write_private(tmp_path / "keys", f"{NORTH} north\n")).name_of(key) is None


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write_private(tmp_path / "keys", f"{NORTH} north\n")
    keys = ApiKeys(path)
    write_private(path, f"{SOUTH} south of it\n")
    assert (keys.name_of(NORTH), keys.name_of(SOUTH)) == (None, "south of it")


def test_the_keys_stay_if_the_file_is_damaged_or_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_private(tmp_path / "keys", f"{NORTH} north\n")
    keys = ApiKeys(path)
    write_private(path, "short\n")
    assert [keys.name_of(NORTH) for _ in range(3)] == ["north"] * 3
    assert len(caplog.records) == 1
    assert "short" not in caplog.text
    path.unlink()
    assert [keys.name_of(NORTH) for _ in range(3)] == ["north"] * 3
    assert len(caplog.records) == 2
    write_private(path, f"{SOUTH} south\n")
    assert (keys.name_of(NORTH), keys.name_of(SOUTH)) == (None, "south")


def _put_special(path: Path, kind: str) -> None:
    """Puts something at the path that an ordinary open or read would wait for."""
    path.unlink()
    match kind:
        case "fifo":
            os.mkfifo(path, 0o600)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(path))
        case device:
            path.symlink_to(device)


SPECIAL = ["fifo", "folder", "socket", "/dev/zero", "/dev/null", "/dev/tty"]


@pytest.mark.parametrize("kind", SPECIAL)
def test_the_keys_stay_at_once_if_their_file_becomes_something_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = write_private(tmp_path / "keys", f"{NORTH} north\n")
    keys = ApiKeys(path)
    _put_special(path, kind)
    started_at = time.monotonic()
    assert [keys.name_of(NORTH) for _ in range(3)] == ["north"] * 3
    if kind in ("fifo", "folder"):
        os.utime(path)  # as a use of the FIFO or a new file in the folder does
    keys.name_of(NORTH)
    assert time.monotonic() - started_at < 1
    assert len(caplog.records) == 1
    assert "the old keys stay valid" in caplog.text


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_server_does_not_wait_for_keys_in_no_regular_file(tmp_path: Path, kind: str) -> None:
    _put_special(write_private(tmp_path / "keys", ""), kind)
    with pytest.raises(ModelError, match="keys: ") as caught:
        ApiKeys(tmp_path / "keys")
    assert caught.value.kind == "missing"


def test_a_file_that_others_can_read_gives_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_private(tmp_path / "keys", f"{NORTH} north\n")
    ApiKeys(path)
    assert not caplog.records
    path.chmod(0o640)
    ApiKeys(path)
    assert "chmod 600" in caplog.text
    caplog.clear()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    ApiKeys(path)
    assert not caplog.records


@pytest.mark.parametrize("text", ["", "# none\n", "short\n", f"{NORTH} n\nзаключительный-ключ-00\n", "x" * 600 + "\n"])
def test_an_invalid_key_is_an_error_that_does_not_show_the_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError) as caught:
        ApiKeys(write_private(tmp_path / "keys", text))
    assert caught.value.exit_code == 65
    assert "\n" not in str(caught.value)
    assert "short" not in str(caught.value).replace(str(tmp_path), "")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file") as caught:
        ApiKeys(tmp_path / "keys")
    assert caught.value.exit_code == 66


def test_the_object_holds_no_key_in_plain_text(tmp_path: Path) -> None:
    keys = ApiKeys(write_private(tmp_path / "keys", f"{NORTH} north\n"))
    assert NORTH not in repr(vars(keys)) + repr([vars(type(keys))])


@given(data=st.binary(max_size=200))
def test_any_file_gives_keys_or_a_one_line_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / f"any-{os.getpid()}"
    path.write_bytes(data)
    path.chmod(0o600)
    try:
        ApiKeys(path)
    except ModelError as error:
        kind, message = error.kind, str(error)
    else:
        kind, message = "damaged", "valid keys"
    assert kind == "damaged"
    assert "\n" not in message
