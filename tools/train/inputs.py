"""What there is to train on: the documents of text files, and of corpora, whose names stand where a path may."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import TextDamaged, TextNotFound
from model.interface import END_OF_TEXT
from model.store.documents import read_documents
from tools.train.run_config import HashedSource

if TYPE_CHECKING:
    from tools.corpus.record import Record


@dataclass(frozen=True, slots=True)
class TrainingTexts:
    """`units[i]` is the number, from 1, of the book or thread that document i is part of: what is held out whole."""

    sources: tuple[HashedSource, ...]
    documents: list[str]
    units: list[int]
    has_corpus: bool  # whether one of them is a corpus


def require_readable(paths: Sequence[Path]) -> None:
    """Raises TextNotFound for what is neither a file that can be read, again if need be, nor a corpus."""
    for path in paths:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise TextNotFound(
                f"{path}: can be read only once, and a run may have to read its texts again; give a file"
            )
        if not os.access(path, os.R_OK) and not is_corpus(path):
            raise TextNotFound(
                f"{path}: there is no such file or corpus, or it cannot be read; name one that can, or see: "
                "asr33 corpus list"
            )


def read_texts(paths: Sequence[Path]) -> TrainingTexts:
    """Raises TextNotFound, TextDamaged, CorpusError."""
    sources: list[HashedSource] = []
    documents: list[str] = []
    units: list[int] = []
    corpora = False
    for path in paths:
        if not path.is_file() and is_corpus(path):
            found = list(_render_corpus(str(path)))
            sources.append(HashedSource(str(path), _hash_documents(document for _, document in found)))
            corpora = True
        elif path.is_dir():
            raise TextDamaged(f"{path}: a folder; take it into a corpus: asr33 corpus add {path} --name NAME")
        else:
            found = [(str(number), document) for number, document in enumerate(read_documents([path]))]
            sources.append(HashedSource(path.name, hashlib.sha256(path.read_bytes()).hexdigest()))
        last = units[-1] if units else 0
        for number, (_, group) in enumerate(groupby(found, key=lambda pair: pair[0]), start=last + 1):
            whole = [document for _, document in group]
            documents += whole
            units += [number] * len(whole)
    return TrainingTexts(tuple(sources), documents, units, corpora)


def is_corpus(path: Path) -> bool:
    """Whether a corpus has this name; a file of the same goes before it."""
    from tools.corpus import storage

    return len(path.parts) == 1 and storage.corpus_exists(str(path))


def _render_corpus(name: str) -> Iterator[tuple[str, str]]:
    """(thread, document) as the model will see them; a text that is part of nothing is a thread of its own."""
    from tools.corpus import rendering, storage

    def thread(record: Record) -> tuple[str, str]:
        # A conversation may be spread over files; books of one name in two files are two.
        return record.thread, record.source if record.thread and record.kind == "document" else ""

    number = 0
    for key, records in groupby(storage.open_kept_records(name), key=thread):
        for document in rendering.render_documents(records):
            number += 1
            if document.strip():
                yield "\0".join(key) if key[0] else f"\0{number}", document


def _hash_documents(documents: Iterable[str]) -> str:
    """Of all documents in order."""
    whole = hashlib.sha256()
    for document in documents:
        whole.update(document.encode("utf-8", "replace") + f"{END_OF_TEXT}\n".encode())
    return whole.hexdigest()
