"""Pairs that a person can read: what goes in, what goes over the wire, what is on the paper. See golden/README.md."""

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
NAMED = {byte: f"<{name}>" for name, byte in NAMES.items()} | {0x3C: "<3C>"}
NOTATION = re.compile("<(?:(CR|LF|BEL|RUB|ESC|BS)|\\^([@-_])|([0-9A-F]{2}))>")
PROMPT = "? "


def decoded(text: str) -> str:
    """`<CR>`, `<^U>` and `<3C>` as what they stand for; all else is as it is."""
    return NOTATION.sub(
        lambda m: chr(NAMES[m[1]] if m[1] else ord(m[2]) & 0x1F if m[2] else int(m[3], 16)),
        text,
    )


def wire_of(text: str) -> bytes:
    return decoded(text.replace("\n", "")).encode("latin-1")


def wire_as_text(data: bytes) -> str:
    """Controls by name, and a line for each line feed and its fill."""
    text = "".join(NAMED.get(byte, chr(byte) if 0x20 <= byte < 0x7F else f"<{byte:02X}>") for byte in data)
    return re.sub("<LF>(?:<RUB>|<00>)*", lambda m: m[0] + "\n", text)


def paper_as_text(paper: Paper, profile: Profile) -> str:
    """Line by line; what a later pass struck over a line stands below it, after `<CR>`."""
    text = "\n".join(paper.overprint_lines()).replace("\r", "\n<CR>") + "\n"
    return text.translate(str.maketrans("^_", "↑←")) if profile.wheel == "1963" else text


def machine_of(path: Path) -> Profile:
    table = path.with_suffix(".toml")
    return Profile(**tomllib.loads(table.read_text())["machine"]) if table.exists() else Profile()


def taped(printer: Printer, text: str) -> list[Stroke]:
    printer.fill = "rubout"
    return printer.feed(text)


def typed(printer: Printer, keys: str) -> list[Stroke]:
    editor = LineEditor(PROMPT)
    strokes = printer.feed(PROMPT) + printer.flush()
    for key in keys:
        strokes += printer.echo_keys(editor.press(key).echo)
    return strokes


WAYS = {
    ".text": lambda printer, text: printer.feed(text),
    ".code": lambda printer, text: printer.feed(text, "code"),
    ".typewriter": lambda printer, text: printer.feed(text, overstrike=True),
    ".raw": lambda printer, text: printer.feed_raw(text),
    ".tape": taped,
    ".keys": typed,
}
INPUTS = sorted(path for path in GOLDEN.iterdir() if path.suffix in WAYS)
WIRES = sorted(GOLDEN.glob("*.wire"))


def name(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", INPUTS, ids=name)
def test_what_goes_in_gives_its_wire(path):
    printer = Printer(machine_of(path), column=0)
    text = path.read_text("utf-8")
    source = decoded(text.replace("\n", "") if path.suffix == ".keys" else text)
    strokes = WAYS[path.suffix](printer, source) + printer.flush()
    assert wire_as_text(bytes(stroke.byte for stroke in strokes)) == path.with_suffix(".wire").read_text("utf-8")


@pytest.mark.parametrize("path", WIRES, ids=name)
def test_a_wire_gives_its_paper(path):
    profile = machine_of(path)
    paper = Paper.for_profile(profile)
    paper.feed(wire_of(path.read_text("utf-8")))
    assert paper_as_text(paper, profile) == path.with_suffix(".paper").read_text("utf-8")


def test_every_file_belongs_to_a_pair():
    stems = {path.stem for path in WIRES}
    known = {*WAYS, ".wire", ".paper", ".toml"}
    others = [path for path in GOLDEN.iterdir() if path.name != "README.md"]
    assert [path.name for path in others if path.suffix not in known or path.stem not in stems] == []


@given(st.binary())
def test_any_wire_can_be_written_down_and_read_again(data):
    assert wire_of(wire_as_text(data)) == data
