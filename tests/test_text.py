from __future__ import annotations

import io
import lzma
from pathlib import Path

import pytest

from model.errors import TextDamaged, TextNotFound
from model.store.documents import hold_out_documents, read_documents


def test_documents_are_divided_by_the_mark_on_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("One\nline <|endoftext|> in it\n<|endoftext|>\n\n<|endoftext|>\nTwo")
    (tmp_path / "b.xz").write_bytes(lzma.compress("“Three”\n".encode()))
    assert read_documents([tmp_path / "a", tmp_path / "b.xz"]) == [
        "One\nline <|endoftext|> in it\n",
        "Two",
        "“Three”\n",
    ]


def test_a_byte_order_mark_and_the_line_ends_of_windows_become_plain(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffOne\r\n<|endoftext|>\r\nTwo\r\n\r\n".encode())
    assert read_documents([tmp_path / "a"]) == ["One\n", "Two\n\n"]


def test_standard_input_that_is_closed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(TextNotFound, match="-: standard input is closed"):
        read_documents([Path("-")])


def test_standard_input_is_a_text_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"One\n")))
    assert read_documents([Path("-")]) == ["One\n"]


def test_documents_are_held_out_by_number_from_1() -> None:
    corpus = hold_out_documents(["a", "b", "c"], [3, 1])
    assert (corpus.train, corpus.held_out) == (["b"], ["a", "c"])
    with pytest.raises(TextDamaged, match="--hold-out 4: there are only 3 documents"):
        hold_out_documents(["a", "b", "c"], [1, 4])


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.txt", b"caf\xe9", "byte 3 is not UTF-8; convert it, as with: iconv"),
        ("a.xz", b"not xz", "not a whole .xz file"),
        ("b.xz", lzma.compress(b"One\n" * 999)[:-9], "not a whole .xz file"),
    ],
)
def test_bytes_that_are_no_text_are_one_line(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TextDamaged, match=f"{name}: {says}") as caught:
        read_documents([tmp_path / name])
    assert "\n" not in str(caught.value)


def test_a_text_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(TextNotFound, match=f"{path.name}: .*; name a text file"):
            read_documents([path])
