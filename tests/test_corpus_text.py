from __future__ import annotations

import io
import lzma
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.interface import END_OF_TEXT
from model.store.documents import read_documents
from tools.corpus.archive import Member
from tools.corpus.importers import text
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning

SAMPLES = "=" * 20
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029"), max_size=40)


def member(data: bytes | str, name: str = "a.txt") -> Member:
    raw = data.encode() if isinstance(data, str) else data
    return Member(name, name, len(raw), lambda: io.BytesIO(raw))


def found(data: bytes | str, name: str = "a.txt") -> list[ImportItem]:
    return list(text.read_items([member(data, name)]))


def texts(data: bytes | str, name: str = "a.txt") -> list[str]:
    return [one.text for one in found(data, name) if isinstance(one, Record)]


def told(data: bytes | str, name: str = "a.txt") -> list[str]:
    return [
        one.message if isinstance(one, SourceWarning) else one.reason
        for one in found(data, name)
        if not isinstance(one, Record)
    ]


def test_a_file_is_one_document() -> None:
    assert found("THE QUICK\nBROWN FOX\n") == [Record("a.txt", "a.txt", "THE QUICK\nBROWN FOX\n")]


def test_the_mark_divides_documents_and_the_first_is_not_lost() -> None:
    whole = f"one\nmore of one\n{END_OF_TEXT}\ntwo\n{END_OF_TEXT}\nthree\n{END_OF_TEXT}\n"
    assert found(whole) == [
        Record("a.txt", "a.txt", "one\nmore of one\n"),
        Record("a.txt", "a.txt 2", "two\n"),
        Record("a.txt", "a.txt 3", "three\n"),
    ]


def test_the_mark_divides_within_a_line_too_as_gpt_2_simple_writes_a_csv() -> None:
    rows = f"<|startoftext|>one{END_OF_TEXT}\n<|startoftext|>two\nof two{END_OF_TEXT}\nthree{END_OF_TEXT}four"
    assert texts(rows) == ["one", "two\nof two", "three", "four"]


def test_samples_of_gpt_2_simple_are_documents_but_not_the_headings_of_a_handbook() -> None:
    assert texts(f"one\n{SAMPLES}\ntwo\n{SAMPLES}\n") == ["one\n", "two\n"]
    assert texts(f"A Heading of twenty.\n{SAMPLES}\ntext\n", "a.md") == [f"A Heading of twenty.\n{SAMPLES}\ntext\n"]
    assert texts("A Heading\n=========\ntext\n") == ["A Heading\n=========\ntext\n"]


def test_blank_documents_are_counted_and_none_is_kept() -> None:
    assert found(f"{END_OF_TEXT}\n \n{END_OF_TEXT}\none\n{END_OF_TEXT}\n\n") == [
        SkippedItem("a.txt", "a blank document"),
        SkippedItem("a.txt", "a blank document"),
        Record("a.txt", "a.txt", "one\n"),
    ]
    assert found("") == found("\n \n") == [SkippedItem("a.txt", "a file without text")]


@given(
    documents=st.lists(WORDS.filter(lambda words: words.strip() and not set("<=") & set(words)), min_size=1, max_size=5)
)
def test_what_training_reads_in_a_file_is_what_a_corpus_reads(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str]
) -> None:
    whole = f"\n{END_OF_TEXT}\n".join(documents) + "\n"
    path = tmp_path_factory.getbasetemp() / "same.txt"
    path.write_bytes(whole.encode())
    assert texts(whole) == read_documents([path])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le"])
def test_names_and_emoji_are_right_in_every_coding_and_crlf_is_lf(encoding: str) -> None:
    words = "Zoë: 👍🏽 日本\r\n“naïve” — ﬁn\r\n"
    mark = "\ufeff" if encoding in ("utf-16-be", "utf-16-le") else ""
    assert found((mark + words).encode(encoding)) == [Record("a.txt", "a.txt", words.replace("\r\n", "\n"))]
    assert text.claim([member((mark + words).encode(encoding))])


def test_utf16_that_breaks_off_is_told() -> None:
    assert texts("abc\r\n👍".encode("utf-16")[:-1]) == ["abc\n\ufffd"]
    assert told("abc👍".encode("utf-16")[:-1]) == ["1 characters could not be read and are question marks now"]


def test_a_line_that_is_no_utf8_is_read_as_windows_1252_and_told() -> None:
    data = "Zoë\n".encode() + "caf\xe9 \x93so\x94\n".encode("latin-1") + "über\n".encode() + b"\x81\n"
    assert texts(data) == ["Zoë\ncafé “so”\nüber\n\x81\n"]
    assert told(data)[0].startswith("2 lines are not UTF-8, read as Windows-1252")


