"""The lines of IRC: bytes in, messages out, and back. Pure.

A line is tags, source, command and parameters, as in RFC 1459 and in IRCv3's message-tags. Nothing from the network
raises: a byte that is not UTF-8 is read as cp1252, and a line that is no message is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MAX_LINE_BYTES = 512  # with CR LF, without tags - RFC 1459 2.3
MAX_TAGGED_BYTES = 8191 + MAX_LINE_BYTES  # the server's tags - IRCv3 message-tags
_MAX_PARAMETERS = 15

# IRC's names ignore case, and its first alphabet was a Scandinavian one: the brackets are capitals of the braces.
_CASE_TABLES = {
    "ascii": {},
    "rfc1459": str.maketrans("[]\\~", "{}|^"),
    "rfc1459-strict": str.maketrans("[]\\", "{}|"),
    "strict-rfc1459": str.maketrans("[]\\", "{}|"),
}
_TAG_ESCAPES = {":": ";", "s": " ", "r": "\r", "n": "\n"}
_LINE_END = re.compile(rb"[\r\n]+")
_MESSAGE = re.compile(
    r"(?:@(?P<tags>[^ ]*) +)?(?::(?P<source>[^ ]*) +)?(?P<command>[A-Za-z]+|[0-9]{3})(?P<rest>(?: .*)?)$", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class IrcMessage:
    """One line. `source` is the server or `nick!user@host`, empty if the line has none."""

    command: str
    parameters: tuple[str, ...] = ()
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def nick(self) -> str:
        """The nick of the source; the server's name if a server speaks."""
        return self.source.partition("!")[0].partition("@")[0]

    def parameter(self, index: int) -> str:
        """Returns a parameter, or an empty text if the line has fewer."""
        return self.parameters[index] if -len(self.parameters) <= index < len(self.parameters) else ""


class LineReader:
    """Cuts the bytes of a connection into lines. It keeps one unfinished line, and drops one without an end."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_overlong = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields the whole lines, without their ends. A line over MAX_TAGGED_BYTES is dropped."""
        *lines, self._rest = _LINE_END.split(self._rest + data)
        for line in lines:
            if line and not self._is_overlong and len(line) <= MAX_TAGGED_BYTES:
                yield line
            self._is_overlong = False
        if len(self._rest) > MAX_TAGGED_BYTES:
            self._rest, self._is_overlong = b"", True


def decode_line(line: bytes) -> str:
    """Returns the text of a line: UTF-8, else cp1252, which old clients send; a byte without a meaning is U+FFFD."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace")


def parse_message(line: bytes) -> IrcMessage | None:
    """Returns the message of a line without its end; None if it is none."""
    match = _MESSAGE.match(decode_line(line).replace("\0", ""))
    if match is None:
        return None
    middle, colon, trailing = match["rest"].partition(" :")
    parameters = [word for word in middle.split(" ") if word]
    if len(parameters) >= _MAX_PARAMETERS:
        parameters = [*parameters[: _MAX_PARAMETERS - 1], " ".join(parameters[_MAX_PARAMETERS - 1 :])]
    if colon:
        parameters.append(trailing)
    return IrcMessage(match["command"].upper(), tuple(parameters), match["source"] or "", _parse_tags(match["tags"]))


def encode_message(command: str, *parameters: str) -> bytes:
    """Returns a line with CR LF. The last parameter may have blanks. Line ends and NUL in a parameter become blanks."""
    words = [re.sub(r"[\r\n\0]+", " ", parameter) for parameter in parameters]
    if words and (not words[-1] or words[-1].startswith(":") or " " in words[-1]):
        words[-1] = f":{words[-1]}"
    return " ".join([command, *words]).encode() + b"\r\n"


def fold_name(name: str, case_mapping: str = "rfc1459") -> str:
    """Returns a nick or the name of a channel in the form in which two spellings of one name are equal."""
    return name.translate(_CASE_TABLES.get(case_mapping, _CASE_TABLES["rfc1459"])).lower()


def _parse_tags(text: str | None) -> dict[str, str]:
    tags = (tag.partition("=") for tag in (text or "").split(";") if tag)
    return {name.lstrip("+"): _unescape_tag(value) for name, _, value in tags}


def _unescape_tag(value: str) -> str:
    return re.sub(r"\\(.?)", lambda match: _TAG_ESCAPES.get(match[1], match[1]), value, flags=re.DOTALL)
