"""Tweets, in whatever shape they were kept: the account's own download from X, an archive site's lists, a plain CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.corpora.members import Member
from tools.corpora.record import Found, Skipped
from tools.corpora.sources import tweets_archive, tweets_csv

KIND = "tweets"


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """The files that hold tweets, and of an archive of X the one that tells whose it is."""
    kinds = [(tweets_archive.kind(member), member) for member in members]
    archives = {tweets_archive.root(member) for kind, member in kinds if kind not in ("", "account")}
    return [
        member
        for kind, member in kinds
        if (kind != "account" or tweets_archive.root(member) in archives if kind else _is_table(member))
    ]


def found(members: Sequence[Member]) -> Iterator[Found]:
    """Archive by archive, then table by table. Of what was not claimed, whatever is no JSON is a table."""
    archives: dict[str, list[tuple[str, Member]]] = {}
    tables: list[Member] = []
    for member in members:
        if kind := tweets_archive.kind(member) or ("list" if member.name.endswith((".json", ".js")) else ""):
            archives.setdefault(tweets_archive.root(member), []).append((kind, member))
        else:
            tables.append(member)
    for archive in archives.values():
        yield from tweets_archive.found(archive)
    months = {root for root, files in archives.items() if any(kind == "month" for kind, _ in files)}
    for table in tables:
        if table.name.endswith("tweets.csv") and tweets_archive.root(table) in months:
            yield Skipped(table.place, tweets_archive.TWICE)
        else:
            yield from tweets_csv.found(table)


def _is_table(member: Member) -> bool:
    return member.name.lower().endswith(".csv") and tweets_csv.columns(member) is not None
