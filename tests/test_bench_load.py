"""`asr33 bench --clients` without a server: print buffers, users, figures, the search, the report, the test model."""

from __future__ import annotations

import io
import os
import random
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.paper.paper_png import draw_chart
from model.onnx import tokenizer
from model.store import store
from tools.bench.errors import WorkerFailed
from tools.bench.load import chart, command, figures, load_test, model_folder, print_figures, user, vocabulary
from tools.bench.load.figures import ClientRecord, LoadFigures, ProcessCost, TimeSpan
from tools.bench.load.generator import LoadRun, LoadSettings
from tools.bench.load.max_clients import RESOLUTION, MaxClientsSearch, step_down
from tools.bench.load.print_buffer import STALL_S, PrintBuffer
from tools.bench.load.user import SimulatedUser

deliveries = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 40)), min_size=1, max_size=30)
MACHINE = {"processor": "a slow one", "cores": 2, "system": "Linux", "python": "3.11", "load": 0.1}
METADATA = {"model": "random", "engine": "ours", "turning": True, "context": 256, "machine": MACHINE}


def fill_buffer(deliveries: list[tuple[float, int]]) -> tuple[PrintBuffer, list[float], float]:
    """Returns a buffer with deliveries after these pauses, the moments of its strokes, and of the last delivery."""
    buffer, now, moments, free = PrintBuffer(), 10.0, list[float](), 0.0
    buffer.begin_answer(5.0)
    for pause, characters in deliveries:
        now += pause
        buffer.deliver(now, characters, 1)
        for _ in range(characters):
            at = max(now, free)
            moments.append(at)
            free = at + 0.1
    return buffer, moments, now


@given(deliveries)
def test_stall_is_a_character_more_than_200_ms_late(pauses: list[tuple[float, int]]) -> None:
    buffer, moments, _ = fill_buffer(pauses)
    late = [b - a - 0.1 for a, b in pairwise(moments)]
    expected = [seconds for seconds in late if seconds > STALL_S + 1e-9]
    measured = [stall.seconds for stall in buffer.stalls if stall.seconds > STALL_S + 1e-9]
    assert measured == pytest.approx(expected)


@given(deliveries, st.floats(0, 20))
def test_buffered_characters_are_delivered_and_not_printed(pauses: list[tuple[float, int]], after: float) -> None:
    buffer, moments, now = fill_buffer(pauses)
    left = [moment for moment in moments if moment + 0.1 > now + after]
    assert list(buffer.deliveries)[-1].chars_left(now + after) == pytest.approx(len(left), abs=1 + 1e-6)
    assert sum(delivery.characters for delivery in buffer.deliveries) == len(moments)


def test_answer_ends_when_its_last_character_is_printed() -> None:
    buffer = PrintBuffer()
    buffer.begin_answer(1.0)
    buffer.deliver(1.5, 20)
    assert buffer.end_answer(1.6) == pytest.approx(3.5)
    (answer,) = buffer.answers
    assert (answer.requested_at, answer.first_strike_at, answer.characters) == (1.0, 1.5, 20)
    assert not buffer.stalls


def test_printer_does_not_stall_between_two_answers() -> None:
    buffer = PrintBuffer()
    for requested_at in (1.0, 50.0):
        buffer.begin_answer(requested_at)
        buffer.deliver(requested_at + 3, 5)
        buffer.end_answer(requested_at + 3.4)
    buffer.close(90)
    assert not buffer.stalls


def test_stall_at_the_end_of_the_run_counts() -> None:
    buffer = PrintBuffer()
    buffer.begin_answer(0.0)
    buffer.deliver(1.0, 10)
    buffer.close(5.0)
    (stall,) = buffer.stalls
    assert (stall.started_at, stall.seconds) == pytest.approx((2.0, 3.0))


def test_wait_for_the_first_character_is_no_stall() -> None:
    buffer = PrintBuffer()
    buffer.begin_answer(2.0)
    buffer.close(30.0)
    assert buffer.waiting_since() == 2.0
    assert not buffer.stalls


def test_equal_seeds_type_equal_prompts() -> None:
    def type_prompts(seed: int) -> list[str]:
        user = SimulatedUser(random.Random(seed), context_chars=1024)
        return [user.next_turn().prompt for _ in range(5)]

    assert type_prompts(1) == type_prompts(1) != type_prompts(2)


