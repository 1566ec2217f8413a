"""Recognises what social networks add to texts: retweets, system notices, joined rows. Pure."""

from __future__ import annotations

import html
import re

from tools.corpus.cleaning.links import remove_links
from tools.corpus.record import Record

MAX_TWEET_CHARS = 280  # the network's limit since 2017; links and entities may exceed it
MIN_FITTING_SHARE = 0.6  # of the lines of a text that are short enough for tweets

_EMOTICON = r"(?:[DdPpOoXx03]{1,3}|[()/\\|*]+)(?![^\W_])"  # `@bob:D` is no quotation
_QUOTED_NAME = rf"@\w{{1,30}}\s?[:：](?=\s|$|(?!{_EMOTICON})[^\W\d_]|[\"'“‘@#])"
_RETWEET = re.compile(rf"[\s.>]*[\"“”'‘]*\s*(?:(?:RT|MT|QT)(?:\s*@|\s*[:：]|\s*$)|rt\s?@\w|{_QUOTED_NAME})")
# The own words before a retweet by hand: `Great! RT @bob: his words`.
_RETWEET_TAIL = re.compile(r"(?<=\S)\s+[\"“”'‘(\[]*\s*(?:RT|MT|QT)\s*@\w{1,30}\b.*\Z", re.DOTALL)

_NOTICE_PREDICATE = (
    r"left the (?:group|chat|conversation|channel)|joined the (?:group|chat|conversation|channel|call|video chat)|"
    r"has (?:joined|left) the (?:group|channel)|sent an? (?:attachment|photo|video|sticker|GIF|link|voice message|"
    r"location|live location)|unsent a message|missed (?:a|your) (?:call|video call|video chat)[^.]*|"
    r"(?:called|added|removed) .{1,60}|(?:named|renamed) the (?:group|chat|conversation|channel).{0,80}|"
    r"(?:changed|set|cleared) (?:the|your|their|his|her|(?:own )?) ?(?:group|chat|channel|theme|nickname|"
    r"quick reaction|photo|topic|purpose|description|emoji)\b.{0,200}|(?:set the|cleared the) nickname .{0,100}|"
    r"(?:created|started|ended) (?:the|a) (?:group|call|video chat|poll)\b.{0,80}|pinned a message|"
    r"waved at (?:you|each other)|deleted this message|reacted .{1,16} to your message"
)
_PERSONAL_NOTICE = re.compile(rf"(?:{_NOTICE_PREDICATE})\s*[.!:]?\s*", re.IGNORECASE)
_IMPERSONAL_NOTICE = re.compile(
    r"(?:Reacted .{1,16} to your message|This message was (?:deleted|unsent)|You deleted this message|"
    r"(?-i:Liked|Loved|Disliked|Laughed at|Emphasi[sz]ed|Questioned) "  # iMessage writes these to others as texts
    r"(?:an? (?:message|image|photo|video|movie|audio message|attachment|link|sticker)|“.{1,260}”)|"
    r"<Media omitted>|(?:image|video|audio|sticker|GIF|document) omitted|"
    r"Missed (?:voice|video|audio) (?:call|chat)|(?:The|This) (?:video|audio) (?:call|chat) (?:has )?ended|"
    r"You are now connected on Messenger|You can now (?:message and call|call) each other.{0,120}|"
    r"Say hi to your new .{1,40} friend, .{1,60}|"
    r"Messages and calls are end-to-end encrypted.{0,200}|This person (?:isn't|is not) available.{0,60})\s*[.!]?\s*",
    re.IGNORECASE,
)


def is_retweet(record: Record) -> bool:
    """Whether another user wrote the text: `RT @name`, or `@name: words` and `@name:words` typed by hand."""
    return _RETWEET.match(record.text) is not None


def cut_retweet(text: str) -> str:
    """Returns the own words before a retweet by hand, `Great! RT @bob: his words`; any other text unchanged."""
    return _RETWEET_TAIL.sub("", text) if "T" in text and "@" in text else text


def is_notice(record: Record) -> bool:
    """Whether the whole text is a system notice: its subject is the sender or You, or it is a fixed sentence."""
    text = record.text.strip()
    if len(text) > 300 or "\n" in text:
        return False
    if _IMPERSONAL_NOTICE.fullmatch(text):
        return True
    for name in {record.who, record.who.split(" ")[0]} - {""}:
        if text.startswith(f"{name} ") and _PERSONAL_NOTICE.fullmatch(text, len(name) + 1):
            return True
    return text.startswith("You ") and text.endswith(".") and _PERSONAL_NOTICE.fullmatch(text, 4) is not None


def split_rows(record: Record) -> list[str]:
    """Returns the tweets that an unbalanced quote joined to one text; the text itself if that is not likely.

    A table with dates would have lost them and would be reported as damaged, so a text with a date is one tweet.
    """
    return [record.text] if record.when is not None else split_joined_tweets(record.text)


def split_joined_tweets(text: str) -> list[str]:
    """Returns the lines of a text that is too long for a tweet, if nearly each of them could be one.

    Rows that a quote joined have no empty lines between them; paragraphs of one text have.
    """
    if len(text) <= MAX_TWEET_CHARS or "\n" not in text or tweet_length(text) <= MAX_TWEET_CHARS:
        return [text]
    lines = text.strip().splitlines()
    if not all(map(str.strip, lines)):
        return [text]
    fitting = sum(tweet_length(line) <= MAX_TWEET_CHARS for line in lines)
    return lines if fitting >= MIN_FITTING_SHARE * len(lines) else [text]


def tweet_length(text: str) -> int:
    """Returns the number of characters of a tweet that count: without links, an entity as one character."""
    return len(remove_links(html.unescape(text)).strip())
