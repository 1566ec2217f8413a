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

from model import store
from tools.corpora import ledger as ledgers
from tools.corpora.errors import CorpusBusy, CorpusDamaged, CorpusNotFound, CorpusUnwritten
from tools.corpora.ledger import Ledger
from tools.corpora.record import Record

LEDGER = "corpus.json"
RECORDS = "records.jsonl"
BUFFER = 1 << 20

_DEFAULTS = {item.name: item.default for item in fields(Record)}
_encode: Callable[[object], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Records:
    """The records in so many bytes of a file; they can be gone through again and again, one at a time."""

    path: Path
    size: int

    def __iter__(self) -> Iterator[Record]:
        """Raises CorpusDamaged."""
        left = self.size
        try:
            with self.path.open("rb", BUFFER) as file:
                while left > 0 and (line := file.readline()):
                    left -= len(line)
                    yield _record(line)
        except (OSError, ValueError, TypeError) as error:
            raise CorpusDamaged(
                f"{self.path}: not what was written there ({error}); remove it and add its files again"
            ) from None
        if left:
            raise CorpusDamaged(
                f"{self.path}: {abs(left):,} bytes of it are missing; remove it and add its files again"
            )


def home() -> Path:
    """The folder of the corpora: $ASR33_CORPORA, $XDG_DATA_HOME/asr33/corpora or ~/.local/share/asr33/corpora."""
    if own := os.environ.get("ASR33_CORPORA"):
        return Path(own)
    return store.data_home() / "corpora"


def names() -> list[str]:
    """Of all corpora there are."""
    return sorted(path.parent.name for path in home().glob(f"*/{LEDGER}") if store.NAME.fullmatch(path.parent.name))


def stands(name: str) -> bool:
    """Whether there is a corpus of that name."""
    return bool(store.NAME.fullmatch(name)) and (home() / name / LEDGER).is_file()


def read(name: str) -> Ledger:
    """Raises CorpusNotFound, CorpusDamaged."""
    if not stands(name):
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names()) or 'none at all'}"
        raise CorpusNotFound(f"no corpus {name!r} in {home()}; {hint}")
    path = home() / name / LEDGER
    try:
        return ledgers.from_json(path.read_text("utf-8"))
    except (CorpusDamaged, UnicodeDecodeError) as error:
        raise CorpusDamaged(f"{path}: {error}") from None


def records(name: str) -> Records:
    """All of its records, as they were found. Raises CorpusNotFound, CorpusDamaged."""
    return Records(home() / name / RECORDS, read(name).record_bytes)


def kept(name: str) -> Records:
    """The records that are to be learnt from. Raises CorpusNotFound, CorpusDamaged."""
    ledger = read(name)
    return Records(home() / name / ledger.kept, ledger.kept_bytes)


def remove(name: str) -> None:
    """The whole of it. Raises CorpusNotFound, CorpusBusy, CorpusUnwritten."""
    folder = home() / name
    if not stands(name) and not _begun(folder):
        read(name)
    with _written(folder), _held(folder):
        (folder / LEDGER).unlink(missing_ok=True)  # first: what is killed half-way leaves no corpus
        shutil.rmtree(folder)


def _begun(folder: Path) -> bool:
    """Whether it has what an adding left that was killed, and nothing else: messages, though no corpus."""
    found = {path.name for path in folder.glob("*")}
    return RECORDS in found and all(name == RECORDS or name.startswith("kept-") for name in found)


