"""Redaction of a recorded sheet: what an eye can find on the paper in all its readings, and what the log has."""

from __future__ import annotations

import base64
import json
import re

import pytest
from fakes_kept_session import KeptSession
from hypothesis import given
from hypothesis import strategies as st

from drivers.text.charset import apply_parity
from tools.cli.errors import ToolError
from tools.log.formats.registry import FORMATS
from tools.log.recording import SheetRecording, record_sheet
from tools.log.redaction import RedactionResult, compile_patterns, redact


def redacted(kept: KeptSession, *expressions: str, names: str = "") -> RedactionResult:
    patterns = compile_patterns(expressions, names.split(",") if names else [])
    return redact(*record_sheet(kept.read()), patterns)


def text_of(result: RedactionResult) -> str:
    return result.recording.paper().text()


def test_a_word_typed_at_ten_characters_a_second_is_found() -> None:
    kept = KeptSession()
    kept.type("MY SECRET IS OUT")
    result = redacted(kept, "secret")
    assert text_of(result).startswith("MY ****** IS OUT")
    assert (result.places, result.strokes) == (1, 6)


def test_a_word_that_goes_on_in_the_next_line_is_found() -> None:
    kept = KeptSession()
    kept.type("X" * 69 + " SECRET")
    assert "S" not in text_of(redacted(kept, "secret"))
    prose = KeptSession()
    prose.answer("WORD " * 13 + "OUR SECRET PLAN.")
    assert text_of(redacted(prose, "our secret plan")).split("\n")[:2] == ["WORD " * 13 + "***", "***********."]


def test_a_full_line_may_end_with_a_word() -> None:
    kept = KeptSession()
    kept.print("A" * 66 + "SECRET" + " PLAN")
    assert re.search("[SP]", text_of(redacted(kept, "secret plan"))) is None


def test_words_that_were_rubbed_out_are_no_hiding_place() -> None:
    kept = KeptSession()
    kept.type("THE SECX\x7fRET AND SEC\x7f\x7f\x7fNOT")
    assert "\\X\\" in kept_text(kept)
    shown = text_of(redacted(kept, "secret"))
    assert shown.startswith("THE ********** AND SEC\\CES\\NOT")


def kept_text(kept: KeptSession) -> str:
    return record_sheet(kept.read())[0].paper().text()


def test_bold_and_underlined_words_are_redacted_in_all_their_passes() -> None:
    bold = KeptSession()
    bold.print("".join(f"{char}\b{char}" for char in "SECRET") + " AND\n", overstrike=True)
    paper = redacted(bold, "secret").recording.paper()
    assert paper.inked_cells()[0][:7] == ["**"] * 6 + [""]
    underlined = KeptSession()
    underlined.print("".join(f"_\b{char}" for char in "SECRET") + "\n", overstrike=True)
    assert set(redacted(underlined, "secret").recording.paper().inked_cells()[0]) <= {"_*", "*_"}


@pytest.mark.parametrize("passes", ["SECRET\rXXXXXX", "XXXXXX\rSECRET", "S C E \r E R T", "SECRET\rA\rB\rC"])
def test_a_word_under_or_over_others_is_found(passes: str) -> None:
    kept = KeptSession()
    kept.print_raw(passes + "\n")
    assert not set("SECRT") & set("".join(redacted(kept, "secret").recording.paper().inked_cells()[0]))


def test_a_name_is_found_as_a_word_and_as_the_machine_spells_it() -> None:
    kept = KeptSession()
    kept.answer("Müller's friend Ann announced: Mary   Smith came. MULLER, ANN!")
    shown = text_of(redacted(kept, names="müller,Ann, mary smith"))
    assert shown.startswith("******'S FRIEND *** ANNOUNCED: ************ CAME. ******, ***!")


def test_a_match_in_the_answer_is_found_in_the_spelling_of_the_paper() -> None:
    kept = KeptSession()
    kept.answer("The mass is 10²³ kg at Zoë’s house.")
    assert "10^23" in kept_text(kept)
    shown = text_of(redacted(kept, "10²³|zoë’s"))
    assert shown.startswith("THE MASS IS ***** KG AT ***** HOUSE.")


def test_an_echo_that_no_reading_explains_is_replaced_whole() -> None:
    kept = KeptSession()
    kept.print("READY\n")
    kept.type("TWO WORDS")
    kept.records[-1]["text"] = "ANOTHER SECRET"  # what was typed, by the log
    kept.answer("An answer.")
    shown = text_of(redacted(kept, "secret")).split("\n")
    assert shown[1:3] == ["*********", "AN ANSWER."]


