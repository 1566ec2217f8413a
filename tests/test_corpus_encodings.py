from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus_items import texts_of, warnings_of
from encoded_texts import ENGLISH, FRENCH, GERMAN, RUSSIAN, TEXTS, encodable
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import detect
from tools.corpus.archive import Member
from tools.corpus.decoding import encodings
from tools.corpus.decoding.encoding_guess import EncodingEvidence, guess_encoding
from tools.corpus.decoding.encodings import encoding_warning, read_as_utf8
from tools.corpus.record import ImportItem

CASES = [(language, name, text) for language, names, text in TEXTS for name in names]
WIDE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
CHARMAP = Path(__file__).parents[1] / "../shared/cases/corpora/p2/13_charmap.txt"


def member_of(data: bytes, name: str = "a.txt", encoding: str = "") -> Member:
    return read_as_utf8(Member(name, name, len(data), lambda: io.BytesIO(data)), encoding)


def decode(data: bytes, encoding: str = "") -> tuple[str, str]:
    """Returns the text and the warning."""
    member = member_of(data, encoding=encoding)
    with member.open() as file:
        text = file.read().decode("utf-8-sig")
    return text, encoding_warning(member)


def import_items(path: Path, encoding: str = "") -> list[ImportItem]:
    groups = detect.detect_kinds(path, encoding=encoding).groups
    return [item for group in groups for item in detect.read_items(group)]


@pytest.mark.parametrize(("language", "encoding", "text"), CASES)
def test_a_paragraph_in_any_old_encoding_gives_its_letters(language: str, encoding: str, text: str) -> None:
    text = encodable(text, encoding)
    read, warning = decode(text.encode(encoding))
    assert read == text
    assert warning.startswith("not UTF-8: ")
    assert warning.endswith("; if its letters are wrong, add it to a new corpus with --encoding NAME")


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("text", [FRENCH, RUSSIAN, ENGLISH, "Pump\n", "日本語です。\nポンプ 1\n"])
def test_unicode_with_a_mark_or_without_is_read(text: str, encoding: str) -> None:
    read, warning = decode(text.encode(encoding))
    assert read == text
    assert warning.startswith(f"{encoding} without its mark;" if encoding[-2:] in ("le", "be") else "")
    assert bool(warning) == (encoding[-2:] in ("le", "be"))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp932", "日本語です。ポンプが止まった。私たちは家に帰りました。"),
        ("euc_jp", "日本語です。ポンプが止まった。私たちは家に帰りました。"),
        ("cp949", "한국어 펌프가 멈췄다. 우리는 집으로 갔다."),
        ("gb18030", "水泵从星期一开始就不动了。我们在他家的船上。"),
        ("big5", "水泵從星期一開始就不動了。我們在他家的船上。"),
    ],
)
def test_asian_texts_are_read(encoding: str, text: str) -> None:
    read, warning = decode(text.encode(encoding))
    assert read == text
    assert f" read as {encoding} (" in warning


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman", "cp850"])
def test_one_letter_is_enough(encoding: str) -> None:
    assert decode("The café was shut.\n".encode(encoding)) == (
        "The café was shut.\n",
        f"not UTF-8: 1 character read as {encoding} (é); "
        "if its letters are wrong, add it to a new corpus with --encoding NAME",
    )


def test_bytes_inside_utf8_fall_back_alone() -> None:
    lines = ["Zoë made “tea”.\n".encode()] * 3
    lines.insert(1, "caf\xe9 \x93so\x94 – Zoë\n".encode("latin-1", "ignore"))
    lines.insert(3, b"the ca\x66\xe9 of ")
    read, warning = decode(b"".join(lines))
    assert read == ("Zoë made “tea”.\ncafé “so”  Zoë\nZoë made “tea”.\nthe café of Zoë made “tea”.\n")
    assert warning.startswith("UTF-8, but for 5 characters read as cp1252 (é “ ” ë); ")


