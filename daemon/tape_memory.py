"""A conversation on paper tape: what was said, who answers, with which settings and seed. Data in, data out.

The tape is text that a Model 33 can print: capitals, 72 columns. `\\A` is a capital A, and other letters are small.
`\\/` is a line break, `\\(2019)` the character of this number, and `\\\\` a backslash. The last line has a checksum:
a torn tape, and one with a wrong hole, is refused.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any

from drivers import tape
from drivers.errors import TapeDamaged
from drivers.profile import Parity
from drivers.tape_letters import draw_letters

BLANK_ROWS = 60  # six inches before the letters and after the last line, to thread the reader and to hold
LINE_CHARS = 64
_FIRST_LINE = "ASR33 TAPE 1"
_ESCAPE = re.compile(r"\\(?:([A-Z])|(/)|(\\)|\(([0-9A-F]{1,6})\))")


@dataclass(frozen=True, slots=True)
class TapeMemory:
    """`persona` is "" if the typed text was continued; `settings` are those of [answer] that are numbers, by name."""

    model: str
    model_hash: str
    persona: str
    seed: int
    settings: dict[str, float]
    memory: str


def encode_memory(saved: TapeMemory, parity: Parity) -> bytes:
    """Returns the rows: leader, readable letters, the text with its checksum, trailer."""
    lines = [
        _FIRST_LINE,
        f"MODEL {escape_case(saved.model)}",
        f"HASH {saved.model_hash.upper()}",
        f"PERSONA {escape_case(saved.persona)}",
        f"SEED {saved.seed}",
        *(f"SET {name.upper()} {json.dumps(value)}" for name, value in sorted(saved.settings.items())),
        *(f"TEXT {part}" for part in _split_escaped(escape_case(saved.memory))),
    ]
    lines.append(f"END {len(lines)} {_checksum(lines)}")
    text = "\n".join(("", *lines, ""))
    head = tape.leader(BLANK_ROWS) + draw_letters(f"ASR33 {saved.model[:16]}") + tape.leader(BLANK_ROWS // 4)
    return head + tape.encode_text(text, parity) + tape.leader(BLANK_ROWS)


def decode_memory(rows: bytes) -> TapeMemory | None:
    """Returns the conversation of a tape, None if it is a tape of another kind. Raises TapeDamaged."""
    text = tape.decode_text(bytes(row for row in rows if row & 0x7F), None)
    _, start, after = text.partition(f"\n{_FIRST_LINE}\n")
    if not start:
        if re.search(r"\n(?:END \d+ [0-9A-F]{8}|TEXT [^\n]*\nTEXT [^\n]*)\n", text):
            raise TapeDamaged("the first line of the tape is not ASR33 TAPE 1: read it again, or with a later asr33")
        return None
    lines = [_FIRST_LINE, *after.split("\n")]
    ends = [number for number, line in enumerate(lines) if line.startswith("END ")]
    if not ends:
        raise TapeDamaged("the tape has no last line: it is torn, or was not punched to its end")
    body, end = lines[: ends[0]], lines[ends[0]]
    if end.rstrip() != f"END {len(body)} {_checksum(body)}":
        raise TapeDamaged("the checksum of the tape is wrong: clean the reader and read it again")
    if f"\n{_FIRST_LINE}\n" in after:
        raise TapeDamaged("there are two tapes after each other: read one of them")
    return _parse(body)


def _parse(lines: list[str]) -> TapeMemory:
    fields: dict[str, str] = {}
    settings: dict[str, float] = {}
    parts: list[str] = []
    for line in lines[1:]:
        name, _, value = line.partition(" ")
        if name == "TEXT":
            parts.append(value)
        elif name == "SET":
            name, _, value = value.partition(" ")
            settings[name.lower()] = _number(value)
        else:
            fields[name] = value
    try:
        return TapeMemory(
            restore_case(fields["MODEL"]),
            fields["HASH"].lower(),
            restore_case(fields["PERSONA"]),
            int(_number(fields["SEED"])),
            settings,
            restore_case("".join(parts)),
        )
    except KeyError as error:
        raise TapeDamaged(f"the tape has no line {error.args[0]}: a later asr33 may have punched it") from None


def _number(text: str) -> float:
    try:
        value: Any = json.loads(text.lower())
    except ValueError:
        value = None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TapeDamaged(f"{text[:20]} on the tape is no number: a later asr33 may have punched it")
    return value


def escape_case(text: str) -> str:
    """Returns a text of the 64 characters of the type wheel, from which `restore_case` makes the same text again."""
    return "".join(map(_escape, text))


def _escape(char: str) -> str:
    if char in "\\\n":
        return "\\\\" if char == "\\" else "\\/"
    if "a" <= char <= "z":
        return char.upper()
    if "A" <= char <= "Z":
        return f"\\{char}"
    return char if " " <= char < "`" else f"\\({ord(char):X})"


def restore_case(escaped: str) -> str:
    """Reverses `escape_case`."""

    def restore(match: re.Match[str]) -> str:
        capital, line_break, backslash, number = match.groups()
        if number:
            return chr(int(number, 16)) if int(number, 16) <= 0x10FFFF else "\N{REPLACEMENT CHARACTER}"
        return capital or ("\n" if line_break else backslash)

    parts: list[str] = []
    end = 0
    for match in _ESCAPE.finditer(escaped):
        parts += [escaped[end : match.start()].lower(), restore(match)]
        end = match.end()
    return "".join((*parts, escaped[end:].lower()))


def _split_escaped(escaped: str) -> list[str]:
    """Returns the lines of an escaped text; none cuts an escape."""
    units = re.findall(r"\\(?:\([0-9A-F]+\)|.)|.", escaped)
    lines = [""]
    for unit in units:
        if len(lines[-1]) + len(unit) > LINE_CHARS:
            lines.append("")
        lines[-1] += unit
    return lines


def _checksum(lines: list[str]) -> str:
    return f"{zlib.crc32(chr(10).join(lines).encode('ascii')):08X}"