class Draft:
    """A corpus in work, from the ledger that it had: nothing counts before `settle`."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.ledger = ledger
        self.written = 0
        self._folder = folder
        self._size = ledger.record_bytes
        self._kept = folder / f"kept-{ledger.generation + 1}.jsonl"
        self._kept_records = self._kept_bytes = 0
        with _written(folder):
            self._file = (folder / RECORDS).open("ab", BUFFER)
            if missing := max(0, self._size - self._file.tell()):
                self._file.close()
                why = f"{missing:,} bytes of it are missing; remove it and add its files again"
                raise CorpusDamaged(f"{folder / RECORDS}: {why}")
            self._file.truncate(self._size)  # the rest is of an adding that was killed

    def add(self, record: Record) -> None:
        """Raises CorpusUnwritten."""
        line = _line(record)
        with _written(self._folder):
            self._file.write(line)
        self._size += len(line)
        self.written += 1

    def records(self) -> Records:
        """All of them, those just added among them. Raises CorpusUnwritten."""
        with _written(self._folder):
            self._file.flush()
        return Records(self._folder / RECORDS, self._size)

    def keep(self, cleaned: Iterable[Record]) -> None:
        """What is to be learnt from: the whole of it, in place of what was. Raises CorpusUnwritten."""
        self._kept_records = self._kept_bytes = 0
        with _written(self._folder), self._kept.open("wb", BUFFER) as file:
            for record in cleaned:
                line = _line(record)
                file.write(line)
                self._kept_bytes += len(line)
                self._kept_records += 1
            file.flush()
            os.fsync(file.fileno())

    def settle(self, **changes: object) -> Ledger:
        """The corpus is this from now on, its ledger changed so. Raises CorpusUnwritten."""
        figures = {
            "records": self.ledger.records + self.written,
            "record_bytes": self._size,
            "kept": self._kept.name,
            "kept_records": self._kept_records,
            "kept_bytes": self._kept_bytes,
            "generation": self.ledger.generation + 1,
        }
        given = {item.name: getattr(self.ledger, item.name) for item in fields(Ledger)}
        new = Ledger(**{**given, **figures, **changes})
        with _written(self._folder):
            self._file.flush()
            os.fsync(self._file.fileno())
            _put(self._folder / LEDGER, ledgers.to_json(new))
        self.ledger = new
        return new

    def close(self) -> None:
        """What was not settled is gone, and so is a folder in which nothing ever was. The ledger on the disk is asked:
        Ctrl-C may have come when it stood there and nobody here knew."""
        with suppress(OSError):
            self._file.close()
        try:
            stood = ledgers.from_json((self._folder / LEDGER).read_text("utf-8"))
        except FileNotFoundError:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        with suppress(OSError):  # then the next draft does it
            os.truncate(self._folder / RECORDS, stood.record_bytes)
            for path in self._folder.glob("kept-*"):
                if path.name != stood.kept:
                    path.unlink()


@contextmanager
def draft(name: str) -> Iterator[Draft]:
    """A corpus to add to, or to clean anew; what is not settled is as if it had not been.

    Raises CorpusBusy while another process has it, CorpusDamaged, CorpusUnwritten.
    """
    folder = home() / name
    with _written(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # messages are nobody else's business
    with _held(folder):
        work = Draft(folder, read(name) if stands(name) else Ledger(name))
        try:
            yield work
        finally:
            work.close()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep others out of a folder. Raises CorpusBusy."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not store.locked(handle):
            raise CorpusBusy(f"{folder}: another process adds to this corpus; let it end, or stop it")
        yield
    finally:
        os.close(handle)


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """What the disk refuses becomes CorpusUnwritten."""
    try:
        yield
    except OSError as error:
        why = f"{folder}: cannot be written ({error.strerror}); the corpus is as it was"
        raise CorpusUnwritten(f"{why}; make room there, or set ASR33_CORPORA to another place") from None


def _put(path: Path, text: str) -> None:
    """All of the text or none of it."""
    beside = path.with_suffix(".part")
    with beside.open("wb") as file:
        file.write(_sound(text).encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    store.sync(path.parent)


def _line(record: Record) -> bytes:
    given = ((name, getattr(record, name)) for name in _DEFAULTS)
    text = _encode({name: value for name, value in given if value != _DEFAULTS[name]})
    try:
        return (text + "\n").encode("utf-8")
    except UnicodeEncodeError:
        return (_sound(text) + "\n").encode("utf-8")


def _sound(text: str) -> str:
    """Halves of a character that belong together joined; one that is alone is no character, and U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _record(line: bytes) -> Record:
    return Record(**json.loads(line))
