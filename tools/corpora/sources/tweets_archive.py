"""Tweets as JSON: what X gives of an account, of whatever year, and the lists of the archive sites.

`data/tweets.js`, `tweets-part1.js` ... (before 2022 `tweet.js`, before 2019 `data/js/tweets/2018_07.js`) assign an
array to a variable. Long posts are cut short there and stand whole in `note-tweet.js`, under numbers of their own. Text
is escaped as HTML is, and stays so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tools.corpora import dates, streaming
from tools.corpora.errors import MemberRefused
from tools.corpora.fields import inside, words
from tools.corpora.members import Member
from tools.corpora.record import Found, Named, Record, Skipped
from tools.corpora.sources.tweets_csv import BY_FLAG, NO_TEXT
from tools.corpora.sources.tweets_notes import Notes
from tools.corpora.threads import told

DELETED = "a tweet that was deleted"
TWICE = "a file of tweets that are in the archive's other files"

# By its first bytes, or, where those are damaged, by its name.
_ASSIGNED = {
    "account": re.compile(rb"window\.YTD\.account\.part"),
    "notes": re.compile(rb"window\.YTD\.note_tweets?\.part"),
    "deleted": re.compile(rb"window\.YTD\.deleted_tweets?\.part"),
    "tweets": re.compile(rb"window\.YTD\.(?:community_)?tweets?\.part"),
    "month": re.compile(rb"Grailbird\.data\.tweets_"),
}
_NAMED = {
    "notes": re.compile(r"(?:^|/)data/note-tweets?(?:-part\d+)?\.js$"),
    "deleted": re.compile(r"(?:^|/)data/deleted-tweets?(?:-part\d+)?\.js$"),
    "tweets": re.compile(r"(?:^|/)data/(?:community-)?tweets?(?:-part\d+)?\.js$"),
    "month": re.compile(r"(?:^|/)data/js/tweets/\d{4}_\d\d\.js$"),
}
_WITHIN = re.compile(r"(?:(?<=/)|^)(?:data/)?(?:js/tweets/)?[^/]*$")  # behind the folder that all of an archive is in
_LIST = re.compile(rb'\s*\[\s*\{(?=.*"(?:full_)?text"\s*:)', re.DOTALL)
_MARKS = re.compile(
    rb'"(?:is_retweet|isRetweet|retweet_count|favorite_count|retweets|favorites|full_text|in_reply_to_status_id)"\s*:'
)


def kind(member: Member) -> str:
    """What it is: "tweets", "month", "deleted", "notes", "account", "list" (of a site); empty for anything else."""
    if not member.name.endswith((".js", ".json")):
        return ""
    try:
        head = member.head().removeprefix(b"\xef\xbb\xbf")
    except MemberRefused:
        head = b""
    if member.name.endswith(".json"):
        return "list" if _LIST.match(head) and _MARKS.search(head) else ""
    by_head = (name for name, form in _ASSIGNED.items() if form.match(head.lstrip()[:64]))
    by_name = (name for name, form in _NAMED.items() if form.search(member.name))
    return next(by_head, "") or next(by_name, "")


def root(member: Member) -> str:
    """Where the archive lies that it belongs to."""
    return _WITHIN.sub("", member.place.replace(": ", ":/"))


def found(archive: Sequence[tuple[str, Member]]) -> Iterator[Found]:
    """All tweets of one archive, given its files with their kinds."""
    files: dict[str, list[Member]] = {}
    for kind, member in sorted(archive, key=lambda pair: (len(pair[1].name), pair[1].name)):  # part 2 before part 10
        files.setdefault(kind, []).append(member)
    who = ""
    for member in files.get("account", []):
        for name, shown in _accounts(member):
            who = who or name
            if shown:
                yield Named(member.place, shown)
    notes = Notes()
    for member in files.get("notes", []):
        yield from told(_learn(member, notes), member)
    for kind in ("tweets", "month", "list", "deleted"):
        for member in files.get(kind, []):
            yield from told(_tweets(member, kind, who, notes), member)
    yield from notes.left(who)


def _accounts(member: Member) -> Iterator[tuple[str, str]]:
    """The name that an account is called by, and the one that stands above its tweets."""
    with suppress(MemberRefused), member.open() as file:
        for element in streaming.elements(file, member):
            account = inside(element, "account")
            yield words(inside(account, "username")), words(inside(account, "accountDisplayName"))


def _learn(member: Member, notes: Notes) -> Iterator[Found]:
    with member.open() as file:
        for element in streaming.elements(file, member):
            note = inside(element, "noteTweet")
            text = words(inside(note, "core", "text")) or words(inside(note, "noteTweetContents", "text"))
            if text:
                notes.add(member.place, text, dates.seconds(words(inside(note, "createdAt"))))
            else:
                yield Skipped(member.place, NO_TEXT)


def _tweets(member: Member, kind: str, who: str, notes: Notes) -> Iterator[Found]:
    """Raises MemberRefused."""
    with member.open() as file:
        for element in streaming.elements(file, member):
            tweet = element.get("tweet", element) if isinstance(element, dict) else None
            if not isinstance(tweet, dict):
                yield Skipped(member.place, "what is no tweet")
            elif kind == "deleted":
                yield Skipped(member.place, DELETED)
            else:
                mine = kind != "list"
                yield _tweet(member.place, tweet, mine, who if mine else "", notes)


def _tweet(place: str, tweet: Mapping[str, Any], mine: bool, who: str, notes: Notes) -> Found:
    text = words(tweet.get("full_text")) or words(tweet.get("text"))
    if not text:
        return Skipped(place, NO_TEXT)
    if _flagged(tweet) and not text.startswith("RT @"):
        return Skipped(place, BY_FLAG)
    when = dates.seconds(words(tweet.get("created_at")) or words(tweet.get("date")))
    name = words(inside(tweet, "user", "screen_name")) or who
    return Record(place, "", notes.whole(text, when), name, when, "tweet", mine)


def _flagged(tweet: Mapping[str, Any]) -> bool:
    """Whether it is marked as a retweet. `retweeted` is not looked at: X writes false for one's own as well."""
    flags = (tweet.get("is_retweet"), tweet.get("isRetweet"))
    return isinstance(tweet.get("retweeted_status"), dict) or any(
        flag is True or str(flag).lower() in ("t", "true", "1") for flag in flags
    )