def test_a_text_of_an_old_computer_is_known_by_its_name_and_what_is_not_western_is_left() -> None:
    old = "Über den Wolken, naïve façade - alles klar.\n".encode("cp1252") * 9
    assert [one.name for one in text.claim([member(old, "old.TXT"), member(old, "old"), member(old, "old.dat")])] == [
        "old.TXT"
    ]
    for encoding in ("shift_jis", "euc_kr", "koi8_r", "utf-16-le"):
        words = {"shift_jis": "日本語です。", "euc_kr": "한국어", "koi8_r": "Это по-русски", "utf-16-le": "English"}
        assert not text.claim([member(words[encoding].encode(encoding) * 30, "old.txt")])


def test_xz_is_unpacked_and_several_streams_are_one_text() -> None:
    data = lzma.compress(b"one\n") + lzma.compress("twö\n".encode())
    assert text.claim([member(data, "a.txt.xz")])
    assert texts(data, "a.txt.xz") == ["one\ntwö\n"]


def test_xz_that_breaks_off_or_is_damaged_is_told_by_name() -> None:
    data = lzma.compress(random.Random(1).randbytes(5000).hex().encode())
    (cut,) = [one for one in found(data[:-50], "a.xz") if isinstance(one, DamagedItem)]
    assert cut == DamagedItem("a.xz", "Compressed file ended before the end-of-stream marker was reached")
    broken = bytearray(data)
    broken[1000] ^= 255
    assert [one.reason for one in found(bytes(broken), "a.xz") if isinstance(one, DamagedItem)] == [
        "Corrupt input data"
    ]


def test_a_bomb_of_xz_ends_in_a_word() -> None:
    packer = lzma.LZMACompressor(preset=0)
    line = b"a" * 999 + b"\n"
    data = b"".join(packer.compress(line * 1000) for _ in range(80)) + packer.flush()
    assert told(data, "a.xz")[-1].endswith("its packed size: a bomb")


def test_what_is_not_text_is_not_claimed() -> None:
    for data in (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"{\\rtf1\\ansi hello}",
        b"%PDF-1.4 ascii",
        b"a\0b\0c\0",
        "caf\xe9".encode("latin-1"),
        "abc".encode("utf-32"),
        lzma.compress(b"\0\1\2"),
        lzma.compress(b"cut off")[:-20],
    ):
        assert text.claim([member(data)]) == []
    for name in ("a.json", "a.CSV", "index.html", "tweets.js"):
        assert text.claim([member(b"plain", name)]) == []
    for name in ("a.txt", "README", "a.md", "1999.log"):
        assert len(text.claim([member(b"plain\x07\x1b[1m", name)])) == 1


def test_a_character_across_the_end_of_the_head_is_text() -> None:
    assert text.claim([member("a" * 4095 + "é")])


def test_what_programs_read_is_told_when_it_is_taken_after_all() -> None:
    assert texts("<p>hello", "a.html") == ["<p>hello"]
    assert told("<p>hello", "a.html") == ["taken as it stands, marks and all, although its name ends in .html"]


def test_a_file_of_one_enormous_line_is_warned_of() -> None:
    assert told("word " * 10_000) == ["a line of 50,000 characters: are its line ends lost?"]
    assert told("word\n" * 10_000) == []


def test_a_document_that_memory_would_not_hold_is_cut_between_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_DOCUMENT_CHARS", 1000)
    monkeypatch.setattr(text, "CHUNK_BYTES", 7)
    for whole in ("é👍日" * 3000, "one line\n" * 3000, "é" * 3000):
        pieces = texts(whole)
        assert len(pieces) > 1
        assert "".join(pieces) == whole
        assert told(whole)[-1].endswith(f"was cut into parts ({len(pieces)})")
    assert len({record.thread for record in found("é👍日" * 3000) if isinstance(record, Record)}) > 1


@given(
    parts=st.lists(st.one_of(WORDS, st.sampled_from([END_OF_TEXT, "\n", "\r\n", "é👍", SAMPLES])), max_size=12),
    chunk=st.integers(1, 20),
)
def test_where_the_chunks_end_makes_no_difference(parts: list[str], chunk: int) -> None:
    data = "".join(parts).encode()
    with pytest.MonkeyPatch.context() as patch:
        expected = found(data)
        patch.setattr(text, "CHUNK_BYTES", chunk)
        assert found(data) == expected


@pytest.mark.parametrize("chunk", [2, 3, 5])
def test_nor_does_it_in_utf16(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    words = "a\r\nb👍\r\r\n\nc\r"
    monkeypatch.setattr(text, "CHUNK_BYTES", chunk)
    assert texts(words.encode("utf-16")) == [words.replace("\r\n", "\n")]


@given(data=st.binary(max_size=300), name=st.sampled_from(["a.txt", "a.xz", "a.md"]))
def test_no_bytes_raise_and_no_text_is_empty(data: bytes, name: str) -> None:
    text.claim([member(data, name)])
    for one in found(data, name):
        assert not isinstance(one, Record) or one.text.strip()
