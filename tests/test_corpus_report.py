"""The report of a corpus, its warnings, and what is shown of it, on corpora that are really in a folder."""

import io
import json
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tools.corpus import print_report, report, storage
from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.errors import CorpusNotFound, NothingTaken
from tools.corpus.metadata import ImportBatch
from tools.corpus.record import Record, RecordKind
from tools.corpus.statistics import CorpusStatistics, StatisticsCollector
from tools.corpus.warnings import find_warnings

HOUR = 3600.0
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path))


def said(
    text: str, who: str = "Ann", thread: str = "t", when: float | None = None, kind: RecordKind = "message"
) -> Record:
    return Record("s", thread, text, who, when, kind)


def made(records: Iterable[Record], name: str = "attic", batch: ImportBatch | None = None, **asked: Any) -> None:
    """A corpus as `corpus add` leaves it."""
    options = CleaningOptions(**asked)
    counts = CleaningCounts()
    with storage.open_draft(name) as draft:
        for record in records:
            draft.add_record(record)
        draft.write_kept_records(clean_records(draft.all_records(), options, counts))
        draft.commit(batches=(batch,) if batch else (), options=options, counts=counts.to_dict())


def measured(records: Iterable[Record]) -> CorpusStatistics:
    measure = StatisticsCollector(records)
    list(measure.iter_documents())
    return measure.to_statistics()


def loud(figures: CorpusStatistics, tokens: int = 10**7, **asked: Any) -> str:
    return "\n".join(find_warnings(figures, CleaningOptions(**asked), tokens, 4096))


def drawn(name: str = "attic") -> str:
    stream = io.StringIO()
    print_report.print_report(report.build_report(name), stream)
    return stream.getvalue()


TALK = [said("Hi, how are you?", "Bob", when=0), said("Well &amp; happy", when=1.0), said(" ", when=2.0)]
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


def test_a_report_has_what_was_found_kept_and_dropped_and_why() -> None:
    made(TALK, batch=BATCH)
    found = report.build_report("attic")
    assert (found.counts.read, found.statistics.texts, found.statistics.documents) == (3, 2, 1)
    assert found.statistics.lines == 2
    assert found.statistics.words == 9
    assert found.statistics.characters == found.statistics.bytes == len("Bob: Hi, how are you?\nAnn: Well & happy")
    assert found.skipped == {"a photo": 7, "a call": 2}
    assert found.unclaimed == {".xyz": 4}
    assert found.training.counted
    assert 8 <= found.training.tokens <= 20
    assert found.statistics.people_count == 2


def test_a_report_on_paper_has_warnings_first_and_names_what_is_damaged() -> None:
    made(TALK, batch=BATCH)
    lines = drawn().splitlines()
    assert lines[0].startswith("attic: 3 texts found, 2 kept, 1 document of")
    assert lines[1] == "! tweets.csv: its first row was no header, and is kept"
    assert "too few for a single step" in lines[2]
    text = "\n".join(lines)
    for part in (
        "facebook.zip",
        "messenger",
        "a photo",
        ".xyz",
        "CRC is wrong",
        "entities",
        "empty",
        "Well &amp; happy",
    ):
        assert part in text, part
    assert "mojibake" not in text  # it had nothing to do
    assert "an epoch of training embedded (10.2 M parameters)" in text


def test_a_report_as_json_has_all_of_it_but_the_secret() -> None:
    talk = [said("Bob &amp; you?", "Bob", when=3.0), *TALK]
    made(talk, batch=BATCH, anonymous=True, secret="hush", person="b", without=frozenset({"links"}))
    data = json.loads(json.dumps(report.build_report("attic").to_dict()))
    assert "hush" not in json.dumps(data)
    assert data["sources"][0]["damaged"] == [["facebook.zip", "its CRC is wrong"]]
    assert data["cleaning"]["steps"]["empty"]["dropped"] == 1
    assert data["options"]["without"] == ["links"]
    assert any("cannot know nicknames" in warning for warning in data["warnings"])
    assert "Bob" not in json.dumps(data)  # not in the examples of steps that saw him either


