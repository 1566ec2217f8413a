"""The report of a corpus, its warnings and the sample of documents."""

import argparse
import io
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_errors import raises_tool_error

from tools.corpus import print_report, report, storage
from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.metadata import ImportBatch
from tools.corpus.record import Record, RecordKind
from tools.corpus.statistics import (
    CorpusStatistics,
    RepeatedTexts,
    StatisticsCollector,
    drop_pattern,
    find_warnings,
)
from tools.train import options as train_options

HOUR = 3600.0
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path))


def message(
    text: str, who: str = "Ann", thread: str = "t", when: float | None = None, kind: RecordKind = "message"
) -> Record:
    return Record("s", thread, text, who, when, kind)


def make_corpus(
    records: Iterable[Record], name: str = "attic", batch: ImportBatch | None = None, **fields: Any
) -> None:
    """Writes a corpus as `corpus add` does. `fields` are of CleaningOptions."""
    options = CleaningOptions(**fields)
    counts = CleaningCounts()
    with storage.open_draft(name) as draft:
        for record in records:
            draft.add_record(record)
        draft.write_kept_records(clean_records(draft.all_records(), options, counts))
        draft.commit(batches=(batch,) if batch else (), options=options, counts=counts.to_dict())


def measure(records: Iterable[Record]) -> CorpusStatistics:
    collector = StatisticsCollector(records)
    list(collector.iter_documents())
    return collector.to_statistics()


def warnings_of(statistics: CorpusStatistics, tokens: int = 10**7, **fields: Any) -> str:
    return "\n".join(find_warnings(statistics, CleaningOptions(**fields), tokens, 4096))


def printed_report(name: str = "attic") -> str:
    stream = io.StringIO()
    print_report.print_report(report.build_report(name), stream)
    return stream.getvalue()


TALK = [message("Hi, how are you?", "Bob", when=0), message("Well &amp; happy", when=1.0), message(" ", when=2.0)]
BATCH = ImportBatch(
    "facebook.zip",
    "messenger",
    "2026-11-21",
    members=3,
    digests=("d",),
    records=3,
    skipped={"a photo": 7, "a call": 2},
    damaged=(("facebook.zip: inbox/x.json", "its CRC is wrong"),),
    warned=(("tweets.csv", "its first row was no header, and is kept"),),
    left={".xyz": 4},
)


def test_a_report_has_the_counts_of_found_kept_and_dropped_records() -> None:
    make_corpus(TALK, batch=BATCH)
    attic = report.build_report("attic")
    statistics = attic.statistics
    assert (attic.counts.read, statistics.texts, statistics.documents) == (3, 2, 1)
    assert (statistics.lines, statistics.words, statistics.people_count) == (2, 9, 2)
    assert statistics.characters == statistics.bytes == len("Bob: Hi, how are you?\nAnn: Well & happy")
    assert attic.skipped == {"a photo": 7, "a call": 2}
    assert attic.unclaimed == {".xyz": 4}
    assert attic.training.counted
    assert 8 <= attic.training.tokens <= 20


def test_a_printed_report_has_warnings_first_and_lists_damaged_files() -> None:
    make_corpus(TALK, batch=BATCH)
    lines = printed_report().splitlines()
    assert lines[0].startswith("attic: 3 texts found, 2 kept, 1 document of")
    assert lines[1] == "! tweets.csv: its first row was no header, and is kept"
    assert "too few for one step" in lines[2]
    text = "\n".join(lines)
    parts = ("facebook.zip", "messenger", "a photo", ".xyz", "CRC is wrong", "entities", "empty", "Well &amp; happy")
    for part in parts:
        assert part in text, part
    assert "mojibake" not in text  # this step changed nothing
    assert "an epoch of training embedded (10.2 M parameters)" in text


def test_a_report_as_json_is_complete_without_the_secret() -> None:
    talk = [message("Bob &amp; you?", "Bob", when=3.0), *TALK]
    make_corpus(talk, batch=BATCH, anonymous=True, secret="hush", person="b", without=frozenset({"links"}))
    data = json.loads(json.dumps(report.build_report("attic").to_dict()))
    assert "hush" not in json.dumps(data)
    assert data["sources"][0]["damaged"] == [["facebook.zip", "its CRC is wrong"]]
    assert data["cleaning"]["steps"]["empty"]["dropped"] == 1
    assert data["options"]["without"] == ["links"]
    assert any("cannot know nicknames" in warning for warning in data["warnings"])
    assert "Bob" not in json.dumps(data)  # not in the examples of the steps either