@given(st.integers(0, 10_000), st.integers(256, 8192), st.booleans())
def test_conversation_fits_and_continues_its_history(seed: int, room: int, is_continuous: bool) -> None:
    typist, before = SimulatedUser(random.Random(seed), context_chars=room, is_continuous=is_continuous), None
    for _ in range(12):
        turn = typist.next_turn()
        memory, _, line = turn.prompt.rpartition("\n")
        assert before is None or before.endswith(memory)
        assert len(turn.prompt) + turn.answer_chars <= room + user.MAX_LINE_CHARS
        assert user.MIN_LINE_CHARS - 1 <= len(line) <= user.MAX_LINE_CHARS
        assert not line.endswith(" ")
        typist.record_answer(turn.prompt, " " + "abc " * (turn.answer_chars // 4))
        before = f"{turn.prompt} {'abc ' * (turn.answer_chars // 4)}".rstrip()


def test_typed_prefixes_grow_by_words_at_8_characters_per_second() -> None:
    turn = SimulatedUser(random.Random(3), context_chars=1024).next_turn()
    assert turn.typed_prefixes
    assert turn.think_s > 0
    for after, prefix in turn.typed_prefixes:
        assert turn.prompt[len(prefix)] == " "
        assert after == pytest.approx(len(prefix) / 8)
    assert turn.typing_s == pytest.approx(len(turn.prompt) / 8)


def test_continuous_user_makes_no_pauses() -> None:
    turn = SimulatedUser(random.Random(3), context_chars=1024, is_continuous=True).next_turn()
    assert (turn.think_s, turn.typing_s, turn.read_s, turn.typed_prefixes) == (0, 0, 0, ())


@given(st.integers(0, 10_000), st.integers(1024, 8192))
def test_continuous_user_starts_with_a_history(seed: int, room: int) -> None:
    most = round(0.9 * room) - room // 4
    turn = SimulatedUser(random.Random(seed), context_chars=room, is_continuous=True).next_turn()
    memory = turn.prompt.rpartition("\n")[0]
    assert 0 < len(memory) <= most
    assert "\n" not in SimulatedUser(random.Random(seed), context_chars=room).next_turn().prompt


@given(st.integers(0, 3000), st.integers(1, 64))
def test_search_finds_the_largest_number_within_the_resolution(most: int, first: int) -> None:
    search, tries = MaxClientsSearch(first), 0
    while (number := search.next_attempt) is not None:
        search.record(number, number <= most)
        tries += 1
    assert search.largest_passed <= most <= search.largest_passed + max(1, RESOLUTION * search.largest_passed)
    assert tries <= 20


def run_search(
    max_clients: int, max_clients_for_long: int, dies_at: int = 10**6, stops_after: int = 10**6
) -> tuple[load_test.LoadReport, list[LoadSettings]]:
    """Searches on a fake server: at most so many clients pass a short run, and so many a full one."""
    report, tried = load_test.LoadReport(dict(METADATA)), list[LoadSettings]()

    def attempt(settings: LoadSettings) -> LoadFigures:
        tried.append(settings)
        if settings.clients >= dies_at:
            raise WorkerFailed("its process was killed by SIGKILL")
        report.is_complete = len(tried) < stops_after
        passes = settings.clients <= (max_clients if settings.seconds < 600 else max_clients_for_long)
        records = make_records()[: 1 if passes else 2]
        report.runs.append(figures.compute_figures(records, TimeSpan(0, 30), ProcessCost(0)))
        return report.runs[-1]

    load_test.search_max_clients(attempt, LoadSettings(8, 600, 45), report, 1.5)
    return report, tried


def test_result_of_short_runs_is_confirmed_by_a_full_run() -> None:
    report, tried = run_search(100, 95)
    assert [settings.clients for settings in tried[:5]] == [8, 16, 32, 64, 128]
    assert all(settings.seconds < 600 for settings in tried if settings.clients > 100)
    assert report.max_clients is not None
    assert 90 <= report.max_clients <= 95
    assert (tried[-1].clients, tried[-1].seconds) == (report.max_clients, 600)
    assert all(settings.warm_up_s > 0 for settings in tried)


def test_interrupted_search_reports_its_best_result() -> None:
    report, tried = run_search(100, 95, stops_after=4)
    assert (report.max_clients, len(tried)) == (32, 4)


def test_server_that_dies_fails_this_number_of_clients() -> None:
    report, _ = run_search(1000, 1000, dies_at=40)
    assert report.max_clients is not None
    assert 37 <= report.max_clients < 40
    assert "64 clients: its process was killed by SIGKILL" in report.failures
    with pytest.raises(WorkerFailed):
        run_search(1000, 1000, dies_at=2)


@given(st.integers(1, 10_000))
def test_step_down_is_lower(number: int) -> None:
    assert 0 <= step_down(number) < number


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_99_of_100_waits_are_within_of_99(seconds: list[float]) -> None:
    waits = figures.summarise_waits(seconds)
    assert waits is not None
    assert sum(wait <= waits.of_99 for wait in seconds) >= 0.99 * len(seconds)
    assert waits.median <= waits.of_90 <= waits.of_99 <= waits.worst == max(seconds)


def make_records() -> list[ClientRecord]:
    """Makes a client that runs well, one that stalls, and one that still waits."""
    good, stalling, waiting = ClientRecord(), ClientRecord(), ClientRecord()
    for record, gap in ((good, 1.0), (stalling, 3.0)):
        record.print_buffer.begin_answer(0.5)
        for number in range(10):
            record.print_buffer.deliver(1 + gap * number, 10, 3)
        record.print_buffer.end_answer(1 + gap * 10)
    waiting.print_buffer.begin_answer(20)
    waiting.errors.append((19.0, "503"))
    return [good, stalling, waiting]


def test_only_events_in_the_span_count() -> None:
    result = figures.compute_figures(make_records(), TimeSpan(0, 30), ProcessCost(1.5), late_s=0.01)
    assert (result.stalls, result.stalled_lines, result.answers) == (9, 1, 1)
    assert result.stalled_s == pytest.approx(18)
    assert result.characters_per_s == pytest.approx(200 / 30)
    assert result.tokens_per_s == pytest.approx(60 / 30)
    assert result.errors == {"503": 1}
    assert result.waits is not None
    assert result.waits.worst == pytest.approx(10)
    later = figures.compute_figures(make_records(), TimeSpan(10, 18), ProcessCost(0))
    assert (later.stalls, later.errors, later.answers) == (3, {}, 1)
    assert asdict(result)["waits"]["median"] == pytest.approx(0.5)


def test_limits_are_met_without_stalls_errors_and_long_waits() -> None:
    good = figures.compute_figures(make_records()[:1], TimeSpan(0, 30), ProcessCost(0))
    assert good.meets_limits()
    assert not good.meets_limits(max_wait_s=0.4)
    assert good.meets_limits(max_wait_s=0)
    assert not figures.compute_figures(make_records()[1:2], TimeSpan(0, 30), ProcessCost(0)).meets_limits()
    assert not figures.compute_figures(make_records()[2:], TimeSpan(0, 20.5), ProcessCost(0)).meets_limits()


COUNTERS = {"steps": 100.0, "rows": 300.0, "padding_rows": 30.0, "step_s": 15.0}
COUNTERS |= {"prefill_chunks": 4.0, "read": 60.0, "read_s": 3.0, "reused": 30.0}


def make_report() -> load_test.LoadReport:
    report, span = load_test.LoadReport(dict(METADATA), max_clients=1), TimeSpan(0, 30)
    report.last_run = LoadRun(make_records(), span, (1.0, 20.0), 0.002, True, COUNTERS)
    driver, server = ProcessCost(1.0), ProcessCost(20.0, 10**8, 2 * 10**8)
    result = figures.compute_figures(make_records(), span, driver, server, late_s=0.002, engine=COUNTERS)
    report.runs.append(result)
    return report


def test_report_has_stalls_waits_errors_and_engine_times() -> None:
    file = io.StringIO()
    print_figures.print_load_report(make_report(), file, 1.5)
    row = next(line for line in file.getvalue().splitlines() if line.split()[:2] == ["3", "9"])
    assert row.split() == ["3", "9", "18.0", "0.50", "10.00", "10.00", "10.00", "2", "7", "1", "20", "200"]
    assert "no stall and 99 of 100 first characters within 1.5 s: 1." in file.getvalue()
    assert "Errors: 1 503." in file.getvalue()
    assert "50% of the time in decode steps, of 3 rows and 150 ms each, 10% of the rows padding" in file.getvalue()
    assert "10% in prefill, 2 tokens per second in chunks of 15, and 1 found in a cache" in file.getvalue()


def test_chart_has_red_lines_for_stalls() -> None:
    lines = list(chart.chart_lines(make_records(), TimeSpan(0, 30), "three clients"))
    red = [line for line in lines if line.colour == chart.STALLED]
    assert len(red) == 9
    assert all(0 <= x <= chart.WIDTH and 0 <= y <= chart.HEIGHT for line in lines for x, y in line.points)
    assert command.render_chart(make_report()).startswith(b"\x89PNG")
    assert draw_chart(40, 20, [(((0, 0), (39, 19)), (0, 0, 0), 1, 1)]).startswith(b"\x89PNG")


def test_words_of_the_vocabulary_have_4_characters_and_encode_to_their_id() -> None:
    encoder = tokenizer.from_json(vocabulary.tokenizer_json(2048))
    first = vocabulary.count_unsampled(2048)
    assert (encoder.vocab_size, encoder.end_of_text) == (2048, 2047)
    assert {len(encoder.bytes_of(token)) for token in range(first, 2047)} == {4}
    assert all(encoder.bytes_of(token).isascii() for token in range(first, 2047))
    ids = random.Random(3).sample(range(first, 2047), 500)
    assert encoder.encode_lines(encoder.decode(ids)) == ids
    assert encoder.decode(encoder.encode_lines("Any text at all?\n")) == "Any text at all?\n"


@pytest.mark.parametrize("size", [300, 1024, 50257])
def test_vocabulary_has_the_given_size(size: int) -> None:
    tokens, merges = vocabulary.build_tokens(size, list("x" * 256))
    assert len(tokens) == size - 1
    assert len(merges) == size - 1 - 256


def test_test_model_is_a_valid_model_and_made_once(tmp_path: Path) -> None:
    stages: list[str] = []

    def make() -> Path:
        return model_folder.make_test_model("tiny", 33, lambda what, parts=0: stages.append(what), tmp_path)

    folder = make()
    assert store.verify_model(folder).shape == model_folder.SHAPES["tiny"]
    assert model_folder.weights_folder(folder).is_dir()
    assert make() == folder
    assert len(stages) == 2  # the second call finds the model


def test_two_processes_may_make_the_same_test_model(tmp_path: Path) -> None:
    recent, stale = tmp_path / "asr33-lines-tiny-33-0ddba11f", tmp_path / "asr33-lines-tiny-33-deadbeef"
    for folder in (recent, stale):
        (folder / "model").mkdir(parents=True)
    os.utime(stale, (0, 0))
    inner: list[Path] = []

    def make_same_model(what: str, parts: int = 0) -> None:
        if not inner and "rounding" in what:
            inner.append(Path())
            inner[0] = model_folder.make_test_model("tiny", 33, lambda what, parts=0: None, tmp_path)

    folder = model_folder.make_test_model("tiny", 33, make_same_model, tmp_path)
    assert [folder] == inner
    assert store.verify_model(folder).shape == model_folder.SHAPES["tiny"]
    assert sorted(tmp_path.iterdir()) == sorted([recent, folder.parent])


def make_record(wait_s: float, count: int = 1) -> ClientRecord:
    record = ClientRecord()
    for at in range(count):
        record.print_buffer.begin_answer(10.0 + at)
        record.print_buffer.deliver(10.0 + at + wait_s, 1)
        record.print_buffer.end_answer(10.0 + at + wait_s)
    return record


def test_limit_is_exceeded_as_soon_as_it_is_sure() -> None:
    span, good = TimeSpan(5.0, 85.0), [make_record(0.1) for _ in range(99)]
    assert not figures.is_limit_exceeded(good, span, 1.5)
    late = 1 + 100 * 80 // 8 // 100  # one in a hundred of all possible requests, and one more
    assert figures.is_limit_exceeded([*good, make_record(2.0, late)], span, 1.5)
    assert not figures.is_limit_exceeded([*good, make_record(2.0, late - 1)], span, 1.5)
    assert not figures.is_limit_exceeded([*good, make_record(2.0, late)], span, 0.0)
    stalled = ClientRecord()
    stalled.print_buffer.begin_answer(0.0)
    stalled.print_buffer.deliver(1.0, 1)
    stalled.print_buffer.deliver(6.0, 1)
    assert figures.is_limit_exceeded([*good, stalled], span, 0.0)
    assert not figures.is_limit_exceeded([*good, stalled], TimeSpan(7.0, 85.0), 0.0), "the stall was before the span"
    assert figures.is_limit_exceeded([*good, ClientRecord(errors=[(6.0, "cut")])], span, 0.0)


CACHE_FORMATS = [(None, False), ({"bits": 8}, False), ({"bits": 8, "cache": True}, True)]


@pytest.mark.parametrize(("rounding", "is_int8"), CACHE_FORMATS)
def test_manifest_tells_whether_the_cache_is_int8(rounding: dict[str, object] | None, is_int8: bool) -> None:
    manifest = store.read_manifest(store.find_model(store.EMBEDDED))
    assert command._has_int8_cache(replace(manifest, training={"rounding": rounding})) == is_int8
    assert not command._has_int8_cache(replace(manifest, training={}))
