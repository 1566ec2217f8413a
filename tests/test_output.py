import sys
from pathlib import Path

import pytest

from tools.cli.output import AppendFile, OutputLost, check_writable, print_message, stdout_errors, write_atomic

FULL = Path("/dev/full")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_put_whole_in_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "sheet"
    path.write_text("OLD")
    with path.open() as old:
        write_atomic(path, b"NEW")
        assert (old.read(), path.read_text()) == ("OLD", "NEW")
    assert names(tmp_path) == ["sheet"]


def test_a_link_still_leads_to_the_file_that_is_put(tmp_path):
    link, path = tmp_path / "link", tmp_path / "sheet"
    link.symlink_to(path)
    write_atomic(link, b"NEW")
    assert link.is_symlink()
    assert path.read_bytes() == b"NEW"


def test_what_cannot_be_written_is_said_before_and_nothing_is_left_of_the_trial(tmp_path):
    path = tmp_path / "sheet"
    check_writable(path)
    assert names(tmp_path) == []
    for bad in (tmp_path / "no" / "sheet", tmp_path):
        with pytest.raises(OutputLost, match=r"cannot be written .*: name a file in a folder of yours"):
            check_writable(bad)
        with pytest.raises(OutputLost, match="cannot be written"):
            write_atomic(bad, b"NEW")
    assert names(tmp_path) == []


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_has_another_cure_than_a_folder_of_others():
    check_writable(FULL)
    with pytest.raises(OutputLost, match=r"No space left on device.: make room"):
        write_atomic(FULL, b"NEW")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_record_on_a_full_disk_ends_in_one_word():
    told: list[str] = []
    record = AppendFile(FULL, "ab", "rows", told.append)
    record.write(b"A")
    record.write(b"B")
    assert told == ["asr33 virtual: no more rows go to /dev/full (No space left on device); the paper goes on"]


def test_nobody_to_say_it_to_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    print_message("anybody?")


def test_a_reader_who_has_left_is_not_an_output_that_is_lost():
    with pytest.raises(BrokenPipeError), stdout_errors():
        raise BrokenPipeError
    with pytest.raises(OutputLost, match="it is closed"), stdout_errors():
        raise OSError
