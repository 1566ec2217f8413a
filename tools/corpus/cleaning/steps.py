"""All steps in their order, and the row of them that records go through. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator

from tools.corpus import anonymise
from tools.corpus.cleaning import characters, deduplicate, page_layout, people, running_heads, social_noise
from tools.corpus.cleaning.counts import CleaningCounts, StepCount
from tools.corpus.cleaning.options import CleaningOptions
from tools.corpus.cleaning.step import CleaningStep, StepFunction, change_texts, drop_records, split_records
from tools.corpus.errors import StepUnknown
from tools.corpus.record import Record, RecordKind

_SHORT_KINDS: tuple[RecordKind, ...] = ("message", "tweet")


def _normalise_whitespace(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
    said = change_texts(characters.strip_whitespace, _SHORT_KINDS)(records, count)
    return change_texts(characters.normalise_whitespace, ("document",))(said, count)


# What a step looks at must be whole by then: rows before their entities, characters before words, a link before the
# blanks that it leaves, all of it before what is empty or there twice.
_STEP_TABLE: tuple[tuple[str, str, StepFunction], ...] = (
    (
        "rows",
        "tweets that an unbalanced quote ran together are parted",
        split_records(social_noise.split_rows, ("tweet",)),
    ),
    ("entities", "&amp; and its like are the characters they stand for", change_texts(characters.unescape_entities)),
    ("mojibake", "UTF-8 that was read as Latin-1 is read as UTF-8", change_texts(characters.repair_mojibake)),
    (
        "characters",
        "one form of each letter, one kind of line end, no control characters",
        change_texts(characters.normalise_characters),
    ),
    ("heads", "running heads and page numbers go", page_layout.change_documents(running_heads.remove_running_heads)),
    (
        "leaders",
        "dotted lines are three dots, tables of contents go",
        page_layout.change_documents(page_layout.shorten_leaders),
    ),
    (
        "hyphens",
        "words divided at line ends are whole, soft hyphens go",
        page_layout.change_documents(page_layout.join_divided_words),
    ),
    ("notices", "sentences of the system's go (X left the group)", drop_records(social_noise.is_notice, ("message",))),
    ("retweets", "others' words go (RT @name, @name: at the start)", drop_records(social_noise.is_retweet, ("tweet",))),
    ("links", "links go, their labels stay", change_texts(social_noise.remove_links)),
    ("blanks", "no blanks at line ends, no runs of empty lines", _normalise_whitespace),
    ("empty", "texts with nothing to see go", drop_records(deduplicate.is_empty)),
    ("doubles", "a text that is there twice stays once; in dialogue, of one second", deduplicate.drop_duplicates),
)
STEPS: dict[str, CleaningStep] = {name: CleaningStep(name, about, run) for name, about, run in _STEP_TABLE}


def clean_records(
    records: Iterable[Record], options: CleaningOptions, counts: CleaningCounts, known_people: Collection[str] = ()
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
    return _run_steps(records, options, counts, known_people)


def _run_steps(
    records: Iterable[Record], options: CleaningOptions, counts: CleaningCounts, known_people: Collection[str]
) -> Iterator[Record]:
    row = _count_read(records, counts)
    if options.since is not None:
        row = people.keep_since(row, options.since, counts)
    for step in STEPS.values():
        if step.name not in options.without:
            row = step.run(row, counts.for_step(step.name))
    if "empty" in options.without:
        row = (record for record in row if record.text)  # whatever was asked, no step makes an empty text
    if options.person:
        row = people.keep_person(row, options.person, counts)
    if options.anonymous:
        inventions = anonymise.Pseudonymiser(anonymise.collect_writers(records).union(known_people), options.secret)
        row = people.anonymise_records(row, inventions, counts)
    for record in row:
        counts.kept += 1
        yield record


def _count_read(records: Iterable[Record], counts: CleaningCounts) -> Iterator[Record]:
    for record in records:
        counts.read += 1
        yield record