def test_tokens_of_a_large_corpus_are_estimated_within_three_per_cent(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(1)
    words = (
        "the",
        "platen",
        "is",
        "held",
        "by",
        "two",
        "screws",
        "and",
        "a",
        "spring",
        "pulling",
        "its",
        "pawl,",
        "so",
    )
    make_corpus([message(" ".join(generator.choices(words, k=9)), when=float(n)) for n in range(4000)])
    counted = report.build_report("attic").training
    monkeypatch.setattr(report, "MAX_COUNTED_BYTES", 20_000)
    estimated = report.build_report("attic").training
    assert counted.counted
    assert not estimated.counted
    assert estimated.tokens == pytest.approx(counted.tokens, rel=0.03)
    assert "about" in printed_report()


def test_the_estimate_is_by_bytes_and_not_by_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    make_corpus([message("the spring and the pawl " * (1 + 20 * (n % 2)), when=float(n)) for n in range(400)])
    counted = report.build_report("attic").training.tokens
    half = -(-storage.read_metadata("attic").kept_bytes // 2)  # every second line is counted, the long ones
    monkeypatch.setattr(report, "MAX_COUNTED_BYTES", half)
    assert report.build_report("attic").training.tokens == pytest.approx(counted, rel=0.1)


def test_the_report_loads_no_torch(tmp_path: Path) -> None:
    make_corpus([message("One and, two.")])
    code = "import sys; from tools.corpus import report; report.build_report('attic'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_an_epoch_of_ten_times_the_text_takes_ten_times_as_long_and_no_more_memory() -> None:
    make_corpus([message(f"line {number}, and more", when=float(number)) for number in range(200)], "one")
    make_corpus([message(f"line {number}, and more", when=float(number)) for number in range(2000)], "ten")
    one, ten = report.build_report("one").training, report.build_report("ten").training
    assert ten.seconds == pytest.approx(10 * one.seconds, rel=0.1)
    assert ten.memory == one.memory
    assert ten.steps == (ten.tokens - 1) // (one.context * one.batch)
    # Measured: 2,600 tokens/s on two cores, so 29.3 million tokens take 187 minutes.
    assert 75 * 60 < one.seconds / one.tokens * 29.3e6 < 187 * 60 * 1.5


def test_a_missing_corpus_is_an_error() -> None:
    with raises_tool_error("missing", "no corpus 'attic'"):
        report.build_report("attic")


def test_an_empty_corpus_is_reported() -> None:
    make_corpus([message(" ")])
    assert "no text is left after cleaning" in printed_report()
    with raises_tool_error("damaged", "asr33 corpus report attic"):
        print_report.print_documents("attic", 3, 0, io.StringIO())


def test_missing_commas_are_a_warning() -> None:
    without = [message("no pauses here at all " * 10)] * 200
    assert "not one comma in 200 texts" in warnings_of(measure(without))
    assert "only 1 comma in" in warnings_of(measure([*without, message("one, here")]))
    assert "only 2 commas in" in warnings_of(measure([*without, message("one, two, here")]))
    assert "not one comma in" in warnings_of(measure([*without, message("one; two; here")]))
    assert "comma" not in warnings_of(measure([message("a pause, here and there " * 10)] * 200))
    assert "comma" not in warnings_of(measure([message("日本語の文章です。" * 20)] * 200))


def test_one_very_long_text_among_short_ones_is_a_warning() -> None:
    tweets = [message("short, and sweet " * 5, kind="tweet", thread="")] * 500
    joined = measure([*tweets, message("x" * 13982, kind="tweet")])
    assert "1 text of up to 13,982 characters among others of 85" in warnings_of(joined)
    short = [message("ok", when=float(n)) for n in range(9)]
    assert "among others" not in warnings_of(measure([*short, message("x, " * 400)]))
    assert measure([message("x" * length) for length in (1, 2, 3, 50, 60)]).median == 3
    assert "among others" not in warnings_of(measure([*tweets, message("x, " * 300, kind="tweet")]))
    assert "among others" not in warnings_of(measure([*tweets, message("x, " * 9000, kind="document")]))


def test_capitals_damaged_letters_and_entities_are_warnings() -> None:
    assert "100 % of the letters are capitals" in warnings_of(measure([message("SHOUT, NOW")] * 9))
    assert "capitals" not in warnings_of(measure([message("日本語 ok")] * 9))
    damaged = measure([message("cafÃ©"), message("donâ€™t"), message("café’s")])
    assert "2 texts with damaged letters" in warnings_of(damaged)
    assert "1 text with entities" in warnings_of(measure([message("a &amp; b"), message("AT&T; R&D")]))


def repeated_in(texts: Iterable[tuple[str, str]]) -> tuple[tuple[str, int, float], ...]:
    return measure(message(text, who) for who, text in texts).repeated


def test_a_text_that_a_program_repeats_is_named_with_its_cure() -> None:
    own = [("Ann", f"text {n}") for n in range(400)]
    notice = [("Ann", "Ann hat einen Anhang gesendet.")] * 5
    assert repeated_in(own + notice) == (("Ann hat einen Anhang gesendet.", 5, 5 / 405),)
    words = warnings_of(measure(message(text, who) for who, text in own + notice))
    assert "5 texts (1 %) are the same, 'Ann hat einen Anhang gesendet.': if a program wrote them, drop them" in words
    assert words.endswith("--drop 'Ann hat einen Anhang gesendet.'")
    assert "the same" not in warnings_of(measure(message(text, who) for who, text in own * 2 + notice))
    assert repeated_in([("Ann", "yes")] * 4 + own) == ()


def test_a_text_that_begins_with_the_writer_is_one_text_for_all_writers() -> None:
    texts = [(f"Person {n}", f"Person {n} hat etwas gesendet.") for n in range(9)]
    assert [text[:2] for text in repeated_in(texts)] == [("* hat etwas gesendet.", 9)]
    first_names = [(f"P{n} Quist", f"P{n} hat etwas gesendet.") for n in range(9)]
    assert [text[:2] for text in repeated_in(first_names)] == [("* hat etwas gesendet.", 9)]
    mixed = [("Ann", "Bob hat etwas gesendet.")] * 5 + [("Ann", "Ann hat etwas gesendet.")] * 5
    assert {text[0] for text in repeated_in(mixed)} == {"Bob hat etwas gesendet.", "Ann hat etwas gesendet."}


@given(st.lists(st.sampled_from("abc"), max_size=200), st.integers(0, 6000))
def test_frequent_texts_are_found_among_many_others(frequent: list[str], others: int) -> None:
    counter = RepeatedTexts()
    for number in range(max(others, len(frequent))):
        if number < len(frequent):
            counter.add_record(message(frequent[number]))
        if number < others:
            counter.add_record(message(f"text {number}"))
    missed = (others + len(frequent)) // 4097
    found = dict(counter.most_common())
    for text in "abc":
        if (count := frequent.count(text)) >= 5 + missed:
            assert count - missed <= found[text] <= count


@given(st.text(max_size=200))
def test_the_pattern_of_a_text_drops_it(text: str) -> None:
    records = [message(text)]
    for kept in clean_records(records, CleaningOptions(), CleaningCounts()):
        options = CleaningOptions(drop=(drop_pattern(kept.text),))
        assert list(clean_records(records, options, CleaningCounts())) == []


def test_the_report_lists_repeated_texts_and_what_was_dropped() -> None:
    make_corpus([*(message(f"{n}") for n in range(20)), *[message("Sticker")] * 5])
    assert re.search(r"Identical texts\ntext +times +of all\nSticker +5 +20.0 %", printed_report())
    make_corpus([message("Sticker"), message("hi")], "bare", drop=("Stick*",))
    assert "cleaned with --drop 'Stick*'" in printed_report("bare")
    assert storage.read_metadata("bare").options.drop == ("Stick*",)


def test_an_anonymous_corpus_shows_no_name_in_a_pattern() -> None:
    make_corpus([message("Zoe was here.", "Zoe")] * 6, anonymous=True, secret="s", drop=("Zoe*x",))
    assert "Zoe" not in printed_report()
    assert report.build_report("attic").statistics.repeated[0][0] == "* was here."


def test_more_than_half_from_one_person_is_a_warning_unless_selected() -> None:
    uneven = measure([message("long, long words " * 9), message("short", "Bob"), message("short", "Cy", thread="u")])
    assert "is from Ann: the model will imitate this person" in warnings_of(uneven)
    assert "is from Ann" not in warnings_of(uneven, person="ann")
    assert "% is from t: the model will mostly imitate it" in warnings_of(uneven)
    assert "is from" not in warnings_of(measure([message("alone")]))
    assert "is from" not in warnings_of(measure([message("even"), message("even", "Bob", thread="u")]))


def test_a_corpus_too_small_to_train_is_a_warning() -> None:
    statistics = measure([message("a, b")])
    assert "too few for one step of 4,096" in warnings_of(statistics, 4000)
    assert "memorised" in warnings_of(statistics, 50_000)
    assert "are few" in warnings_of(statistics, 500_000)
    assert not warnings_of(statistics)


def test_show_selects_documents_by_seed_in_corpus_order() -> None:
    make_corpus([message(f"tweet {number}", kind="tweet", thread="") for number in range(1, 101)])

    def show(count: int, seed: int) -> str:
        stream = io.StringIO()
        print_report.print_documents("attic", count, seed, stream)
        return stream.getvalue()

    assert show(5, 1) == show(5, 1) != show(5, 2)
    numbers = [int(line.split()[-1]) for line in show(5, 1).splitlines() if line.startswith("tweet")]
    assert numbers == sorted(numbers)
    assert len(numbers) == 5
    assert show(200, 0).count("of 100,") == 100
    tweets = {line for seed in range(60) for line in show(5, seed).splitlines() if line.startswith("tweet")}
    assert len(tweets) > 85


def test_show_truncates_long_texts_and_hides_escapes() -> None:
    make_corpus([Record("s", "book", "\x1b[31mred\n" + "x" * 5000)], without=frozenset({"characters"}))
    stream = io.StringIO()
    print_report.print_documents("attic", 1, 0, stream)
    text = stream.getvalue()
    assert text.startswith("--- document 1 of 1, 5,009 characters\n·[31mred\nxxx")
    assert text.endswith("--- and 3,009 characters more\n")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1, "a second"), (100, "100 seconds"), (200, "3 minutes"), (9000, "2 hours"), (9e5, "10 days")],
)
def test_an_estimated_duration_has_one_or_two_digits(seconds: float, words: str) -> None:
    assert print_report.format_duration(seconds) == words


