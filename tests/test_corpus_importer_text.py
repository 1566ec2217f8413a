from __future__ import annotations

import io
import lzma
import random

import pytest
from corpus_items import damaged_of, records_of, texts_of
from hypothesis import given
from hypothesis import strategies as st

from model.interface import END_OF_TEXT
from model.store.documents import read_documents
from tools.corpus.archive import Member
from tools.corpus.decoding.encodings import encoding_warning, read_as_utf8
from tools.corpus.importers import text
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning

SAMPLES = "=" * 20
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029"), max_size=40)


def text_member(data: bytes | str, name: str = "a.txt") -> Member:
    raw = data.encode() if isinstance(data, str) else data
    return read_as_utf8(Member(name, name, len(raw), lambda: io.BytesIO(raw)))


def import_items(data: bytes | str, name: str = "a.txt") -> list[ImportItem]:
    return list(text.read_items([text_member(data, name)]))


def import_texts(data: bytes | str, name: str = "a.txt") -> list[str]:
    return texts_of(import_items(data, name))


def import_warnings(data: bytes | str, name: str = "a.txt") -> list[str]:
    return [
        item.message if isinstance(item, SourceWarning) else item.reason
        for item in import_items(data, name)
        if not isinstance(item, Record)
    ]


def test_a_file_is_one_document() -> None:
    assert import_items("THE QUICK\nBROWN FOX\n") == [Record("a.txt", "a.txt", "THE QUICK\nBROWN FOX\n")]


def test_the_end_of_text_separates_documents() -> None:
    assert import_items(f"one\nmore of one\n{END_OF_TEXT}\ntwo\n{END_OF_TEXT}\nthree\n{END_OF_TEXT}\n") == [
        Record("a.txt", "a.txt", "one\nmore of one\n"),
        Record("a.txt", "a.txt 2", "two\n"),
        Record("a.txt", "a.txt 3", "three\n"),
    ]


def test_the_end_of_text_separates_documents_within_a_line() -> None:
    rows = f"<|startoftext|>one{END_OF_TEXT}\n<|startoftext|>two\nof two{END_OF_TEXT}\nthree{END_OF_TEXT}four"
    assert import_texts(rows) == ["one", "two\nof two", "three", "four"]


@pytest.mark.parametrize(
    "content",
    [
        "<|startoftext|>one\nmore<|endoftext|>\n<|startoftext|>two<|endoftext|>\n\n<|startoftext|>\nthree\n<|endoftext|>\n",
        "<|startoftext|>one\nmore\n<|startoftext|>two\n<|startoftext|>\n\nthree\n",
        "<|startoftext|>one\nmore\n<|startoftext|>two <|startoftext|>three\n",
        "<s>one\nmore</s>\n<s> two </s>\n<s>\nthree\n</s>\n",
        "[BOS] one\nmore [EOS]\n[BOS]\ntwo\n[EOS]\n[BOS]three[EOS]",
        "<|begin_of_text|>one\nmore<|end_of_text|><|begin_of_text|>two<|end_of_text|>three",
    ],
)
def test_marks_of_a_start_separate_documents_and_are_no_text(content: str) -> None:
    assert [document.strip() for document in import_texts(content)] == ["one\nmore", "two", "three"]


def test_marks_in_mid_line_are_text() -> None:
    assert import_texts("the <s>old</s> pump\nuse [BOS] and [EOS] so\n") == [
        "the <s>old</s> pump\nuse [BOS] and [EOS] so\n"
    ]


def test_samples_of_gpt_2_simple_are_documents_but_headings_in_markup_are_not() -> None:
    assert import_texts(f"one\n{SAMPLES}\ntwo\n{SAMPLES}\n") == ["one\n", "two\n"]
    markdown = f"A Heading of twenty.\n{SAMPLES}\ntext\n"
    assert import_texts(markdown, "a.md") == ["A Heading of twenty.\ntext\n"]
    assert import_texts("A Heading\n=========\ntext\n") == ["A Heading\n=========\ntext\n"]


def test_blank_documents_are_counted_and_none_is_kept() -> None:
    assert import_items(f"{END_OF_TEXT}\n \n{END_OF_TEXT}\none\n{END_OF_TEXT}\n\n") == [
        SkippedItem("a.txt", "a blank document"),
        SkippedItem("a.txt", "a blank document"),
        Record("a.txt", "a.txt", "one\n"),
    ]
    assert import_items("") == import_items("\n \n") == [SkippedItem("a.txt", "a file without text")]


@given(st.lists(WORDS.filter(lambda words: words.strip() and not set("<=") & set(words)), min_size=1, max_size=5))
def test_training_reads_the_same_documents_as_a_corpus(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str]
) -> None:
    content = f"\n{END_OF_TEXT}\n".join(documents) + "\n"
    path = tmp_path_factory.getbasetemp() / "same.txt"
    path.write_bytes(content.encode())
    assert import_texts(content) == read_documents([path])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le"])
def test_names_and_emoji_are_right_in_every_encoding_and_crlf_becomes_lf(encoding: str) -> None:
    words = "Zoë: 👍🏽 日本\r\n“naïve” — ﬁn\r\n"
    mark = "\ufeff" if encoding in ("utf-16-be", "utf-16-le") else ""
    data = (mark + words).encode(encoding)
    assert import_items(data) == [Record("a.txt", "a.txt", words.replace("\r\n", "\n"))]
    assert text.claim([text_member(data)])


def test_truncated_utf16_is_reported() -> None:
    member = text_member("abc\r\n👍".encode("utf-16")[:-1])
    assert texts_of(text.read_items([member])) == ["abc\n\ufffd"]
    assert encoding_warning(member) == "1 character could not be read and became \ufffd"


