"""Parses the XML of SMS Backup & Restore message by message.

It refuses document type declarations, whose entities may expand, and elements that are too large for memory. Programs
write emoji as references to surrogates, which is invalid XML, so the references are repaired first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from tools.corpus.archive import Member, MemberError
from tools.corpus.fields import as_text, repair_surrogates

CHUNK_BYTES = 1 << 20  # not smaller: expat rescans a long attribute with every chunk
MAX_ELEMENT_BYTES = 64 << 20  # of one element
MESSAGE_TAGS = ("sms", "mms")
_REFERENCES = re.compile(rb"(?:&#(?:[0-9]{1,7}|[xX][0-9A-Fa-f]{1,6});)+")
_CODE = re.compile(rb"&#(?:[xX]([0-9A-Fa-f]+)|([0-9]+));")
_PARTIAL_REFERENCE = re.compile(rb"(?:&#(?:[0-9]{1,7}|[xX][0-9A-Fa-f]{1,6});)*&?(?:&#[xX]?[0-9A-Fa-f]{0,7})?$")
_MMS_FROM = "137"  # PduHeaders.FROM of Android: the sender of an MMS


@dataclass(slots=True)
class SmsElement:
    """A message: its attributes, and for an MMS the content of its parts and addresses."""

    attributes: dict[str, str]
    text: str = ""
    content_type: str = ""
    sender: str = ""
    parts: list[str] = field(default_factory=list)


def iter_elements(member: Member) -> Iterator[SmsElement]:
    """Yields the messages in order. Raises MemberError after the last readable message."""
    reader = _XmlReader(member.location)
    with member.open() as file:
        partial = b""
        while chunk := file.read(CHUNK_BYTES):
            chunk = partial + chunk
            cut = len(chunk) - len(_partial_reference(chunk))
            partial = chunk[cut:]
            yield from reader.parse(repair_references(chunk[:cut]))
        yield from reader.parse(repair_references(partial), last=True)


def repair_references(data: bytes) -> bytes:
    """Joins references to surrogate pairs, and replaces references to characters that XML forbids."""
    return _REFERENCES.sub(_repair_match, data)


def _repair_match(match: re.Match[bytes]) -> bytes:
    codes = [int(hexadecimal, 16) if hexadecimal else int(decimal) for hexadecimal, decimal in _CODE.findall(match[0])]
    if all(_is_xml_character(code) for code in codes):
        return match[0]
    text = "".join(chr(code) if _is_xml_character(code) or 0xD800 <= code < 0xE000 else "\ufffd" for code in codes)
    return "".join(f"&#{ord(char)};" for char in repair_surrogates(text)).encode("ascii")


def _is_xml_character(code: int) -> bool:
    """Whether XML 1.0 allows the character (production 2)."""
    return code in (0x9, 0xA, 0xD) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code < 0x110000


def _partial_reference(chunk: bytes) -> bytes:
    """Returns the references at the end of a chunk that may continue in the next one."""
    match = _PARTIAL_REFERENCE.search(chunk[-256:])
    return match[0] if match else b""


class _XmlReader:
    def __init__(self, location: str) -> None:
        self._location = location
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start_element
        self._parser.EndElementHandler = self._end_element
        self._parser.StartDoctypeDeclHandler = self._reject_doctype
        self._element: SmsElement | None = None
        self._finished: list[SmsElement] = []
        self._pending_bytes = 0

    def parse(self, data: bytes, last: bool = False) -> Iterator[SmsElement]:
        fault = ""
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            fault = f"not complete XML ({error}); the messages before that are kept"
        yield from self._finished
        self._pending_bytes = 0 if self._finished else self._pending_bytes + len(data)
        self._finished.clear()
        if fault or self._pending_bytes > MAX_ELEMENT_BYTES:
            raise MemberError(f"{self._location}: {fault or 'one element is too large for a message'}")

    def _reject_doctype(self, *_: object) -> None:
        raise MemberError(f"{self._location}: it declares a document type, which is refused")

    def _start_element(self, name: str, attributes: dict[str, str]) -> None:
        if name in MESSAGE_TAGS:
            self._element = SmsElement(attributes)
        elif self._element is None:
            return
        elif name == "part":
            self._add_part(self._element, attributes)
        elif name == "addr" and attributes.get("type") == _MMS_FROM:
            self._element.sender = as_text(attributes.get("address"))

    @staticmethod
    def _add_part(element: SmsElement, part: dict[str, str]) -> None:
        content_type = as_text(part.get("ct"))
        if content_type == "text/plain" and as_text(part.get("text")) not in ("", "null"):
            element.parts.append(as_text(part["text"]))
        elif content_type != "application/smil":  # the layout of the other parts
            element.content_type = element.content_type or content_type

    def _end_element(self, name: str) -> None:
        if name in MESSAGE_TAGS and self._element is not None:
            self._element.text = "\n".join(self._element.parts)
            self._finished.append(self._element)
            self._element = None
