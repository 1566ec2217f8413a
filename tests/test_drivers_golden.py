"""Readable golden pairs: the input, the bytes on the line, and the paper. See golden/README.md."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.input.line_editor import LineEditor
from drivers.paper.paper import Paper
from drivers.profile import Profile
from drivers.text.printer import Printer, Stroke

GOLDEN = Path(__file__).parent / "golden"
NAMES = {"CR": 0x0D, "LF": 0x0A, "BEL": 0x07, "RUB": 0x7F, "ESC": 0x1B, "BS": 0x08}
NAMED = {byte: f"<{file_name}>" for file_name, byte in NAMES.items()} | {0x3C: "<3C>"}
NOTATION = re.compile("<(?:(CR|LF|BEL|RUB|ESC|BS)|\\^([@-_])|([0-9A-F]{2}))>")
PROMPT = "? "


def decode_notation(text: str) -> str:
    """Returns the text with `<CR>`, `<^U>` and `<3C>` replaced by their characters."""

    def replacement(match: re.Match[str]) -> str:
        return chr(NAMES[match[1]] if match[1] else ord(match[2]) & 0x1F if match[2] else int(match[3], 16))

    return NOTATION.sub(replacement, text)


def wire_of(text: str) -> bytes:
    return decode_notation(text.replace("\n", "")).encode("latin-1")


def wire_as_text(data: bytes) -> str:
    """Returns controls by name, and a line for each line feed with its fill."""
    text = "".join(NAMED.get(byte, chr(byte) if 0x20 <= byte < 0x7F else f"<{byte:02X}>") for byte in data)
    return re.sub("<LF>(?:<RUB>|<00>)*", lambda match: match[0] + "\n", text)


def paper_as_text(paper: Paper, profile: Profile) -> str:
    """Returns the paper line by line; the glyphs of a later pass follow below it, after `<CR>`."""
    text = "\n".join(paper.overprint_lines()).replace("\r", "\n<CR>") + "\n"
    return text.translate(str.maketrans("^_", "↑←")) if profile.wheel == "1963" else text


def machine_of(path: Path) -> Profile:
    table = path.with_suffix(".toml")
    return Profile(**tomllib.loads(table.read_text())["machine"]) if table.exists() else Profile()


def print_taped(printer: Printer, text: str) -> list[Stroke]:
    printer.fill = "rubout"
    return printer.feed(text)


def print_typed(printer: Printer, keys: str) -> list[Stroke]:
    editor = LineEditor(PROMPT)
    strokes = printer.feed(PROMPT) + printer.flush()
    for key in keys:
        strokes += printer.echo_keys(editor.press(key).echo)
    return strokes


MODES = {
    ".text": lambda printer, text: printer.feed(text),
    ".code": lambda printer, text: printer.feed(text, "code"),
    ".typewriter": lambda printer, text: printer.feed(text, overstrike=True),
    ".raw": lambda printer, text: printer.feed_raw(text),
    ".tape": print_taped,
    ".keys": print_typed,
}
INPUTS = sorted(path for path in GOLDEN.iterdir() if path.suffix in MODES)
WIRES = sorted(GOLDEN.glob("*.wire"))


def file_name(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", INPUTS, ids=file_name)
def test_the_input_gives_the_golden_bytes(path):
    printer = Printer(machine_of(path), column=0)
    text = path.read_text("utf-8")
    source = decode_notation(text.replace("\n", "") if path.suffix == ".keys" else text)
    strokes = MODES[path.suffix](printer, source) + printer.flush()
    assert wire_as_text(bytes(stroke.byte for stroke in strokes)) == path.with_suffix(".wire").read_text("utf-8")


@pytest.mark.parametrize("path", WIRES, ids=file_name)
def test_the_bytes_give_the_golden_paper(path):
    profile = machine_of(path)
    paper = Paper.for_profile(profile)
    paper.feed(wire_of(path.read_text("utf-8")))
    assert paper_as_text(paper, profile) == path.with_suffix(".paper").read_text("utf-8")


def test_every_file_belongs_to_a_pair():
    stems = {path.stem for path in WIRES}
    known = {*MODES, ".wire", ".paper", ".toml"}
    others = [path for path in GOLDEN.iterdir() if path.name != "README.md"]
    assert [path.name for path in others if path.suffix not in known or path.stem not in stems] == []


@given(st.binary())
def test_the_notation_is_reversible(data):
    assert wire_of(wire_as_text(data)) == data
