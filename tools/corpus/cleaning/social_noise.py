"""What networks put into people's mouths: links, retweets, notices of the system, rows run together. Pure."""

from __future__ import annotations

import html
import re

from tools.corpus.record import Record

MAX_TWEET_CHARS = 280  # characters, by the network's own law since 2017; links and entities may make them a few more

_LINK_CHARACTER = r"[!#-;=?-~À-ɏ]"  # ASCII but for blanks, quotes and angle brackets, and Latin letters
_LINK = re.compile(
    r"https?://t\.co/(?:(?!https?:)[A-Za-z0-9]){1,10}"  # often glued to the word before it, and to the one after it
    rf"|https?://{_LINK_CHARACTER}*…?"
    r"|https?:?/?…"
    rf"|(?<![\w.@/])www\.{_LINK_CHARACTER}+"
    rf"|pic\.(?:twitter|x)\.com/{_LINK_CHARACTER}+",
    re.IGNORECASE,
)
_TRAILING_PUNCTUATION = ".,;:!?)]}'"  # at the end of a link these are the sentence's
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
    r"<Media omitted>|(?:image|video|audio|sticker|GIF|document) omitted|"
    r"Missed (?:voice|video|audio) (?:call|chat)|(?:The|This) (?:video|audio) (?:call|chat) (?:has )?ended|"
    r"You are now connected on Messenger|You can now (?:message and call|call) each other.{0,120}|"
    r"Say hi to your new .{1,40} friend, .{1,60}|"
    r"Messages and calls are end-to-end encrypted.{0,200}|This person (?:isn't|is not) available.{0,60})\s*[.!]?\s*",
    re.IGNORECASE,
)


def remove_links(text: str) -> str:
    """Without links, also where they hang on a word or stand in a row; of a labelled one its label stays."""
    small = text.casefold()
    if not ("http" in small or "www." in small or "pic." in small):
        return text
    before = ""
    while before != text and _LINK.search(text):  # what stood around a link may make another
        before, text = text, _LABELLED_LINK.sub(r"\1", text)
        text = _close_gaps(before, _GAP.sub("", _LINK.sub(_replace_link, text)))
    return text


def _replace_link(match: re.Match[str]) -> str:
    """A mark for the gap, and what follows a link without belonging to it."""
    link = match[0]
    bare = link.rstrip(_TRAILING_PUNCTUATION)
    # A bracket that was opened inside belongs to the link, as in an encyclopaedia's.
    if ")" in link[len(bare) :] and "(" in bare:
        bare = link[: link.rindex(")") + 1]
    return _GAP_MARK + (link[len(bare) :] if len(bare) > len("https://") else "")


def _close_gaps(before: str, after: str) -> str:
    """No blanks where a link was, and no lines that had nothing else."""
    olds, news = before.split("\n"), after.split("\n")
    if len(olds) != len(news):
        return after
    lines = []
    for old, new in zip(olds, news, strict=True):
        if old == new:
            lines.append(new)
        elif bare := _BLANK_RUN.sub(" ", new).strip():
            lines.append(bare)
    return "\n".join(lines)


def is_retweet(record: Record) -> bool:
    """Another's words: `RT @name`, or by hand `@name: words`."""
    return _RETWEET.match(record.text) is not None


def is_notice(record: Record) -> bool:
    """A sentence of the system's, whole: it has the sender, or You, for its subject, or is one of a few."""
    text = record.text.strip()
    if len(text) > 300 or "\n" in text:
        return False
    if _IMPERSONAL_NOTICE.fullmatch(text):
        return True
    names = {record.who, record.who.split(" ")[0]} - {""}
    for name in names:
        if text.startswith(f"{name} ") and _PERSONAL_NOTICE.fullmatch(text, len(name) + 1):
            return True
    return text.startswith("You ") and text.endswith(".") and _PERSONAL_NOTICE.fullmatch(text, 4) is not None


def split_rows(record: Record) -> list[str]:
    """The rows of a table that one unbalanced quote ran together; one text where that is not plain.

    It is plain of a tweet without a date, longer than one may be, whose lines all could be tweets: a table with more
    columns would have lost its dates with them, and would be told as damaged.
    """
    if record.when is not None or "\n" not in record.text or len(html.unescape(record.text)) <= MAX_TWEET_CHARS:
        return [record.text]
    lines = [line for line in record.text.splitlines() if line.strip()]
    if any(len(html.unescape(_LINK.sub("", line))) > MAX_TWEET_CHARS for line in lines):
        return [record.text]
    return lines
