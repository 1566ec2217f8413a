"""The folder of a corpus: all records, the cleaned records, and the metadata.

`$ASR33_CORPORA/NAME`, or `asr33/corpora/NAME` in the user's data folder, holds `records.jsonl` (`records-N.jsonl` after
a removal), `kept-N.jsonl` and `corpus.json`. The metadata is written last and atomically. It says how many bytes of the
other files are valid, so a process killed at any moment leaves the corpus as it was. This module knows no export format
and no cleaning step.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

from model.store import store
from model.store.atomic_file import replace_atomically
from tools.cli.errors import ToolError
from tools.corpus.fields import repair_surrogates
from tools.corpus.metadata import CorpusMetadata, from_json, to_json
from tools.corpus.record import Record

METADATA_FILE = "corpus.json"
BUFFER_BYTES = 1 << 20

_DEFAULTS = {item.name: item.default for item in fields(Record)}
_encode: Callable[[object], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class RecordFile:
    """The records in the first `size` bytes of a file. It can be iterated several times."""

    path: Path
    size: int

    def __iter__(self) -> Iterator[Record]:
        """Yields the records one at a time. Raises ToolError ("damaged")."""
        remaining = self.size
        try:
            with self.path.open("rb", BUFFER_BYTES) as file:
                while remaining > 0 and (line := file.readline()):
                    remaining -= len(line)
                    yield Record(**json.loads(line))
        except (OSError, ValueError, TypeError) as error:
            raise _damage_error(self.path, f"damaged ({error})") from None
        if remaining:
            raise _damage_error(self.path, f"{abs(remaining):,} bytes are missing")


def corpora_folder() -> Path:
    """Returns $ASR33_CORPORA, $XDG_DATA_HOME/asr33/corpora or ~/.local/share/asr33/corpora."""
    folder = os.environ.get("ASR33_CORPORA")
    return Path(folder) if folder else store.data_folder() / "corpora"


def list_corpora() -> list[str]:
    """Returns the names of all corpora, sorted."""
    return sorted(
        path.parent.name
        for path in corpora_folder().glob(f"*/{METADATA_FILE}")
        if store.MODEL_NAME.fullmatch(path.parent.name)
    )


def corpus_exists(name: str) -> bool:
    """Whether there is a corpus of that name."""
    return bool(store.MODEL_NAME.fullmatch(name)) and (corpora_folder() / name / METADATA_FILE).is_file()


def read_metadata(name: str) -> CorpusMetadata:
    """Reads the metadata of a corpus. Raises ToolError ("missing", "damaged")."""
    if not corpus_exists(name):
        similar = difflib.get_close_matches(name, list_corpora(), 1)
        hint = f"did you mean {similar[0]}?" if similar else f"there are: {', '.join(list_corpora()) or 'none at all'}"
        raise ToolError(f"no corpus {name!r} in {corpora_folder()}; {hint}", "missing")
    path = corpora_folder() / name / METADATA_FILE
    try:
        return from_json(path.read_text("utf-8"))
    except (ToolError, UnicodeDecodeError) as error:
        raise ToolError(f"{path}: {error}", "damaged") from None


def open_records(name: str) -> RecordFile:
    """Returns all records as they were imported. Raises ToolError ("missing", "damaged")."""
    metadata = read_metadata(name)
    return RecordFile(corpora_folder() / name / metadata.record_file, metadata.record_bytes)


def open_kept_records(name: str) -> RecordFile:
    """Returns the records that cleaning kept. Raises ToolError ("missing", "damaged")."""
    metadata = read_metadata(name)
    return RecordFile(corpora_folder() / name / metadata.kept, metadata.kept_bytes)


def remove_corpus(name: str) -> None:
    """Removes a corpus and its folder. Raises ToolError ("missing", "busy", "create")."""
    folder = corpora_folder() / name
    if not corpus_exists(name) and not _is_abandoned(folder):
        read_metadata(name)
    with _translate_write_errors(folder), _lock_folder(folder):
        (folder / METADATA_FILE).unlink(missing_ok=True)  # first, so that an interrupted removal leaves no corpus
        shutil.rmtree(folder)


def _is_abandoned(folder: Path) -> bool:
    """Whether the folder holds only the files of an import that was killed before its first commit."""
    names = {path.name for path in folder.glob("*")}
    return any(map(_is_record_file, names)) and all(_is_record_file(name) or name.startswith("kept-") for name in names)


def _is_record_file(name: str) -> bool:
    return name.startswith("records") and name.endswith(".jsonl")


class CorpusDraft:
    """Changes to a corpus. Nothing is valid before `commit`."""

    def __init__(self, folder: Path, metadata: CorpusMetadata) -> None:
        self.metadata = metadata
        self.added_count = 0
        self._folder = folder
        self._record_path = folder / metadata.record_file
        self._record_count, self._record_bytes = metadata.records, metadata.record_bytes
        self._kept_path = folder / f"kept-{metadata.generation + 1}.jsonl"
        self._kept_records = self._kept_bytes = 0
        with _translate_write_errors(folder):
            self._file = self._record_path.open("ab", BUFFER_BYTES)
            if missing := max(0, self._record_bytes - self._file.tell()):
                self._file.close()
                raise _damage_error(self._record_path, f"{missing:,} bytes are missing")
            self._file.truncate(self._record_bytes)  # a killed import wrote the rest

    def add_record(self, record: Record) -> None:
        """Appends a record. Raises ToolError ("create")."""
        line = _encode_record(record)
        with _translate_write_errors(self._folder):
            self._file.write(line)
        self._record_bytes += len(line)
        self._record_count += 1
        self.added_count += 1

    def rewrite_records(self, records: Iterable[Record]) -> None:
        """Replaces all records by these, in a new file; the old file is valid until the commit. Raises ToolError."""
        old_file, self._record_path = self._file, self._folder / f"records-{self.metadata.generation + 1}.jsonl"
        with _translate_write_errors(self._folder):
            old_file.close()
            self._file = self._record_path.open("wb", BUFFER_BYTES)
        self._record_count = self._record_bytes = 0
        for record in records:
            self.add_record(record)

    def all_records(self) -> RecordFile:
        """Returns all records, the added ones included. Raises ToolError ("create")."""
        with _translate_write_errors(self._folder):
            self._file.flush()
        return RecordFile(self._record_path, self._record_bytes)

    def write_kept_records(self, cleaned: Iterable[Record]) -> None:
        """Writes the cleaned records to a new file. Raises ToolError ("create")."""
        self._kept_records = self._kept_bytes = 0
        with _translate_write_errors(self._folder), self._kept_path.open("wb", BUFFER_BYTES) as file:
            for record in cleaned:
                line = _encode_record(record)
                file.write(line)
                self._kept_bytes += len(line)
                self._kept_records += 1
            file.flush()
            os.fsync(file.fileno())

    def commit(self, **changes: object) -> CorpusMetadata:
        """Makes the draft the corpus. `changes` are fields of the metadata. Raises ToolError ("create")."""
        counters = {
            "records": self._record_count,
            "record_bytes": self._record_bytes,
            "record_file": self._record_path.name,
            "kept": self._kept_path.name,
            "kept_records": self._kept_records,
            "kept_bytes": self._kept_bytes,
            "generation": self.metadata.generation + 1,
        }
        old = {item.name: getattr(self.metadata, item.name) for item in fields(CorpusMetadata)}
        new = CorpusMetadata(**{**old, **counters, **changes})
        with _translate_write_errors(self._folder):
            self._file.flush()
            os.fsync(self._file.fileno())
            _write_metadata(self._folder / METADATA_FILE, new)
        self.metadata = new
        return new

    def close(self) -> None:
        """Discards uncommitted changes, and the folder of a corpus that was never committed.

        The metadata is read from the disk, because Ctrl-C may have come before `self.metadata` was set.
        """
        with suppress(OSError):
            self._file.close()
        try:
            committed = from_json((self._folder / METADATA_FILE).read_text("utf-8"))
        except FileNotFoundError:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        with suppress(OSError):  # the next draft will do this
            os.truncate(self._folder / committed.record_file, committed.record_bytes)
            for path in self._folder.iterdir():
                is_data = path.name.startswith("kept-") or _is_record_file(path.name)
                if is_data and path.name not in (committed.kept, committed.record_file):
                    path.unlink()


@contextmanager
def open_draft(name: str) -> Iterator[CorpusDraft]:
    """Opens a draft of a new or an existing corpus; discards it unless it is committed.

    Raises ToolError ("busy" if another process has a draft, "damaged", "create").
    """
    folder = corpora_folder() / name
    with _translate_write_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # the messages are private
    with _lock_folder(folder):
        draft = CorpusDraft(folder, read_metadata(name) if corpus_exists(name) else CorpusMetadata(name))
        try:
            yield draft
        finally:
            draft.close()


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Locks a folder against other processes. Raises ToolError ("busy")."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not store.try_lock(handle):
            raise ToolError(f"{folder}: another process is adding to this corpus; wait for it, or stop it", "busy")
        yield
    finally:
        os.close(handle)


@contextmanager
def _translate_write_errors(folder: Path) -> Iterator[None]:
    """Raises ToolError ("create") for an OSError."""
    try:
        yield
    except OSError as error:
        reason = f"{folder}: cannot be written ({error.strerror}); the corpus is unchanged"
        raise ToolError(f"{reason}; make room, or set ASR33_CORPORA to another folder", "create") from None


def _write_metadata(path: Path, metadata: CorpusMetadata) -> None:
    with replace_atomically(path, path.with_suffix(".part")) as new:
        new.write_bytes(repair_surrogates(to_json(metadata)).encode("utf-8"))
    store.fsync_path(path.parent)


def _encode_record(record: Record) -> bytes:
    values = ((name, getattr(record, name)) for name in _DEFAULTS)
    text = _encode({name: value for name, value in values if value != _DEFAULTS[name]})
    return (repair_surrogates(text) + "\n").encode("utf-8")


def _damage_error(path: Path, reason: str) -> ToolError:
    return ToolError(f"{path}: {reason}; remove the corpus and add its files again", "damaged")