def test_a_cut_or_damaged_character_of_utf8_is_marked() -> None:
    assert decode("The café — shut —".encode()[:-1]) == (
        "The café — shut \ufffd",
        "1 character could not be read and became \ufffd",
    )
    long = "The café was shut.\n" * 20
    read, warning = decode(long.encode() + b"\x81\n" + long.encode())
    assert [read[: len(long)], read[len(long) + 1 :]] == [long, f"\n{long}"]
    assert warning


def test_an_undefined_byte_of_windows_1252_does_not_change_the_letters_around_it() -> None:
    if not CHARMAP.exists():
        pytest.skip("the shared cases are not here")
    read, warning = decode(CHARMAP.read_bytes())
    assert read.splitlines()[1] == "He said “fine” – and \x81 went. Café."
    assert " 5 characters read as cp1252 (“ ” – é)" in warning


def test_a_table_that_is_drawn_with_lines_of_dos_is_read() -> None:
    text = "╔════════╗\r\n║ Größe  ║\r\n╚════════╝\r\nDie Tür läuft über den süßen Fluß.\r\n"
    assert decode(text.encode("cp437"))[0] == text
    text = "┌──────┐\n│ café │\n└──────┘\n"
    assert decode(text.encode("cp850"))[0] == text


def test_a_few_nuls_make_no_binary_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("The café was shut.\0\0 We rowed home, and had tea.\n".encode("cp1252") * 3)
    (text,) = texts_of(import_items(tmp_path))
    assert text.replace("\0", "") == "The café was shut. We rowed home, and had tea.\n" * 3


ROWED = "The pump was stuck since Monday, and we rowed home over the lake.\n"


@pytest.mark.parametrize("encoding", ["", "utf-8"])
@pytest.mark.parametrize(
    "text",
    ["The pump\0 was stuck.\n", "\0The pump was stuck.\n", ROWED * 60 + "\0" + ROWED * 60, ROWED * 9000 + "\0\n"],
)
def test_a_nul_in_a_text_is_left_out_and_told(text: str, encoding: str) -> None:
    assert decode(text.encode(), encoding) == (text.replace("\0", ""), "1 character NUL left out")


def test_the_named_encoding_wins_over_a_nul() -> None:
    assert decode("Café\0 fermé.\n".encode("cp1252"), "cp1252")[0] == "Café fermé.\n"
    assert decode("The pump\0 was stuck.\n".encode("utf-16-le"), "utf-16-le")[0] == "The pump\0 was stuck.\n"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("iso2022_jp", "ポンプが止まった。\n月曜日でした。\n"),
        ("iso2022_jp_2", "Pump: ポンプ\n"),
        ("iso2022_kr", "펌프가 멈췄다.\n"),
        ("hz", "水泵星期一停了。\n"),
    ],
)
def test_letters_in_seven_bits_are_read(encoding: str, text: str) -> None:
    read, warning = decode((text * 40).encode(encoding))
    assert read == text * 40
    assert "read as " in warning


@pytest.mark.parametrize("text", ["\x1b[31mRed\x1b[0m and ~{x} here\n", "\x1b(B plain\n", "a ~{ b ~} c\n"])
def test_codes_of_terminals_are_no_letters_in_seven_bits(text: str) -> None:
    assert decode(text.encode()) == (text, "")


def test_a_letter_far_behind_decides_for_the_whole_file() -> None:
    text = "The pump is fine.\n" * 40_000 + "“Éternelle” café\n"
    assert decode(text.encode("mac_roman"))[0] == text


@pytest.mark.parametrize("declaration", ["Character set encoding: ISO-8859-2", '<?xml encoding="iso-8859-2"?>'])
def test_the_encoding_that_a_text_declares_needs_less_evidence(declaration: str) -> None:
    text = f"{declaration}\nhétfő\n"
    assert decode(text.encode("iso8859_2"))[0] == text


def test_a_named_encoding_is_used_but_for_files_with_a_mark() -> None:
    assert decode(b"caf\x8e", "cp850") == ("cafÄ", "")
    assert decode("café".encode(), "cp1252") == ("cafÃ©", "")
    assert decode("\ufeffcafé".encode(), "cp1252") == ("café", "")
    assert decode("café".encode("utf-16"), "cp1252") == ("café", "")
    assert decode("café".encode("utf-16-be"), "utf-16-be") == ("café", "")
    assert decode("日本".encode("cp932") + b"\xff", "cp932")[0][:2] == "日本"


