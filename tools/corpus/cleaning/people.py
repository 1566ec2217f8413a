"""Selects records by date, by text and by person, and anonymises records. Pure."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence

from tools.cli.errors import ToolError
from tools.corpus.anonymise import ANONYMITY_LIMITS, Pseudonymiser, fold_name
from tools.corpus.cleaning.counts import CleaningCounts
from tools.corpus.record import Record
from tools.corpus.rendering import is_same_document

CONTEXT_MESSAGES = 20  # messages of others that are kept before each of the person
MAX_NAMES = 12  # listed in a message


def keep_since(records: Iterator[Record], since: float, counts: CleaningCounts) -> Iterator[Record]:
    """Drops records older than `since`; records without a date stay and are counted in a note."""
    count, undated = counts.for_step("since"), 0
    for record in records:
        if record.when is not None and record.when < since:
            count.count_drop(record.text)
            continue
        undated += record.when is None
        yield record
    if undated:
        texts = "1 text has" if undated == 1 else f"{undated:,} texts have"
        counts.notes.append(f"--since: {texts} no date, and {'stays' if undated == 1 else 'stay'}")


def drop_texts(records: Iterator[Record], patterns: Sequence[str], counts: CleaningCounts) -> Iterator[Record]:
    """Drops the texts that match a pattern as a whole; a star stands for any characters.

    A pattern that matches nothing gives a note.
    """
    count = counts.for_step("drop")
    unused = set(patterns)
    regexes = {text: re.compile(".*".join(map(re.escape, text.strip().split("*"))), re.DOTALL) for text in patterns}
    for record in records:
        matching = next((text for text, regex in regexes.items() if regex.fullmatch(record.text.strip())), None)
        if matching is None:
            yield record
        else:
            unused.discard(matching)
            count.count_drop(record.text)
    counts.notes += [f"--drop {text}: no such text; a star stands for any characters" for text in sorted(unused)]


def keep_person(records: Iterator[Record], person: str, counts: CleaningCounts) -> Iterator[Record]:
    """Keeps the person's texts and the messages before each of them. Books and tweets without a writer stay.

    Raises ToolError ("damaged") at the end, with the known names, if no name matches.
    """
    count, folded_person = counts.for_step("person"), fold_name(person)
    names: Counter[str] = Counter()
    pending: deque[Record] = deque()
    previous: Record | None = None
    for record in records:
        names[record.who] += 1
        if pending and (previous is None or not is_same_document(previous, record)):
            _drop_pending(pending, counts)
        previous = record
        if not record.who and record.kind != "message":
            yield record
        elif record.who and folded_person in fold_name(record.who):
            yield from pending
            pending.clear()
            yield record
        else:
            pending.append(record)
            if len(pending) > (CONTEXT_MESSAGES if record.kind == "message" else 0):
                count.count_drop(pending.popleft().text)
    _drop_pending(pending, counts)
    _record_matches(person, folded_person, names, counts)


def _drop_pending(pending: deque[Record], counts: CleaningCounts) -> None:
    for record in pending:
        counts.for_step("person").count_drop(record.text)
    pending.clear()


def _record_matches(person: str, folded_person: str, names: Counter[str], counts: CleaningCounts) -> None:
    del names[""]
    counts.people = {name: number for name, number in names.most_common() if folded_person in fold_name(name)}
    if not counts.people:
        known = f"there are {_format_names(names)}" if names else "no text has a name"
        raise ToolError(f"--person {person}: no such name; {known}", "damaged")
    if len(counts.people) > 1:
        matches = _format_names(Counter(counts.people))
        counts.notes.append(f"--person {person} takes {len(counts.people)} people: {matches}; give more of the name")


def _format_names(names: Counter[str]) -> str:
    listed = ", ".join(f"{name} ({number:,})" for name, number in names.most_common(MAX_NAMES))
    return listed + (f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else "")


def require_writers(records: Iterable[Record]) -> frozenset[str]:
    """Returns all writers. Raises ToolError ("damaged") if a file names none: then the names in it are unknown too."""
    named: dict[str, bool] = {}
    writers: set[str] = set()
    for record in records:
        named[record.source] = named.get(record.source, False) or bool(record.who)
        writers.add(record.who)
    unnamed = [source for source, has_writer in named.items() if not has_writer]
    if unnamed:
        more = f" and {len(unnamed) - 1:,} more" if len(unnamed) > 1 else ""
        raise ToolError(
            f"--anonymous: {unnamed[0]}{more} does not say who wrote it, so the names in its texts are unknown and "
            "would stay; make a corpus of chats without such files, or leave --anonymous out",
            "damaged",
        )
    return frozenset(writers - {""})


def anonymise_records(
    records: Iterator[Record], pseudonymiser: Pseudonymiser, counts: CleaningCounts
) -> Iterator[Record]:
    """Replaces all names by pseudonyms. The count has no examples, since these would contain names."""
    count = counts.for_step("anonymous")
    counts.notes.append(ANONYMITY_LIMITS)
    for record in records:
        anonymous = pseudonymiser.anonymise_record(record)
        count.changed += (anonymous.text, anonymous.who) != (record.text, record.who)
        yield anonymous
