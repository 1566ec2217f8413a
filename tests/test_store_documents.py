from __future__ import annotations

import io
import lzma
from pathlib import Path

import pytest

from model.errors import ModelError
from model.store.documents import hold_out_documents, read_documents


def test_a_line_with_the_end_of_text_separates_documents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("One\nline <|endoftext|> in it\n<|endoftext|>\n\n<|endoftext|>\nTwo")
    (tmp_path / "b.xz").write_bytes(lzma.compress("“Three”\n".encode()))
    assert read_documents([tmp_path / "a", tmp_path / "b.xz"]) == [
        "One\nline <|endoftext|> in it\n",
        "Two",
        "“Three”\n",
    ]


def test_byte_order_mark_and_windows_line_ends_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffOne\r\n<|endoftext|>\r\nTwo\r\n\r\n".encode())
    assert read_documents([tmp_path / "a"]) == ["One\n", "Two\n\n"]


def test_closed_standard_input_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ModelError, match="-: standard input is closed") as error:
        read_documents([Path("-")])
    assert error.value.kind == "missing"


def test_standard_input_is_read_as_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"One\n")))
    assert read_documents([Path("-")]) == ["One\n"]


def test_documents_are_held_out_by_number_from_1() -> None:
    split = hold_out_documents(["a", "b", "c"], [3, 1])
    assert (split.train, split.held_out) == (["b"], ["a", "c"])
    with pytest.raises(ModelError, match="--hold-out 4: there are only 3 documents") as error:
        hold_out_documents(["a", "b", "c"], [1, 4])
    assert error.value.kind == "damaged"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"caf\xe9", "byte 3 is not UTF-8; convert it, as with: iconv"),
        ("a.xz", b"not xz", "not a whole .xz file"),
        ("b.xz", lzma.compress(b"One\n" * 999)[:-9], "not a whole .xz file"),
    ],
)
def test_bytes_that_are_no_text_are_a_one_line_error(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match=f"{name}: {message}") as caught:
        read_documents([tmp_path / name])
    assert (caught.value.kind, "\n" in str(caught.value)) == ("damaged", False)


def test_an_absent_text_is_a_one_line_error(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ModelError, match=f"{path.name}: .*; name a text file") as error:
            read_documents([path])
        assert error.value.kind == "missing"
