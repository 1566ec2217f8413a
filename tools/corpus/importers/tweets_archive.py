"""Reads tweets as JSON: the downloads of X of all years, and the lists of archive sites.

`data/tweets.js`, `tweets-part1.js` ... (before 2022 `tweet.js`, before 2019 `data/js/tweets/2018_07.js`) assign an
array to a variable. Long posts are truncated there and complete in `note-tweet.js`, with other ids. Text stays escaped
as HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tools.corpus import dates, json_stream
from tools.corpus.archive import Member, MemberError
from tools.corpus.fields import as_text, get_nested
from tools.corpus.importers.tweets_notes import TweetNotes
from tools.corpus.record import ImportItem, KnownPerson, Record, SkippedItem
from tools.corpus.tables.table_roles import FLAGGED_RETWEET, NO_TEXT, OTHER_WRITER
from tools.corpus.threads import catch_damage

DELETED = "a tweet that was deleted"
DUPLICATE_FILE = "a file of tweets that are in the archive's other files"

# The kind of a file by its first bytes, or by its name if these are damaged.
_HEAD_PATTERNS = {
    "account": re.compile(rb"window\.YTD\.account\.part"),
    "notes": re.compile(rb"window\.YTD\.note_tweets?\.part"),
    "deleted": re.compile(rb"window\.YTD\.deleted_tweets?\.part"),
    "tweets": re.compile(rb"window\.YTD\.(?:community_)?tweets?\.part"),
    "month": re.compile(rb"Grailbird\.data\.tweets_"),
}
_NAME_PATTERNS = {
    "notes": re.compile(r"(?:^|/)data/note-tweets?(?:-part\d+)?\.js$"),
    "deleted": re.compile(r"(?:^|/)data/deleted-tweets?(?:-part\d+)?\.js$"),
    "tweets": re.compile(r"(?:^|/)data/(?:community-)?tweets?(?:-part\d+)?\.js$"),
    "month": re.compile(r"(?:^|/)data/js/tweets/\d{4}_\d\d\.js$"),
}
# The part of a location after the archive's top folder.
_INSIDE_ARCHIVE = re.compile(r"(?:(?<=/)|^)(?:data/)?(?:js/tweets/)?[^/]*$")
_LIST_HEAD = re.compile(rb'\s*\[\s*\{(?=.*"(?:full_)?text"\s*:)', re.DOTALL)
_TWEET_KEYS = re.compile(
    rb'"(?:is_retweet|isRetweet|retweet_count|favorite_count|retweets|favorites|full_text|in_reply_to_status_id)"\s*:'
)


@dataclass(frozen=True, slots=True)
class _Account:
    """The owner of an archive."""

    name: str = ""
    id: str = ""
    display_name: str = ""

    def is_other(self, user: object) -> bool:
        """Whether a tweet's user is not the owner. Names change, so the ids decide where both are known."""
        user_id, name = as_text(get_nested(user, "id_str")), as_text(get_nested(user, "screen_name"))
        if self.id and user_id:
            return self.id != user_id
        return bool(self.name and name) and self.name.casefold() != name.casefold()


def file_kind(member: Member) -> str:
    """Returns "tweets", "month", "deleted", "notes", "account", "list" (of an archive site), or ""."""
    if not member.name.endswith((".js", ".json")):
        return ""
    head = member.peek_head().removeprefix(b"\xef\xbb\xbf")
    if member.name.endswith(".json"):
        return "list" if _LIST_HEAD.match(head) and _TWEET_KEYS.search(head) else ""
    by_head = (kind for kind, pattern in _HEAD_PATTERNS.items() if pattern.match(head.lstrip()[:64]))
    by_name = (kind for kind, pattern in _NAME_PATTERNS.items() if pattern.search(member.name))
    return next(by_head, "") or next(by_name, "")


def archive_root(member: Member) -> str:
    """Returns the location of the archive that a file belongs to."""
    return _INSIDE_ARCHIVE.sub("", member.location.replace(": ", ":/"))


def read_items(archive: Sequence[tuple[str, Member]]) -> Iterator[ImportItem]:
    """Yields the tweets of one archive, given its files with their kinds."""
    files: dict[str, list[Member]] = {}
    for kind, member in sorted(archive, key=lambda pair: (len(pair[1].name), pair[1].name)):  # part 2 before part 10
        files.setdefault(kind, []).append(member)
    owner = _Account()
    for member in files.get("account", []):
        for account in _read_accounts(member):
            owner = owner if owner.name else account
            if account.display_name:
                yield KnownPerson(member.location, account.display_name)
    notes = TweetNotes()
    for member in files.get("notes", []):
        yield from catch_damage(_read_notes(member, notes), member)
    for kind in ("tweets", "month", "list", "deleted"):
        for member in files.get(kind, []):
            yield from catch_damage(_read_tweets(member, kind, owner, notes), member)
    yield from notes.unused_records(owner.name)


def _read_accounts(member: Member) -> Iterator[_Account]:
    with suppress(MemberError):
        for element in json_stream.iter_array(member):
            account = get_nested(element, "account")
            keys = ("username", "accountId", "accountDisplayName")
            yield _Account(*(as_text(get_nested(account, key)) for key in keys))


def _read_notes(member: Member, notes: TweetNotes) -> Iterator[ImportItem]:
    for element in json_stream.iter_array(member):
        note = get_nested(element, "noteTweet")
        text = as_text(get_nested(note, "core", "text")) or as_text(get_nested(note, "noteTweetContents", "text"))
        if text:
            notes.add(member.location, text, dates.parse_timestamp(as_text(get_nested(note, "createdAt"))))
        else:
            yield SkippedItem(member.location, NO_TEXT)


def _read_tweets(member: Member, kind: str, owner: _Account, notes: TweetNotes) -> Iterator[ImportItem]:
    """Yields the tweets of a file. Raises MemberError."""
    for element in json_stream.iter_array(member):
        tweet = element.get("tweet", element) if isinstance(element, dict) else None
        if not isinstance(tweet, dict):
            yield SkippedItem(member.location, "an entry that is no tweet")
        elif kind == "deleted":
            yield SkippedItem(member.location, DELETED)
        else:
            mine = kind != "list"
            yield _to_item(member.location, tweet, mine, owner if mine else _Account(), notes)


def _to_item(location: str, tweet: Mapping[str, Any], mine: bool, owner: _Account, notes: TweetNotes) -> ImportItem:
    text = as_text(tweet.get("full_text")) or as_text(tweet.get("text"))
    if not text:
        return SkippedItem(location, NO_TEXT)
    if _is_flagged_retweet(tweet) and not text.startswith("RT @"):
        return SkippedItem(location, FLAGGED_RETWEET)
    when = dates.parse_timestamp(as_text(tweet.get("created_at")) or as_text(tweet.get("date")))
    if owner.is_other(get_nested(tweet, "user")):
        return SkippedItem(location, OTHER_WRITER)
    name = as_text(get_nested(tweet, "user", "screen_name")) or owner.name
    return Record(location, "", notes.complete_text(text, when), name, when, "tweet", mine)


def _is_flagged_retweet(tweet: Mapping[str, Any]) -> bool:
    """Whether a retweet flag is set. `retweeted` is ignored: X writes false for retweets too."""
    flags = (tweet.get("is_retweet"), tweet.get("isRetweet"))
    retweeted = (tweet.get("retweeted_status"), tweet.get("retweetedTweet"))
    return any(isinstance(other, dict) for other in retweeted) or any(
        flag is True or str(flag).lower() in ("t", "true", "1") for flag in flags
    )
