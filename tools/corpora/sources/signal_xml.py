"""The XML of SMS Backup & Restore, message by message. A document that declares a type, and with it entities that may
swell, is refused; so is an element that no memory would hold.

Programs write emoji as two references to halves of a pair of UTF-16, which is no XML; these are mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from tools.corpora.errors import MemberRefused
from tools.corpora.fields import words
from tools.corpora.members import Member

CHUNK = 1 << 20  # not less: expat begins a long attribute anew with every chunk
LARGEST = 64 << 20  # bytes of one element
MESSAGES = ("sms", "mms")
_REFERENCES = re.compile(rb"(?:&#(?:[0-9]{1,7}|[xX][0-9A-Fa-f]{1,6});)+")
_CODE = re.compile(rb"&#(?:[xX]([0-9A-Fa-f]+)|([0-9]+));")
_BROKEN_OFF = re.compile(rb"(?:&#(?:[0-9]{1,7}|[xX][0-9A-Fa-f]{1,6});)*&?(?:&#[xX]?[0-9A-Fa-f]{0,7})?$")
_FROM = "137"  # PduHeaders.FROM of Android: who sent an MMS


@dataclass(slots=True)
class Element:
    """One message: its own attributes, and of an MMS what its parts and addresses say."""

    attributes: dict[str, str]
    text: str = ""
    content_type: str = ""
    sender: str = ""
    parts: list[str] = field(default_factory=list)


def elements(member: Member) -> Iterator[Element]:
    """The messages in order. Raises MemberRefused where the XML is damaged, behind those before that."""
    reader = _Reader(member.place)
    with member.open() as file:
        rest = b""
        while chunk := file.read(CHUNK):
            chunk = rest + chunk
            cut = len(chunk) - len(_tail(chunk))
            rest = chunk[cut:]
            yield from reader.read(mended(chunk[:cut]))
        yield from reader.read(mended(rest), last=True)


def mended(data: bytes) -> bytes:
    """References to halves of a pair become the character, those to what XML forbids a mark that there was one."""
    return _REFERENCES.sub(_mended, data)


def _mended(match: re.Match[bytes]) -> bytes:
    codes = [int(six, 16) if six else int(ten) for six, ten in _CODE.findall(match[0])]
    if all(_allowed(code) for code in codes):
        return match[0]
    text = "".join(chr(code) if _allowed(code) or 0xD800 <= code < 0xE000 else "\ufffd" for code in codes)
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return "".join(f"&#{ord(char)};" for char in whole).encode("ascii")


def _allowed(code: int) -> bool:
    """Whether XML 1.0 has a character of that code, production 2."""
    return code in (0x9, 0xA, 0xD) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code < 0x110000


def _tail(chunk: bytes) -> bytes:
    """References at the end that may go on in what follows."""
    found = _BROKEN_OFF.search(chunk[-256:])
    return found[0] if found else b""


class _Reader:
    def __init__(self, place: str) -> None:
        self._place = place
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._begins
        self._parser.EndElementHandler = self._ends
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._element: Element | None = None
        self._done: list[Element] = []
        self._since = 0

    def read(self, data: bytes, last: bool = False) -> Iterator[Element]:
        fault = ""
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            fault = f"no whole XML ({error}); what is before that is kept"
        yield from self._done
        self._since = 0 if self._done else self._since + len(data)
        self._done.clear()
        if fault or self._since > LARGEST:
            raise MemberRefused(f"{self._place}: {fault or 'one element is too large for a message'}")

    def _refuse(self, *_: object) -> None:
        raise MemberRefused(f"{self._place}: it declares a document type, as no file of messages does; not read")

    def _begins(self, name: str, attributes: dict[str, str]) -> None:
        if name in MESSAGES:
            self._element = Element(attributes)
        elif self._element is None:
            return
        elif name == "part":
            self._part(self._element, attributes)
        elif name == "addr" and attributes.get("type") == _FROM:
            self._element.sender = words(attributes.get("address"))

    @staticmethod
    def _part(element: Element, part: dict[str, str]) -> None:
        content_type = words(part.get("ct"))
        if content_type == "text/plain" and words(part.get("text")) not in ("", "null"):
            element.parts.append(words(part["text"]))
        elif content_type != "application/smil":  # it lays the other parts out
            element.content_type = element.content_type or content_type

    def _ends(self, name: str) -> None:
        if name in MESSAGES and self._element is not None:
            self._element.text = "\n".join(self._element.parts)
            self._done.append(self._element)
            self._element = None