def test_names_in_an_archive_cannot_control_the_terminal() -> None:
    sly = "a.zip: \x1b]0;sly\x07\u202e\x9b31m.txt"
    make_corpus(TALK, batch=ImportBatch("\x1b[2J.zip", "text", "2026", damaged=((sly, "cut"),), warned=((sly, "odd"),)))
    text = printed_report()
    assert "cut" in text
    assert "odd" in text
    assert {c for c in text if not c.isprintable()} == {"\n"}


def test_the_report_of_an_anonymous_corpus_names_no_folders() -> None:
    location = "facebook.zip: inbox/annelee_7/message_1.json"
    damaged, warned = ((location, f"{location} is cut"),), ((location, "odd"),)
    batch = ImportBatch("facebook.zip", "messenger", "2026", damaged=damaged, warned=warned)
    make_corpus(TALK, batch=batch, anonymous=True, secret="s")
    attic = report.build_report("attic")
    assert "annelee" not in printed_report() + json.dumps(attic.to_dict())
    assert attic.batches[0].damaged == (("facebook.zip", "facebook.zip is cut"),)
    make_corpus(TALK, "named", batch=batch)
    assert "annelee" in printed_report("named")


@given(st.integers(0, 10**9), st.sampled_from([64, 512, 1024]), st.integers(1, 64))
def test_the_advised_steps_are_some_epochs_and_never_too_few(tokens: int, context: int, batch: int) -> None:
    steps, trained = report.advise_steps(tokens, context, batch), int(report.TRAINED_SHARE * tokens)
    if trained <= context * batch + context:
        assert steps == 0
        return
    exact = max(report.MIN_ADVISED_STEPS, report.ADVISED_EPOCHS * trained / (context * batch))
    assert exact <= steps <= 1.1 * exact + 1
    assert len(str(steps).rstrip("0")) <= 2
    assert report.advise_steps(tokens + 1000, context, batch) >= steps


