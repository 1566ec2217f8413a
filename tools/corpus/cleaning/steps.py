"""The options of a cleaning, the steps for characters, the table of all steps in order, and their chain. Pure."""

from __future__ import annotations

import difflib
import html
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from drivers.text.control_sequences import remove_control_sequences
from tools.cli.errors import ToolError
from tools.corpus import anonymise
from tools.corpus.cleaning import deduplicate, people, social_noise
from tools.corpus.cleaning.counts import CleaningCounts, StepCount
from tools.corpus.cleaning.divided_words import join_divided_words
from tools.corpus.cleaning.gutenberg import cut_gutenberg
from tools.corpus.cleaning.library_notices import cut_library_notices
from tools.corpus.cleaning.links import remove_links
from tools.corpus.cleaning.mojibake import decode_quoted_printable, repair_mojibake, replace_c1_controls
from tools.corpus.cleaning.page_layout import change_documents, shorten_leaders
from tools.corpus.cleaning.repeated_lines import remove_page_marks, remove_repeated_lines
from tools.corpus.cleaning.running_heads import remove_running_heads
from tools.corpus.cleaning.step import CleaningStep, StepFunction, change_texts, drop_records, split_records
from tools.corpus.fields import format_count, repair_surrogates
from tools.corpus.record import Record, RecordKind


@dataclass(frozen=True, slots=True)
class CleaningOptions:
    """`person` is a part of a name, `since` is in seconds of UTC since 1970, `without` names the steps to leave out.

    `drop` has whole texts to drop, in which a star stands for any characters. `secret` is the key of the pseudonyms.
    With it anyone could test whether a name is in the corpus, so it is random and stays in the corpus's folder.
    """

    person: str = ""
    since: float | None = None
    anonymous: bool = False
    without: frozenset[str] = frozenset()
    secret: str = ""
    drop: tuple[str, ...] = ()


_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# ZERO WIDTH JOINER and the direction marks belong to texts; these characters do not.
_CONTROL_CHARACTER = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff]")
# Bold and underlined words of a printing terminal: `T BS T`, `_ BS T`.
_UNDERSCORE_OVERSTRIKE = re.compile("([^\b\n])\b_(?!\b)")
_OVERSTRIKE = re.compile("(?:[^\b\n]\b)+([^\b\n])")
_LINE_END = re.compile("\r\n?|[\x85\u2028\u2029\x0b]")
_UNUSUAL_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
_EMPTY_LINES = re.compile(r"\n{3,}")
_LEADING_EMPTY_LINES = re.compile(r"\A(?:[ \t]*\n)+")


def unescape_entities(text: str) -> str:
    """Unescapes HTML entities once, so `&amp;lt;` becomes `&lt;`. An entity without its semicolon is kept."""
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text) if "&" in text else text


def normalise_characters(text: str) -> str:
    """Returns the text in NFC with one kind of line end, without control characters and surrogates. Form feeds stay."""
    if text.isascii() and text.isprintable():
        return text
    if "\b" in text or "\x1b" in text:
        text = _OVERSTRIKE.sub(r"\1", remove_control_sequences(_UNDERSCORE_OVERSTRIKE.sub(r"\1", text)))
    text = _LINE_END.sub("\n", repair_surrogates(text))
    return unicodedata.normalize("NFC", _CONTROL_CHARACTER.sub("", text))


def normalise_whitespace(text: str) -> str:
    """Normalises spaces; removes blanks at line ends, outer empty lines, and repeated inner ones."""
    lines = _UNUSUAL_SPACE.sub(" ", text.replace("\f", "\n")).split("\n")
    text = "\n".join(line.rstrip(" \t") for line in lines)
    return _LEADING_EMPTY_LINES.sub("", _EMPTY_LINES.sub("\n\n", text)).rstrip("\n")


def strip_whitespace(text: str) -> str:
    """Normalises whitespace and removes the indentation, for messages and tweets."""
    return normalise_whitespace(text).strip(" \t\n")


_SHORT_KINDS: tuple[RecordKind, ...] = ("message", "tweet")


