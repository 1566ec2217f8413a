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

from drivers.paper.paper_png import draw_chart
from model.onnx import tokenizer
from model.store import store
from tools.bench.errors import WorkerFailed
from tools.bench.load import figures, options, picture, run, table, user, vocabulary
from tools.bench.load.figures import ClientRecord, LoadFigures, ProcessCost, TimeSpan
from tools.bench.load.generator import LoadRun, LoadSettings
from tools.bench.load.max_clients import RESOLUTION, MaxClientsSearch, step_down
from tools.bench.load.print_buffer import STALL_S, PrintBuffer
from tools.bench.load.user import SimulatedUser

deliveries = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 40)), min_size=1, max_size=30)
MACHINE = {"processor": "a slow one", "cores": 2, "system": "Linux", "python": "3.11", "load": 0.1}
METADATA = {"model": "random", "engine": "ours", "turning": True, "context": 256, "machine": MACHINE}


def fill_buffer(deliveries: list[tuple[float, int]]) -> tuple[PrintBuffer, list[float], float]:
    """A wheel that was handed characters after such pauses, each stroke's moment by hand, and the last handing's."""
    wheel, now, moments, free = PrintBuffer(), 10.0, list[float](), 0.0
    wheel.begin_answer(5.0)
    for pause, characters in deliveries:
        now += pause
        wheel.deliver(now, characters, 1)
        for _ in range(characters):
            at = max(now, free)
            moments.append(at)
            free = at + 0.1
    return wheel, moments, now


@given(deliveries)
def test_a_stall_is_a_stroke_that_comes_over_a_fifth_of_a_second_late(handings: list[tuple[float, int]]) -> None:
    wheel, moments, _ = fill_buffer(handings)
    late = [b - a - 0.1 for a, b in pairwise(moments)]
    still = [seconds for seconds in late if seconds > STALL_S + 1e-9]
    found = [stall.seconds for stall in wheel.stalls if stall.seconds > STALL_S + 1e-9]
    assert found == pytest.approx(still)


@given(deliveries, st.floats(0, 20))
def test_what_is_in_hand_is_what_was_handed_and_not_struck(handings: list[tuple[float, int]], after: float) -> None:
    wheel, moments, now = fill_buffer(handings)
    left = [moment for moment in moments if moment + 0.1 > now + after]
    assert wheel.chars_buffered(now + after) == pytest.approx(len(left), abs=1 + 1e-6)
    assert list(wheel.deliveries)[-1].chars_left(now + after) == pytest.approx(wheel.chars_buffered(now + after))
    assert sum(handed.characters for handed in wheel.deliveries) == len(moments)


def test_an_answer_lasts_until_its_last_character_is_struck() -> None:
    wheel = PrintBuffer()
    wheel.begin_answer(1.0)
    wheel.deliver(1.5, 20)
    assert wheel.end_answer(1.6) == pytest.approx(3.5)
    (answer,) = wheel.answers
    assert (answer.requested_at, answer.first_strike_at, answer.characters) == (1.0, 1.5, 20)
    assert not wheel.stalls


def test_a_wheel_between_two_answers_does_not_stall() -> None:
    wheel = PrintBuffer()
    for asked in (1.0, 50.0):
        wheel.begin_answer(asked)
        wheel.deliver(asked + 3, 5)
        wheel.end_answer(asked + 3.4)
    wheel.close(90)
    assert not wheel.stalls


def test_a_wheel_that_stands_still_when_nobody_looks_any_more_has_stalled() -> None:
    wheel = PrintBuffer()
    wheel.begin_answer(0.0)
    wheel.deliver(1.0, 10)
    wheel.close(5.0)
    (stall,) = wheel.stalls
    assert (stall.started_at, stall.seconds) == pytest.approx((2.0, 3.0))


def test_who_waits_for_a_first_character_waits_and_does_not_stall() -> None:
    wheel = PrintBuffer()
    wheel.begin_answer(2.0)
    wheel.close(30.0)
    assert wheel.waiting_since() == 2.0
    assert not wheel.stalls


def test_the_same_chance_types_the_same() -> None:
    def typed(seed: int) -> list[str]:
        one = SimulatedUser(random.Random(seed), context_chars=1024)
        return [one.next_turn().prompt for _ in range(5)]

    assert typed(1) == typed(1) != typed(2)


