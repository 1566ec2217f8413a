"""Reads documents from text files. Knows no tokens."""

from __future__ import annotations

import lzma
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import ModelError
from model.interface import END_OF_TEXT


@dataclass(frozen=True, slots=True)
class DocumentSplit:
    """Documents to train on, and documents held out for evaluation."""

    train: list[str]
    held_out: list[str]


def read_documents(paths: Sequence[Path]) -> list[str]:
    """The documents of text files in order, without blank ones.

    A file is plain text or .xz; `-` is standard input. A line `<|endoftext|>` separates documents. Raises ModelError.
    """
    documents = [document for path in paths for document in _split_documents(_decode(_read_file(path), str(path)))]
    return [document for document in documents if document.strip()]


def hold_out_documents(documents: Sequence[str], hold_out: Sequence[int]) -> DocumentSplit:
    """Holds out the documents of these numbers, counted from 1. Raises ModelError for a number beyond the last."""
    beyond = [number for number in hold_out if not 1 <= number <= len(documents)]
    if beyond:
        problem = f"there are only {len(documents)} documents, counted from 1"
        raise ModelError(f"--hold-out {beyond[0]}: {problem}", "damaged")
    numbered = list(enumerate(documents, start=1))
    return DocumentSplit(
        train=[text for number, text in numbered if number not in hold_out],
        held_out=[text for number, text in numbered if number in hold_out],
    )


def normalise_text(text: str) -> str:
    """The text as models are trained on it: without a byte-order mark, with line feeds only."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _read_file(path: Path) -> bytes:
    if str(path) == "-":
        if sys.stdin is None:
            raise ModelError("-: standard input is closed; pipe a text in, or name a file", "missing")
        return sys.stdin.buffer.read()
    try:
        data = path.read_bytes()
    except OSError as error:
        cure = "name a text file that can be read, or - for a pipe"
        raise ModelError(f"{path}: {error.strerror}; {cure}", "missing") from None
    if path.suffix != ".xz":
        return data
    try:
        return lzma.decompress(data)
    except lzma.LZMAError as error:
        raise ModelError(f"{path}: not a whole .xz file ({error}); fetch it again", "damaged") from None


def _decode(data: bytes, name: str) -> str:
    try:
        return normalise_text(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        cure = f"convert it, as with: iconv -f LATIN1 -t UTF-8 {name}"
        raise ModelError(f"{name}: byte {error.start} is not UTF-8; {cure}", "damaged") from None


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