def _normalise_whitespace(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
    changed = change_texts(strip_whitespace, _SHORT_KINDS)(records, count)
    return change_texts(normalise_whitespace, ("document",))(changed, count)


def _repair_encoding(text: str) -> str:
    return replace_c1_controls(repair_mojibake(decode_quoted_printable(text)))


def _repair_encodings(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
    """Repairs the texts, and the names with them."""
    repair_name = lru_cache(1 << 12)(_repair_encoding)
    for record in change_texts(_repair_encoding)(records, count):
        if record.who.isascii() and record.thread.isascii():
            yield record
        else:
            yield replace(record, who=repair_name(record.who), thread=repair_name(record.thread))


def _drop_retweets(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
    own = drop_records(social_noise.is_retweet, ("tweet",))(records, count)
    return change_texts(social_noise.cut_retweet, ("tweet",))(own, count)


def _remove_heads(document: str) -> str:
    """Removes running heads at page borders, then those inside pages and in texts without pages."""
    return remove_page_marks(remove_repeated_lines(remove_running_heads(document)))


# Each step needs the result of the earlier ones: rows before entities, characters before words, links before blanks,
# all changes before empty texts and duplicates.
_STEP_TABLE: tuple[tuple[str, str, StepFunction], ...] = (
    ("rows", "split tweets that an unbalanced quote joined", split_records(social_noise.split_rows, ("tweet",))),
    ("entities", "replace &amp; and other entities by their characters", change_texts(unescape_entities)),
    ("mojibake", "repair UTF-8 that was read in a wrong encoding, quoted-printable", _repair_encodings),
    (
        "characters",
        "use one form of each letter and line end, remove control characters",
        change_texts(normalise_characters),
    ),
    ("gutenberg", "cut the header and licence of Project Gutenberg", cut_gutenberg),
    ("imprints", "cut the notices of Google Books, Wikisource and other digital libraries", cut_library_notices),
    ("heads", "remove running heads and page numbers", change_documents(_remove_heads)),
    ("leaders", "shorten dot leaders, remove tables of contents", change_documents(shorten_leaders)),
    ("hyphens", "join words divided at line ends, remove soft hyphens", change_documents(join_divided_words)),
    ("notices", "drop system notices (X left the group)", drop_records(social_noise.is_notice, ("message",))),
    ("retweets", "drop retweets (RT @name, @name: at the start), cut them behind own words", _drop_retweets),
    ("links", "remove links, keep their labels", change_texts(remove_links)),
    ("blanks", "remove blanks at line ends and repeated empty lines", _normalise_whitespace),
    ("empty", "drop texts without visible characters", drop_records(deduplicate.is_empty)),
    ("doubles", "drop duplicates; of messages only those of the same second", deduplicate.drop_duplicates),
)
STEPS: dict[str, CleaningStep] = {name: CleaningStep(name, description, run) for name, description, run in _STEP_TABLE}


def clean_records(
    records: Iterable[Record], options: CleaningOptions, counts: CleaningCounts, known_people: Collection[str] = ()
) -> Iterator[Record]:
    """Yields the records that the steps keep, and fills `counts`. The steps in `options.without` do not run.

    With `anonymous` the records are read twice, so an iterator is refused; names in `known_people` are replaced too.
    Raises ToolError ("argument" at once for an unknown step, "damaged" at the end if no name matches the person, or if
    a file does not name its writers and the corpus shall be anonymous).
    """
    for name in sorted(options.without - STEPS.keys()):
        similar = difflib.get_close_matches(name, STEPS, 1)
        hint = f"did you mean {similar[0]}" if similar else f"there are {', '.join(STEPS)}"
        raise ToolError(f"--without {name}: no such step; {hint}", "argument")
    if options.anonymous and iter(records) is records:
        raise TypeError("anonymous records are read twice: pass an iterable, not an iterator")
    return _run_steps(records, options, counts, known_people)


def _run_steps(
    records: Iterable[Record], options: CleaningOptions, counts: CleaningCounts, known_people: Collection[str]
) -> Iterator[Record]:
    stream = _count_read(records, counts)
    if "mojibake" not in options.without:
        known_people = {*known_people, *map(_repair_encoding, known_people)}
    if options.since is not None:
        stream = people.keep_since(stream, options.since, counts)
    for step in STEPS.values():
        if step.name not in options.without:
            stream = step.run(stream, counts.for_step(step.name))
    if "empty" in options.without:
        stream = (record for record in stream if record.text)  # the removal of links may leave an empty text
    if options.drop:
        stream = people.drop_texts(stream, options.drop, counts)
    if options.person:
        stream = people.keep_person(stream, options.person, counts)
    if options.anonymous:
        pseudonymiser = anonymise.Pseudonymiser(people.require_writers(records).union(known_people), options.secret)
        stream = people.anonymise_records(stream, pseudonymiser, counts)
    unreadable = unreadable_texts = 0
    for record in stream:
        counts.kept += 1
        if "\ufffd" in record.text:
            unreadable_texts += 1
            unreadable += record.text.count("\ufffd")
        yield record
    if unreadable:
        where = f"in {format_count(unreadable_texts, 'text')}"
        counts.notes.append(f"{format_count(unreadable, 'unreadable character')} (\ufffd) {where}: look at the file")
    counts.notes += filter(None, (count.cut_note(step) for step, count in counts.steps.items()))


def _count_read(records: Iterable[Record], counts: CleaningCounts) -> Iterator[Record]:
    for record in records:
        counts.read += 1
        yield record