@given(st.integers(0, 10_000), st.integers(256, 8192), st.booleans())
def test_a_conversation_fits_and_goes_on_from_what_was_said(seed: int, room: int, turning: bool) -> None:
    one, before = SimulatedUser(random.Random(seed), context_chars=room, is_continuous=turning), None
    for _ in range(12):
        turn = one.next_turn()
        memory, _, line = turn.prompt.rpartition("\n")
        assert before is None or before.endswith(memory)
        assert len(turn.prompt) + turn.answer_chars <= room + user.MAX_LINE_CHARS
        assert user.MIN_LINE_CHARS - 1 <= len(line) <= user.MAX_LINE_CHARS
        assert not line.endswith(" ")
        one.record_answer(turn.prompt, " " + "abc " * (turn.answer_chars // 4))
        before = f"{turn.prompt} {'abc ' * (turn.answer_chars // 4)}".rstrip()


def test_what_is_heard_grows_by_words_at_eight_characters_a_second() -> None:
    turn = SimulatedUser(random.Random(3), context_chars=1024).next_turn()
    assert turn.typed_prefixes
    assert turn.think_s > 0
    for after, heard in turn.typed_prefixes:
        assert turn.prompt[len(heard)] == " "
        assert after == pytest.approx(len(heard) / 8)
    assert turn.typing_s == pytest.approx(len(turn.prompt) / 8)


def test_where_all_wheels_turn_nobody_pauses() -> None:
    turn = SimulatedUser(random.Random(3), context_chars=1024, is_continuous=True).next_turn()
    assert (turn.think_s, turn.typing_s, turn.read_s, turn.typed_prefixes) == (0, 0, 0, ())


@given(st.integers(0, 10_000), st.integers(1024, 8192))
def test_where_all_wheels_turn_much_has_been_said_before(seed: int, room: int) -> None:
    most = round(0.9 * room) - room // 4
    memory = (
        SimulatedUser(random.Random(seed), context_chars=room, is_continuous=True)
        .next_turn()
        .prompt.rpartition("\n")[0]
    )
    assert 0 < len(memory) <= most
    assert "\n" not in SimulatedUser(random.Random(seed), context_chars=room).next_turn().prompt


@given(st.integers(0, 3000), st.integers(1, 64))
def test_the_largest_number_is_found_as_nearly_as_it_is_worth(most: int, first: int) -> None:
    search, tries = MaxClientsSearch(first), 0
    while (number := search.next_attempt) is not None:
        search.record(number, number <= most)
        tries += 1
    assert search.largest_passed <= most <= search.largest_passed + max(1, RESOLUTION * search.largest_passed)
    assert tries <= 20


def run_search(
    max_clients: int, max_clients_for_long: int, dies_at: int = 10**6, stops_after: int = 10**6
) -> tuple[run.LoadReport, list[LoadSettings]]:
    """A search where so many hold for a short time and so many for the whole."""
    report, tried = run.LoadReport(dict(METADATA)), list[LoadSettings]()

    def attempt(asked: LoadSettings) -> LoadFigures:
        tried.append(asked)
        if asked.clients >= dies_at:
            raise WorkerFailed("its process was killed by SIGKILL")
        report.is_complete = len(tried) < stops_after
        holds = asked.clients <= (max_clients if asked.seconds < 600 else max_clients_for_long)
        report.runs.append(
            figures.compute_figures(make_records()[: 1 if holds else 2], TimeSpan(0, 30), ProcessCost(0))
        )
        return report.runs[-1]

    run.search_max_clients(attempt, LoadSettings(8, 600, 45), report, 1.5)
    return report, tried


def test_what_is_found_in_short_runs_must_hold_for_the_whole_time() -> None:
    report, tried = run_search(100, 95)
    assert [one.clients for one in tried[:5]] == [8, 16, 32, 64, 128]
    assert all(one.seconds < 600 for one in tried if one.clients > 100)
    assert report.max_clients is not None
    assert 90 <= report.max_clients <= 95
    assert (tried[-1].clients, tried[-1].seconds) == (report.max_clients, 600)
    assert all(one.warm_up_s > 0 for one in tried)


def test_a_search_that_is_ended_tells_what_it_knows() -> None:
    report, tried = run_search(100, 95, stops_after=4)
    assert (report.max_clients, len(tried)) == (32, 4)


def test_a_server_that_dies_of_too_many_has_held_fewer() -> None:
    report, _ = run_search(1000, 1000, dies_at=40)
    assert report.max_clients is not None
    assert 37 <= report.max_clients < 40
    assert "64 lines: its process was killed by SIGKILL" in report.failures
    with pytest.raises(WorkerFailed):
        run_search(1000, 1000, dies_at=2)


@given(st.integers(1, 10_000))
def test_what_did_not_hold_for_long_is_tried_with_fewer(number: int) -> None:
    assert 0 <= step_down(number) < number


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_ninety_nine_of_a_hundred_waited_no_longer(seconds: list[float]) -> None:
    found = figures.summarise_waits(seconds)
    assert found is not None
    assert sum(wait <= found.of_99 for wait in seconds) >= 0.99 * len(seconds)
    assert found.median <= found.of_90 <= found.of_99 <= found.worst == max(seconds)


def make_records() -> list[ClientRecord]:
    """One that runs well, one that stalls, one that still waits."""
    well, stalling, waiting = ClientRecord(), ClientRecord(), ClientRecord()
    for line, gap in ((well, 1.0), (stalling, 3.0)):
        line.print_buffer.begin_answer(0.5)
        for number in range(10):
            line.print_buffer.deliver(1 + gap * number, 10, 3)
        line.print_buffer.end_answer(1 + gap * 10)
    waiting.print_buffer.begin_answer(20)
    waiting.errors.append((19.0, "503"))
    return [well, stalling, waiting]


def test_only_what_happened_in_the_time_counts() -> None:
    found = figures.compute_figures(make_records(), TimeSpan(0, 30), ProcessCost(1.5), late_s=0.01)
    assert (found.stalls, found.stalled_lines, found.answers) == (9, 1, 1)
    assert found.stalled_s == pytest.approx(18)
    assert found.characters_per_s == pytest.approx(200 / 30)
    assert found.tokens_per_s == pytest.approx(60 / 30)
    assert found.errors == {"503": 1}
    assert found.waits is not None
    assert found.waits.worst == pytest.approx(10)
    later = figures.compute_figures(make_records(), TimeSpan(10, 18), ProcessCost(0))
    assert (later.stalls, later.errors, later.answers) == (3, {}, 1)
    assert json.loads(json.dumps(found.to_json()))["waits"]["median"] == pytest.approx(0.5)


def test_a_number_holds_without_stalls_errors_and_long_waits() -> None:
    well = make_records()[:1]
    assert figures.compute_figures(well, TimeSpan(0, 30), ProcessCost(0)).meets_limits()
    assert not figures.compute_figures(well, TimeSpan(0, 30), ProcessCost(0)).meets_limits(max_wait_s=0.4)
    assert figures.compute_figures(well, TimeSpan(0, 30), ProcessCost(0)).meets_limits(max_wait_s=0)
    assert not figures.compute_figures(make_records()[1:2], TimeSpan(0, 30), ProcessCost(0)).meets_limits()
    assert not figures.compute_figures(make_records()[2:], TimeSpan(0, 20.5), ProcessCost(0)).meets_limits()


COUNTERS = {"steps": 100.0, "stepped": 300.0, "along": 30.0, "step_s": 15.0, "pieces": 4.0, "read": 60.0, "read_s": 3.0}
COUNTERS["reused"] = 30.0


def make_report() -> run.LoadReport:
    found = run.LoadReport(dict(METADATA), max_clients=1)
    found.last_run = LoadRun(make_records(), TimeSpan(0, 30), (1.0, 20.0), 0.002, True, COUNTERS)
    found.runs.append(
        figures.compute_figures(
            make_records(),
            TimeSpan(0, 30),
            ProcessCost(1.0),
            ProcessCost(20.0, 10**8, 2 * 10**8),
            late_s=0.002,
            engine=COUNTERS,
        )
    )
    return found


def test_the_table_says_who_stalled_and_how_long_they_waited() -> None:
    file = io.StringIO()
    table.print_load_report(make_report(), file, 1.5)
    row = next(line for line in file.getvalue().splitlines() if line.split()[:2] == ["3", "9"])
    assert row.split() == ["3", "9", "18.0", "0.50", "10.00", "10.00", "10.00", "2", "7", "1", "20", "200"]
    assert "no stall and 99 of 100 first strikes within 1.5 s: 1." in file.getvalue()
    assert "Errors: 1 503." in file.getvalue()
    assert "50% of the time in steps, of 3 rows and 150 ms each, 10% of the rows nobody's" in file.getvalue()
    assert "10% reading prompts, 2 tokens a second in pieces of 15, and 1 that were in a cache" in file.getvalue()


def test_a_picture_has_a_line_for_each_wheel_and_red_where_one_stalls() -> None:
    strokes = list(picture.chart_lines(make_records(), TimeSpan(0, 30), "three lines"))
    red = [stroke for stroke in strokes if stroke.colour == picture.STALLED]
    assert len(red) == 9
    assert all(0 <= x <= picture.WIDTH and 0 <= y <= picture.HEIGHT for stroke in strokes for x, y in stroke.points)
    assert options.render_chart(make_report()).startswith(b"\x89PNG")
    assert draw_chart(40, 20, [(((0, 0), (39, 19)), (0, 0, 0), 1, 1)]).startswith(b"\x89PNG")


def test_a_word_of_the_vocabulary_is_four_characters_and_goes_back_to_its_id() -> None:
    words = tokenizer.from_json(vocabulary.tokenizer_json(2048))
    first = vocabulary.count_unsampled(2048)
    assert (words.vocab_size, words.end_of_text) == (2048, 2047)
    assert {len(words.bytes_of(token)) for token in range(first, 2047)} == {4}
    assert all(words.bytes_of(token).isascii() for token in range(first, 2047))
    ids = random.Random(3).sample(range(first, 2047), 500)
    assert words.encode_lines(words.decode(ids)) == ids
    assert words.decode(words.encode_lines("Any text at all?\n")) == "Any text at all?\n"


@pytest.mark.parametrize("size", [300, 1024, 50257])
def test_a_vocabulary_has_the_size_that_was_asked_for(size: int) -> None:
    spelled, merges = vocabulary.build_tokens(size, list("x" * 256))
    assert len(spelled) == size - 1
    assert len(merges) == size - 1 - 256


def test_the_folder_of_the_lines_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from model.store import store
    from tools.bench.load import model_folder

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told: list[str] = []
    place = model_folder.make_test_model("tiny", 33, lambda what, parts=0: told.append(what))
    assert store.verify_model(place).shape == model_folder.SHAPES["tiny"]
    assert model_folder.weights_folder(place).is_dir()
    assert model_folder.make_test_model("tiny", 33, lambda what, parts=0: told.append(what)) == place
    assert len(told) == 2  # the second time it lay there


def test_two_who_make_the_same_folder_at_once_leave_each_other_what_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tools.bench.load import model_folder

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    others, dead = tmp_path / "asr33-lines-tiny-33-0ddba11f", tmp_path / "asr33-lines-tiny-33-deadbeef"
    for each in (others, dead):
        (each / "model").mkdir(parents=True)
    os.utime(dead, (0, 0))
    inner: list[Path] = []

    def tell(what: str, parts: int = 0) -> None:
        if not inner and "rounding" in what:
            inner.append(Path())
            inner[0] = model_folder.make_test_model("tiny", 33, lambda what, parts=0: None)

    place = model_folder.make_test_model("tiny", 33, tell)
    assert [place] == inner
    assert store.verify_model(place).shape == model_folder.SHAPES["tiny"]
    assert sorted(tmp_path.iterdir()) == sorted([others, place.parent])


def make_record(wait_s: float, count: int = 1) -> ClientRecord:
    line = ClientRecord()
    for at in range(count):
        line.print_buffer.begin_answer(10.0 + at)
        line.print_buffer.deliver(10.0 + at + wait_s, 1)
        line.print_buffer.end_answer(10.0 + at + wait_s)
    return line


def test_a_run_is_given_up_as_soon_as_it_is_sure_that_it_does_not_hold() -> None:
    span, well = TimeSpan(5.0, 85.0), [make_record(0.1) for _ in range(99)]
    assert not figures.is_limit_exceeded(well, span, 1.5)
    late = 1 + 100 * 80 // 8 // 100  # one in a hundred of all that may be asked yet, and one more
    assert figures.is_limit_exceeded([*well, make_record(2.0, late)], span, 1.5)
    assert not figures.is_limit_exceeded([*well, make_record(2.0, late - 1)], span, 1.5)
    assert not figures.is_limit_exceeded([*well, make_record(2.0, late)], span, 0.0)
    still = ClientRecord()
    still.print_buffer.begin_answer(0.0)
    still.print_buffer.deliver(1.0, 1)
    still.print_buffer.deliver(6.0, 1)
    assert figures.is_limit_exceeded([*well, still], span, 0.0)
    assert not figures.is_limit_exceeded([*well, still], TimeSpan(7.0, 85.0), 0.0), "that was before it counted"
    assert figures.is_limit_exceeded([*well, ClientRecord(errors=[(6.0, "cut")])], span, 0.0)


@pytest.mark.parametrize(
    ("rounding", "kept"), [(None, False), ({"bits": 8}, False), ({"bits": 8, "cache": True}, True)]
)
def test_a_cache_of_bytes_takes_a_quarter_of_the_memory(rounding: dict[str, object] | None, kept: bool) -> None:
    manifest = store.read_manifest(store.find_model(store.EMBEDDED))
    assert options._has_int8_cache(replace(manifest, training={"rounding": rounding})) == kept
    assert not options._has_int8_cache(replace(manifest, training={}))
