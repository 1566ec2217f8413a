import sys
from pathlib import Path

import pytest

from model.store.atomic_file import replace_atomically
from tools.cli.errors import ToolError
from tools.cli.output import check_writable, print_message, stdout_errors, write_atomic
from tools.virtual.recorder import AppendFile

FULL = Path("/dev/full")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_write_atomic_replaces_the_whole_file(tmp_path):
    path = tmp_path / "sheet"
    path.write_text("OLD")
    with path.open() as old:
        write_atomic(path, b"NEW")
        assert (old.read(), path.read_text()) == ("OLD", "NEW")
    assert names(tmp_path) == ["sheet"]


def test_write_atomic_writes_through_a_link(tmp_path):
    link, path = tmp_path / "link", tmp_path / "sheet"
    link.symlink_to(path)
    write_atomic(link, b"NEW")
    assert link.is_symlink()
    assert path.read_bytes() == b"NEW"


def test_check_writable_raises_for_a_bad_path_and_leaves_no_file(tmp_path):
    path = tmp_path / "sheet"
    check_writable(path)
    assert names(tmp_path) == []
    for bad in (tmp_path / "no" / "sheet", tmp_path):
        with pytest.raises(ToolError, match=r"cannot be written .*: name a file in a folder of yours"):
            check_writable(bad)
        with pytest.raises(ToolError, match="cannot be written"):
            write_atomic(bad, b"NEW")
    assert names(tmp_path) == []


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_is_reported_with_its_own_cure():
    check_writable(FULL)
    with pytest.raises(ToolError, match=r"No space left on device.: make room"):
        write_atomic(FULL, b"NEW")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_an_append_file_on_a_full_disk_reports_it_once():
    messages: list[str] = []
    record = AppendFile(FULL, "ab", "rows", messages.append)
    record.write(b"A")
    record.write(b"B")
    assert messages == ["no more rows are written to /dev/full (No space left on device); the paper goes on"]


def test_a_message_without_standard_error_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    print_message("anybody?")


def test_a_broken_pipe_is_not_an_output_error():
    with pytest.raises(BrokenPipeError), stdout_errors():
        raise BrokenPipeError
    with pytest.raises(ToolError, match="it is closed"), stdout_errors():
        raise OSError


def test_replace_atomically_keeps_the_target_after_an_error(tmp_path):
    target = tmp_path / "sheet"
    target.write_bytes(b"OLD")

    def fail() -> None:
        with replace_atomically(target) as temporary:
            temporary.write_bytes(b"NEW")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (target.read_bytes(), names(tmp_path)) == (b"OLD", ["sheet"])
    with replace_atomically(target) as temporary:
        temporary.write_bytes(b"NEW")
    assert (target.read_bytes(), names(tmp_path)) == (b"NEW", ["sheet"])
