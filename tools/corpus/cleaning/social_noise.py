"""Recognises what social networks add to texts: links, retweets, system notices, joined rows. Pure."""

from __future__ import annotations

import html
import re

from tools.corpus.record import Record

MAX_TWEET_CHARS = 280  # the network's limit since 2017; links and entities may exceed it

_LINK_CHARACTER = r"[!#-;=?-~À-ɏ]"  # ASCII without blanks, quotes and angle brackets; Latin letters
_LINK = re.compile(
    r"https?://t\.co/(?:(?!https?:)[A-Za-z0-9]){1,10}"  # often joined to the words around it
    rf"|https?://{_LINK_CHARACTER}*…?"
    r"|https?:?/?…"
    rf"|(?<![\w.@/])www\.{_LINK_CHARACTER}+"
    rf"|pic\.(?:twitter|x)\.com/{_LINK_CHARACTER}+",
    re.IGNORECASE,
)
_TRAILING_PUNCTUATION = ".,;:!?)]}'"  # at the end of a link these belong to the sentence
_LABELLED_LINK = re.compile(rf"\[([^\[\]\n]+)\]\(https?://{_LINK_CHARACTER}{{0,1000}}?\)")
_GAP_MARK = "\0"
_GAP = re.compile(rf"[ \t]*{_GAP_MARK}(?=[.,;:!?)\]])|{_GAP_MARK}")
_BLANK_RUN = re.compile(r"[ \t]{2,}")

_RETWEET = re.compile(r"\s*[\"“”']*\s*(?:RT(?:\s*@|\s*:|\s*$)|@\w{1,30}:(?=\s|$))")

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


def remove_links(text: str) -> str:
    """Removes links, also those joined to a word; a labelled link leaves its label."""
    folded = text.casefold()
    if not ("http" in folded or "www." in folded or "pic." in folded):
        return text
    before = ""
    while before != text and _LINK.search(text):  # the removal may create another link
        before, text = text, _LABELLED_LINK.sub(r"\1", text)
        text = _close_gaps(before, _GAP.sub("", _LINK.sub(_replace_link, text)))
    return text


def _replace_link(match: re.Match[str]) -> str:
    """Returns the gap mark, and the punctuation after the link."""
    link = match[0]
    bare = link.rstrip(_TRAILING_PUNCTUATION)
    # A bracket opened inside the link belongs to it, as in Wikipedia's links.
    if ")" in link[len(bare) :] and "(" in bare:
        bare = link[: link.rindex(")") + 1]
    return _GAP_MARK + (link[len(bare) :] if len(bare) > len("https://") else "")


def _close_gaps(before: str, after: str) -> str:
    """Removes the blanks left by links, and the lines that contained only links."""
    old_lines, new_lines = before.split("\n"), after.split("\n")
    if len(old_lines) != len(new_lines):
        return after
    lines = []
    for old, new in zip(old_lines, new_lines, strict=True):
        if old == new:
            lines.append(new)
        elif bare := _BLANK_RUN.sub(" ", new).strip():
            lines.append(bare)
    return "\n".join(lines)


def is_retweet(record: Record) -> bool:
    """Whether another user wrote the text: `RT @name`, or `@name: words` typed by hand."""
    return _RETWEET.match(record.text) is not None


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
    """Returns the tweets that an unbalanced quote joined to one text; the text itself if that is not certain.

    It is certain if the text has no date and is too long for a tweet, and each of its lines could be a tweet. A table
    with more columns would have lost its dates and would be reported as damaged.
    """
    if record.when is not None or "\n" not in record.text or len(html.unescape(record.text)) <= MAX_TWEET_CHARS:
        return [record.text]
    lines = [line for line in record.text.splitlines() if line.strip()]
    if any(len(html.unescape(_LINK.sub("", line))) > MAX_TWEET_CHARS for line in lines):
        return [record.text]
    return lines
