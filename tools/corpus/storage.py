"""The folder of a corpus: records as they were found, those that cleaning left, and the ledger of it all.

`$ASR33_CORPORA/NAME`, or `asr33/corpora/NAME` among the user's data, has `records.jsonl`, `kept-N.jsonl` and
`corpus.json`. The last is written at the end and in one piece, and says how much of the others counts: killed at any
moment, the corpus is what it was before. It knows nothing of exports, nor of what cleaning does.
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
from tools.corpus import metadata as ledgers
from tools.corpus.errors import CorpusBusy, CorpusDamaged, CorpusNotFound, CorpusUnwritten
from tools.corpus.metadata import CorpusMetadata
from tools.corpus.record import Record

METADATA_FILE = "corpus.json"
RECORDS_FILE = "records.jsonl"
BUFFER_BYTES = 1 << 20

_DEFAULTS = {item.name: item.default for item in fields(Record)}
_encode: Callable[[object], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class RecordFile:
    """The records in so many bytes of a file; they can be gone through again and again, one at a time."""

    path: Path
    size: int

    def __iter__(self) -> Iterator[Record]:
        """Raises CorpusDamaged."""
        left = self.size
        try:
            with self.path.open("rb", BUFFER_BYTES) as file:
                while left > 0 and (line := file.readline()):
                    left -= len(line)
                    yield _decode_record(line)
        except (OSError, ValueError, TypeError) as error:
            raise CorpusDamaged(
                f"{self.path}: not what was written there ({error}); remove it and add its files again"
            ) from None
        if left:
            raise CorpusDamaged(
                f"{self.path}: {abs(left):,} bytes of it are missing; remove it and add its files again"
            )


def corpora_folder() -> Path:
    """The folder of the corpora: $ASR33_CORPORA, $XDG_DATA_HOME/asr33/corpora or ~/.local/share/asr33/corpora."""
    if own := os.environ.get("ASR33_CORPORA"):
        return Path(own)
    return store.data_folder() / "corpora"


def list_corpora() -> list[str]:
    """Of all corpora there are."""
    return sorted(
        path.parent.name
        for path in corpora_folder().glob(f"*/{METADATA_FILE}")
        if store.MODEL_NAME.fullmatch(path.parent.name)
    )


def corpus_exists(name: str) -> bool:
    """Whether there is a corpus of that name."""
    return bool(store.MODEL_NAME.fullmatch(name)) and (corpora_folder() / name / METADATA_FILE).is_file()


def read_metadata(name: str) -> CorpusMetadata:
    """Raises CorpusNotFound, CorpusDamaged."""
    if not corpus_exists(name):
        near = difflib.get_close_matches(name, list_corpora(), 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(list_corpora()) or 'none at all'}"
        raise CorpusNotFound(f"no corpus {name!r} in {corpora_folder()}; {hint}")
    path = corpora_folder() / name / METADATA_FILE
    try:
        return ledgers.from_json(path.read_text("utf-8"))
    except (CorpusDamaged, UnicodeDecodeError) as error:
        raise CorpusDamaged(f"{path}: {error}") from None


def open_records(name: str) -> RecordFile:
    """All of its records, as they were found. Raises CorpusNotFound, CorpusDamaged."""
    return RecordFile(corpora_folder() / name / RECORDS_FILE, read_metadata(name).record_bytes)


def open_kept_records(name: str) -> RecordFile:
    """The records that are to be learnt from. Raises CorpusNotFound, CorpusDamaged."""
    ledger = read_metadata(name)
    return RecordFile(corpora_folder() / name / ledger.kept, ledger.kept_bytes)


def remove_corpus(name: str) -> None:
    """The whole of it. Raises CorpusNotFound, CorpusBusy, CorpusUnwritten."""
    folder = corpora_folder() / name
    if not corpus_exists(name) and not _is_abandoned(folder):
        read_metadata(name)
    with _translate_write_errors(folder), _lock_folder(folder):
        (folder / METADATA_FILE).unlink(missing_ok=True)  # first: what is killed half-way leaves no corpus
        shutil.rmtree(folder)


def _is_abandoned(folder: Path) -> bool:
    """Whether it has what an adding left that was killed, and nothing else: messages, though no corpus."""
    found = {path.name for path in folder.glob("*")}
    return RECORDS_FILE in found and all(name == RECORDS_FILE or name.startswith("kept-") for name in found)


class CorpusDraft:
    """A corpus in work, from the ledger that it had: nothing counts before `settle`."""

    def __init__(self, folder: Path, metadata: CorpusMetadata) -> None:
        self.metadata = metadata
        self.added_count = 0
        self._folder = folder
        self._record_bytes = metadata.record_bytes
        self._kept_path = folder / f"kept-{metadata.generation + 1}.jsonl"
        self._kept_records = self._kept_bytes = 0
        with _translate_write_errors(folder):
            self._file = (folder / RECORDS_FILE).open("ab", BUFFER_BYTES)
            if missing := max(0, self._record_bytes - self._file.tell()):
                self._file.close()
                why = f"{missing:,} bytes of it are missing; remove it and add its files again"
                raise CorpusDamaged(f"{folder / RECORDS_FILE}: {why}")
            self._file.truncate(self._record_bytes)  # the rest is of an adding that was killed

    def add_record(self, record: Record) -> None:
        """Raises CorpusUnwritten."""
        line = _encode_record(record)
        with _translate_write_errors(self._folder):
            self._file.write(line)
        self._record_bytes += len(line)
        self.added_count += 1

    def all_records(self) -> RecordFile:
        """All of them, those just added among them. Raises CorpusUnwritten."""
        with _translate_write_errors(self._folder):
            self._file.flush()
        return RecordFile(self._folder / RECORDS_FILE, self._record_bytes)

    def write_kept_records(self, cleaned: Iterable[Record]) -> None:
        """What is to be learnt from: the whole of it, in place of what was. Raises CorpusUnwritten."""
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
        """The corpus is this from now on, its ledger changed so. Raises CorpusUnwritten."""
        figures = {
            "records": self.metadata.records + self.added_count,
            "record_bytes": self._record_bytes,
            "kept": self._kept_path.name,
            "kept_records": self._kept_records,
            "kept_bytes": self._kept_bytes,
            "generation": self.metadata.generation + 1,
        }
        given = {item.name: getattr(self.metadata, item.name) for item in fields(CorpusMetadata)}
        new = CorpusMetadata(**{**given, **figures, **changes})
        with _translate_write_errors(self._folder):
            self._file.flush()
            os.fsync(self._file.fileno())
            _write_atomic(self._folder / METADATA_FILE, ledgers.to_json(new))
        self.metadata = new
        return new

    def close(self) -> None:
        """What was not settled is gone, and so is a folder in which nothing ever was. The ledger on the disk is asked:
        Ctrl-C may have come when it stood there and nobody here knew."""
        with suppress(OSError):
            self._file.close()
        try:
            stood = ledgers.from_json((self._folder / METADATA_FILE).read_text("utf-8"))
        except FileNotFoundError:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        with suppress(OSError):  # then the next draft does it
            os.truncate(self._folder / RECORDS_FILE, stood.record_bytes)
            for path in self._folder.glob("kept-*"):
                if path.name != stood.kept:
                    path.unlink()


@contextmanager
def open_draft(name: str) -> Iterator[CorpusDraft]:
    """A corpus to add to, or to clean anew; what is not settled is as if it had not been.

    Raises CorpusBusy while another process has it, CorpusDamaged, CorpusUnwritten.
    """
    folder = corpora_folder() / name
    with _translate_write_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # messages are nobody else's business
    with _lock_folder(folder):
        work = CorpusDraft(folder, read_metadata(name) if corpus_exists(name) else CorpusMetadata(name))
        try:
            yield work
        finally:
            work.close()


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Keep others out of a folder. Raises CorpusBusy."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not store.try_lock(handle):
            raise CorpusBusy(f"{folder}: another process adds to this corpus; let it end, or stop it")
        yield
    finally:
        os.close(handle)


@contextmanager
def _translate_write_errors(folder: Path) -> Iterator[None]:
    """What the disk refuses becomes CorpusUnwritten."""
    try:
        yield
    except OSError as error:
        why = f"{folder}: cannot be written ({error.strerror}); the corpus is as it was"
        raise CorpusUnwritten(f"{why}; make room there, or set ASR33_CORPORA to another place") from None


def _write_atomic(path: Path, text: str) -> None:
    """All of the text or none of it."""
    beside = path.with_suffix(".part")
    with beside.open("wb") as file:
        file.write(_repair_surrogates(text).encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    store.fsync_path(path.parent)


def _encode_record(record: Record) -> bytes:
    given = ((name, getattr(record, name)) for name in _DEFAULTS)
    text = _encode({name: value for name, value in given if value != _DEFAULTS[name]})
    try:
        return (text + "\n").encode("utf-8")
    except UnicodeEncodeError:
        return (_repair_surrogates(text) + "\n").encode("utf-8")


def _repair_surrogates(text: str) -> str:
    """Halves of a character that belong together joined; one that is alone is no character, and U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _decode_record(line: bytes) -> Record:
    return Record(**json.loads(line))
