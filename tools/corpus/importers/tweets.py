"""Imports tweets: the account's download from X, the lists of archive sites, and plain CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.corpus.archive import Member
from tools.corpus.importers import tweets_archive, tweets_csv
from tools.corpus.record import ImportItem, SkippedItem


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the files with tweets, and the account file of each archive of X."""
    kinds = [(tweets_archive.file_kind(member), member) for member in members]
    archives = {tweets_archive.archive_root(member) for kind, member in kinds if kind not in ("", "account")}
    return [
        member
        for kind, member in kinds
        if (kind != "account" or tweets_archive.archive_root(member) in archives if kind else _is_table(member))
    ]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields the tweets, archive by archive, then table by table. All members that are not JSON are read as tables."""
    archives: dict[str, list[tuple[str, Member]]] = {}
    tables: list[Member] = []
    for member in members:
        if kind := tweets_archive.file_kind(member) or ("list" if member.name.endswith((".json", ".js")) else ""):
            archives.setdefault(tweets_archive.archive_root(member), []).append((kind, member))
        else:
            tables.append(member)
    for archive in archives.values():
        yield from tweets_archive.read_items(archive)
    months = {root for root, files in archives.items() if any(kind == "month" for kind, _ in files)}
    for table in tables:
        if table.name.endswith("tweets.csv") and tweets_archive.archive_root(table) in months:
            yield SkippedItem(table.location, tweets_archive.DUPLICATE_FILE)
        else:
            yield from tweets_csv.read_items(table)


def _is_table(member: Member) -> bool:
    return member.name.lower().endswith(".csv") and tweets_csv.detect_columns(member) is not None
