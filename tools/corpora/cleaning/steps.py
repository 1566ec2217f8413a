"""All steps in their order, and the row of them that records go through. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator

from tools.corpora import anonymous
from tools.corpora.cleaning import characters, doubles, heads, network, pages, people
from tools.corpora.cleaning.counts import Count, Counts
from tools.corpora.cleaning.options import CleaningOptions
from tools.corpora.cleaning.step import Run, Step, changing, dividing, dropping
from tools.corpora.errors import StepUnknown
from tools.corpora.record import Kind, Record

_SAID: tuple[Kind, ...] = ("message", "tweet")


def _blanks(records: Iterator[Record], count: Count) -> Iterator[Record]:
    said = changing(characters.without_blanks, _SAID)(records, count)
    return changing(characters.blanks_put_right, ("document",))(said, count)


# What a step looks at must be whole by then: rows before their entities, characters before words, a link before the
# blanks that it leaves, all of it before what is empty or there twice.
_ROWS: tuple[tuple[str, str, Run], ...] = (
    ("rows", "tweets that an unbalanced quote ran together are parted", dividing(network.rows, ("tweet",))),
    ("entities", "&amp; and its like are the characters they stand for", changing(characters.entities_undone)),
    ("mojibake", "UTF-8 that was read as Latin-1 is read as UTF-8", changing(characters.mojibake_undone)),
    ("characters", "one form of each letter, one kind of line end, no control characters", changing(characters.normal)),
    ("heads", "running heads and page numbers go", pages.of_documents(heads.heads_removed)),
    ("leaders", "dotted lines are three dots, tables of contents go", pages.of_documents(pages.leaders_shortened)),
    ("hyphens", "words divided at line ends are whole, soft hyphens go", pages.of_documents(pages.words_joined)),
    ("notices", "sentences of the system's go (X left the group)", dropping(network.notice, ("message",))),
    ("retweets", "others' words go (RT @name, @name: at the start)", dropping(network.retweet, ("tweet",))),
    ("links", "links go, their labels stay", changing(network.links_removed)),
    ("blanks", "no blanks at line ends, no runs of empty lines", _blanks),
    ("empty", "texts with nothing to see go", dropping(doubles.empty)),
    ("doubles", "a text that is there twice stays once; in dialogue, of one second", doubles.doubles_dropped),
)
STEPS: dict[str, Step] = {name: Step(name, about, run) for name, about, run in _ROWS}


def cleaned(
    records: Iterable[Record], options: CleaningOptions, counts: Counts, named: Collection[str] = ()
) -> Iterator[Record]:
    """The records that are to be learnt from, as all steps but those `without` leave them; `counts` fills on the way.

    With `anonymous` the records are read twice, names first: it takes no iterator then, but what can be begun again;
    and those who are `named`, though they write nothing, are hidden as well.
    Raises StepUnknown at once; NothingTaken at the end, where nobody is the person.
    """
    for name in sorted(options.without - STEPS.keys()):
        near = difflib.get_close_matches(name, STEPS, 1)
        hint = f"did you mean {near[0]}" if near else f"there are {', '.join(STEPS)}"
        raise StepUnknown(f"--without {name}: no such step; {hint}")
    if options.anonymous and iter(records) is records:
        raise TypeError("anonymous records are read twice, names first: give what can be begun again")
    return _all_steps(records, options, counts, named)


def _all_steps(
    records: Iterable[Record], options: CleaningOptions, counts: Counts, named: Collection[str]
) -> Iterator[Record]:
    row = _read(records, counts)
    if options.since is not None:
        row = people.written_since(row, options.since, counts)
    for step in STEPS.values():
        if step.name not in options.without:
            row = step.run(row, counts.of(step.name))
    if "empty" in options.without:
        row = (record for record in row if record.text)  # whatever was asked, no step makes an empty text
    if options.person:
        row = people.of_person(row, options.person, counts)
    if options.anonymous:
        inventions = anonymous.Inventions(anonymous.people(records).union(named), options.secret)
        row = people.anonymised(row, inventions, counts)
    for record in row:
        counts.kept += 1
        yield record


def _read(records: Iterable[Record], counts: Counts) -> Iterator[Record]:
    for record in records:
        counts.read += 1
        yield record
