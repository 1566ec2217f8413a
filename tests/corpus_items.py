"""Files for the tests of the corpus, and the items of an import by type."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.corpus.archive import Member, iter_members
from tools.corpus.decoding.encodings import encoding_warning, read_as_utf8
from tools.corpus.importers.registry import Importer
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem, SourceWarning


def make_folder(path: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def make_zip(path: Path, files: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def members_of(path: Path) -> list[Member]:
    """Returns the members as importers get them: in UTF-8."""
    return [read_as_utf8(item) for item in iter_members(path) if isinstance(item, Member)]


def import_path(importer: Importer, path: Path) -> list[ImportItem]:
    """Returns all items except the people, and the warning of each file that was not UTF-8."""
    members = importer.claim(members_of(path))
    items = [item for item in importer.read_items(members) if not isinstance(item, KnownPerson)]
    warnings = ((member.location, encoding_warning(member)) for member in members)
    return [*items, *(SourceWarning(location, warning) for location, warning in warnings if warning)]


def records_of(items: Iterable[ImportItem]) -> list[Record]:
    return [item for item in items if isinstance(item, Record)]


def texts_of(items: Iterable[ImportItem]) -> list[str]:
    return [record.text for record in records_of(items)]


def damaged_of(items: Iterable[ImportItem]) -> list[DamagedItem]:
    return [item for item in items if isinstance(item, DamagedItem)]


def skip_reasons(items: Iterable[ImportItem]) -> list[str]:
    return [item.reason for item in items if isinstance(item, SkippedItem)]


def warnings_of(items: Iterable[ImportItem]) -> list[str]:
    return [item.message for item in items if isinstance(item, SourceWarning)]
