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

from tools.corpora import belonging
from tools.corpora.errors import MemberRefused
from tools.corpora.members import Member, members, zipped
from tools.corpora.record import Damaged, Found, Record, Skipped
from tools.corpora.source import Source
from tools.corpora.wide import narrowed

KINDS = ("messenger", "slack", "signal", "tweets", "log", "pdf", "text")
# What else lies in these is an export's own, and no text of anybody's: settings, attachments, HTML to look at.
EXPORTS = frozenset({"messenger", "slack", "signal"})
PARTED = frozenset({"messenger"})  # large ones are `facebook-ann-1.zip`, `facebook-ann-2.zip` and so on
GENERAL = frozenset({"log", "pdf", "text"})
ARCHIVED = ".js"  # an archive of X's is an export as well, a table of tweets is none
MEDIA = re.compile(
    r"\.(jpe?g|png|gif|webp|heic|bmp|tiff?|ico|mp4|m4v|mov|avi|mkv|webm|3gp|mp3|m4a|aac|og[ag]|opus|wav|flac|amr|caf"
    r"|woff2?|[ot]tf|eot|exe|dll|so|pyc|class|map)"
)
ZIPS = frozenset({".zip", ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".epub"})
TEXTS = frozenset({".txt", ".text", ".md", ".xz"})  # what should have been one
OFFICE = ("[Content_Types].xml", "META-INF/container.xml", "META-INF/manifest.xml")  # Word, EPUB, OpenDocument
HIDDEN = "hidden"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Lot:
    """What of one path is of one kind; `digests` are filled by `compared`."""

    path: Path
    kind: str
    members: Sequence[Member]
    digests: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether its files are one thing: then all of them are new, or none."""
        return self.kind in EXPORTS or any(member.name.endswith(ARCHIVED) for member in self.members)


@dataclass(slots=True)
class Sorted:
    """All of what was handed over: lots for importers, what is damaged, and what is left, counted by its ending."""

    lots: list[Lot] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)


def source(kind: str) -> Source:
    """The importer of that name, loaded now."""
    return cast(Source, importlib.import_module(f"tools.corpora.sources.{kind}"))


def sorted_out(path: Path, kind: str = "", seen: Callable[[Member], Member] = lambda member: member) -> Sorted:
    """Who knows what; `kind` forces it. Each member goes through `seen` first. Raises CorpusNotFound."""
    whole = Sorted()
    found = [one if isinstance(one, Damaged) else narrowed(seen(one)) for one in members(path)]
    whole.damaged += [one for one in found if isinstance(one, Damaged)]
    own = [one for one in found if isinstance(one, Member)]
    if any(member.name in OFFICE for member in own):
        whole.damaged.append(Damaged(str(path), "a document of an office program or an e-book: save it as text or PDF"))
        return whole
    rest = []
    for member in own:
        if _suffix(member) in ZIPS and zipped(member):
            _zip(whole, path, member, kind, seen)
        elif _is_litter(member):
            whole.left[_ending(member)] += 1
        else:
            rest.append(member)
    _given(whole, path, rest, kind)
    return whole


def joined(lots: Iterable[Lot]) -> list[Lot]:
    """The same; downloads that come in parts, a conversation in several of them, are one lot."""
    whole: list[Lot] = []
    parts: dict[str, list[Lot]] = {}
    for lot in lots:
        if lot.kind not in PARTED or lot.kind not in parts:
            whole.append(lot)
        parts.setdefault(lot.kind, []).append(lot)
    return [_one(parts[lot.kind]) if lot.kind in PARTED else lot for lot in whole]


def _one(lots: Sequence[Lot]) -> Lot:
    if len(lots) == 1:
        return lots[0]
    path = Path(f"{lots[0].path} and {len(lots) - 1:,} more")
    return replace(lots[0], path=path, members=[member for lot in lots for member in lot.members])


def _zip(whole: Sorted, path: Path, member: Member, kind: str, seen: Callable[[Member], Member]) -> None:
    """A ZIP among other files: one in a folder is a path of its own, one in a ZIP stays closed."""
    if not path.is_dir():
        whole.damaged.append(
            Damaged(member.place, "a ZIP in a ZIP, which is not opened: take it out, add it by itself")
        )
        return
    inner = sorted_out(Path(member.place), kind, seen)
    whole.lots += inner.lots
    whole.damaged += inner.damaged
    whole.left += inner.left


def _given(whole: Sorted, path: Path, rest: Sequence[Member], kind: str) -> None:
    exports: frozenset[str] = frozenset()  # where all that nobody claims is an export's own
    for name in (kind,) if kind else KINDS:
        asked = [member for member in rest if not belonging.on(exports, member.name)] if name in GENERAL else rest
        if not asked:
            continue
        claimed = _claimed(whole, source(name), asked)
        if kind and (len(rest) == 1 or kind == "text" or not claimed):
            claimed = rest  # it is said what they are, so they are not asked
        if claimed:
            lot = Lot(path, name, tuple(claimed))
            whole.lots.append(lot)
            known = set(map(id, claimed))
            rest = [member for member in rest if id(member) not in known]
            if lot.whole and not kind:
                exports |= belonging.grounds(name, (member.name for member in claimed))
    for member in rest:
        _leave(whole, member, wanted=not (kind or belonging.on(exports, member.name)))


def _leave(whole: Sorted, member: Member, wanted: bool) -> None:
    """Nobody claims it: counted, or named where it should have been a text or is damaged."""
    try:
        member.head()
    except MemberRefused as error:  # it may have been what somebody would have known
        whole.damaged.append(Damaged(member.place, str(error).removeprefix(f"{member.place}: ")))
        return
    if wanted and _suffix(member) in TEXTS:
        why = "not UTF-8, or no text at all; --as text takes it all the same"
        whole.damaged.append(Damaged(member.place, why))
    else:
        whole.left[_ending(member)] += 1


def _claimed(whole: Sorted, importer: Source, rest: Sequence[Member]) -> Sequence[Member]:
    try:
        return importer.claim(rest)
    except MemberRefused as error:
        whole.damaged.append(Damaged("", str(error)))
        return ()


def found(lot: Lot) -> Iterator[Found]:
    """All that its importer finds, no text empty."""
    try:
        for one in source(lot.kind).found(lot.members):
            yield Skipped(one.source, "an empty text") if isinstance(one, Record) and not one.text.strip() else one
    except MemberRefused as error:
        yield Damaged(str(lot.path), str(error).removeprefix(f"{lot.path}: "))


def compared(lot: Lot, known: Iterable[str]) -> tuple[Lot, int]:
    """The lot without what is known by its digest, with the digests of the rest; and how many files were known."""
    digests = list(map(_digest, lot.members))
    known = set(known)
    if lot.whole:
        names = sorted(f"{member.name}\0{digest}" for member, digest in zip(lot.members, digests, strict=True))
        all_of_it = hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()
        if all_of_it in known:
            return replace(lot, members=()), len(lot.members)
        return replace(lot, digests=(all_of_it,)), 0
    fresh: dict[str, Member] = {}
    unreadable = []  # it will be told when it is read
    for member, digest in zip(lot.members, digests, strict=True):
        if not digest:
            unreadable.append(member)
        elif digest not in known:
            fresh.setdefault(digest, member)
    left = (*fresh.values(), *unreadable)
    return replace(lot, members=left, digests=tuple(fresh)), len(lot.members) - len(left)


def _digest(member: Member) -> str:
    """Of its bytes; empty where they cannot be had."""
    digest = hashlib.sha256()
    try:
        with member.open() as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except MemberRefused:
        return ""
    return digest.hexdigest()


def _is_litter(member: Member) -> bool:
    """What is known by its name to be no text; what systems strew."""
    return _ending(member) == HIDDEN or bool(MEDIA.fullmatch(_suffix(member)))


def _ending(member: Member) -> str:
    if any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(member.name).parts):
        return HIDDEN
    return _suffix(member) or "without an ending"


def _suffix(member: Member) -> str:
    return PurePosixPath(member.name).suffix.lower()
