"""Tells the files of an export from a person's own texts beside it, by their names.

An export owns all files below its folder, so that no attached file and no list of settings becomes a text. A text in
the very folder of one of its messages is the person's own: exports keep attached files in folders of their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tools.corpus.archive import Member, parent_folder
from tools.corpus.importers.registry import export_prefixes

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".markdown", ".pdf"})  # exports write messages with other endings
OWN_SUFFIXES = TEXT_SUFFIXES | {".csv", ".tsv", ".html", ".htm"}  # deeper in its folders an export has some too
MAX_LISTED = 5  # names of texts

_TEXT_OF_EXPORT = re.compile(
    r"(?:no-data|read[-_ ]?me\w*|index|licen[cs]e|terms|your[ _-]archive|start_here)\.\w+", re.IGNORECASE
)
_ATTACHED_FOLDER = re.compile(
    r"(?:^|/)(?:files?|attachments?|media|photos?|videos?|audio|gifs|stickers\w*|__uploads|uploads|documents)/",
    re.IGNORECASE,
)


@dataclass(slots=True)
class ExportArea:
    """The exports that were found in one path: the starts of the names of their files, and the folders of messages."""

    _prefixes: set[str] = field(default_factory=set)
    _folders: set[str] = field(default_factory=set)

    def add_export(self, kind: str, names: Collection[str]) -> None:
        """Adds an export, given the names of the files that its importer claimed."""
        if prefixes := export_prefixes(kind, names):
            self._prefixes |= prefixes
            if kind != "epub":  # the folder of a book has no texts of others
                self._folders.update(map(parent_folder, names))

    def owns(self, member: Member) -> bool:
        """Whether a file belongs to an export, so that no other importer may read it."""
        if not member.name.startswith(tuple(self._prefixes)):
            return False
        return not (parent_folder(member.name) in self._folders and _has_suffix(member.name, OWN_SUFFIXES))

    def describe_texts(self, members: Iterable[Member]) -> str:
        """Returns the names of texts that may be the person's own although an export owns them, with the cure."""
        names = [member.name for member in members if self.owns(member) and _has_suffix(member.name, TEXT_SUFFIXES)]
        names = [name for name in names if not _ATTACHED_FOLDER.search(name)]
        return f"{_list_names(names)} among the files of an export: to import a text, name it" if names else ""


def _has_suffix(name: str, suffixes: Collection[str]) -> bool:
    """Whether a name has a suffix, and is none that exports give to texts of their own."""
    path = PurePosixPath(name)
    return path.suffix.lower() in suffixes and not _TEXT_OF_EXPORT.fullmatch(path.name)


def _list_names(names: Sequence[str]) -> str:
    listed = ", ".join(names[:MAX_LISTED])
    more = len(names) - MAX_LISTED
    return f"{listed} and {more:,} more" if more > 0 else listed
