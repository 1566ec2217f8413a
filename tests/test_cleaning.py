"""The row of steps: order, counts, options; and what holds for every one of them."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.cleaning import STEPS, CleaningCounts, CleaningOptions, clean_records
from tools.corpus.cleaning.counts import StepCount, counts_from_dict
from tools.corpus.cleaning.deduplicate import TextHashSet
from tools.corpus.errors import NothingTaken, StepUnknown
from tools.corpus.record import Record, RecordKind

KINDS = st.sampled_from(["document", "message", "tweet"])
# What steps look for, among whatever there may be.
BITS = st.sampled_from(
    [
        *("&amp;", "&amp;amp;", "Ã©", "â€™", "\u00ad", "-\n", "\f", "......", " 12\n", "https://t.co/a1", "www."),
        *("RT @a: ", "\n\n\n", "  \n", "\u00a0", "@bob: ", "\ud83d", "\r\n", "<|endoftext|>", "(", ")", "\x00"),
        *("ﬁ", "e\u0301", "…", "Ann left the group."),
    ]
)
TEXTS = st.lists(BITS | st.text(max_size=8), max_size=12).map("".join)
RIGHT = [
    "Don’t — “quite” right… naïve café, 5 × 3 = 15 €",
    "ÉCLAIR «À L’AUBE» IRMÃ… ÄÖÜß",
    "Съешь ещё этих мягких французских булок",
    "色は匂へど 散りぬるを。",
    "شكرا جزيلا، مع السلامة",
    "हिन्दी में लिखना",
    "👩‍👩‍👧‍👦 ❤️ 🇬🇷 👍🏽 ok",
    "if a < b & c > d: x -= 1  # AT&T, R&D; a&b;",
    "wait......... what",
    "he said: see pp. 12-13, up-to-date",
    "3.14159 at 10:30 on 2019-11-26",
]


def one(
    text: str, kind: RecordKind = "message", who: str = "Ann", when: float | None = None, thread: str = "t"
) -> Record:
    return Record("s", thread, text, who, when, kind)


def clean(records: list[Record], without: tuple[str, ...] = (), person: str = "") -> tuple[list[str], CleaningCounts]:
    counts = CleaningCounts()
    options = CleaningOptions(person=person, without=frozenset(without))
    return [record.text for record in clean_records(records, options, counts)], counts


def test_what_is_right_stays_as_it_is_in_every_script() -> None:
    kept, counts = clean([one(text, kind) for text in RIGHT for kind in ("message", "tweet")])
    assert kept == [text for text in RIGHT for _ in range(2)]
    assert not any(counts.steps.values())
    assert (counts.read, counts.kept) == (2 * len(RIGHT), 2 * len(RIGHT))


def test_what_is_right_stays_in_a_book_as_well() -> None:
    right = [text for text in RIGHT if "......" not in text]  # a dotted line is none of a book's words
    assert clean([one("\n".join(right), "document")])[0] == ["\n".join(right)]


@given(st.lists(st.builds(one, TEXTS, KINDS), max_size=4))
def test_whatever_comes_nothing_is_raised_and_nothing_empty_is_kept(records: list[Record]) -> None:
    kept, counts = clean(records)
    assert all(text.strip() for text in kept)
    added = sum(count.added for count in counts.steps.values())
    dropped = sum(count.dropped for count in counts.steps.values())
    assert counts.read + added - dropped == counts.kept == len(kept)
    for text in kept:
        text.encode()


ONCE_IS_ENOUGH = sorted(STEPS.keys() - {"entities", "mojibake", "heads", "rows"})


@pytest.mark.parametrize("name", ONCE_IS_ENOUGH)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), kind=KINDS)
def test_a_second_time_changes_nothing(name: str, texts: list[str], kind: RecordKind) -> None:
    def run(records: list[Record]) -> list[Record]:
        return list(STEPS[name].run(iter(records), StepCount()))

    once = run([one(text, kind) for text in texts])
    assert run(once) == once


@pytest.mark.parametrize("name", STEPS)
def test_each_step_can_be_left_out_and_is_then_not_counted(name: str) -> None:
    _, counts = clean([one("a")], without=(name,))
    assert name not in counts.steps
    assert list(counts.steps) == [step for step in STEPS if step != name]


def test_a_step_that_is_none_is_told_with_what_was_meant() -> None:
    with pytest.raises(StepUnknown, match="--without linx: no such step; did you mean links"):
        clean_records([], CleaningOptions(without=frozenset({"linx"})), CleaningCounts())
    with pytest.raises(StepUnknown, match="there are rows, entities"):
        clean_records([], CleaningOptions(without=frozenset({"zzz"})), CleaningCounts())


def test_each_step_says_in_a_line_what_it_does() -> None:
    assert all(step.description and len(step.description) < 80 for step in STEPS.values())


def test_a_text_that_a_step_leaves_empty_goes_even_where_the_step_for_empty_ones_is_left_out() -> None:
    kept, counts = clean([one("https://t.co/abc"), one("stays")], without=("empty",))
    assert kept == ["stays"]
    assert counts.kept == 1


def test_counts_have_three_examples_at_the_place_that_changed() -> None:
    _, counts = clean([one(f"{'x' * 90} number {n} &amp; more") for n in range(5)])
    links = counts.for_step("entities")
    assert links.changed == 5
    assert len(links.examples) == 3
    assert "&amp; more -> …" in links.examples[0]


def test_counts_come_back_from_their_data() -> None:
    _, counts = clean([one("&amp;"), one(" "), one("x")], person="ann")
    assert counts_from_dict(counts.to_dict()) == counts
    assert counts.for_step("empty").dropped == 1
    assert counts.people == {"Ann": 2}


def test_records_stream() -> None:
    drawn = 0

    def endless() -> Iterator[Record]:
        nonlocal drawn
        while True:
            drawn += 1
            yield one(f"text {drawn}")

    row = clean_records(endless(), CleaningOptions(person="ann"), CleaningCounts())
    for _ in range(100):
        next(row)
    assert drawn < 110


def test_empty_is_what_leaves_no_mark_and_an_emoji_leaves_one() -> None:
    nothing = ["", " \n\t", "\u200b\u200d", "\ufeff", "\ufe0f", "\ufffc", "\u3164"]
    kept, counts = clean([one(text) for text in nothing] + [one("👍"), one("?")])
    assert kept == ["👍", "?"]
    assert counts.for_step("empty").dropped == len(nothing)


def test_a_tweet_comes_once_whatever_its_blanks_and_its_case_counts() -> None:
    kept, counts = clean([one(text, "tweet") for text in ("So  be it", "So be it", "so be it", "So be\nit")])
    assert kept == ["So  be it", "so be it"]
    assert counts.for_step("doubles").dropped == 2


def test_in_dialogue_one_may_say_a_thing_twice_but_not_in_the_same_second() -> None:
    records = [one("ok", when=10.2), one("ok", when=99.0), one("ok", when=10.9, thread="same chat, other export")]
    assert clean(records)[0] == ["ok", "ok"]
    assert clean([one("ok"), one("ok")])[0] == ["ok", "ok"]
    assert clean([one("ok", when=1.0), one("ok", who="Bob", when=1.0)])[0] == ["ok", "ok"]


def test_the_memory_of_doubles_is_sixteen_bytes_a_text_or_less_and_forgets_none() -> None:
    seen = TextHashSet()
    assert all(seen.add_if_new(f"text {number}") for number in range(20_000))
    assert not any(seen.add_if_new(f"text {number}") for number in range(20_000))
    assert len(seen._table) * seen._table.itemsize <= 20_000 * 8 * 3


def test_rows_that_ran_together_are_parted_into_tweets() -> None:
    tweets = ["Great job & thanks " + "x" * 120, "Second one " + "y" * 140, "Third, quite short"]
    kept, counts = clean([one("\n".join(tweets), "tweet", who="", thread="")])
    assert kept == tweets
    assert (counts.for_step("rows").changed, counts.for_step("rows").added) == (1, 2)


@pytest.mark.parametrize(
    "record",
    [
        one("short\nlines of one tweet", "tweet"),
        one("a line " * 30 + "\n" + "more " * 30, "tweet", when=1.0),
        one("x" * 300 + "\nand a line", "tweet"),
        one("a line\n" * 60, "message"),
        one("&amp;" * 50 + "\n" + "&amp;" * 50, "tweet"),
    ],
    ids=["short", "dated", "a line too long", "a message", "long by entities only"],
)
def test_what_may_be_one_tweet_is_not_parted(record: Record) -> None:
    kept, _ = clean([record], without=("entities", "blanks"))
    assert kept == [record.text]


def test_nobody_of_that_name_is_told_with_the_names_there_are() -> None:
    with pytest.raises(NothingTaken, match=r"--person zoe: nobody is called that; there are Bob \(2\), Ann \(1\)"):
        clean([one("a"), one("b", who="Bob"), one("c", who="Bob")], person="zoe")
    with pytest.raises(NothingTaken, match="no text here has a name"):
        clean([one("a", "document", who="")], person="zoe")
