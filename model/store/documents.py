"""Text files -> documents; nothing here knows tokens."""

from __future__ import annotations

import lzma
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import TextDamaged, TextNotFound
from model.interface import END_OF_TEXT


@dataclass(frozen=True, slots=True)
class DocumentSplit:
    """Documents to train on, and those held out to judge by."""

    train: list[str]
    held_out: list[str]


def read_documents(paths: Sequence[Path]) -> list[str]:
    """The documents of text files (plain or .xz, `-` for standard input), in order, none of them blank.

    They are divided by `<|endoftext|>` on a line of its own. Raises TextNotFound and TextDamaged.
    """
    documents = [document for path in paths for document in _split_documents(_decode(_read_file(path), str(path)))]
    return [document for document in documents if document.strip()]


def hold_out_documents(documents: Sequence[str], hold_out: Sequence[int]) -> DocumentSplit:
    """Hold the numbered documents (from 1) out. Raises TextDamaged for a number that no document has."""
    beyond = [number for number in hold_out if not 1 <= number <= len(documents)]
    if beyond:
        raise TextDamaged(f"--hold-out {beyond[0]}: there are only {len(documents)} documents, counted from 1")
    numbered = list(enumerate(documents, start=1))
    return DocumentSplit(
        train=[text for number, text in numbered if number not in hold_out],
        held_out=[text for number, text in numbered if number in hold_out],
    )


def normalise_text(text: str) -> str:
    """The text as models are trained on it: without a byte-order mark, and with line feeds alone."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _read_file(path: Path) -> bytes:
    if str(path) == "-":
        if sys.stdin is None:
            raise TextNotFound("-: standard input is closed; pipe a text in, or name a file")
        return sys.stdin.buffer.read()
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TextNotFound(f"{path}: {error.strerror}; name a text file that can be read, or - for a pipe") from None
    if path.suffix != ".xz":
        return raw
    try:
        return lzma.decompress(raw)
    except lzma.LZMAError as error:
        raise TextDamaged(f"{path}: not a whole .xz file ({error}); fetch it again") from None


def _decode(raw: bytes, name: str) -> str:
    try:
        return normalise_text(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TextDamaged(
            f"{name}: byte {error.start} is not UTF-8; convert it, as with: iconv -f LATIN1 -t UTF-8 {name}"
        ) from None


def _split_documents(text: str) -> list[str]:
    documents: list[str] = []
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.strip() == END_OF_TEXT:
            documents.append("".join(lines))
            lines = []
        else:
            lines.append(line)
    return [*documents, "".join(lines)]
