"""What was handed over is looked at, and each part of it given to the importer that knows it.

It knows no export: importers are asked one after the other, those that know one thing well before those that take
almost anything. What nobody claims is counted by its kind, never passed over in silence.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import cast

from tools.corpus import export_extent
from tools.corpus.archive import Member, is_zip, iter_members
from tools.corpus.errors import MemberError
from tools.corpus.importers.importer import Importer
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem
from tools.corpus.utf16 import transcode_to_utf8

KINDS_IN_ORDER = ("messenger", "slack", "signal", "tweets", "log", "pdf", "text")
# What else lies in these is an export's own, and no text of anybody's: settings, attachments, HTML to look at.
EXPORT_KINDS = frozenset({"messenger", "slack", "signal"})
MULTIPART_KINDS = frozenset({"messenger"})  # large ones are `facebook-ann-1.zip`, `facebook-ann-2.zip` and so on
GENERIC_KINDS = frozenset({"log", "pdf", "text"})
X_ARCHIVE_SUFFIX = ".js"  # an archive of X's is an export as well, a table of tweets is none
MEDIA_SUFFIX = re.compile(
    r"\.(jpe?g|png|gif|webp|heic|bmp|tiff?|ico|mp4|m4v|mov|avi|mkv|webm|3gp|mp3|m4a|aac|og[ag]|opus|wav|flac|amr|caf"
    r"|woff2?|[ot]tf|eot|exe|dll|so|pyc|class|map)"
)
ZIP_SUFFIXES = frozenset({".zip", ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".epub"})
TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".xz"})  # what should have been one
OFFICE_MEMBERS = ("[Content_Types].xml", "META-INF/container.xml", "META-INF/manifest.xml")  # Word, EPUB, OpenDocument
HIDDEN = "hidden"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ImportGroup:
    """What of one path is of one kind; `digests` are filled by `compared`."""

    path: Path
    kind: str
    members: Sequence[Member]
    digests: tuple[str, ...] = ()

    @property
    def is_indivisible(self) -> bool:
        """Whether its files are one thing: then all of them are new, or none."""
        return self.kind in EXPORT_KINDS or any(member.name.endswith(X_ARCHIVE_SUFFIX) for member in self.members)


@dataclass(slots=True)
class DetectionResult:
    """All of what was handed over: lots for importers, what is damaged, and what is left, counted by its ending."""

    groups: list[ImportGroup] = field(default_factory=list)
    damaged: list[DamagedItem] = field(default_factory=list)
    unclaimed: Counter[str] = field(default_factory=Counter)


def load_importer(kind: str) -> Importer:
    """The importer of that name, loaded now."""
    return cast(Importer, importlib.import_module(f"tools.corpus.importers.{kind}"))


def detect_kinds(
    path: Path, kind: str = "", wrap: Callable[[Member], Member] = lambda member: member
) -> DetectionResult:
    """Who knows what; `kind` forces it. Each member goes through `seen` first. Raises CorpusNotFound."""
    whole = DetectionResult()
    found = [one if isinstance(one, DamagedItem) else transcode_to_utf8(wrap(one)) for one in iter_members(path)]
    whole.damaged += [one for one in found if isinstance(one, DamagedItem)]
    own = [one for one in found if isinstance(one, Member)]
    if any(member.name in OFFICE_MEMBERS for member in own):
        whole.damaged.append(
            DamagedItem(str(path), "a document of an office program or an e-book: save it as text or PDF")
        )
        return whole
    rest = []
    for member in own:
        if _suffix(member) in ZIP_SUFFIXES and is_zip(member):
            _detect_zip(whole, path, member, kind, wrap)
        elif _is_ignored(member):
            whole.unclaimed[_suffix_label(member)] += 1
        else:
            rest.append(member)
    _assign_importers(whole, path, rest, kind)
    return whole


def join_multipart(groups: Iterable[ImportGroup]) -> list[ImportGroup]:
    """The same; downloads that come in parts, a conversation in several of them, are one lot."""
    whole: list[ImportGroup] = []
    parts: dict[str, list[ImportGroup]] = {}
    for lot in groups:
        if lot.kind not in MULTIPART_KINDS or lot.kind not in parts:
            whole.append(lot)
        parts.setdefault(lot.kind, []).append(lot)
    return [_merge_groups(parts[lot.kind]) if lot.kind in MULTIPART_KINDS else lot for lot in whole]


def _merge_groups(groups: Sequence[ImportGroup]) -> ImportGroup:
    if len(groups) == 1:
        return groups[0]
    path = Path(f"{groups[0].path} and {len(groups) - 1:,} more")
    return replace(groups[0], path=path, members=[member for lot in groups for member in lot.members])


def _detect_zip(
    result: DetectionResult, path: Path, member: Member, kind: str, wrap: Callable[[Member], Member]
) -> None:
    """A ZIP among other files: one in a folder is a path of its own, one in a ZIP stays closed."""
    if not path.is_dir():
        result.damaged.append(
            DamagedItem(member.location, "a ZIP in a ZIP, which is not opened: take it out, add it by itself")
        )
        return
    inner = detect_kinds(Path(member.location), kind, wrap)
    result.groups += inner.groups
    result.damaged += inner.damaged
    result.unclaimed += inner.unclaimed


def _assign_importers(result: DetectionResult, path: Path, rest: Sequence[Member], kind: str) -> None:
    exports: frozenset[str] = frozenset()  # where all that nobody claims is an export's own
    for name in (kind,) if kind else KINDS_IN_ORDER:
        asked = (
            [member for member in rest if not export_extent.is_within(exports, member.name)]
            if name in GENERIC_KINDS
            else rest
        )
        if not asked:
            continue
        claimed = _claim_members(result, load_importer(name), asked)
        if kind and (len(rest) == 1 or kind == "text" or not claimed):
            claimed = rest  # it is said what they are, so they are not asked
        if claimed:
            lot = ImportGroup(path, name, tuple(claimed))
            result.groups.append(lot)
            known = set(map(id, claimed))
            rest = [member for member in rest if id(member) not in known]
            if lot.is_indivisible and not kind:
                exports |= export_extent.export_prefixes(name, (member.name for member in claimed))
    for member in rest:
        _record_unclaimed(result, member, is_expected=not (kind or export_extent.is_within(exports, member.name)))


def _record_unclaimed(result: DetectionResult, member: Member, is_expected: bool) -> None:
    """Nobody claims it: counted, or named where it should have been a text or is damaged."""
    try:
        member.read_head()
    except MemberError as error:  # it may have been what somebody would have known
        result.damaged.append(DamagedItem(member.location, str(error).removeprefix(f"{member.location}: ")))
        return
    if is_expected and _suffix(member) in TEXT_SUFFIXES:
        why = "not UTF-8, or no text at all; --as text takes it all the same"
        result.damaged.append(DamagedItem(member.location, why))
    else:
        result.unclaimed[_suffix_label(member)] += 1


def _claim_members(result: DetectionResult, importer: Importer, rest: Sequence[Member]) -> Sequence[Member]:
    try:
        return importer.claim(rest)
    except MemberError as error:
        result.damaged.append(DamagedItem("", str(error)))
        return ()


def read_items(group: ImportGroup) -> Iterator[ImportItem]:
    """All that its importer finds, no text empty."""
    try:
        for one in load_importer(group.kind).read_items(group.members):
            yield SkippedItem(one.source, "an empty text") if isinstance(one, Record) and not one.text.strip() else one
    except MemberError as error:
        yield DamagedItem(str(group.path), str(error).removeprefix(f"{group.path}: "))


def drop_known_files(group: ImportGroup, known: Iterable[str]) -> tuple[ImportGroup, int]:
    """The lot without what is known by its digest, with the digests of the rest; and how many files were known."""
    digests = list(map(_file_digest, group.members))
    known = set(known)
    if group.is_indivisible:
        names = sorted(f"{member.name}\0{digest}" for member, digest in zip(group.members, digests, strict=True))
        all_of_it = hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()
        if all_of_it in known:
            return replace(group, members=()), len(group.members)
        return replace(group, digests=(all_of_it,)), 0
    fresh: dict[str, Member] = {}
    unreadable = []  # it will be told when it is read
    for member, digest in zip(group.members, digests, strict=True):
        if not digest:
            unreadable.append(member)
        elif digest not in known:
            fresh.setdefault(digest, member)
    left = (*fresh.values(), *unreadable)
    return replace(group, members=left, digests=tuple(fresh)), len(group.members) - len(left)


def _file_digest(member: Member) -> str:
    """Of its bytes; empty where they cannot be had."""
    digest = hashlib.sha256()
    try:
        with member.open() as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except MemberError:
        return ""
    return digest.hexdigest()


def _is_ignored(member: Member) -> bool:
    """What is known by its name to be no text; what systems strew."""
    return _suffix_label(member) == HIDDEN or bool(MEDIA_SUFFIX.fullmatch(_suffix(member)))


def _suffix_label(member: Member) -> str:
    if any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(member.name).parts):
        return HIDDEN
    return _suffix(member) or "without an ending"


def _suffix(member: Member) -> str:
    return PurePosixPath(member.name).suffix.lower()
