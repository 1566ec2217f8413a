"""Signal's messages as programs of old wrote them: CSV with the columns of its tables, XML of SMS Backup & Restore.

CSV is of signal-back, or of signalbackup-tools --exportcsv. In both the address is the other one's, whoever wrote:
only the type tells. There are no names in CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.corpora import csv_rows
from tools.corpora.csv_rows import Row
from tools.corpora.fields import medium, moment, words
from tools.corpora.lines import as_windows, decoded, lines, of_table
from tools.corpora.members import Member
from tools.corpora.record import Damaged, Found, Record, Skipped, Warned
from tools.corpora.sources.signal_text import HOLE, NOBODY
from tools.corpora.sources.signal_type import outgoing, why_none
from tools.corpora.sources.signal_xml import Element, elements
from tools.corpora.threads import by_thread, told

_NEEDED = {"thread_id", "body"}
_DATES = ("date_sent", "date", "date_received")
_TYPES = ("message_box", "msg_box", "type")
_ADDRESSES = ("from_recipient_id", "recipient_id", "address")
_TOLD = 3

_RECEIVED, _DRAFT = "1", "3"
_SENT = frozenset({"2", "4", "5", "6"})  # sent, outbox, failed, queued


def is_table(head: bytes) -> bool:
    """Whether a file begins with the names of columns that a table of messages has."""
    first = decoded(head.split(b"\n", 1)[0])[0]
    columns = {name.strip(' "').lower() for name in first.split(",")}
    return columns >= _NEEDED and not columns.isdisjoint(_TYPES) and not columns.isdisjoint(_DATES)


def is_xml(head: bytes) -> bool:
    """Whether a file is XML of messages; a DTD, which such a file never has, is refused in the reading."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<smses" in head


def in_table(member: Member) -> Iterator[Found]:
    """All messages of a CSV, thread by thread."""
    return by_thread(told(_Rows(member).found(), member))


def in_xml(member: Member) -> Iterator[Found]:
    """All messages of an XML, thread by thread."""
    return by_thread(told((_sms(one, member.place) for one in elements(member)), member))


class _Rows:
    """The rows of a CSV, and what is wrong with it."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._foreign = self._long = 0
        self._damaged: list[tuple[int, str]] = []
        self._unbalanced: list[int] = []

    def found(self) -> Iterator[Found]:
        """Raises MemberRefused."""
        lines = self._lines()
        columns = _columns(next(lines, (0, ""))[1])
        for row in csv_rows.rows(lines, len(columns), lambda cells: _is_row(columns, cells)):
            if cells := _fitting(row, columns):
                if not row.whole:
                    self._unbalanced.append(row.line)
                yield _row(dict(zip(columns, cells, strict=True)), self._member.place)
            else:
                self._damaged.append((row.line, f"{len(row.cells)} cells, not {len(columns)}"))
        yield from self._faults()

    def _faults(self) -> Iterator[Found]:
        place = self._member.place
        for line, why in self._damaged[:_TOLD]:
            yield Damaged(f"{place}, line {line}", why)
        if len(self._damaged) > _TOLD:
            yield Damaged(place, f"{len(self._damaged) - _TOLD} more lines are damaged")
        if self._long:
            yield Damaged(place, f"{self._long} lines are too long for a message")
        if self._unbalanced:
            some = ", ".join(map(str, self._unbalanced[:_TOLD])) + (", ..." if len(self._unbalanced) > _TOLD else "")
            yield Warned(place, f"quotes and commas that are none of CSV, taken as they stand, in line {some}")
        if self._foreign:
            yield Warned(place, as_windows(self._foreign))

    def _lines(self) -> Iterator[tuple[int, str]]:
        for number, line in lines(self._member, blank=True):
            text, whole = of_table(line or b"")
            self._foreign += not whole
            self._long += line is None
            yield number, text


def _columns(header: str) -> list[str]:
    cells = csv_rows.cells_of(header)
    return [name.strip().lower() for name in (cells if isinstance(cells, list) else header.split(","))]


def _fitting(row: Row, columns: Sequence[str]) -> list[str]:
    """As many cells as columns, or none. The commas of a text without quotes are its own."""
    more, at = len(row.cells) - len(columns), columns.index("body") if "body" in columns else -1
    if not more:
        return row.cells
    if row.whole or more < 0 or at < 0:
        return []
    cells = [*row.cells[:at], ",".join(row.cells[at : at + more + 1]), *row.cells[at + more + 1 :]]
    return cells if _is_row(columns, cells) else []


def _is_row(columns: Sequence[str], cells: Sequence[str]) -> bool:
    """Whether there are numbers where a row has them, and so it is no part of a text."""
    row = dict(zip(columns, cells, strict=True))
    dated = any(moment(row.get(name)) is not None for name in _DATES)
    return dated and any((row.get(name) or "").isdigit() for name in _TYPES)


def _row(row: dict[str, str], place: str) -> Found:
    kind = next((row[name] for name in _TYPES if row.get(name)), "")
    number = int(kind) if kind.isascii() and kind.isdigit() else 20
    text = words(row["body"]).replace(HOLE, f"@{NOBODY.lower()}")
    if why := why_none(number) or ("" if text else "an empty message"):
        return Skipped(place, why)
    mine = outgoing(number)
    address = next((row[name] for name in _ADDRESSES if row.get(name)), NOBODY)
    return Record(
        source=place,
        thread=f"Thread {words(row['thread_id'])}",
        text=text,
        who="Me" if mine else words(address),
        when=next((when for name in _DATES if (when := moment(row.get(name))) is not None), None),
        kind="message",
        mine=mine,
    )


def _sms(element: Element, place: str) -> Found:
    kind = _attribute(element, "type") or _attribute(element, "msg_box")
    text = _attribute(element, "body") or element.text
    if kind == _DRAFT:
        return Skipped(place, "a draft")
    if kind != _RECEIVED and kind not in _SENT:
        return Skipped(place, "a notice")
    if not text:
        return Skipped(place, medium(element.content_type) if element.content_type else "an empty message")
    address = _attribute(element, "address")
    name = _attribute(element, "contact_name")
    with_whom = name if name and name != "(Unknown)" else address or NOBODY
    sender = with_whom if element.sender in ("", address) else element.sender
    return Record(
        source=place,
        thread=with_whom,
        text=text,
        who="Me" if kind in _SENT else sender,
        when=moment(_attribute(element, "date")),
        kind="message",
        mine=kind in _SENT,
    )


def _attribute(element: Element, name: str) -> str:
    """Its text; the format has `null` for none."""
    text = words(element.attributes.get(name))
    return "" if text == "null" else text
