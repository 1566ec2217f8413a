"""Reads the training texts: documents of text files, and of corpora, which are given by name instead of a path."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import ModelError
from model.interface import END_OF_TEXT
from model.store.documents import read_documents
from tools.train.run_config import HashedSource

if TYPE_CHECKING:
    from tools.corpus.record import Record

TAG = re.compile(r"([^\W\d_][^:\n]{0,39}): ?(?=\S)")
MAX_PERSONAS = 200  # each tag ends an answer, so a session looks for every one behind every token
MIN_TAGGED_SHARE = 0.5  # of a document's lines in dialogue; prose has a colon now and then


@dataclass(frozen=True, slots=True)
class TrainingTexts:
    """The texts of a run. `units[i]` is the number, from 1, of the book or thread of document i: a unit of hold-out.
    `times[i]` says how often an epoch has document i.

    `person` is the speaker whom the --person of a corpus kept, or "".
    """

    sources: tuple[HashedSource, ...]
    documents: list[str]
    units: list[int]
    has_corpus: bool
    person: str = ""
    times: list[int] = field(default_factory=list)


def require_readable(paths: Sequence[Path]) -> None:
    """Raises ModelError for a path that is neither a corpus nor a file that can be read twice."""
    for path in paths:
        if path.exists() and not path.is_file() and not path.is_dir():
            fault = "can be read only once, and a run may have to read its texts again"
            raise ModelError(f"{path}: {fault}; give a file", "missing")
        if not os.access(path, os.R_OK) and not is_corpus(path):
            cure = "name one that can be read, or see: asr33 corpus list"
            raise ModelError(f"{path}: there is no such file or corpus, or it cannot be read; {cure}", "missing")


def read_texts(paths: Sequence[Path], times: Sequence[int] = ()) -> TrainingTexts:
    """The documents of all texts and corpora, in order. An epoch has those of text i `times[i]` times.

    Raises ModelError and ToolError.
    """
    sources: list[HashedSource] = []
    documents: list[str] = []
    units: list[int] = []
    repeats: list[int] = []
    has_corpus, person = False, ""
    for path, often in zip(paths, times or [1] * len(paths), strict=True):
        if not path.is_file() and is_corpus(path):
            keyed = list(_render_corpus(str(path)))
            sources.append(HashedSource(str(path), _hash_documents(document for _, document in keyed)))
            has_corpus, person = True, person or _find_person(str(path))
        elif path.is_dir():
            cure = f"add it to a corpus: asr33 corpus add {path} --name NAME"
            raise ModelError(f"{path}: is a folder; {cure}", "damaged")
        else:
            keyed = [(str(number), document) for number, document in enumerate(read_documents([path]))]
            sources.append(HashedSource(path.name, hashlib.sha256(path.read_bytes()).hexdigest()))
        last = units[-1] if units else 0
        for number, (_, group) in enumerate(groupby(keyed, key=lambda pair: pair[0]), start=last + 1):
            unit_documents = [document for _, document in group]
            documents += unit_documents
            units += [number] * len(unit_documents)
            repeats += [often] * len(unit_documents)
    return TrainingTexts(tuple(sources), documents, units, has_corpus, person, repeats)


def is_corpus(path: Path) -> bool:
    """Whether a corpus has this name. `read_texts` prefers a file of the same name."""
    from tools.corpus import storage

    return len(path.parts) == 1 and storage.corpus_exists(str(path))


def _render_corpus(name: str) -> Iterator[tuple[str, str]]:
    """(unit, document) of a corpus. A text outside any thread or book is a unit of its own."""
    from tools.corpus import rendering, storage

    def unit_key(record: Record) -> tuple[str, str]:
        # A conversation may span files; books of the same name in two files are two books.
        return record.thread, record.source if record.thread and record.kind == "document" else ""

    number = 0
    for key, records in groupby(storage.open_kept_records(name), key=unit_key):
        for document in rendering.render_documents(records):
            number += 1
            if document.strip():
                yield "\0".join(key) if key[0] else f"\0{number}", document


def _find_person(name: str) -> str:
    """The speaker whom the corpus was cleaned for, as in its documents; "" if it was cleaned for all.

    `--person` is a part of a name, and an anonymous corpus has other names. But each conversation ends with a message
    of that person.
    """
    from tools.corpus import rendering, storage

    if not storage.read_metadata(name).options.person:
        return ""
    last_writers: Counter[str] = Counter()
    last: Record | None = None
    for record in storage.open_kept_records(name):
        if last is not None and not rendering.is_same_document(last, record):
            last_writers[last.who] += last.kind == "message"
        last = record
    if last is not None:
        last_writers[last.who] += last.kind == "message"
    tags = [rendering.speaker_tag(who) for who, count in last_writers.most_common() if who and count]
    return tags[0].removesuffix(":") if tags else ""


def _hash_documents(documents: Iterable[str]) -> str:
    """The SHA-256 of all documents in order."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.encode("utf-8", "replace") + f"{END_OF_TEXT}\n".encode())
    return digest.hexdigest()


def count_personas(documents: Iterable[str], person: str = "") -> dict[str, int]:
    """The speakers of dialogues, from tags `Name: text`, with their number of lines, the most talkative first.

    `person` is a speaker whatever the name looks like: a telephone number, or with an emoji first.
    """
    counts: Counter[str] = Counter()
    for document in documents:
        # An indented line belongs to the message above it.
        lines = [line for line in document.splitlines() if line.strip() and not line[0].isspace()]
        names = [name for line in lines if (name := _find_speaker(line, person))]
        if len(names) > 1 and len(names) >= MIN_TAGGED_SHARE * len(lines):
            counts.update(names)
    # Equal counts are ordered by name, so the same text gives the same list.
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    listed = [*ranked[:MAX_PERSONAS], *(item for item in ranked[MAX_PERSONAS:] if item[0] == person)]
    return {name: count for name, count in listed if count > 1}


def _find_speaker(line: str, person: str) -> str:
    if person and line.startswith(f"{person}:"):
        return person
    match = TAG.match(line)
    return match[1] if match else ""
