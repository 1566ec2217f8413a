"""Recognises chat logs of any program by the shape of their lines: times and names that recur. Pure.

A diary with dates, a play with speakers and a list of times are no chat logs: a chat has a time and a name at a line.
In a few lines no name recurs, so the times must be close, as they are in a talk and not in a timetable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MIN_SHARE = 0.5  # of lines that begin with a time and a name
MIN_LONG_SHARE = 0.2  # the same if date and time are there: messages have several lines
MAX_LINE_CHARS = 200  # in which a time and a name must stand
MAX_NAME_CHARS = 60
MAX_NAME_WORDS = 5
MAX_TALK_MINUTES = 3  # between the messages of a short chat
MAX_COUNTER_SECONDS = 30  # the same in a transcript, which begins at 0:00

_TIME = (
    r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:[.,]\d{1,6})?(?:[ \u00a0\u202f]?[AaPp]\.?\s?[Mm]\b\.?)?"
    r"(?: ?(?:UTC|GMT|Z\b|[+-]\d\d:?\d\d))?"
)
_HALF = r"(?:[^\W\d_A-Za-z]{1,4} ?)?"  # 오전, 下午: before the time
_MONTH_DATE = r"[^\W\d_]{3,10}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}|\d{1,2}\.?[ -][^\W\d_]{3,10}\.?,?[ -]\d{2,4}"
_NUMBER_DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\.?|\d{4}년 \d{1,2}월 \d{1,2}일|\d{4}年\d{1,2}月\d{1,2}日"
_DATE = rf"(?:[^\W\d_]{{2,10}}\.?,? )?(?:{_NUMBER_DATE}|{_MONTH_DATE})(?!\d)"
_MONTH = (
    r"(?i:jan|feb|fév|mar|mär|apr|abr|avr|may|mai|maj|mag|jun|jui|giu|jul|lug|aug|ago|aoû|sep|set|oct|okt|ott|out|nov"
    r"|dec|dez|dic|déc)[^\W\d_]{0,6}\.?"
)
_SHORT_DATE = rf"(?:(?<=[\[(])\d{{1,2}}[./]\d{{1,2}}\.?|\d{{1,2}}\.? {_MONTH}|{_MONTH} \d{{1,2}})"  # without a year
_GAP = r"(?:\]\[|[,T ]| at| um| à)+ ?"  # between a date and a time
_STAMP = (
    rf"[\[(]? ?(?:(?P<date>{_DATE})(?:{_GAP}{_HALF}(?P<time>{_TIME}))?|{_SHORT_DATE}{_GAP}{_HALF}(?P<short>{_TIME})"
    rf"|{_HALF}(?P<late>{_TIME}),? ?(?:{_DATE}|(?<=, ){_SHORT_DATE})|{_HALF}(?P<only>{_TIME}))"
    r" ?(?P<closed>[\])])?"
)
_NAME = rf"[^\s:<>\[\]|][^:<>\[\]\n]{{0,{MAX_NAME_CHARS}}}?"
_SPEAKER = (
    rf"(?:\[[^\[\]\n]{{1,40}}\]:? )?(?:\*{{3}} ?)?<[@+%~& ]?(?P<nick>{_NAME})>"
    rf"|(?P<event>-->|<--|--|-!-|\*{{1,3}}|→|←|⇐)(?=\s)"
    rf"|(?P<tabbed>{_NAME})\t(?=\S)|(?P<name>{_NAME}) ?:(?=\s|$)"
)
_LINE = re.compile(rf"\W{{0,3}}?{_STAMP}[\s,|–-]*(?:{_SPEAKER})")
_NICK_LINE = re.compile(rf"<[@+%~& ]?(?P<name>{_NAME})>\s+\S")
_NAME_FIRST = re.compile(rf"\[(?P<name>{_NAME})\] \[{_HALF}{_TIME}\] ")  # KakaoTalk
_ROW = re.compile(rf"(?:{_NUMBER_DATE})[,;\t] ?{_TIME}[,;\t](?P<name>[^,;\t]{{1,40}})[,;\t]")  # Viber
_DAY = r"(?:[^\W\d_]{3,10} (?:at|um|à) )?"  # Today at, Yesterday at
_MOMENT = (
    rf"{_DAY}(?:(?:(?P<dated>{_DATE})|{_SHORT_DATE})[,T ]+(?:at )?)?{_HALF}(?P<clock>{_TIME})"
    rf"(?:[, ]+(?P<dated_late>{_DATE}))?"
)
_NAME_STAMP = re.compile(rf"(?P<name>{_NAME}) ?(?:\[{_MOMENT}\]:? |\({_MOMENT.replace('?P<', '?P<round_')}\): )\S")
_HEADING = re.compile(
    rf"(?:{_STAMP}[\s,|–—-]*(?P<after>{_NAME})|\[?(?P<before>{_NAME})\]?[\s,|–—-]+(?P<opened>[\[(])?{_MOMENT}[\])]?:?)\s*"
)
_WEEKDAYS = frozenset(
    """
    monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur thurs fri sat sun montag dienstag
    mittwoch donnerstag freitag samstag sonnabend sonntag mo di mi do fr sa so lundi mardi mercredi jeudi vendredi
    samedi dimanche lunes martes miércoles jueves viernes sábado domingo
    """.split()  # noqa: SIM905
)
_BARE_STAMP = re.compile(rf"(?:(?i:{'|'.join(_WEEKDAYS)}) )?{_STAMP}(?: \([^()\n]*\))?\s*")


_SENTENCE_END = re.compile(r"(?:[!?…]|[^\W\d_A-Z]{3}\.)\s*\Z")  # no name ends so, but for an initial
_CLOCK = re.compile(r"(\d{1,2})[:.](\d{2})")
_OWN_NAMES = frozenset(("me", "you", "i", "ich", "du", "moi", "yo", "tú", "io", "eu", "ik", "jag", "jeg", "я", "我"))


@dataclass(frozen=True, slots=True)
class _ChatLine:
    """A line that begins a message. `name` is "" for an event; `is_sure` means that only chats have such lines."""

    name: str
    clock: str
    is_sure: bool


def is_chat_log(lines: Sequence[str]) -> bool:
    """Whether lines from the start of a text are a chat log."""
    stripped = [line[:MAX_LINE_CHARS].strip("\r\n\u200e\u200f\ufeff") for line in lines]
    written = [line for line in stripped if line.strip()]
    starts = {number for number, is_start in enumerate(_mark_blocks(stripped)) if is_start}
    starts = starts - {0} or starts  # the first block may be a title
    return bool(written) and (_has_stamped_lines(written, starts) or _has_headings(written, starts))


def _mark_blocks(lines: Sequence[str]) -> Iterator[bool]:
    """Yields for each line that is not blank whether a block begins there: a blank line is before it."""
    is_start = True
    for line in lines:
        if line.strip():
            yield is_start
        is_start = not line.strip()


def _has_stamped_lines(lines: Sequence[str], starts: set[int]) -> bool:
    """Whether most lines begin with a time and a name, or with a name in angle brackets."""
    found = {number: message for number, line in enumerate(lines) if (message := _parse_line(line))}
    names = Counter(message.name for message in found.values())
    sure, count = sum(message.is_sure for message in found.values()), len(found)
    if sure == len(lines) or (sure >= 2 and sure >= MIN_LONG_SHARE * len(lines)):
        return True
    if count >= 2 and count >= MIN_SHARE * len(lines) and _recur(names, count):
        return True
    return (count == len(lines) or starts <= set(found)) and _is_short_talk(list(found.values()))


def _parse_line(line: str) -> _ChatLine | None:
    """Returns the message that begins at a line, or None."""
    if stamped := _LINE.match(line):
        name = stamped["nick"] or stamped["tabbed"] or stamped["name"] or ""
        is_sure = bool(stamped["time"] or stamped["closed"] or stamped["nick"] or stamped["event"])
        is_message = bool(stamped["event"]) or _is_name(name)
        return _ChatLine(name, _clock_without_date(stamped), is_sure) if is_message else None
    if match := _NAME_FIRST.match(line) or _ROW.match(line) or _NICK_LINE.match(line):
        return _ChatLine(match["name"], "", match.re is not _NICK_LINE) if _is_name(match["name"]) else None
    if (match := _NAME_STAMP.match(line.replace("*", ""))) and _is_name(match["name"]):
        return _ChatLine(match["name"], match["clock"] or match["round_clock"], False)
    return None


def _clock_without_date(stamped: re.Match[str]) -> str:
    """Returns the time of a stamp that has no year before it, or ""."""
    return stamped["only"] or stamped["short"] or stamped["late"] or ""


def _has_headings(lines: Sequence[str], starts: set[int]) -> bool:
    """Whether a time and a name stand over each message, on one line or on two."""
    found: dict[int, _ChatLine] = {}
    dated = 0
    for number, (line, following) in enumerate(zip(lines, [*lines[1:], ""], strict=True)):
        line, at = line.replace("*", ""), number
        stamp, heading, name, clock, is_dated = _BARE_STAMP.fullmatch(line), _HEADING.fullmatch(line), "", "", False
        if stamp and stamp["time"]:
            is_phrase = following[:1].islower() and " " in following
            name = "" if is_phrase or _HEADING.fullmatch(following) else following
            is_dated = True
        elif stamp and stamp["only"] and number and number not in starts and number - 1 not in found:
            at, name, clock = number - 1, lines[number - 1], stamp["only"]
        elif heading and not stamp and heading["before"]:
            name, clock = heading["before"], heading["clock"]
            is_dated = bool(heading["opened"] and (heading["dated"] or heading["dated_late"]))
        elif heading and not stamp and (heading["time"] or _clock_without_date(heading)):
            name, clock = heading["after"] or "", _clock_without_date(heading)
            is_dated = bool(heading["date"])
        if _is_name(name) and not _SENTENCE_END.search(name):
            found[at] = _ChatLine(name.strip(), clock, bool(heading and heading["opened"]) and is_dated)
            dated += is_dated
    names = Counter(message.name for message in found.values())
    if len(found) < 2:
        return False
    if starts <= set(found) and (
        all(message.is_sure for message in found.values()) or _is_short_talk(list(found.values()))
    ):
        return True
    return len(found) >= MIN_LONG_SHARE * len(lines) and (_recur(names, len(found)) or (len(names) <= 2 <= dated))


def _is_short_talk(messages: Sequence[_ChatLine]) -> bool:
    """Whether a few messages have names and close times, not all of them full five minutes as in a timetable."""
    clocks = [_CLOCK.match(message.clock) for message in messages]
    minutes = [int(clock[1]) * 60 + int(clock[2]) for clock in clocks if clock]
    names = [message.name for message in messages]
    if len(minutes) < max(2, len(messages)) or any(len(name.split()) > 3 or _has_digit(name) for name in names):
        return False
    limit = MAX_COUNTER_SECONDS if messages[0].clock.startswith("0:") else MAX_TALK_MINUTES
    is_close = all(0 <= after - before <= limit for before, after in pairwise(minutes))
    is_own = any(name.strip().casefold() in _OWN_NAMES for name in names)
    return is_own or (is_close and any(minute % 5 for minute in minutes))


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def _is_name(name: str) -> bool:
    if name.strip().casefold() in _WEEKDAYS:
        return False
    return 0 < len(name.strip()) <= MAX_NAME_CHARS and len(name.split()) <= MAX_NAME_WORDS


def _recur(names: Counter[str], count: int) -> bool:
    """Whether few people write: chapters and verses have ever new words where a chat has a name."""
    return len(names) < count and len(names) <= max(2, count // 2)
