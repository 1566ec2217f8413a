"""The copy index beside a model: tells whether a run of words stands in the model's training text.

It is a Bloom filter of hashes of all runs of so many words. It holds no word, and it takes one of some thousand other
runs for one of the text, so a person who guesses words cannot tell which guess is right. It is read in place, by mmap,
and imports only the standard library. `model.build.copy_index_writer` makes it.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.store.manifest import EMBEDDED, Manifest, read_manifest
from model.store.regular_file import open_regular
from model.words import MASK, hash_run, hash_word, mix

INDEX_FILE = "copy.index"
RUN_LENGTH = 6  # words, unless the index says otherwise
RUN_RANGE = (3, 50)
PROBES = 12  # bits of each run: about one of 2^12 other runs has all of them
BITS_PER_RUN = 17.4  # PROBES / ln 2, and a little more
MAX_BYTES = 1 << 30  # of the filter; a larger text only raises the rate of false runs
HEADER_BYTES = 512
STEP_SALT = 0xD6E8FEB86659FD93

_MAGIC = "asr33 copy index 1"
_CACHED_WORDS = 20_000


@dataclass(frozen=True, slots=True)
class IndexHeader:
    """The first line of an index. `false_rate` was measured: the share of other runs that it takes for its own."""

    run_length: int
    runs: int
    bits: int
    model_sha256: str
    false_rate: float
    format: str = _MAGIC

    def encode(self) -> bytes:
        line = json.dumps(asdict(self)).encode("ascii")
        return line.ljust(HEADER_BYTES - 1) + b"\n"


def key_of_model(sha256: str) -> bytes:
    return bytes.fromhex(sha256)[:16]


class CopyIndex:
    """An open index. Closing is left to the garbage collector: a reader keeps it as long as an answer takes."""

    def __init__(self, header: IndexHeader, data: mmap.mmap) -> None:
        self.header = header
        self._data = data
        key = key_of_model(header.model_sha256)
        self._hash_word = lru_cache(_CACHED_WORDS)(lambda word: hash_word(word, key))

    @property
    def run_length(self) -> int:
        return self.header.run_length

    def has_run(self, words: Sequence[str]) -> bool:
        """Whether the training text has these words in a row; `run_length` words in the form of `split_words`."""
        number = hash_run([self._hash_word(word) for word in words])
        place, step = mix(number), mix(number ^ STEP_SALT) | 1
        for _ in range(PROBES):
            bit = place % self.header.bits
            if not self._data[HEADER_BYTES + (bit >> 3)] >> (bit & 7) & 1:
                return False
            place = (place + step) & MASK
        return True


def open_copy_index(folder: Path, name: str) -> CopyIndex:
    """Opens the index of the model in a folder; `name` is what the user calls it. Raises ModelError with the cure."""
    manifest, path = read_manifest(folder), folder / INDEX_FILE
    cure = f"asr33 model index {name} TEXT|CORPUS"
    try:
        with open_regular(path) as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        if name == EMBEDDED:
            cure = "a model that you train can have one: asr33 train TEXT --index"
        raise ModelError(f"{name} has no index of its training text: {cure}", "missing") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is empty"
        raise ModelError(f"{path}: {reason}; make it again: {cure}", "damaged") from None
    header = _read_header(data, manifest)
    if header is None:
        raise ModelError(f"{path}: damaged, or of another model; make it again: {cure}", "damaged")
    return CopyIndex(header, data)


def _read_header(data: mmap.mmap, manifest: Manifest) -> IndexHeader | None:
    """Returns the header; None if it is not one, or not that of this model and of this file's size."""
    try:
        fields: dict[str, Any] = json.loads(data[:HEADER_BYTES])
        header = IndexHeader(**fields)
        numbers = (header.run_length, header.runs, header.bits)
        is_sound = header.format == _MAGIC and all(type(number) is int and number > 0 for number in numbers)
        is_whole = is_sound and len(data) == HEADER_BYTES + (header.bits + 7) // 8
    except (ValueError, TypeError, AttributeError):
        return None
    return header if is_whole and header.model_sha256 == manifest.graph_sha256 else None
