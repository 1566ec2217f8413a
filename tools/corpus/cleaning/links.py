"""Removes links from texts, also those that blanks tore apart. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LINK_CHARACTER = r"[!#-;=?-~À-ɏ]"  # ASCII without blanks, quotes and angle brackets; Latin letters
_LINK = re.compile(
    r"https?://t\.co/(?:(?!https?:)[A-Za-z0-9]){1,10}"  # often joined to the words around it
    rf"|https?://{_LINK_CHARACTER}*…?"
    r"|https?:?/?…"
    rf"|(?<![\w.@/])www\.{_LINK_CHARACTER}+"
    rf"|pic\.(?:twitter|x)\.com/{_LINK_CHARACTER}+",
    re.IGNORECASE,
)
_BARE_HOSTS = (
    "t.co",
    "twitter.com",
    "bit.ly",
    "ow.ly",
    "goo.gl",
    "youtu.be",
    "tinyurl.com",
    "fb.me",
    "buff.ly",
    "dlvr.it",
)
_BARE_LINK = re.compile(
    rf"(?<![\w.@/-])(?:{'|'.join(map(re.escape, _BARE_HOSTS))})/{_LINK_CHARACTER}+…?",
    re.IGNORECASE,
)
_HINTS = ("http", "www.", "pic.", *(f"{host}/" for host in _BARE_HOSTS))
MAX_LINK_CHARS = 500  # with the blanks in it
_TRAILING_PUNCTUATION = ".,;:!?)]}'"  # at the end of a link these belong to the sentence
_LABELLED_LINK = re.compile(rf"\[([^\[\]\n]+)\]\(https?://{_LINK_CHARACTER}{{0,1000}}?\)")
_GAP_MARK = "\0"
_GAP = re.compile(rf"[ \t]*{_GAP_MARK}(?=[.,;:!?)\]])|{_GAP_MARK}")
_EMPTY_BRACKETS = re.compile(
    rf"[ \t]*(?:\((?:(?:see|via|from|source|at|link|cf)[.:]?[ \t]+)?{_GAP_MARK}+[.,;]?\)"
    rf"|\[{_GAP_MARK}+\]|<{_GAP_MARK}+>|“{_GAP_MARK}+”|\"{_GAP_MARK}+\")",
    re.IGNORECASE,
)
_BLANK_RUN = re.compile(r"[ \t]{2,}")

# Some programs write blanks into the links that a page shows in several parts.
_BLANK = re.compile(r"(\s{1,2})")
_TORN_START = re.compile(r"(?:https?|www\.|pic\.)\S{0,500}?\s", re.IGNORECASE)
_LINK_START = re.compile(r"(?:https?|(?<![\w.@/])(?:www\.|pic\.))(?!.*http).*", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+(?![\w@])|www\.$", re.IGNORECASE)
_HOST_END = re.compile(
    r"(?:[a-z0-9-]+\.)+[a-z]{2,}/|(?:com|org|net|co|uk|de|fr|io|gov|edu|info|ly|be|me|gl|tv|us|eu|example)(?:/|$)",
    re.IGNORECASE,
)
_PATH_START = re.compile(r"[-/?=&_%#]\w[\w.-]*[-./=&?_%]\w")
_PATH_PART = re.compile(r"\w*\d\w*/|[\w-]+\.(?:html?|php|aspx?)\b|\w+(?:[-_]\w+){2,}")
_LINK_PIECE = re.compile(r"[\w/.=?&_%#~+-]*\w[/.=?&_%#~+-]\w[\w/.=?&_%#~+-]*…?")
_ELLIPSES = ("…", "...")
_MAX_PIECES = 3  # of a link before its ellipsis


def remove_links(text: str) -> str:
    """Removes links, also those joined to a word; a labelled link leaves its label."""
    before = ""
    while before != text and any(hint in text.casefold() for hint in _HINTS):  # the removal may create another link
        before, joined = text, _join_torn_links(text)
        marked = _LABELLED_LINK.sub(r"\1", joined)
        for pattern in (_LINK, _BARE_LINK):
            marked = pattern.sub(_replace_link, marked)
        marked = _EMPTY_BRACKETS.sub(_GAP_MARK, marked)
        if marked != joined:
            text = _close_gaps(joined, _GAP.sub("", marked))
    return text


def _join_torn_links(text: str) -> str:
    """Removes the blanks inside links."""
    parts: list[str] = []
    end = 0
    for match in _TORN_START.finditer(text):
        if match.start() < end:
            continue
        parts.append(text[end : match.start()])
        blank = _BLANK.search(text, match.start() + MAX_LINK_CHARS)
        end = blank.start() if blank else len(text)
        parts.append(_join_words(text[match.start() : end]))
    return "".join([*parts, text[end:]]) if parts else text


def _join_words(text: str) -> str:
    parts = _BLANK.split(text)
    words = [*parts[::2], ""]
    joined = [words[0]]
    for at, blank in enumerate(parts[1::2], start=1):
        tail = _LINK_START.search(joined[-1][-MAX_LINK_CHARS:]) if joined[-1] else None
        if tail and words[at] and _continues_link(tail[0], words[at : at + _MAX_PIECES + 1]):
            joined[-1] += words[at]
        else:
            joined += [blank, words[at]]
    return "".join(joined)


def _continues_link(link: str, words: Sequence[str]) -> bool:
    """Whether the first of the next words belongs to the link before it."""
    word, folded = words[0], link.casefold()
    if folded in ("http", "https"):
        return word.startswith((":/", ": /")) or word == ":"
    if folded.startswith("http") and "://" not in folded:
        return folded.endswith((":", ":/")) and word.startswith("/")
    if folded.endswith(("://", "://www.")) or folded == "www.":
        return bool(_HOST.match(word))
    if folded.startswith("pic."):
        return folded in ("pic.", "pic.twitter.", "pic.twitter.com") and word.startswith(("twitter.", "com/", "/"))
    host, slash, _ = folded.partition("://")[2].partition("/")
    if not host:
        return False
    if not slash:
        return bool(_HOST_END.match(word)) if host.endswith(".") else word[:1] == "/" and word[1:2].isalnum()
    if word in _ELLIPSES or _PATH_START.match(word) or (folded.endswith("/") and _PATH_PART.match(word)):
        return True
    return _leads_to_ellipsis(words)


def _leads_to_ellipsis(words: Sequence[str]) -> bool:
    """Whether the words are pieces of a link that was cut: `pu mp-news.html …`."""
    for word in words:
        if word == "…":
            return True
        if not _LINK_PIECE.fullmatch(word):
            return False
        if word.endswith("…"):
            return True
    return False


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
