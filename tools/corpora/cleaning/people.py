"""Whose words, from when, under which name: what is asked for by an option. Pure; it sees threads one by one."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator

from tools.corpora.anonymous import CANNOT, Inventions
from tools.corpora.cleaning.counts import Counts
from tools.corpora.errors import NothingTaken
from tools.corpora.names import folded
from tools.corpora.record import Record
from tools.corpora.rendering import goes_on

CONTEXT = 20  # lines of others before one of the person's that stay, for what it answers
NAMED = 12  # names in a message to the operator


def written_since(records: Iterator[Record], since: float, counts: Counts) -> Iterator[Record]:
    """What was written before goes; what has no date stays, and is told."""
    count, undated = counts.of("since"), 0
    for record in records:
        if record.when is not None and record.when < since:
            count.drop(record.text)
            continue
        undated += record.when is None
        yield record
    if undated:
        texts = "1 text has" if undated == 1 else f"{undated:,} texts have"
        counts.notes.append(f"--since: {texts} no date, and {'stays' if undated == 1 else 'stay'}")


def of_person(records: Iterator[Record], person: str, counts: Counts) -> Iterator[Record]:
    """The person's own texts, in dialogue with what led up to them; books and tweets that nobody signed stay.

    Raises NothingTaken, with the names there are, once all is read and nobody was meant.
    """
    count, wanted = counts.of("person"), folded(person)
    names: Counter[str] = Counter()
    before: deque[Record] = deque()
    last: Record | None = None
    for record in records:
        names[record.who] += 1
        if before and (last is None or not goes_on(last, record)):
            _drop(before, counts)
        last = record
        if not record.who and record.kind != "message":
            yield record
        elif record.who and wanted in folded(record.who):
            yield from before
            before.clear()
            yield record
        else:
            before.append(record)
            if len(before) > (CONTEXT if record.kind == "message" else 0):
                count.drop(before.popleft().text)
    _drop(before, counts)
    _tell(person, wanted, names, counts)


def _drop(before: deque[Record], counts: Counts) -> None:
    for record in before:
        counts.of("person").drop(record.text)
    before.clear()


def _tell(person: str, wanted: str, names: Counter[str], counts: Counts) -> None:
    del names[""]
    counts.people = {name: number for name, number in names.most_common() if wanted in folded(name)}
    if not counts.people:
        there = f"there are {_listed(names)}" if names else "no text here has a name"
        raise NothingTaken(f"--person {person}: nobody is called that; {there}")
    if len(counts.people) > 1:
        meant = _listed(Counter(counts.people))
        counts.notes.append(f"--person {person} takes {len(counts.people)} people: {meant}; give more of the name")


def _listed(names: Counter[str]) -> str:
    most = ", ".join(f"{name} ({number:,})" for name, number in names.most_common(NAMED))
    return most + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")


def anonymised(records: Iterator[Record], inventions: Inventions, counts: Counts) -> Iterator[Record]:
    """Inventions for all that can be known, and a word on what cannot. No examples: they would be names."""
    count = counts.of("anonymous")
    counts.notes.append(CANNOT)
    for record in records:
        other = inventions.record(record)
        count.changed += (other.text, other.who) != (record.text, record.who)
        yield other
