"""Signal's messages as programs of old wrote them: CSV with the columns of its tables, XML of SMS Backup & Restore.

CSV is of signal-back, or of signalbackup-tools --exportcsv. In both the address is the other one's, whoever wrote:
only the type tells. There are no names in CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.corpus import csv_rows
from tools.corpus.archive import Member
from tools.corpus.csv_rows import CsvRow
from tools.corpus.fields import as_text, as_timestamp, describe_attachment
from tools.corpus.importers.signal_mentions import MENTION_MARK, UNKNOWN_NAME
from tools.corpus.importers.signal_message_type import is_outgoing, skip_reason
from tools.corpus.importers.signal_xml import SmsElement, iter_elements
from tools.corpus.jsonl import decode_line, decode_table_line, iter_lines, windows_1252_message
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage, sort_by_thread

_REQUIRED_COLUMNS = {"thread_id", "body"}
_DATE_COLUMNS = ("date_sent", "date", "date_received")
_TYPE_COLUMNS = ("message_box", "msg_box", "type")
_ADDRESS_COLUMNS = ("from_recipient_id", "recipient_id", "address")
_MAX_REPORTED = 3

_RECEIVED, _DRAFT = "1", "3"
_SENT = frozenset({"2", "4", "5", "6"})  # sent, outbox, failed, queued


def is_table(head: bytes) -> bool:
    """Whether a file begins with the names of columns that a table of messages has."""
    first = decode_line(head.split(b"\n", 1)[0])[0]
    columns = {name.strip(' "').lower() for name in first.split(",")}
    return (
        columns >= _REQUIRED_COLUMNS and not columns.isdisjoint(_TYPE_COLUMNS) and not columns.isdisjoint(_DATE_COLUMNS)
    )


def is_xml(head: bytes) -> bool:
    """Whether a file is XML of messages; a DTD, which such a file never has, is refused in the reading."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<smses" in head


def read_table(member: Member) -> Iterator[ImportItem]:
    """All messages of a CSV, thread by thread."""
    return sort_by_thread(catch_damage(_TableReader(member).read_items(), member))


def read_xml(member: Member) -> Iterator[ImportItem]:
    """All messages of an XML, thread by thread."""
    return sort_by_thread(catch_damage((_sms_to_item(one, member.location) for one in iter_elements(member)), member))


class _TableReader:
    """The rows of a CSV, and what is wrong with it."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._not_utf8 = self._too_long = 0
        self._damaged: list[tuple[int, str]] = []
        self._unbalanced: list[int] = []

    def read_items(self) -> Iterator[ImportItem]:
        """Raises MemberRefused."""
        lines = self._iter_lines()
        columns = _column_names(next(lines, (0, ""))[1])
        for row in csv_rows.iter_rows(lines, len(columns), lambda cells: _is_row(columns, cells)):
            if cells := _fit_cells(row, columns):
                if not row.is_valid:
                    self._unbalanced.append(row.line_number)
                yield _row_to_item(dict(zip(columns, cells, strict=True)), self._member.location)
            else:
                self._damaged.append((row.line_number, f"{len(row.cells)} cells, not {len(columns)}"))
        yield from self._report_problems()

    def _report_problems(self) -> Iterator[ImportItem]:
        place = self._member.location
        for line, why in self._damaged[:_MAX_REPORTED]:
            yield DamagedItem(f"{place}, line {line}", why)
        if len(self._damaged) > _MAX_REPORTED:
            yield DamagedItem(place, f"{len(self._damaged) - _MAX_REPORTED} more lines are damaged")
        if self._too_long:
            yield DamagedItem(place, f"{self._too_long} lines are too long for a message")
        if self._unbalanced:
            some = ", ".join(map(str, self._unbalanced[:_MAX_REPORTED])) + (
                ", ..." if len(self._unbalanced) > _MAX_REPORTED else ""
            )
            yield SourceWarning(place, f"quotes and commas that are none of CSV, taken as they stand, in line {some}")
        if self._not_utf8:
            yield SourceWarning(place, windows_1252_message(self._not_utf8))

    def _iter_lines(self) -> Iterator[tuple[int, str]]:
        for number, line in iter_lines(self._member, keep_blank=True):
            text, whole = decode_table_line(line or b"")
            self._not_utf8 += not whole
            self._too_long += line is None
            yield number, text


def _column_names(header: str) -> list[str]:
    cells = csv_rows.parse_cells(header)
    return [name.strip().lower() for name in (cells if isinstance(cells, list) else header.split(","))]


def _fit_cells(row: CsvRow, columns: Sequence[str]) -> list[str]:
    """As many cells as columns, or none. The commas of a text without quotes are its own."""
    more, at = len(row.cells) - len(columns), columns.index("body") if "body" in columns else -1
    if not more:
        return row.cells
    if row.is_valid or more < 0 or at < 0:
        return []
    cells = [*row.cells[:at], ",".join(row.cells[at : at + more + 1]), *row.cells[at + more + 1 :]]
    return cells if _is_row(columns, cells) else []


def _is_row(columns: Sequence[str], cells: Sequence[str]) -> bool:
    """Whether there are numbers where a row has them, and so it is no part of a text."""
    row = dict(zip(columns, cells, strict=True))
    dated = any(as_timestamp(row.get(name)) is not None for name in _DATE_COLUMNS)
    return dated and any((row.get(name) or "").isdigit() for name in _TYPE_COLUMNS)


def _row_to_item(row: dict[str, str], location: str) -> ImportItem:
    kind = next((row[name] for name in _TYPE_COLUMNS if row.get(name)), "")
    number = int(kind) if kind.isascii() and kind.isdigit() else 20
    text = as_text(row["body"]).replace(MENTION_MARK, f"@{UNKNOWN_NAME.lower()}")
    if why := skip_reason(number) or ("" if text else "an empty message"):
        return SkippedItem(location, why)
    mine = is_outgoing(number)
    address = next((row[name] for name in _ADDRESS_COLUMNS if row.get(name)), UNKNOWN_NAME)
    return Record(
        source=location,
        thread=f"Thread {as_text(row['thread_id'])}",
        text=text,
        who="Me" if mine else as_text(address),
        when=next((when for name in _DATE_COLUMNS if (when := as_timestamp(row.get(name))) is not None), None),
        kind="message",
        mine=mine,
    )


def _sms_to_item(element: SmsElement, location: str) -> ImportItem:
    kind = _attribute(element, "type") or _attribute(element, "msg_box")
    text = _attribute(element, "body") or element.text
    if kind == _DRAFT:
        return SkippedItem(location, "a draft")
    if kind != _RECEIVED and kind not in _SENT:
        return SkippedItem(location, "a notice")
    if not text:
        return SkippedItem(
            location, describe_attachment(element.content_type) if element.content_type else "an empty message"
        )
    address = _attribute(element, "address")
    name = _attribute(element, "contact_name")
    with_whom = name if name and name != "(Unknown)" else address or UNKNOWN_NAME
    sender = with_whom if element.sender in ("", address) else element.sender
    return Record(
        source=location,
        thread=with_whom,
        text=text,
        who="Me" if kind in _SENT else sender,
        when=as_timestamp(_attribute(element, "date")),
        kind="message",
        mine=kind in _SENT,
    )


def _attribute(element: SmsElement, name: str) -> str:
    """Its text; the format has `null` for none."""
    text = as_text(element.attributes.get(name))
    return "" if text == "null" else text
