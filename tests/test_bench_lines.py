"""`asr33 bench --lines`: typists, wheels, what they come to, and which number of them holds."""

from __future__ import annotations

import io
import json
import os
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.picture import ruled
from model import store, tokenizer
from tools.benching.errors import WorkerFailed
from tools.benching.lines import figures, options, picture, run, table, typist, vocabulary
from tools.benching.lines.drive import Asked, Driven
from tools.benching.lines.figures import Cost, Figures, Line, Span
from tools.benching.lines.search import FINE, Search, fewer
from tools.benching.lines.typist import Typist
from tools.benching.lines.wheel import STALL_S, Wheel

handings = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 40)), min_size=1, max_size=30)
HERE = {"processor": "a slow one", "cores": 2, "system": "Linux", "python": "3.11", "load": 0.1}
ABOUT = {"model": "random", "engine": "ours", "turning": True, "context": 256, "machine": HERE}


def struck(handings: list[tuple[float, int]]) -> tuple[Wheel, list[float], float]:
    """A wheel that was handed characters after such pauses, each stroke's moment by hand, and the last handing's."""
    wheel, now, moments, free = Wheel(), 10.0, list[float](), 0.0
    wheel.ask(5.0)
    for pause, characters in handings:
        now += pause
        wheel.hand(now, characters, 1)
        for _ in range(characters):
            at = max(now, free)
            moments.append(at)
            free = at + 0.1
    return wheel, moments, now


@given(handings)
def test_a_stall_is_a_stroke_that_comes_over_a_fifth_of_a_second_late(handings: list[tuple[float, int]]) -> None:
    wheel, moments, _ = struck(handings)
    late = [b - a - 0.1 for a, b in pairwise(moments)]
    still = [seconds for seconds in late if seconds > STALL_S + 1e-9]
    found = [stall.seconds for stall in wheel.stalls if stall.seconds > STALL_S + 1e-9]
    assert found == pytest.approx(still)


@given(handings, st.floats(0, 20))
def test_what_is_in_hand_is_what_was_handed_and_not_struck(handings: list[tuple[float, int]], after: float) -> None:
    wheel, moments, now = struck(handings)
    left = [moment for moment in moments if moment + 0.1 > now + after]
    assert wheel.in_hand(now + after) == pytest.approx(len(left), abs=1 + 1e-6)
    assert list(wheel.handed)[-1].left(now + after) == pytest.approx(wheel.in_hand(now + after))
    assert sum(handed.characters for handed in wheel.handed) == len(moments)


def test_an_answer_lasts_until_its_last_character_is_struck() -> None:
    wheel = Wheel()
    wheel.ask(1.0)
    wheel.hand(1.5, 20)
    assert wheel.end(1.6) == pytest.approx(3.5)
    (answer,) = wheel.answers
    assert (answer.asked, answer.first, answer.characters) == (1.0, 1.5, 20)
    assert not wheel.stalls


def test_a_wheel_between_two_answers_does_not_stall() -> None:
    wheel = Wheel()
    for asked in (1.0, 50.0):
        wheel.ask(asked)
        wheel.hand(asked + 3, 5)
        wheel.end(asked + 3.4)
    wheel.leave(90)
    assert not wheel.stalls


def test_a_wheel_that_stands_still_when_nobody_looks_any_more_has_stalled() -> None:
    wheel = Wheel()
    wheel.ask(0.0)
    wheel.hand(1.0, 10)
    wheel.leave(5.0)
    (stall,) = wheel.stalls
    assert (stall.at, stall.seconds) == pytest.approx((2.0, 3.0))


def test_who_waits_for_a_first_character_waits_and_does_not_stall() -> None:
    wheel = Wheel()
    wheel.ask(2.0)
    wheel.leave(30.0)
    assert wheel.waits_since() == 2.0
    assert not wheel.stalls


def test_the_same_chance_types_the_same() -> None:
    def typed(seed: int) -> list[str]:
        one = Typist(random.Random(seed), room=1024)
        return [one.turn().prompt for _ in range(5)]

    assert typed(1) == typed(1) != typed(2)