@pytest.mark.parametrize(
    "data", [b"%PDF-1.4 \xe9", b"\x89PNG\r\n\x1a\n\0\0", b"SQLite format 3\0", bytes(range(255, 0, -1))]
)
def test_files_that_are_no_text_pass_unchanged(data: bytes) -> None:
    member = member_of(data)
    with member.open() as file:
        assert file.read() == data
    assert not encoding_warning(member)


def test_tables_and_json_lines_in_old_encodings_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(
        "text,date\rLe café était fermé.,2020-01-01\rDéjà vu.,2020-01-02\r".encode("mac_roman")
    )
    items = import_items(tmp_path)
    assert texts_of(items) == ["Le café était fermé.", "Déjà vu."]
    assert " read as mac_roman (é à)" in warnings_of(items)[0]
    (tmp_path / "t.csv").unlink()
    log = [{"t": 0.0, "ev": "session", "version": 1}, {"t": 1.0, "ev": "prompt", "text": "Où est le café fermé?"}]
    lines = "\n".join(json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in log)
    (tmp_path / "s.jsonl").write_bytes(lines.encode("cp1252"))
    items = import_items(tmp_path)
    assert texts_of(items) == ["Où est le café fermé?"]
    assert " read as cp1252 (" in warnings_of(items)[0]


def test_a_named_encoding_reaches_the_files_of_a_zip_in_a_folder(tmp_path: Path) -> None:
    from corpus_items import make_zip

    make_zip(tmp_path / "a.zip", {"a.txt": "Pompa działa.\n".encode("cp852")})
    assert texts_of(import_items(tmp_path, "cp852")) == ["Pompa działa.\n"]


@given(st.text(max_size=200), st.sampled_from(WIDE), st.integers(1, 40))
def test_utf_passes_whatever_the_size_of_reads(text: str, encoding: str, count: int) -> None:
    text = "".join(c for c in text if c.isprintable() and c != "\ufeff")
    data = (text if "-" not in encoding[4:] or encoding == "utf-8-sig" else f"\ufeff{text}").encode(encoding)
    with member_of(data).open() as file:
        assert b"".join(iter(lambda: file.read(count), b"")).decode("utf-8-sig") == text


@given(st.binary(max_size=400), st.sampled_from(["", "cp1252", "utf-16", "cp932", "utf-8"]))
def test_no_bytes_raise_and_two_readings_agree(data: bytes, encoding: str) -> None:
    member = member_of(data, encoding=encoding)
    readings = []
    for _ in range(2):
        with member.open() as file:
            readings.append((file.read(), encoding_warning(member)))
    assert readings[0] == readings[1]


@given(st.lists(st.sampled_from([FRENCH, GERMAN, "caf\xe9 ", "“so” ", "—", "\n", "x" * 300]), max_size=8), st.data())
def test_chunk_borders_make_no_difference(parts: list[str], data: st.DataObject) -> None:
    raw = b"".join(part.encode(data.draw(st.sampled_from(["utf-8", "cp1252"]))) for part in parts)
    expected = decode(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "CHUNK_BYTES", data.draw(st.integers(16, 64)))
        assert decode(raw)[0] == expected[0]


class _Endless(io.RawIOBase):
    """Megabytes of a paragraph in an old encoding, made while they are read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def read(self, count: int = -1) -> bytes:
        return next(self._blocks, b"")


def test_memory_holds_a_chunk() -> None:
    block = encodable(FRENCH, "mac_roman").encode("mac_roman") * 500
    member = read_as_utf8(Member("a.txt", "a.txt", 0, lambda: _Endless(iter([block] * 100))))  # 20 MB
    tracemalloc.start()
    with member.open() as file:
        while file.read(1 << 16):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_the_guess_names_its_most_frequent_letters() -> None:
    evidence = EncodingEvidence()
    evidence.add(GERMAN.encode("cp1252"))
    assert guess_encoding(evidence).letters == "ü ß ä ö „ “"
