"""Reads old exports of Signal: CSV with the columns of its tables, and XML of SMS Backup & Restore.

CSV comes from signal-back, or from signalbackup-tools --exportcsv, and has no names. In both formats the address is the
address of the other person, and only the type tells who wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.corpus.archive import Member
from tools.corpus.fields import as_text, as_timestamp, describe_attachment, format_numbers
from tools.corpus.importers.signal_message import MENTION_MARK, UNKNOWN_NAME, is_outgoing, skip_reason
from tools.corpus.importers.signal_xml import SmsElement, iter_elements
from tools.corpus.jsonl import decode_line, iter_lines, not_utf8_message
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning
from tools.corpus.tables import csv_rows
from tools.corpus.tables.csv_rows import CsvRow
from tools.corpus.threads import catch_damage, sort_by_thread

_REQUIRED_COLUMNS = {"thread_id", "body"}
_DATE_COLUMNS = ("date_sent", "date", "date_received")
_TYPE_COLUMNS = ("message_box", "msg_box", "type")
_ADDRESS_COLUMNS = ("from_recipient_id", "recipient_id", "address")
_MAX_REPORTED = 3

_RECEIVED, _DRAFT = "1", "3"
_SENT = frozenset({"2", "4", "5", "6"})  # sent, outbox, failed, queued


def is_table(head: bytes) -> bool:
    """Whether a file begins with the column names of a table of messages."""
    header = decode_line(head.split(b"\n", 1)[0])[0]
    columns = {name.strip(' "').lower() for name in header.split(",")}
    has_type, has_date = not columns.isdisjoint(_TYPE_COLUMNS), not columns.isdisjoint(_DATE_COLUMNS)
    return columns >= _REQUIRED_COLUMNS and has_type and has_date


def is_xml(head: bytes) -> bool:
    """Whether a file is XML with messages. A DTD is refused while reading."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<smses" in head


def read_table(member: Member) -> Iterator[ImportItem]:
    """Yields all messages of a CSV file, thread by thread."""
    return sort_by_thread(catch_damage(_TableReader(member).read_items(), member))


def read_xml(member: Member) -> Iterator[ImportItem]:
    """Yields all messages of an XML file, thread by thread."""
    items = (_sms_to_item(element, member.location) for element in iter_elements(member))
    return sort_by_thread(catch_damage(items, member))


class _TableReader:
    """Reads the rows of a CSV file and collects its faults."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._not_utf8 = self._too_long = 0
        self._damaged: list[tuple[int, str]] = []
        self._unbalanced: list[int] = []

    def read_items(self) -> Iterator[ImportItem]:
        """Yields the messages, then the faults. Raises MemberError."""
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
        location = self._member.location
        for line, reason in self._damaged[:_MAX_REPORTED]:
            yield DamagedItem(f"{location}, line {line}", reason)
        if len(self._damaged) > _MAX_REPORTED:
            yield DamagedItem(location, f"{len(self._damaged) - _MAX_REPORTED} more lines are damaged")
        if self._too_long:
            yield DamagedItem(location, f"{self._too_long} lines are too long for a message")
        if self._unbalanced:
            numbers = format_numbers(self._unbalanced, _MAX_REPORTED)
            message = f"quotes and commas that are not valid CSV, kept as they are, in line {numbers}"
            yield SourceWarning(location, message)
        if self._not_utf8:
            yield SourceWarning(location, not_utf8_message(self._not_utf8))

    def _iter_lines(self) -> Iterator[tuple[int, str]]:
        for number, line in iter_lines(self._member, keep_blank=True):
            text, is_utf8 = decode_line(line or b"")
            self._not_utf8 += not is_utf8
            self._too_long += line is None
            yield number, text


def _column_names(header: str) -> list[str]:
    cells = csv_rows.parse_cells(header)
    return [name.strip().lower() for name in (cells if isinstance(cells, list) else header.split(","))]


def _fit_cells(row: CsvRow, columns: Sequence[str]) -> list[str]:
    """Returns as many cells as columns, or none. Surplus commas belong to an unquoted text."""
    surplus = len(row.cells) - len(columns)
    if not surplus:
        return row.cells
    if row.is_valid or surplus < 0 or "body" not in columns:
        return []
    start = columns.index("body")
    end = start + surplus + 1
    cells = [*row.cells[:start], ",".join(row.cells[start:end]), *row.cells[end:]]
    return cells if _is_row(columns, cells) else []


def _is_row(columns: Sequence[str], cells: Sequence[str]) -> bool:
    """Whether the cells have numbers where a row has them, and so are not part of a text."""
    row = dict(zip(columns, cells, strict=True))
    has_date = any(as_timestamp(row.get(name)) is not None for name in _DATE_COLUMNS)
    return has_date and any((row.get(name) or "").isdigit() for name in _TYPE_COLUMNS)


def _row_to_item(row: dict[str, str], location: str) -> ImportItem:
    kind = next((row[name] for name in _TYPE_COLUMNS if row.get(name)), "")
    number = int(kind) if kind.isascii() and kind.isdigit() else 20
    text = as_text(row["body"]).replace(MENTION_MARK, f"@{UNKNOWN_NAME.lower()}")
    if reason := skip_reason(number) or ("" if text else "an empty message"):
        return SkippedItem(location, reason)
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
        reason = describe_attachment(element.content_type) if element.content_type else "an empty message"
        return SkippedItem(location, reason)
    address, name = _attribute(element, "address"), _attribute(element, "contact_name")
    partner = name if name and name != "(Unknown)" else address or UNKNOWN_NAME
    sender = partner if element.sender in ("", address) else element.sender
    return Record(
        source=location,
        thread=partner,
        text=text,
        who="Me" if kind in _SENT else sender,
        when=as_timestamp(_attribute(element, "date")),
        kind="message",
        mine=kind in _SENT,
    )


def _attribute(element: SmsElement, name: str) -> str:
    """Returns the text of an attribute; the format writes `null` for none."""
    text = as_text(element.attributes.get(name))
    return "" if text == "null" else text
