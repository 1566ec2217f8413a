"""Whose words, from when, under which name: what is asked for by an option. Pure; it sees threads one by one."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator

from tools.corpus.anonymise import ANONYMITY_LIMITS, Pseudonymiser
from tools.corpus.cleaning.counts import CleaningCounts
from tools.corpus.errors import NothingTaken
from tools.corpus.name_match import fold_name
from tools.corpus.record import Record
from tools.corpus.rendering import is_same_document

CONTEXT_MESSAGES = 20  # lines of others before one of the person's that stay, for what it answers
MAX_NAMES = 12  # names in a message to the operator


def keep_since(records: Iterator[Record], since: float, counts: CleaningCounts) -> Iterator[Record]:
    """What was written before goes; what has no date stays, and is told."""
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


def keep_person(records: Iterator[Record], person: str, counts: CleaningCounts) -> Iterator[Record]:
    """The person's own texts, in dialogue with what led up to them; books and tweets that nobody signed stay.

    Raises NothingTaken, with the names there are, once all is read and nobody was meant.
    """
    count, wanted = counts.for_step("person"), fold_name(person)
    names: Counter[str] = Counter()
    before: deque[Record] = deque()
    last: Record | None = None
    for record in records:
        names[record.who] += 1
        if before and (last is None or not is_same_document(last, record)):
            _drop_pending(before, counts)
        last = record
        if not record.who and record.kind != "message":
            yield record
        elif record.who and wanted in fold_name(record.who):
            yield from before
            before.clear()
            yield record
        else:
            before.append(record)
            if len(before) > (CONTEXT_MESSAGES if record.kind == "message" else 0):
                count.count_drop(before.popleft().text)
    _drop_pending(before, counts)
    _record_matches(person, wanted, names, counts)


def _drop_pending(pending: deque[Record], counts: CleaningCounts) -> None:
    for record in pending:
        counts.for_step("person").count_drop(record.text)
    pending.clear()


def _record_matches(person: str, wanted: str, names: Counter[str], counts: CleaningCounts) -> None:
    del names[""]
    counts.people = {name: number for name, number in names.most_common() if wanted in fold_name(name)}
    if not counts.people:
        there = f"there are {_format_names(names)}" if names else "no text here has a name"
        raise NothingTaken(f"--person {person}: nobody is called that; {there}")
    if len(counts.people) > 1:
        meant = _format_names(Counter(counts.people))
        counts.notes.append(f"--person {person} takes {len(counts.people)} people: {meant}; give more of the name")


def _format_names(names: Counter[str]) -> str:
    most = ", ".join(f"{name} ({number:,})" for name, number in names.most_common(MAX_NAMES))
    return most + (f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else "")


def anonymise_records(
    records: Iterator[Record], pseudonymiser: Pseudonymiser, counts: CleaningCounts
) -> Iterator[Record]:
    """Inventions for all that can be known, and a word on what cannot. No examples: they would be names."""
    count = counts.for_step("anonymous")
    counts.notes.append(ANONYMITY_LIMITS)
    for record in records:
        other = pseudonymiser.anonymise_record(record)
        count.changed += (other.text, other.who) != (record.text, record.who)
        yield other