def test_the_report_names_a_command_that_trains_on_it(tmp_path: Path) -> None:
    words = ["The carriage", "returns", "with a thump", "and the bell", "rings"]
    rng = random.Random(1)
    texts = [message(f"{' '.join(rng.choices(words, k=9))} {number}.", when=60.0 * number) for number in range(4000)]
    make_corpus(texts)
    training = report.build_report("attic").training
    [line] = [line for line in printed_report().splitlines() if line.startswith("to train: asr33 train ")]
    parser = argparse.ArgumentParser()
    train_options.add_arguments(parser)
    args = parser.parse_args(line.split()[4:])
    assert train_options.parse_options(args).length.steps == training.advised_steps >= 100
    assert (str(args.texts[0]), args.base) == ("attic", "embedded")
    assert f"{report.ADVISED_EPOCHS} epochs and at least {report.MIN_ADVISED_STEPS} steps" in printed_report()
    page = (ROOT / "docs/training.md").read_text("utf-8")
    assert f"{report.ADVISED_EPOCHS} epochs" in page
    assert f"at least {report.MIN_ADVISED_STEPS} steps" in page


def test_a_corpus_that_is_too_small_once_a_tenth_is_held_out_has_a_warning_and_no_steps() -> None:
    make_corpus([message(f"{number} {'word ' * 40}", when=60.0 * number) for number in range(108)])
    small = report.build_report("attic")
    window = small.training.context * (small.training.batch + 1) + 1
    assert window < small.training.tokens < window / report.TRAINED_SHARE
    assert small.training.advised_steps == 0
    assert "too few for one step" in printed_report()
    assert "to train:" not in printed_report()
