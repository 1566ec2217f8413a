"""Sorts the files of a path by kind, and reads each file with the importer of its kind.

Importers claim files in the order of the registry. Messages of other programs are refused by name. Files that no
importer claims are counted by suffix. This module knows no export format.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import cast

from tools.corpus.archive import Member, MemberError, is_zip, iter_members
from tools.corpus.decoding.encodings import encoding_warning, read_as_utf8
from tools.corpus.formats.export_area import ExportArea
from tools.corpus.formats.file_types import (
    LICENCE,
    describe_document,
    describe_left,
    describe_office_zip,
    has_binary_data,
    is_licence,
)
from tools.corpus.formats.unread_formats import describe_unread
from tools.corpus.importers.registry import (
    FIRST_LOOSE_KIND,
    KINDS,
    Importer,
    TableImporter,
    load_importer,
)
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning

X_ARCHIVE_SUFFIX = ".js"  # tweets with this suffix are an export; tables of tweets are not
MEDIA_SUFFIX = re.compile(
    r"\.(jpe?g|png|gif|webp|heic|bmp|tiff?|ico|mp4|m4v|mov|avi|mkv|webm|3gp|mp3|m4a|aac|og[ag]|opus|wav|flac|amr|caf"
    r"|woff2?|[ot]tf|eot|exe|dll|so|pyc|class|map)"
)
ZIP_SUFFIXES = frozenset({".zip", ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".epub"})
TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".xz"})  # an unclaimed file with one of these is reported by name
E_BOOK_MEMBER = "META-INF/container.xml"
HIDDEN = "hidden"
MAX_CONTROL_SHARE = 0.1  # of the characters of a file that the user calls a text
CHUNK_BYTES = 1 << 20

WrapMember = Callable[[Member], Member]


@dataclass(frozen=True, slots=True)
class ImportGroup:
    """The files of one path that have the same kind. `drop_known_files` fills `digests`."""

    path: Path
    kind: str
    members: Sequence[Member]
    digests: tuple[str, ...] = ()

    @property
    def is_indivisible(self) -> bool:
        """Whether the files are one export, so all of them are new or none."""
        return KINDS[self.kind].is_export or any(member.name.endswith(X_ARCHIVE_SUFFIX) for member in self.members)


@dataclass(slots=True)
class DetectionResult:
    """The groups for the importers, the damaged files, and the number of unclaimed files by suffix and reason.

    `unclaimed_texts` is the number of unclaimed files that `--as text` would import.
    """

    groups: list[ImportGroup] = field(default_factory=list)
    damaged: list[DamagedItem] = field(default_factory=list)
    unclaimed: Counter[str] = field(default_factory=Counter)
    unclaimed_texts: int = 0


def detect_kinds(
    path: Path, kind: str = "", wrap: WrapMember = lambda member: member, encoding: str = ""
) -> DetectionResult:
    """Sorts the files of a path by kind; `kind` forces one. Each member goes through `wrap` first.

    Every member reads as UTF-8; `encoding` names the encoding of the files, "" lets each be recognised.

    Raises ToolError ("missing").
    """
    result = DetectionResult()
    members: list[Member] = []
    for entry in iter_members(path):
        if isinstance(entry, DamagedItem):
            result.damaged.append(entry)
        else:
            members.append(read_as_utf8(wrap(entry), encoding))
    if not path.is_dir():
        names = {member.name for member in members}
        kind = "epub" if E_BOOK_MEMBER in names else kind
        if reason := describe_office_zip(names):
            result.damaged.append(DamagedItem(str(path), reason))
            return result
    candidates = []
    for member in members:
        if _suffix(member) in ZIP_SUFFIXES and is_zip(member):
            _detect_zip(result, path, member, kind, wrap, encoding)
        elif _is_ignored(member):
            result.unclaimed[suffix_label(member)] += 1
        elif not kind and len(members) > 1 and is_licence(member):
            _count_unclaimed(result, member, LICENCE)
        else:
            candidates.append(member)
    _assign_importers(result, path, candidates, kind)
    return result


def join_multipart(groups: Iterable[ImportGroup]) -> list[ImportGroup]:
    """Joins the groups of a multipart kind: a conversation may have files in several parts of a download."""
    joined: list[ImportGroup] = []
    parts: dict[str, list[ImportGroup]] = {}
    for group in groups:
        if not KINDS[group.kind].is_multipart or group.kind not in parts:
            joined.append(group)
        parts.setdefault(group.kind, []).append(group)
    return [_merge_groups(parts[group.kind]) if KINDS[group.kind].is_multipart else group for group in joined]


def _merge_groups(parts: Sequence[ImportGroup]) -> ImportGroup:
    if len(parts) == 1:
        return parts[0]
    path = Path(f"{parts[0].path} and {len(parts) - 1:,} more")
    return replace(parts[0], path=path, members=[member for part in parts for member in part.members])


def _detect_zip(
    result: DetectionResult, path: Path, member: Member, kind: str, wrap: WrapMember, encoding: str
) -> None:
    """Detects the kinds in a ZIP that lies in a folder. A ZIP inside a ZIP is reported and not opened."""
    if not path.is_dir():
        reason = "a ZIP inside a ZIP, which is not opened: extract it and add it separately"
        result.damaged.append(DamagedItem(member.location, describe_document(member) or reason))
        return
    inner = detect_kinds(Path(member.location), kind, wrap, encoding)
    result.groups += inner.groups
    result.damaged += inner.damaged
    result.unclaimed += inner.unclaimed
    result.unclaimed_texts += inner.unclaimed_texts


def _assign_importers(result: DetectionResult, path: Path, unassigned: Sequence[Member], kind: str) -> None:
    exports = ExportArea()
    for name in (kind,) if kind else KINDS:
        if name == FIRST_LOOSE_KIND and not kind:
            unassigned = _refuse_unread(result, unassigned, exports)
        offered = [member for member in unassigned if not (KINDS[name].is_generic and exports.owns(member))]
        if not offered:
            continue
        claimed = _claim_members(result, load_importer(name), offered)
        if kind and (len(unassigned) == 1 or kind == "text" or not claimed):
            claimed = unassigned  # the user named the kind, so the files are not examined
            if kind == "text":
                claimed = [member for member in unassigned if not has_binary_data(member, MAX_CONTROL_SHARE)]
        if claimed:
            group = ImportGroup(path, name, tuple(claimed))
            result.groups.append(group)
            claimed_ids = set(map(id, claimed))
            unassigned = [member for member in unassigned if id(member) not in claimed_ids]
            if group.is_indivisible and not kind:
                exports.add_export(name, [member.name for member in claimed])
    for member in unassigned:
        _record_unclaimed(result, member, is_expected=not (kind or exports.owns(member)))
    if left := exports.describe_texts(unassigned):
        result.damaged.append(DamagedItem(str(path), left))


def _refuse_unread(result: DetectionResult, members: Sequence[Member], exports: ExportArea) -> Sequence[Member]:
    """Reports the files of messages that no importer reads, and returns the others."""
    others = []
    for member in members:
        if not exports.owns(member) and (reason := describe_unread(member)):
            result.damaged.append(DamagedItem(member.location, reason))
        else:
            others.append(member)
    return others


def _record_unclaimed(result: DetectionResult, member: Member, is_expected: bool) -> None:
    """Counts the file, or reports it by name if it is damaged or should have been a text."""
    try:
        member.read_head()
    except MemberError as error:  # an importer might have claimed it
        result.damaged.append(DamagedItem(member.location, str(error).removeprefix(f"{member.location}: ")))
        return
    if reason := describe_document(member):
        result.damaged.append(DamagedItem(member.location, reason))
    elif has_binary_data(member):
        if is_expected and _suffix(member) in TEXT_SUFFIXES:
            reason = "not a text, or in an unknown encoding; if you know it: --encoding NAME"
            result.damaged.append(DamagedItem(member.location, reason))
        else:
            result.unclaimed[suffix_label(member)] += 1
    else:
        _count_unclaimed(result, member, describe_left(member) if is_expected else "")


def _count_unclaimed(result: DetectionResult, member: Member, reason: str) -> None:
    result.unclaimed[f"{suffix_label(member)} ({reason})" if reason else suffix_label(member)] += 1
    result.unclaimed_texts += 1


def _claim_members(result: DetectionResult, importer: Importer, offered: Sequence[Member]) -> Sequence[Member]:
    try:
        return importer.claim(offered)
    except MemberError as error:
        result.damaged.append(DamagedItem("", str(error)))
        return ()


def read_items(group: ImportGroup, column: str = "") -> Iterator[ImportItem]:
    """Yields the items of a group's importer; a record with an empty text becomes a SkippedItem.

    At the end each file that was not UTF-8 gives a warning. `column` is the column of the texts of tables, by name or
    number; other kinds ignore it.
    """
    importer = load_importer(group.kind)
    try:
        if column and KINDS[group.kind].has_columns:
            items = cast(TableImporter, importer).read_items(group.members, column)
        else:
            items = importer.read_items(group.members)
        for item in items:
            is_empty = isinstance(item, Record) and not item.text.strip()
            yield SkippedItem(item.source, "an empty text") if is_empty else item
    except MemberError as error:
        yield DamagedItem(str(group.path), str(error).removeprefix(f"{group.path}: "))
    for member in group.members:
        if warning := encoding_warning(member):
            yield SourceWarning(member.location, warning)


def drop_known_files(group: ImportGroup, known: Iterable[str]) -> tuple[ImportGroup, int]:
    """Drops the files whose digest is in `known`.

    Returns the group with the new files and their digests ("" if unreadable), and the number of dropped files.
    """
    digests = list(map(_file_digest, group.members))
    known = set(known)
    if group.is_indivisible:
        names = sorted(f"{member.name}\0{digest}" for member, digest in zip(group.members, digests, strict=True))
        export_digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()
        if export_digest in known:
            return replace(group, members=()), len(group.members)
        return replace(group, digests=(export_digest,)), 0
    new: dict[str, Member] = {}
    unreadable = []  # the importer will report them
    for member, digest in zip(group.members, digests, strict=True):
        if not digest:
            unreadable.append(member)
        elif digest not in known:
            new.setdefault(digest, member)
    members = (*new.values(), *unreadable)
    new_digests = (*new, *("" for _ in unreadable))
    return replace(group, members=members, digests=new_digests), len(group.members) - len(members)


def _file_digest(member: Member) -> str:
    """Returns the SHA-256 of the content, or "" if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with member.open() as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except MemberError:
        return ""
    return digest.hexdigest()


def _is_ignored(member: Member) -> bool:
    """Whether the name alone shows that the file is no text: media, and hidden files of operating systems."""
    return suffix_label(member) == HIDDEN or bool(MEDIA_SUFFIX.fullmatch(_suffix(member)))


def suffix_label(member: Member) -> str:
    """Returns the ending by which a file is counted."""
    if any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(member.name).parts):
        return HIDDEN
    return _suffix(member) or "without an ending"


def _suffix(member: Member) -> str:
    return PurePosixPath(member.name).suffix.lower()
