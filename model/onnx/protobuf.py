"""Reads protobuf messages field by field, as strictly as a file from a stranger needs. It knows no message's meaning.

What another parser would read in another way is refused: groups, tags of more than 32 bits, numbers without end. So
this parser and onnxruntime's see the same fields. Importing `onnx` instead would take longer than loading a model.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # the kinds of a field (protobuf.dev/programming-guides/encoding)
MAX_TAG = 0xFFFF_FFFF
MAX_LENGTH = 0x7FFF_FFFF

MessageBytes = bytes | mmap.mmap
MessageField = tuple[int, int, int, int]  # number, kind, start and end; of a VARINT its value and the index behind it


def iter_fields(data: MessageBytes, at: int, end: int) -> Iterator[MessageField]:
    """Yields the fields of the message data[at:end]. Raises ValueError and IndexError if it is not one."""
    while at < end:
        tag = data[at]
        if tag < 0x80:
            at += 1
        else:
            tag, at = read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not number or tag > MAX_TAG:
            raise ValueError(f"a field with the tag {tag}")
        if kind == BYTES:
            length, at = read_varint(data, at)
            if length > MAX_LENGTH or at + length > end:
                raise ValueError("a field that ends after its message")
            yield number, kind, at, at + length
            at += length
        elif kind == VARINT:
            value, at = read_varint(data, at)
            yield number, kind, value, at
        elif kind in (FIXED64, FIXED32):
            start, at = at, at + (8 if kind == FIXED64 else 4)
            yield number, kind, start, at
        else:
            raise ValueError(f"a field of the kind {kind}")
    if at != end:
        raise ValueError("a field that ends after its message")


def iter_varints(data: MessageBytes, at: int, end: int) -> Iterator[int]:
    """Yields the numbers of a packed field. Raises ValueError and IndexError."""
    while at < end:
        number, at = read_varint(data, at)
        yield number
    if at != end:
        raise ValueError("a number that ends after its field")


def read_varint(data: MessageBytes, at: int) -> tuple[int, int]:
    """A number and the index behind it. Each byte has seven bits, lowest first, and a flag that more bytes follow."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at + shift // 7]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at + shift // 7 + 1
    raise ValueError("a number without end")
