"""Imports tweets: the account's download from X, the lists of archive sites, and tables whose names say tweets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.corpus.archive import Member
from tools.corpus.importers import table, tweets_archive
from tools.corpus.record import ImportItem, SkippedItem
from tools.corpus.threads import catch_damage

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the files with tweets, and the account file of each archive of X."""
    kinds = [(tweets_archive.file_kind(member), member) for member in members]
    archives = {tweets_archive.archive_root(member) for kind, member in kinds if kind not in ("", "account")}
    return [
        member
        for kind, member in kinds
        if (kind != "account" or tweets_archive.archive_root(member) in archives if kind else _is_tweet_table(member))
    ]


def read_items(members: Sequence[Member], column: str = "") -> Iterator[ImportItem]:
    """Yields the tweets, archive by archive, then table by table. `column` is that of the texts of each table."""
    archives: dict[str, list[tuple[str, Member]]] = {}
    tables: list[Member] = []
    for member in members:
        if kind := tweets_archive.file_kind(member) or ("list" if _is_forced_list(member) else ""):
            archives.setdefault(tweets_archive.archive_root(member), []).append((kind, member))
        else:
            tables.append(member)
    for archive in archives.values():
        yield from tweets_archive.read_items(archive)
    months = {root for root, files in archives.items() if any(kind == "month" for kind, _ in files)}
    for member in tables:
        if member.name.endswith("tweets.csv") and tweets_archive.archive_root(member) in months:
            yield SkippedItem(member.location, tweets_archive.DUPLICATE_FILE)
        else:
            yield from catch_damage(table.read_table(member, column, is_tweets=True), member)


def _is_forced_list(member: Member) -> bool:
    return member.name.endswith((".json", ".js")) and not _is_tweet_table(member)


def _is_tweet_table(member: Member) -> bool:
    if not member.name.lower().endswith(TABLE_SUFFIXES):
        return False
    layout = table.detect_layout(member)
    return layout is not None and layout.choice.column is not None and table.is_tweets(layout)
