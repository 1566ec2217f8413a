"""The chain of cleaning steps: order, counts and options, and properties of every step."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_errors import raises_tool_error

from tools.corpus.cleaning import STEPS, CleaningCounts, CleaningOptions, clean_records
from tools.corpus.cleaning.counts import StepCount, counts_from_dict
from tools.corpus.cleaning.deduplicate import TextHashSet
from tools.corpus.record import Record, RecordKind

KINDS = st.sampled_from(["document", "message", "tweet"])
# Texts that the steps change, mixed with arbitrary text.
BITS = st.sampled_from(
    [
        *("&amp;", "&amp;amp;", "Ã©", "â€™", "\u00ad", "-\n", "\f", "......", " 12\n", "https://t.co/a1", "www."),
        *("RT @a: ", "\n\n\n", "  \n", "\u00a0", "@bob: ", "\ud83d", "\r\n", "<|endoftext|>", "(", ")", "\x00"),
        *("ﬁ", "e\u0301", "…", "Ann left the group."),
    ]
)
TEXTS = st.lists(BITS | st.text(max_size=8), max_size=12).map("".join)
CORRECT_TEXTS = [
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


def make_record(
    text: str, kind: RecordKind = "message", who: str = "Ann", when: float | None = None, thread: str = "t"
) -> Record:
    return Record("s", thread, text, who, when, kind)


def clean(records: list[Record], without: tuple[str, ...] = (), person: str = "") -> tuple[list[str], CleaningCounts]:
    counts = CleaningCounts()
    options = CleaningOptions(person=person, without=frozenset(without))
    return [record.text for record in clean_records(records, options, counts)], counts


def test_correct_texts_of_every_script_stay() -> None:
    texts, counts = clean([make_record(text, kind) for text in CORRECT_TEXTS for kind in ("message", "tweet")])
    assert texts == [text for text in CORRECT_TEXTS for _ in range(2)]
    assert not any(counts.steps.values())
    assert (counts.read, counts.kept) == (2 * len(CORRECT_TEXTS), 2 * len(CORRECT_TEXTS))


def test_correct_texts_stay_in_a_book() -> None:
    correct = [text for text in CORRECT_TEXTS if "......" not in text]  # books lose their leaders
    assert clean([make_record("\n".join(correct), "document")])[0] == ["\n".join(correct)]


@given(st.lists(st.builds(make_record, TEXTS, KINDS), max_size=4))
def test_no_text_raises_and_no_empty_text_is_kept(records: list[Record]) -> None:
    texts, counts = clean(records)
    assert all(text.strip() for text in texts)
    added = sum(count.added for count in counts.steps.values())
    dropped = sum(count.dropped for count in counts.steps.values())
    assert counts.read + added - dropped == counts.kept == len(texts)
    for text in texts:
        text.encode()


IDEMPOTENT_STEPS = sorted(STEPS.keys() - {"entities", "mojibake", "heads", "rows"})


@pytest.mark.parametrize("name", IDEMPOTENT_STEPS)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), kind=KINDS)
def test_each_step_is_idempotent(name: str, texts: list[str], kind: RecordKind) -> None:
    def run(records: list[Record]) -> list[Record]:
        return list(STEPS[name].run(iter(records), StepCount()))

    cleaned = run([make_record(text, kind) for text in texts])
    assert run(cleaned) == cleaned


@pytest.mark.parametrize("name", STEPS)
def test_each_step_can_be_left_out_and_is_not_counted(name: str) -> None:
    _, counts = clean([make_record("a")], without=(name,))
    assert name not in counts.steps
    assert list(counts.steps) == [step for step in STEPS if step != name]


def test_an_unknown_step_is_an_error_with_a_suggestion() -> None:
    with raises_tool_error("argument", "--without linx: no such step; did you mean links"):
        clean_records([], CleaningOptions(without=frozenset({"linx"})), CleaningCounts())
    with raises_tool_error("argument", "there are rows, entities"):
        clean_records([], CleaningOptions(without=frozenset({"zzz"})), CleaningCounts())


def test_each_step_has_a_description_of_one_line() -> None:
    assert all(step.description and len(step.description) < 80 for step in STEPS.values())


def test_an_empty_result_is_dropped_even_without_the_step_empty() -> None:
    texts, counts = clean([make_record("https://t.co/abc"), make_record("stays")], without=("empty",))
    assert texts == ["stays"]
    assert counts.kept == 1


def test_counts_have_three_examples_around_the_change() -> None:
    _, counts = clean([make_record(f"{'x' * 90} number {n} &amp; more") for n in range(5)])
    count = counts.for_step("entities")
    assert count.changed == 5
    assert len(count.examples) == 3
    assert "&amp; more -> …" in count.examples[0]


def test_counts_survive_a_round_trip() -> None:
    _, counts = clean([make_record("&amp;"), make_record(" "), make_record("x")], person="ann")
    assert counts_from_dict(counts.to_dict()) == counts
    assert counts.for_step("empty").dropped == 1
    assert counts.people == {"Ann": 2}


def test_records_are_streamed() -> None:
    numbers = itertools.count()
    records = (make_record(f"text {number}") for number in numbers)
    cleaned = clean_records(records, CleaningOptions(person="ann"), CleaningCounts())
    for _ in range(100):
        next(cleaned)
    assert next(numbers) < 110


def test_invisible_text_is_empty_and_an_emoji_is_not() -> None:
    invisible = ["", " \n\t", "\u200b\u200d", "\ufeff", "\ufe0f", "\ufffc", "\u3164"]
    texts, counts = clean(list(map(make_record, [*invisible, "👍", "?"])))
    assert texts == ["👍", "?"]
    assert counts.for_step("empty").dropped == len(invisible)


def test_a_tweet_is_kept_once_ignoring_blanks_but_not_case() -> None:
    variants = ("So  be it", "So be it", "so be it", "So be\nit")
    texts, counts = clean([make_record(text, "tweet") for text in variants])
    assert texts == ["So  be it", "so be it"]
    assert counts.for_step("doubles").dropped == 2


def test_a_repeated_message_stays_unless_it_has_the_same_second() -> None:
    records = [make_record("ok", when=10.2), make_record("ok", when=99.0)]
    records.append(make_record("ok", when=10.9, thread="same chat, other export"))
    assert clean(records)[0] == ["ok", "ok"]
    assert clean([make_record("ok"), make_record("ok")])[0] == ["ok", "ok"]
    assert clean([make_record("ok", when=1.0), make_record("ok", who="Bob", when=1.0)])[0] == ["ok", "ok"]


def test_the_hash_set_needs_at_most_sixteen_bytes_a_text() -> None:
    hashes = TextHashSet()
    assert all(hashes.add_if_new(f"text {number}") for number in range(20_000))
    assert not any(hashes.add_if_new(f"text {number}") for number in range(20_000))
    assert len(hashes._table) * hashes._table.itemsize <= 20_000 * 8 * 3


def test_joined_rows_are_split_into_tweets() -> None:
    tweets = ["Great job & thanks " + "x" * 120, "Second one " + "y" * 140, "Third, quite short"]
    texts, counts = clean([make_record("\n".join(tweets), "tweet", who="", thread="")])
    assert texts == tweets
    assert (counts.for_step("rows").changed, counts.for_step("rows").added) == (1, 2)


@pytest.mark.parametrize(
    "record",
    [
        make_record("short\nlines of one tweet", "tweet"),
        make_record("a line " * 30 + "\n" + "more " * 30, "tweet", when=1.0),
        make_record("x" * 300 + "\nand a line", "tweet"),
        make_record("a line\n" * 60, "message"),
        make_record("&amp;" * 50 + "\n" + "&amp;" * 50, "tweet"),
    ],
    ids=["short", "dated", "a line too long", "a message", "long by entities only"],
)
def test_a_possible_single_tweet_is_not_split(record: Record) -> None:
    texts, _ = clean([record], without=("entities", "blanks"))
    assert texts == [record.text]


def test_an_unknown_person_is_an_error_with_the_known_names() -> None:
    with raises_tool_error("damaged", r"--person zoe: no such name; there are Bob \(2\), Ann \(1\)"):
        clean([make_record("a"), make_record("b", who="Bob"), make_record("c", who="Bob")], person="zoe")
    with raises_tool_error("damaged", "no text has a name"):
        clean([make_record("a", "document", who="")], person="zoe")
