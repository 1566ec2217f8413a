"""The index of the archive: what it finds, and that it follows the logs as they grow, are replaced and go."""

import sqlite3
from pathlib import Path

import pytest
from fakes_archive import START, FakeSession, write_archive
from hypothesis import given
from hypothesis import strategies as st

from daemon.archive.search_query import SearchFilter, SearchHit, build_query
from daemon.archive.session_index import FILE_NAME, open_index
from daemon.archive.session_list import iter_summaries, read_summary, session_paths
from daemon.errors import DaemonError
from daemon.people import format_people, is_person

ALL = SearchFilter()


def quietly(stage: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def search(folder: Path, text: str, chosen: SearchFilter = ALL) -> list[SearchHit]:
    with open_index(folder) as index:
        index.refresh(quietly)
        hits, total = index.search(build_query(text), chosen, 100)
        assert total == len(hits)
        return hits


def new_session(folder: Path, name: str = "20260101T080000", **header: object) -> FakeSession:
    return FakeSession(folder / f"{name}.jsonl", START, **header)


def test_lines_answers_and_printed_texts_are_found_newest_first(tmp_path: Path) -> None:
    session = new_session(tmp_path)
    session.answer("WHO WAS BABBAGE?", "Charles Babbage designed engines.")
    session.record("lent")
    session.strike("MEMO: BABBAGE IS OUT\r\n")
    session.record("returned")
    session.answer("THANKS", "Not at all, naïve friend.")
    session.save()
    printed, answer = search(tmp_path, "babbage")
    assert (printed.number, printed.code, printed.snippet) == (0, "", "MEMO: [BABBAGE] IS OUT")
    assert answer.snippet.splitlines() == ["WHO WAS [BABBAGE]?", " Charles [Babbage] designed engines."]
    assert [hit.number for hit in search(tmp_path, "naive")] == [2]
    assert [hit.number for hit in search(tmp_path, '"babbage designed" eng*')] == [1]
    assert not search(tmp_path, '"designed babbage"')


def test_a_log_that_grows_is_read_on_and_an_open_answer_is_found_once(tmp_path: Path) -> None:
    session = new_session(tmp_path)
    session.answer("FIRST", "one lantern")
    session.record("prompt", text="Second", seed=1)
    session.record("piece", text=" two lanterns", tokens=[1])
    session.save(is_closed=False)
    assert len(search(tmp_path, "lantern*")) == 2
    session.record("piece", text=" and harbours", tokens=[1])
    session.record("end", finish="length")
    session.answer("THIRD", "three lanterns")
    session.save()
    with session.path.open("a") as file:
        file.write('{"t":99,"ev":"prompt","text":"torn lanter')
    assert [hit.number for hit in search(tmp_path, "lantern*")] == [3, 2, 1]
    assert [hit.number for hit in search(tmp_path, "harbours")] == [2]
    assert [hit.code for hit in search(tmp_path, "harbours")] == [session_code(session, 2)]


def session_code(session: FakeSession, number: int) -> str:
    from daemon.archive.session_reader import read_session

    return read_session(session.path).turns[number - 1].code


@pytest.mark.parametrize("change", ["removed", "replaced", "truncated"])
def test_the_text_of_a_log_that_goes_leaves_the_file_of_the_index(change: str, tmp_path: Path) -> None:
    write_archive(tmp_path, 4, 4000)
    session = new_session(tmp_path, "20260101T090000")
    session.answer("TELL ME ABOUT XYLOPHONES", "Xylophones are rather vermilion today.")
    session.save()
    assert len(search(tmp_path, "xylophones vermilion")) == 1
    assert b"vermilion" in (tmp_path / FILE_NAME).read_bytes()
    if change == "removed":
        session.path.unlink()
    else:
        other = new_session(tmp_path, "20260101T090000")
        other.answer("HI", "hello there") if change == "replaced" else None
        session.path.rename(session.path.with_suffix(".old")) if change == "replaced" else None
        other.save()
    assert not search(tmp_path, "xylophones")
    assert b"ermilion" not in (tmp_path / FILE_NAME).read_bytes()
    assert len(search(tmp_path, "session")) == 4


def test_a_search_is_narrowed_by_date_model_and_person(tmp_path: Path) -> None:
    for number, (model, persona) in enumerate([("gpt2", "Ada Lovelace"), ("young", ""), ("gpt2", "")]):
        session = FakeSession(
            tmp_path / f"2026010{number}T080000.jsonl",
            START.replace(day=number + 1),
            model=model,
            persona=persona,
            you="Guest" if persona else "",
        )
        session.answer("BOB: HELLO" if number == 2 else "HELLO", "good evening")
        session.save()
    assert [hit.path.stem[:8] for hit in search(tmp_path, "evening")] == ["20260102", "20260101", "20260100"]
    assert len(search(tmp_path, "evening", SearchFilter(model="gpt2"))) == 2
    assert len(search(tmp_path, "evening", SearchFilter(since=START.replace(day=2).timestamp()))) == 2
    for person, day in [("ada", "00"), ("ADA LOVELACE", "00"), ("guest", "00"), ("Bob", "02")]:
        assert [hit.path.stem[6:8] for hit in search(tmp_path, "hello", SearchFilter(person=person))] == [day]
    assert not search(tmp_path, "hello", SearchFilter(person="love"))


def test_the_clock_of_a_log_corrects_its_dates(tmp_path: Path) -> None:
    session = new_session(tmp_path)
    session.answer("HELLO", "hi")
    session.record("clock", offset=86400.0)
    session.save()
    (hit,) = search(tmp_path, "hello", SearchFilter(since=START.replace(day=2).timestamp()))
    assert hit.at.day == 2
    summary = read_summary(session.path)
    assert summary is not None
    assert summary.started_at == START.replace(day=2)


def test_a_damaged_index_is_built_again(tmp_path: Path) -> None:
    write_archive(tmp_path, 3, 3000)
    assert search(tmp_path, "session")
    (tmp_path / FILE_NAME).write_bytes(b"SQLite format 3\x00" + b"\x07" * 5000)
    assert len(search(tmp_path, "session")) == 3
    data = bytearray((tmp_path / FILE_NAME).read_bytes())
    data[8192:] = b"\xff" * len(data[8192:])
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(DaemonError, match="the same command builds it again"):
        search(tmp_path, "session")
    assert len(search(tmp_path, "session")) == 3


def test_two_commands_at_once_and_one_that_is_stopped_leave_a_whole_index(tmp_path: Path) -> None:
    write_archive(tmp_path, 6, 3000)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "building the index":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_index(tmp_path) as index:
        index.refresh(stop)
    with open_index(tmp_path) as first, open_index(tmp_path) as second:
        first.refresh(quietly)
        second.refresh(quietly)
        assert second.search('"session"', ALL, 9)[1] == 6


def test_the_index_is_its_owners_alone_and_brings_no_other_file(tmp_path: Path) -> None:
    write_archive(tmp_path, 2, 3000)
    search(tmp_path, "session")
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl"] == [FILE_NAME]


def test_summaries_from_the_index_are_those_of_the_logs(tmp_path: Path) -> None:
    write_archive(tmp_path, 5, 20_000)
    session = new_session(tmp_path, "20270101T080000", persona="Ada", you="Me")
    session.record("clock", offset=12.5)
    session.save(is_closed=False)
    (tmp_path / "notes.jsonl").write_text("no log\n")
    with open_index(tmp_path) as index:
        for _ in range(2):
            index.refresh_summaries(quietly)
            assert index.list_summaries() == list(iter_summaries(session_paths(tmp_path)))


def test_characters_that_sqlite_does_not_store_are_replaced(tmp_path: Path) -> None:
    session = new_session(tmp_path, persona="A\udcff")
    session.answer("HALF \ud83d OF IT", "and a \0 too")
    session._lines = [line.encode("utf-8", "backslashreplace").decode() for line in session._lines]
    session.save()
    assert len(search(tmp_path, "half too \ud83d")) == 1


@given(st.text(max_size=30))
def test_every_text_is_a_search(text: str) -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE body USING fts5 (text)")
    query = build_query(text)
    if query:
        db.execute("SELECT * FROM body WHERE body MATCH ?", (query,)).fetchall()
    assert bool(query) == any(char.isalnum() for char in text)
    db.close()


@pytest.mark.parametrize(
    ("name", "is_found"), [("ada", True), ("Lovelace", True), ("ADA  LOVELACE", True), ("love", False), ("bo", False)]
)
def test_a_person_is_named_by_whole_words(name: str, is_found: bool) -> None:
    assert is_person(name, ["Ada Lovelace", "Bob"]) is is_found
    assert format_people(["", "Bob"]) == " bob "