def test_tokens_of_a_large_corpus_are_estimated_to_a_few_per_cent(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)
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
    made([said(" ".join(draw.choices(words, k=9)), when=float(n)) for n in range(4000)])
    whole = report.build_report("attic").training
    monkeypatch.setattr(report, "MAX_COUNTED_BYTES", 20_000)
    part = report.build_report("attic").training
    assert whole.counted
    assert not part.counted
    assert part.tokens == pytest.approx(whole.tokens, rel=0.03)
    assert "about" in drawn()


def test_the_estimate_is_by_bytes_and_not_by_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    made([said("the spring and the pawl " * (1 + 20 * (number % 2)), when=float(number)) for number in range(400)])
    whole = report.build_report("attic").training.tokens
    monkeypatch.setattr(
        report, "MAX_COUNTED_BYTES", -(-storage.read_metadata("attic").kept_bytes // 2)
    )  # every other line: long ones
    assert report.build_report("attic").training.tokens == pytest.approx(whole, rel=0.1)


def test_the_report_loads_no_torch(tmp_path: Path) -> None:
    made([said("One and, two.")])
    program = "import sys; from tools.corpus import report; report.figures('attic'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_an_epoch_of_ten_times_the_text_takes_ten_times_as_long_and_no_more_memory() -> None:
    made([said(f"line {number}, and more", when=float(number)) for number in range(200)], "one")
    made([said(f"line {number}, and more", when=float(number)) for number in range(2000)], "ten")
    one, ten = report.build_report("one").training, report.build_report("ten").training
    assert ten.seconds == pytest.approx(10 * one.seconds, rel=0.1)
    assert ten.memory == one.memory
    assert ten.steps == (ten.tokens - 1) // (one.context * one.batch)
    # 29.3 million tokens of this shape take two cores 187 minutes, at the 2,600 a second that were measured.
    assert 75 * 60 < one.seconds / one.tokens * 29.3e6 < 187 * 60 * 1.5


def test_a_corpus_that_is_not_there_is_told() -> None:
    with pytest.raises(CorpusNotFound, match="no corpus 'attic'"):
        report.build_report("attic")


def test_nothing_left_is_told_and_not_shown() -> None:
    made([said(" ")])
    assert "nothing is left to learn from" in drawn()
    with pytest.raises(NothingTaken, match="asr33 corpus report attic"):
        print_report.print_documents("attic", 3, 0, io.StringIO())


def test_a_corpus_without_commas_is_told() -> None:
    without = measured([said("no pauses here at all " * 10)] * 200)
    assert "not one comma in 200 texts" in loud(without)
    assert "only 1 commas" in loud(measured([said("no pauses here at all " * 10)] * 200 + [said("one, here")]))
    assert "comma" not in loud(measured([said("a pause, here and there " * 10)] * 200))
    assert "comma" not in loud(measured([said("日本語の文章です。" * 20)] * 200))


def test_one_text_of_14000_characters_among_short_ones_is_told() -> None:
    tweets = [said("short, and sweet " * 5, kind="tweet", thread="")] * 500
    assert "1 text of up to 13,982 characters among others of 85" in loud(
        measured([*tweets, said("x" * 13982, kind="tweet")])
    )
    assert "among others" not in loud(measured([*[said("ok", when=float(n)) for n in range(9)], said("x, " * 400)]))
    assert measured([said("x" * length) for length in (1, 2, 3, 50, 60)]).median == 3
    assert "among others" not in loud(measured([*tweets, said("x, " * 300, kind="tweet")]))
    assert "among others" not in loud(measured([*tweets, said("x, " * 9000, kind="document")]))


def test_capitals_spoilt_letters_and_entities_are_told() -> None:
    assert "100 % of the letters are capitals" in loud(measured([said("SHOUT, NOW")] * 9))
    assert "capitals" not in loud(measured([said("日本語 ok")] * 9))
    assert "2 texts with letters spoilt" in loud(measured([said("cafÃ©"), said("donâ€™t"), said("café’s")]))
    assert "1 text still with entities" in loud(measured([said("a &amp; b"), said("AT&T; R&D")]))


def test_more_than_half_from_one_is_told_unless_he_is_meant() -> None:
    mostly = measured([said("long, long words " * 9), said("short", "Bob"), said("short", "Cy", thread="u")])
    assert "is from Ann: the model will speak like that" in loud(mostly)
    assert "is from Ann" not in loud(mostly, person="ann")
    assert "% is from t: the model will mostly talk as there" in loud(mostly)
    assert "is from" not in loud(measured([said("alone")]))
    assert "is from" not in loud(measured([said("even"), said("even", "Bob", thread="u")]))


def test_too_little_to_train_is_told_by_how_little() -> None:
    some = measured([said("a, b")])
    assert "too few for a single step of 4,096" in loud(some, 4000)
    assert "learnt by heart" in loud(some, 50_000)
    assert "are little" in loud(some, 500_000)
    assert not loud(some)


def test_show_draws_the_same_documents_by_the_same_seed_in_the_order_of_the_corpus() -> None:
    made([said(f"tweet {number}", kind="tweet", thread="") for number in range(1, 101)])

    def shown(count: int, seed: int) -> str:
        stream = io.StringIO()
        print_report.print_documents("attic", count, seed, stream)
        return stream.getvalue()

    assert shown(5, 1) == shown(5, 1) != shown(5, 2)
    numbers = [int(line.split()[-1]) for line in shown(5, 1).splitlines() if line.startswith("tweet")]
    assert numbers == sorted(numbers)
    assert len(numbers) == 5
    assert shown(200, 0).count("of 100,") == 100
    seen = {line for seed in range(60) for line in shown(5, seed).splitlines() if line.startswith("tweet")}
    assert len(seen) > 85


def test_show_cuts_what_is_long_and_obeys_no_escape() -> None:
    made([Record("s", "book", "\x1b[31mred\n" + "x" * 5000)], without=frozenset({"characters"}))
    stream = io.StringIO()
    print_report.print_documents("attic", 1, 0, stream)
    text = stream.getvalue()
    assert text.startswith("--- document 1 of 1, 5,009 characters\n·[31mred\nxxx")
    assert text.endswith("--- and 3,009 characters more\n")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1, "a second"), (100, "100 seconds"), (200, "3 minutes"), (9000, "2 hours"), (9e5, "10 days")],
)
def test_an_estimate_is_told_in_a_figure_or_two(seconds: float, words: str) -> None:
    assert print_report.format_duration(seconds) == words


def test_a_name_in_an_archive_commands_no_terminal() -> None:
    sly = "a.zip: \x1b]0;sly\x07\u202e\x9b31m.txt"
    made(TALK, batch=ImportBatch("\x1b[2J.zip", "text", "2026", damaged=((sly, "cut"),), warned=((sly, "odd"),)))
    told = drawn()
    assert "cut" in told
    assert "odd" in told
    assert {c for c in told if not c.isprintable()} == {"\n"}


def test_the_report_of_an_anonymous_corpus_names_no_folder_of_messages() -> None:
    place = "facebook.zip: inbox/annelee_7/message_1.json"
    batch = ImportBatch(
        "facebook.zip", "messenger", "2026", damaged=((place, f"{place} is cut"),), warned=((place, "odd"),)
    )
    made(TALK, batch=batch, anonymous=True, secret="s")
    told = report.build_report("attic")
    assert "annelee" not in drawn() + json.dumps(told.to_dict())
    assert told.batches[0].damaged == (("facebook.zip", "facebook.zip is cut"),)
    made(TALK, "named", batch=batch)
    assert "annelee" in drawn("named")
