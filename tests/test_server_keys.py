import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.server.api_keys import ApiKeys, KeysDamaged, KeysNotFound

NORTH, SOUTH = "north-window-0123456789", "south-window-0123456789"


def write_private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_key_has_the_name_behind_it_or_its_line(tmp_path: Path) -> None:
    keys = ApiKeys(write_private(tmp_path / "keys", f"# the room\n\n{NORTH}  the north window\n  {SOUTH}\n"))
    assert (keys.name_of(NORTH), keys.name_of(SOUTH)) == ("the north window", "line 4")
    assert len(keys) == 2


def test_whatever_editor_it_was_written_with(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"\xef\xbb\xbf" + f"# the room\r\n{NORTH}\tthe north\twindow \r\n \t{SOUTH}\t \r\n".encode())
    path.chmod(0o600)
    keys = ApiKeys(path)
    assert (keys.name_of(NORTH), keys.name_of(SOUTH)) == ("the northwindow", "line 3")


def test_a_file_that_is_too_large_is_not_cut_in_mid_key(tmp_path: Path) -> None:
    path = write_private(tmp_path / "keys", "#" * (1_000_000 - 20) + f"\n{NORTH}-and-its-end north\n")
    with pytest.raises(KeysDamaged, match="1,000,000 bytes"):
        ApiKeys(path)


@pytest.mark.parametrize("shown", ["", "x", NORTH[:-1], NORTH + "0", NORTH.upper(), "ключ", "\udcff"])
def test_anything_else_is_a_stranger(tmp_path: Path, shown: str) -> None:
    assert ApiKeys(write_private(tmp_path / "keys", f"{NORTH} north\n")).name_of(shown) is None


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = write_private(tmp_path / "keys", f"{NORTH} north\n")
    keys = ApiKeys(path)
    write_private(path, f"{SOUTH} south of it\n")
    assert (keys.name_of(NORTH), keys.name_of(SOUTH)) == (None, "south of it")


def test_one_that_is_damaged_or_gone_leaves_the_keys_before_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_a_file_that_others_can_read_is_a_warning(
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
def test_a_line_that_is_no_key_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(KeysDamaged) as caught:
        ApiKeys(write_private(tmp_path / "keys", text))
    assert caught.value.exit_code == 65
    assert "\n" not in str(caught.value)
    assert "short" not in str(caught.value).replace(str(tmp_path), "")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeysNotFound, match="No such file"):
        ApiKeys(tmp_path / "keys")
    assert KeysNotFound.exit_code == 66


def test_no_key_is_kept_in_memory(tmp_path: Path) -> None:
    keys = ApiKeys(write_private(tmp_path / "keys", f"{NORTH} north\n"))
    assert NORTH not in repr(vars(keys)) + repr([vars(type(keys))])


@given(data=st.binary(max_size=200))
def test_any_file_is_keys_or_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / f"any-{os.getpid()}"
    path.write_bytes(data)
    path.chmod(0o600)
    said = "keys"
    try:
        ApiKeys(path)
    except KeysDamaged as error:
        said = str(error)
    assert "\n" not in said