def test_text_in_no_known_encoding_is_not_claimed_and_is_reported_when_forced() -> None:
    noise = bytes(random.Random(1).choices(range(128, 256), k=300))
    assert not text.claim([text_member(noise)])
    (warning,) = import_warnings(noise)
    assert warning.endswith(" of no known encoding became \ufffd; name it: --encoding NAME")


@pytest.mark.parametrize("name", ["old.TXT", "old", "old.dat"])
def test_text_in_an_old_encoding_is_claimed_whatever_its_name(name: str) -> None:
    old = "Über den Wolken, naïve façade - alles klar.\n".encode("cp1252") * 9
    assert text.claim([text_member(old, name)])


def test_carriage_returns_end_lines_if_there_are_no_line_feeds() -> None:
    assert import_texts("one\rtwo\rthree\r") == ["one\ntwo\nthree\n"]
    assert import_texts(f"one\r{SAMPLES}\rtwo\r") == ["one\n", "two\n"]
    assert import_texts("HEAD\rHEAD\ntwo\n") == ["HEAD\rHEAD\ntwo\n"]  # struck twice


def test_an_old_encoding_inside_xz_is_recognised_and_reported() -> None:
    data = lzma.compress("Le café était fermé.\n".encode("mac_roman"))
    assert text.claim([text_member(data, "a.txt.xz")])
    assert import_texts(data, "a.txt.xz") == ["Le café était fermé.\n"]
    assert import_warnings(data, "a.txt.xz")[0].startswith("not UTF-8: 3 characters read as mac_roman (é)")


def test_xz_is_decompressed_and_several_streams_are_one_text() -> None:
    data = lzma.compress(b"one\n") + lzma.compress("twö\n".encode())
    assert text.claim([text_member(data, "a.txt.xz")])
    assert import_texts(data, "a.txt.xz") == ["one\ntwö\n"]


def test_truncated_or_damaged_xz_is_reported_by_name() -> None:
    data = lzma.compress(random.Random(1).randbytes(5000).hex().encode())
    (damaged,) = damaged_of(import_items(data[:-50], "a.xz"))
    assert damaged == DamagedItem("a.xz", "Compressed file ended before the end-of-stream marker was reached")
    broken = bytearray(data)
    broken[1000] ^= 255
    assert [item.reason for item in damaged_of(import_items(bytes(broken), "a.xz"))] == ["Corrupt input data"]


def test_an_xz_bomb_is_reported() -> None:
    compressor = lzma.LZMACompressor(preset=0)
    line = b"a" * 999 + b"\n"
    data = b"".join(compressor.compress(line * 1000) for _ in range(80)) + compressor.flush()
    assert import_warnings(data, "a.xz")[-1].endswith("its compressed size: a bomb")


def test_binary_files_are_not_claimed() -> None:
    for data in (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"{\\rtf1\\ansi hello}",
        b"%PDF-1.4 ascii",
        b"a\0\0\0b\1c",
        lzma.compress(b"\0\1\2"),
        lzma.compress(b"cut off")[:-20],
    ):
        assert text.claim([text_member(data)]) == []
    for name in ("a.json", "a.CSV", "index.html", "tweets.js"):
        assert text.claim([text_member(b"plain", name)]) == []
    for name in ("a.txt", "README", "a.md", "1999.log"):
        assert len(text.claim([text_member(b"plain\x07\x1b[1m", name)])) == 1


def test_a_character_split_at_the_end_of_the_head_is_text() -> None:
    assert text.claim([text_member("a b " * 1023 + "cdeé")])


def test_forced_import_of_a_program_file_is_reported() -> None:
    assert import_texts("<p>hello", "a.html") == ["<p>hello"]
    assert import_warnings("<p>hello", "a.html") == ["imported with its markup, although its name ends in .html"]


def test_a_file_of_one_enormous_line_is_reported() -> None:
    assert import_warnings("word " * 10_000) == ["a line of 50,000 characters: were line ends lost?"]
    assert import_warnings("word\n" * 10_000) == []


def test_a_huge_document_is_split_between_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_DOCUMENT_CHARS", 1000)
    monkeypatch.setattr(text, "CHUNK_BYTES", 7)
    for content in ("é👍日" * 3000, "one line\n" * 3000, "é" * 3000):
        parts = import_texts(content)
        assert len(parts) > 1
        assert "".join(parts) == content
        assert import_warnings(content)[-1].endswith(f"was split into {len(parts)} parts")
    assert len({record.thread for record in records_of(import_items("é👍日" * 3000))}) > 1


@given(
    parts=st.lists(st.one_of(WORDS, st.sampled_from([END_OF_TEXT, "\n", "\r\n", "é👍", SAMPLES])), max_size=12),
    chunk=st.integers(1, 20),
)
def test_chunk_borders_make_no_difference(parts: list[str], chunk: int) -> None:
    data = "".join(parts).encode()
    with pytest.MonkeyPatch.context() as patch:
        expected = import_items(data)
        patch.setattr(text, "CHUNK_BYTES", chunk)
        assert import_items(data) == expected


@pytest.mark.parametrize("chunk", [2, 3, 5])
def test_chunk_borders_make_no_difference_in_utf16(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    words = "a\r\nb👍\r\r\n\nc\r"
    monkeypatch.setattr(text, "CHUNK_BYTES", chunk)
    assert import_texts(words.encode("utf-16")) == [words.replace("\r\n", "\n")]


@given(data=st.binary(max_size=300), name=st.sampled_from(["a.txt", "a.xz", "a.md"]))
def test_no_bytes_raise_and_no_text_is_empty(data: bytes, name: str) -> None:
    text.claim([text_member(data, name)])
    for item in import_items(data, name):
        assert not isinstance(item, Record) or item.text.strip()