def test_columns_times_and_returns_stay() -> None:
    kept = KeptSession()
    kept.type("MY SECRET IS OUT AND\x7f SO ON " * 4)
    kept.answer("No secret lasts. " * 9)
    before = record_sheet(kept.read())[0]
    after = redacted(kept, "secret").recording
    assert [(stroke.at_s, stroke.column) for stroke in after.strokes] == [
        (stroke.at_s, stroke.column) for stroke in before.strokes
    ]
    assert [stroke.byte for stroke in after.strokes if stroke.byte < 0x20] == [
        stroke.byte for stroke in before.strokes if stroke.byte < 0x20
    ]
    assert [len(line) for line in after.paper().lines] == [len(line) for line in before.paper().lines]
    assert (after.markers, after.started_at, after.duration_s) == (before.markers, before.started_at, before.duration_s)


def test_keys_that_a_machine_printed_by_itself_are_redacted() -> None:
    kept = KeptSession(profile={"duplex": "half"})
    for key in "MY SECRET\r":
        kept.wait(0.2)
        kept.records.append({"t": kept.now_s, "ev": "rx", "b": f"{ord(key):02x}"})
    assert text_of(redacted(kept, "secret")) == "MY ******"


def test_a_bad_expression_and_an_empty_name_are_refused_with_the_cure() -> None:
    with pytest.raises(ToolError, match=r"--redact 'foo\(' is no regular expression: .*position 3; a backslash"):
        compile_patterns(["foo("], [])
    with pytest.raises(ToolError, match="separate the names by commas"):
        compile_patterns([], ["Ada", " "])


def test_an_expression_for_the_rest_of_a_line_leaves_the_next() -> None:
    kept = KeptSession()
    kept.print("KEY: 1234\nNEXT LINE\n")
    assert text_of(redacted(kept, "key:.*")).startswith("*********\nNEXT LINE")


WORDS = st.text("ABCDEFGHIJ '-.", min_size=1, max_size=12).filter(str.strip)


@given(st.lists(st.tuples(st.sampled_from(["type", "answer", "bold", "raw"]), WORDS), max_size=6), st.integers(0, 71))
def test_no_format_has_the_word_in_any_encoding(parts: list[tuple[str, str]], indent: int) -> None:
    secret = "ZQXWVKU"
    kept = KeptSession()
    kept.print("Y" * indent + "\n")
    kept.type("Y" * indent + secret)
    for how, word in parts:
        if how == "type":
            kept.type(f"{word} {secret[:3]}Y\x7f{secret[3:]}")
        elif how == "bold":
            kept.print("".join(f"{char}\b{char}" for char in f"{word} {secret}") + "\n", overstrike=True)
        elif how == "raw":
            kept.print_raw(f"{word}\r{secret}\n")
        else:
            kept.answer(f"{word} {secret.lower()} {word}")
    recording = redacted(kept, secret).recording
    assert secret not in record_sheet(kept.read())[0].model
    for name in ("asciicast", "text", "html", "svg", "tape"):
        assert_absent(secret, b"".join(FORMATS[name].encode(recording)), name)
    assert not any(ord(char) in {stroke.byte for stroke in recording.strokes} for char in secret)


def assert_absent(secret: str, data: bytes, name: str) -> None:
    """The letters of the secret are nowhere else, so that each of them alone would be found."""
    plain = secret.encode()
    parity = bytes(apply_parity(byte, "even") for byte in plain)
    escapes = "".join(f"\\u{byte:04x}" for byte in plain).encode()
    numbers = ",".join(str(byte) for byte in plain).encode()
    spaced = re.compile(rb"[^A-Za-z]*".join(plain[at : at + 1] for at in range(len(plain))), re.IGNORECASE)
    for needle in (plain, plain.lower(), parity, escapes, numbers, plain.hex().encode()):
        assert needle not in data, (name, needle)
        assert needle[::-1] not in data, (name, needle)
    for shift in range(3):  # base64 has three alignments
        encoded = base64.b64encode(b"\0" * shift + plain)[4:-4]
        assert encoded not in data, name
    strokes = json.loads(re.search(rb'id="recording">(.*?)</script>', data)[1]) if name == "html" else {}  # type: ignore[index]
    assert not {ord(char) for char in secret} & {stroke[1] for stroke in strokes.get("strokes", [])}
    if name in ("asciicast", "text"):
        assert not spaced.search(re.sub(rb"\x1b\[[0-9;]*[A-Za-z]|\\u001b\[[0-9;]*[A-Za-z]", b"", data)), name


def test_the_png_of_a_redacted_sheet_is_that_of_a_sheet_with_stars() -> None:
    def sheet(word: str) -> KeptSession:
        kept = KeptSession()
        kept.print(f"MY {word} IS OUT\n")
        return kept

    stars: SheetRecording = record_sheet(sheet("******").read())[0]
    pages = FORMATS["png"].encode(redacted(sheet("SECRET"), "secret").recording)
    assert pages == FORMATS["png"].encode(stars)
    assert pages != FORMATS["png"].encode(record_sheet(sheet("SECRET").read())[0])
