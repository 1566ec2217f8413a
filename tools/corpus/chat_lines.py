"""Recognises chat logs of any program by the shape of their lines: times and names that recur. Pure.

A diary with dates, a play with speakers and a list of times are no chat logs: a chat has a time and a name at a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

MIN_SHARE = 0.5  # of lines that begin with a time and a name
MIN_LONG_SHARE = 0.2  # the same if date and time are there: messages have several lines
MAX_LINE_CHARS = 200  # in which a time and a name must stand
MAX_NAME_CHARS = 60
MAX_NAME_WORDS = 5

_TIME = (
    r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:[.,]\d{1,6})?(?:[ \u00a0\u202f]?[AaPp]\.?\s?[Mm]\b\.?)?"
    r"(?: ?(?:UTC|GMT|Z\b|[+-]\d\d:?\d\d))?"
)
_HALF = r"(?:[^\W\d_A-Za-z]{1,4} ?)?"  # 오전, 下午: before the time
_MONTH_DATE = r"[^\W\d_]{3,10}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}|\d{1,2}\.?[ -][^\W\d_]{3,10}\.?,?[ -]\d{2,4}"
_NUMBER_DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\.?|\d{4}년 \d{1,2}월 \d{1,2}일|\d{4}年\d{1,2}月\d{1,2}日"
_DATE = rf"(?:[^\W\d_]{{2,10}}\.?,? )?(?:{_NUMBER_DATE}|{_MONTH_DATE})"
_STAMP = (
    rf"[\[(]? ?(?:(?P<date>{_DATE})(?:(?:\]\[|[,T ]| at| um| à)+ ?{_HALF}(?P<time>{_TIME}))?|{_HALF}(?P<only>{_TIME}))"
    r" ?(?P<closed>[\])])?"
)
_NAME = rf"[^\s:<>\[\]|][^:<>\[\]\n]{{0,{MAX_NAME_CHARS}}}?"
_SPEAKER = (
    rf"(?:\*{{3}} ?)?<[@+%~& ]?(?P<nick>{_NAME})>|(?P<event>-->|<--|--|-!-|\*{{1,3}}|→|←|⇐)(?=\s)"
    rf"|(?P<tabbed>{_NAME})\t(?=\S)|(?P<name>{_NAME}) ?:(?=\s|$)"
)
_LINE = re.compile(rf"\W{{0,3}}?{_STAMP}[\s,|–-]*(?:{_SPEAKER})")
_NICK_LINE = re.compile(rf"<[@+%~& ]?(?P<name>{_NAME})>\s+\S")
_NAME_FIRST = re.compile(rf"\[(?P<name>{_NAME})\] \[{_HALF}{_TIME}\] ")  # KakaoTalk
_ROW = re.compile(rf"(?:{_NUMBER_DATE})[,;\t] ?{_TIME}[,;\t](?P<name>[^,;\t]{{1,40}})[,;\t]")  # Viber
_DAY = r"(?:[^\W\d_]{3,10} (?:at|um|à) )?"  # Today at, Yesterday at
_HEADING = re.compile(
    rf"(?:{_STAMP}[\s,|–—-]*(?P<after>{_NAME})|(?P<before>{_NAME})[\s,|–—-]+"
    rf"[\[(]?{_DAY}(?:(?:{_DATE})[,T ]+(?:at )?)?{_HALF}{_TIME}[\])]?)\s*"
)
_BARE_STAMP = re.compile(rf"{_STAMP}(?: \([^()\n]*\))?\s*")


def is_chat_log(lines: Sequence[str]) -> bool:
    """Whether lines from the start of a text are a chat log."""
    lines = [line[:MAX_LINE_CHARS].strip("\r\n\u200e\u200f\ufeff") for line in lines if line.strip()]
    return bool(lines) and (_has_stamped_lines(lines) or _has_headings(lines))


def _has_stamped_lines(lines: Sequence[str]) -> bool:
    """Whether most lines begin with a time and a name, or with a name in angle brackets."""
    sure = count = 0
    names: Counter[str] = Counter()
    for line in lines:
        if stamped := _LINE.match(line):
            name = stamped["nick"] or stamped["tabbed"] or stamped["name"] or ""
            is_sure = bool(stamped["time"] or stamped["closed"] or stamped["nick"] or stamped["event"])
            is_message = bool(stamped["event"]) or _is_name(name)
        elif match := _NAME_FIRST.match(line) or _ROW.match(line) or _NICK_LINE.match(line):
            name, is_message, is_sure = match["name"], _is_name(match["name"]), match.re is not _NICK_LINE
        else:
            continue
        if is_message:
            names[name] += 1
            sure += is_sure
            count += 1
    if sure == len(lines) or (sure >= 2 and sure >= MIN_LONG_SHARE * len(lines)):
        return True
    return count >= 2 and count >= MIN_SHARE * len(lines) and _recur(names, count)


def _has_headings(lines: Sequence[str]) -> bool:
    """Whether a time and a name stand over each message, on one line or on two."""
    names: Counter[str] = Counter()
    headings = dated = 0
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        stamp, heading, name = _BARE_STAMP.fullmatch(line), _HEADING.fullmatch(line), ""
        if stamp and stamp["time"]:
            name = following if not _HEADING.fullmatch(following) else ""
        elif heading and not stamp and (heading["after"] is None or heading["time"] or heading["only"]):
            name = heading["after"] or heading["before"] or ""
        if _is_name(name):
            names[name.strip()] += 1
            headings += 1
            dated += bool(stamp and stamp["date"]) or bool(heading and heading["date"])
    is_enough = headings >= 2 and headings >= MIN_LONG_SHARE * len(lines)
    return is_enough and (_recur(names, headings) or (len(names) <= 2 <= dated))


def _is_name(name: str) -> bool:
    return 0 < len(name.strip()) <= MAX_NAME_CHARS and len(name.split()) <= MAX_NAME_WORDS


def _recur(names: Counter[str], count: int) -> bool:
    """Whether few people write: chapters and verses have ever new words where a chat has a name."""
    return len(names) < count and len(names) <= max(2, count // 2)
