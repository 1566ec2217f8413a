"""The reader of session logs: logs of today, of before, damaged ones, and those in which answers were forgotten."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.archive.answer_code import ALPHABET, compute_answer_code, normalise_code
from daemon.archive.session_reader import ArchivedSession, LostSpan, PressedKey, StruckByte, parse_session, read_session
from daemon.errors import DaemonError

OLD_HEADER = {
    "t": 0.0,
    "ev": "session",
    "version": 1,
    "asr33": "0.1.0",
    "wall": "2026-11-30T18:00:00.000+00:00",
    "monotonic": 77.5,
    "line": "/dev/ttyUSB0",
    "model": "embedded",
    "machine": "ASR-33",
}


def struck(text: str, at: float) -> list[dict[str, Any]]:
    return [
        {"t": at + n / 10, "ev": "tx", "b": f"{ord(char):02x}", "q": at, "at": at + n / 10 + 0.05, "col": n}
        for n, char in enumerate(text)
    ]


def old_turn(typed: str, answer: str, at: float) -> list[dict[str, Any]]:
    return [
        *({"t": at + n / 10, "ev": "rx", "b": f"{ord(char):02x}"} for n, char in enumerate(typed)),
        {"t": at + 2, "ev": "typed", "text": typed},
        {"t": at + 2.1, "ev": "prompt", "text": typed.capitalize(), "seed": 7},
        {"t": at + 2.2, "ev": "piece", "text": answer[:3], "tokens": [1, 2], "made": at + 2.2},
        {"t": at + 2.3, "ev": "piece", "text": answer[3:], "tokens": [3], "made": at + 2.2},
        *struck(answer.upper(), at + 3),
        {"t": at + 9, "ev": "end", "finish": "stop"},
    ]


def write_log(path: Path, records: list[dict[str, Any]], tail: bytes = b"") -> Path:
    path.write_bytes(b"".join(json.dumps(record).encode() + b"\n" for record in records) + tail)
    return path


def test_an_old_log_is_read_and_its_answers_get_codes(tmp_path: Path) -> None:
    records = [OLD_HEADER, *struck("READY\n", 1), *old_turn("HELLO", " there.", 5), *old_turn("AND", " so on", 20)]
    session = read_session(write_log(tmp_path / "20261130T180000.jsonl", [*records, {"t": 40.0, "ev": "close"}]))
    assert (session.id, session.is_closed, session.duration_s) == ("20261130T180000", True, 40.0)
    assert session.started_at == datetime(2026, 11, 30, 18, tzinfo=UTC)
    assert (session.header.model, session.header.seed, session.header.persona) == ("embedded", None, "")
    first, second = session.turns
    assert (first.typed, first.prompt, first.answer, first.tokens) == ("HELLO", "Hello", " there.", [1, 2, 3])
    assert (first.model, first.seed, first.finish_reason, first.at_s, first.end_s) == ("embedded", 7, "stop", 7.1, 14)
    text = "".join(chr(stroke.byte) for stroke in session.strokes[second.first_stroke : second.last_stroke + 1])
    assert text == " SO ON"
    assert session.strokes[0] == StruckByte(1.05, ord("R"), 0)
    assert session.keys[0] == PressedKey(5.0, ord("H"))
    assert [turn.code for turn in session.turns] == [compute_answer_code(session.id, number) for number in (1, 2)]


def test_a_new_log_has_its_own_codes_parameters_and_the_right_time(tmp_path: Path) -> None:
    header = OLD_HEADER | {"seed": 3, "settings": {"length": 80}, "persona": "Ada", "you": "Guest", "model_hash": "ab"}
    prompt = {"t": 1.0, "ev": "prompt", "text": "x", "seed": 4, "code": "WXYZ", "parameters": {"temperature": 0.5}}
    session = read_session(write_log(tmp_path / "a.jsonl", [header, prompt, {"t": 2, "ev": "clock", "offset": 3600.5}]))
    assert session.started_at == datetime(2026, 11, 30, 19, 0, 0, 500_000, tzinfo=UTC)
    assert (session.header.persona, session.header.you, session.header.settings) == ("Ada", "Guest", {"length": 80})
    turn = session.turns[0]
    assert (turn.code, turn.parameters, turn.seed, turn.finish_reason) == ("WXYZ", {"temperature": 0.5}, 4, "")


def test_forgotten_answers_keep_their_numbers(tmp_path: Path) -> None:
    gap = {"t": 5.0, "ev": "gap", "from": 1.0, "to": 5.0, "lost": 90, "why": "forgotten", "prompts": 2}
    session = read_session(write_log(tmp_path / "a.jsonl", [OLD_HEADER, gap, *old_turn("HI", "yes", 6)]))
    assert session.gaps == [LostSpan(1.0, 5.0, 90, "forgotten")]
    assert [(turn.number, turn.code) for turn in session.turns] == [(3, compute_answer_code("a", 3))]


def test_the_strokes_of_a_lent_machine_are_a_job(tmp_path: Path) -> None:
    records = [OLD_HEADER, {"t": 1, "ev": "lent"}, *struck("MEMO", 1), {"t": 3, "ev": "returned"}, *struck("X", 4)]
    (job,) = read_session(write_log(tmp_path / "a.jsonl", records)).jobs
    assert (job.at_s, job.first_stroke, job.last_stroke) == (1, 0, 3)


@pytest.mark.parametrize("tail", [b'{"t":9,"ev":"tx","b":"4', b"\x00" * 40, b"\xff\xfe\n[1]\n{}\n", b"[" * 100_000])
def test_a_torn_or_damaged_end_is_left_out(tail: bytes, tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.jsonl", [OLD_HEADER, *struck("AB", 1)], tail)
    assert [stroke.byte for stroke in read_session(path).strokes] == [0x41, 0x42]


@pytest.mark.parametrize("content", [b"", b"hello\n", b'{"t":0,"ev":"tx","b":"41"}\n'])
def test_another_file_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DaemonError, match=r"a\.jsonl: .* no session log"):
        read_session(tmp_path / "a.jsonl")


FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "b",
            "at",
            "q",
            "col",
            "text",
            "tokens",
            "seed",
            "code",
            "parameters",
            "finish",
            "from",
            "to",
            "lost",
            "prompts",
            "offset",
            "wall",
            "why",
        ]
    ),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=2),
)
EVENTS = st.sampled_from(
    [
        "session",
        "tx",
        "rx",
        "typed",
        "prompt",
        "piece",
        "end",
        "lent",
        "returned",
        "gap",
        "clock",
        "private",
        "close",
        "odd",
    ]
)


@given(st.lists(st.tuples(EVENTS, st.integers(0, 99), FIELDS), max_size=12))
def test_records_of_any_content_are_read(events: list[tuple[str, int, dict[str, Any]]]) -> None:
    records = [OLD_HEADER, *({**fields, "t": t, "ev": ev} for ev, t, fields in events)]
    session: ArchivedSession = parse_session(Path("a.jsonl"), records)
    assert session.started_at.tzinfo is not None
    assert len(session.turns) == sum(ev == "prompt" for ev, _, _ in events)
    for turn in session.turns:
        assert 0 <= turn.first_stroke <= turn.last_stroke + 1 <= len(session.strokes)


def test_a_code_is_four_characters_that_do_not_look_alike() -> None:
    codes = {compute_answer_code("20261130T180000", number) for number in range(1, 200)}
    assert len(codes) > 190
    assert all(re.fullmatch(f"[{ALPHABET}]{{4}}", code) for code in codes)
    assert compute_answer_code("20261130T180000", 1) == compute_answer_code("20261130T180000", 1)
    assert (normalise_code(" abcd\n"), normalise_code("ABC0"), normalise_code("ABCDE")) == ("ABCD", None, None)