@given(st.integers(0, 10_000), st.integers(256, 8192), st.booleans())
def test_a_conversation_fits_and_goes_on_from_what_was_said(seed: int, room: int, turning: bool) -> None:
    one, before = Typist(random.Random(seed), room=room, turning=turning), None
    for _ in range(12):
        turn = one.turn()
        memory, _, line = turn.prompt.rpartition("\n")
        assert before is None or before.endswith(memory)
        assert len(turn.prompt) + turn.answer <= room + typist.LINE_MOST
        assert typist.LINE_LEAST - 1 <= len(line) <= typist.LINE_MOST
        assert not line.endswith(" ")
        one.answered(turn.prompt, " " + "abc " * (turn.answer // 4))
        before = f"{turn.prompt} {'abc ' * (turn.answer // 4)}".rstrip()


def test_what_is_heard_grows_by_words_at_eight_characters_a_second() -> None:
    turn = Typist(random.Random(3), room=1024).turn()
    assert turn.heard
    assert turn.think_s > 0
    for after, heard in turn.heard:
        assert turn.prompt[len(heard)] == " "
        assert after == pytest.approx(len(heard) / 8)
    assert turn.typing_s == pytest.approx(len(turn.prompt) / 8)


def test_where_all_wheels_turn_nobody_pauses() -> None:
    turn = Typist(random.Random(3), room=1024, turning=True).turn()
    assert (turn.think_s, turn.typing_s, turn.read_s, turn.heard) == (0, 0, 0, ())


@given(st.integers(0, 10_000), st.integers(1024, 8192))
def test_where_all_wheels_turn_much_has_been_said_before(seed: int, room: int) -> None:
    most = round(0.9 * room) - room // 4
    memory = Typist(random.Random(seed), room=room, turning=True).turn().prompt.rpartition("\n")[0]
    assert 0 < len(memory) <= most
    assert "\n" not in Typist(random.Random(seed), room=room).turn().prompt


@given(st.integers(0, 3000), st.integers(1, 64))
def test_the_largest_number_is_found_as_nearly_as_it_is_worth(most: int, first: int) -> None:
    search, tries = Search(first), 0
    while (number := search.next) is not None:
        search.told(number, number <= most)
        tries += 1
    assert search.held <= most <= search.held + max(1, FINE * search.held)
    assert tries <= 20


def searched(
    most: int, most_for_long: int, dies_at: int = 10**6, ends_after: int = 10**6
) -> tuple[run.Report, list[Asked]]:
    """A search where so many hold for a short time and so many for the whole."""
    report, tried = run.Report(dict(ABOUT)), list[Asked]()

    def attempt(asked: Asked) -> Figures:
        tried.append(asked)
        if asked.lines >= dies_at:
            raise WorkerFailed("its process was killed by SIGKILL")
        report.whole = len(tried) < ends_after
        holds = asked.lines <= (most if asked.seconds < 600 else most_for_long)
        report.runs.append(figures.of(lines()[: 1 if holds else 2], Span(0, 30), Cost(0)))
        return report.runs[-1]

    run.until_stall(attempt, Asked(8, 600, 45), report, 1.5)
    return report, tried


def test_what_is_found_in_short_runs_must_hold_for_the_whole_time() -> None:
    report, tried = searched(100, 95)
    assert [one.lines for one in tried[:5]] == [8, 16, 32, 64, 128]
    assert all(one.seconds < 600 for one in tried if one.lines > 100)
    assert report.largest is not None
    assert 90 <= report.largest <= 95
    assert (tried[-1].lines, tried[-1].seconds) == (report.largest, 600)
    assert all(one.warm_up_s > 0 for one in tried)


def test_a_search_that_is_ended_tells_what_it_knows() -> None:
    report, tried = searched(100, 95, ends_after=4)
    assert (report.largest, len(tried)) == (32, 4)


def test_a_server_that_dies_of_too_many_has_held_fewer() -> None:
    report, _ = searched(1000, 1000, dies_at=40)
    assert report.largest is not None
    assert 37 <= report.largest < 40
    assert "64 lines: its process was killed by SIGKILL" in report.faults
    with pytest.raises(WorkerFailed):
        searched(1000, 1000, dies_at=2)


@given(st.integers(1, 10_000))
def test_what_did_not_hold_for_long_is_tried_with_fewer(number: int) -> None:
    assert 0 <= fewer(number) < number


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_ninety_nine_of_a_hundred_waited_no_longer(seconds: list[float]) -> None:
    found = figures.waits(seconds)
    assert found is not None
    assert sum(wait <= found.of_99 for wait in seconds) >= 0.99 * len(seconds)
    assert found.median <= found.of_90 <= found.of_99 <= found.worst == max(seconds)


def lines() -> list[Line]:
    """One that runs well, one that stalls, one that still waits."""
    well, stalling, waiting = Line(), Line(), Line()
    for line, gap in ((well, 1.0), (stalling, 3.0)):
        line.wheel.ask(0.5)
        for number in range(10):
            line.wheel.hand(1 + gap * number, 10, 3)
        line.wheel.end(1 + gap * 10)
    waiting.wheel.ask(20)
    waiting.errors.append((19.0, "503"))
    return [well, stalling, waiting]


def test_only_what_happened_in_the_time_counts() -> None:
    found = figures.of(lines(), Span(0, 30), Cost(1.5), late_s=0.01)
    assert (found.stalls, found.stalled_lines, found.answers) == (9, 1, 1)
    assert found.stalled_s == pytest.approx(18)
    assert found.characters_per_s == pytest.approx(200 / 30)
    assert found.tokens_per_s == pytest.approx(60 / 30)
    assert found.errors == {"503": 1}
    assert found.waits is not None
    assert found.waits.worst == pytest.approx(10)
    later = figures.of(lines(), Span(10, 18), Cost(0))
    assert (later.stalls, later.errors, later.answers) == (3, {}, 1)
    assert json.loads(json.dumps(found.data()))["waits"]["median"] == pytest.approx(0.5)


def test_a_number_holds_without_stalls_errors_and_long_waits() -> None:
    well = lines()[:1]
    assert figures.of(well, Span(0, 30), Cost(0)).held()
    assert not figures.of(well, Span(0, 30), Cost(0)).held(patience_s=0.4)
    assert figures.of(well, Span(0, 30), Cost(0)).held(patience_s=0)
    assert not figures.of(lines()[1:2], Span(0, 30), Cost(0)).held()
    assert not figures.of(lines()[2:], Span(0, 20.5), Cost(0)).held()


DONE = {"steps": 100.0, "stepped": 300.0, "along": 30.0, "step_s": 15.0, "pieces": 4.0, "read": 60.0, "read_s": 3.0}
DONE["reused"] = 30.0


def report() -> run.Report:
    found = run.Report(dict(ABOUT), largest=1)
    found.driven = Driven(lines(), Span(0, 30), (1.0, 20.0), 0.002, True, DONE)
    found.runs.append(
        figures.of(lines(), Span(0, 30), Cost(1.0), Cost(20.0, 10**8, 2 * 10**8), late_s=0.002, engine=DONE)
    )
    return found


def test_the_table_says_who_stalled_and_how_long_they_waited() -> None:
    file = io.StringIO()
    table.show(report(), file, 1.5)
    row = next(line for line in file.getvalue().splitlines() if line.split()[:2] == ["3", "9"])
    assert row.split() == ["3", "9", "18.0", "0.50", "10.00", "10.00", "10.00", "2", "7", "1", "20", "200"]
    assert "no stall and 99 of 100 first strikes within 1.5 s: 1." in file.getvalue()
    assert "Errors: 1 503." in file.getvalue()
    assert "50% of the time in steps, of 3 rows and 150 ms each, 10% of the rows nobody's" in file.getvalue()
    assert "10% reading prompts, 2 tokens a second in pieces of 15, and 1 that were in a cache" in file.getvalue()


def test_a_picture_has_a_line_for_each_wheel_and_red_where_one_stalls() -> None:
    strokes = list(picture.strokes(lines(), Span(0, 30), "three lines"))
    red = [stroke for stroke in strokes if stroke.colour == picture.STALLED]
    assert len(red) == 9
    assert all(0 <= x <= picture.WIDTH and 0 <= y <= picture.HEIGHT for stroke in strokes for x, y in stroke.points)
    assert options.picture(report()).startswith(b"\x89PNG")
    assert ruled(40, 20, [(((0, 0), (39, 19)), (0, 0, 0), 1, 1)]).startswith(b"\x89PNG")


def test_a_word_of_the_vocabulary_is_four_characters_and_goes_back_to_its_id() -> None:
    words = tokenizer.from_json(vocabulary.tokenizer_json(2048))
    first = vocabulary.unsampled(2048)
    assert (words.size, words.end_of_text) == (2048, 2047)
    assert {len(words.bytes_of(token)) for token in range(first, 2047)} == {4}
    assert all(words.bytes_of(token).isascii() for token in range(first, 2047))
    ids = random.Random(3).sample(range(first, 2047), 500)
    assert words.encode_lines(words.decode(ids)) == ids
    assert words.decode(words.encode_lines("Any text at all?\n")) == "Any text at all?\n"


@pytest.mark.parametrize("size", [300, 1024, 50257])
def test_a_vocabulary_has_the_size_that_was_asked_for(size: int) -> None:
    spelled, merges = vocabulary.tokens(size, list("x" * 256))
    assert len(spelled) == size - 1
    assert len(merges) == size - 1 - 256


def test_the_folder_of_the_lines_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from model import store
    from tools.benching.lines import folder

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told: list[str] = []
    place = folder.made("tiny", 33, lambda what, parts=0: told.append(what))
    assert store.verify(place).shape == folder.SHAPES["tiny"]
    assert folder.weights(place).is_dir()
    assert folder.made("tiny", 33, lambda what, parts=0: told.append(what)) == place
    assert len(told) == 2  # the second time it lay there


def test_two_who_make_the_same_folder_at_once_leave_each_other_what_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tools.benching.lines import folder

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    others, dead = tmp_path / "asr33-lines-tiny-33-0ddba11f", tmp_path / "asr33-lines-tiny-33-deadbeef"
    for each in (others, dead):
        (each / "model").mkdir(parents=True)
    os.utime(dead, (0, 0))
    inner: list[Path] = []

    def tell(what: str, parts: int = 0) -> None:
        if not inner and "rounding" in what:
            inner.append(Path())
            inner[0] = folder.made("tiny", 33, lambda what, parts=0: None)

    place = folder.made("tiny", 33, tell)
    assert [place] == inner
    assert store.verify(place).shape == folder.SHAPES["tiny"]
    assert sorted(tmp_path.iterdir()) == sorted([others, place.parent])


def waited(seconds: float, count: int = 1) -> Line:
    line = Line()
    for at in range(count):
        line.wheel.ask(10.0 + at)
        line.wheel.hand(10.0 + at + seconds, 1)
        line.wheel.end(10.0 + at + seconds)
    return line


def test_a_run_is_given_up_as_soon_as_it_is_sure_that_it_does_not_hold() -> None:
    span, well = Span(5.0, 85.0), [waited(0.1) for _ in range(99)]
    assert not figures.hopeless(well, span, 1.5)
    late = 1 + 100 * 80 // 8 // 100  # one in a hundred of all that may be asked yet, and one more
    assert figures.hopeless([*well, waited(2.0, late)], span, 1.5)
    assert not figures.hopeless([*well, waited(2.0, late - 1)], span, 1.5)
    assert not figures.hopeless([*well, waited(2.0, late)], span, 0.0)
    still = Line()
    still.wheel.ask(0.0)
    still.wheel.hand(1.0, 1)
    still.wheel.hand(6.0, 1)
    assert figures.hopeless([*well, still], span, 0.0)
    assert not figures.hopeless([*well, still], Span(7.0, 85.0), 0.0), "that was before it counted"
    assert figures.hopeless([*well, Line(errors=[(6.0, "cut")])], span, 0.0)


@pytest.mark.parametrize(
    ("rounding", "kept"), [(None, False), ({"bits": 8}, False), ({"bits": 8, "cache": True}, True)]
)
def test_a_cache_of_bytes_takes_a_quarter_of_the_memory(rounding: dict[str, object] | None, kept: bool) -> None:
    manifest = store.read_manifest(store.find(store.EMBEDDED))
    assert options._in_bytes(replace(manifest, training={"rounding": rounding})) == kept
    assert not options._in_bytes(replace(manifest, training={}))
