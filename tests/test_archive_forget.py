"""What is forgotten is gone: from prompts, keys and strokes, in the logs around it, and from the index."""

import contextlib
import fcntl
import json
import random
import sqlite3
from pathlib import Path

import pytest
from fakes_archive import START, FakeSession, all_text, find_text
from hypothesis import given
from hypothesis import strategies as st

from daemon.archive import session_index
from daemon.archive.forget import Selection, forget_lines
from daemon.archive.forget_plan import ForgetPlan
from daemon.archive.log_records import iter_records
from daemon.archive.session_reader import read_session
from daemon.archive.turn_spans import find_spans
from daemon.bridges.mentions.mention import Mention, PendingPost
from daemon.bridges.mentions.mention_rules import PeopleMemory
from daemon.bridges.mentions.mention_state import MentionState, MentionStore
from daemon.errors import SpoolRefused
from daemon.saved_conversations import SavedConversation, SavedConversations
from daemon.spool.budget import BudgetLimits
from daemon.spool.job import JobRequest
from daemon.spool.rules import SpoolRules
from daemon.spool.spool import Spool
from daemon.spool.store import SpoolStore
from tools.log import forget as forget_command
from tools.main import main


def rewrite(session: FakeSession, selection: Selection) -> None:
    lines = session.path.read_bytes().splitlines(keepends=True)
    session.path.write_bytes(b"".join(forget_lines(lines, find_spans(lines), selection)))


def new_session(folder: Path, name: str = "20260101T080000", **header: object) -> FakeSession:
    return FakeSession(folder / f"{name}.jsonl", START, **header)


def test_an_answer_goes_with_its_line_its_keys_and_the_memory_of_later_prompts(tmp_path: Path) -> None:
    session = new_session(tmp_path)
    session.answer("FIRST QUESTION", "one reply")
    session.answer("SECRET MATTER", "hidden words")
    session.answer("THIRD THING", "last remark")
    session.save()
    before, lines_before = read_session(session.path), len(list(iter_records(session.path)))
    rewrite(session, Selection(turns={2}, memory_after=2))
    text = all_text(session.path)
    for word in ("SECRET", "MATTER", "HIDDEN", "WORDS"):
        assert word not in text
    after = read_session(session.path)
    first, third = after.turns
    assert (first.prompt, first.answer, first.code) == ("First question", " one reply", before.turns[0].code)
    assert (third.number, third.code, third.answer) == (3, before.turns[2].code, " last remark")
    assert (third.prompt, third.typed) == ("Third thing", "THIRD THING")
    (gap,) = after.gaps
    assert gap.why == "forgotten"
    assert before.turns[0].end_s <= gap.from_s < gap.to_s == before.turns[1].end_s
    assert gap.lost == lines_before - len(list(iter_records(session.path))) + 1
    assert [stroke for stroke in before.strokes if not gap.from_s <= stroke.at_s <= gap.to_s] == after.strokes
    assert (after.duration_s, after.is_closed) == (before.duration_s, True)


@given(st.integers(0, 2**32), st.booleans())
def test_of_any_session_any_answer_can_be_forgotten(seed: int, is_typed_ahead: bool) -> None:
    draw = random.Random(seed)
    count = draw.randrange(1, 6)
    session = FakeSession(Path("20260101T080000.jsonl"), START)
    words = [[f"{kind}{number}{draw.choice('XYZ') * 3}" for kind in "QA"] for number in range(count)]
    waiting: list[str] = []
    for number, (typed, answer) in enumerate(words):
        if draw.random() < 0.3 and typed not in waiting:  # keys come in the order of their lines
            session.type_line(".HELP")
        if draw.random() < 0.3:
            session.record("lent")
            session.strike(f"JOB{number}")
            session.record("returned")
        ahead = [other for other, _ in words[number + 1 : number + draw.randrange(1, 4)] if other not in waiting]
        session.answer(typed, answer, ahead=ahead if is_typed_ahead else [], is_typed_ahead=typed in waiting)
        waiting += ahead if is_typed_ahead else []
    forgotten = draw.randrange(count)
    lines = [line.encode() for line in session._lines]
    kept = list(forget_lines(lines, find_spans(lines), Selection(turns={forgotten + 1}, memory_after=forgotten + 1)))
    text = text_of_lines(kept)
    for word in words[forgotten]:
        assert word not in text
    for number, (_, answer) in enumerate(words):
        assert (answer in text) == (number != forgotten)
    assert all(f"JOB{number}" in text for number in range(count) if f"JOB{number}" in text_of_lines(lines))


def text_of_lines(lines: list[bytes]) -> str:
    records = [json.loads(line) for line in lines]
    strokes = "".join(chr(int(record["b"], 16) & 0x7F) for record in records if record["ev"] == "tx")
    keys = "".join(chr(int(record["b"], 16) & 0x7F) for record in records if record["ev"] == "rx")
    return "\n".join([strokes, keys, *(str(record) for record in records if record["ev"] not in ("tx", "rx"))]).upper()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three sessions; the second is of a person, and another daemon's log goes on from it."""
    folder = tmp_path / "sessions"
    folder.mkdir()
    for number, header in enumerate([{}, {"persona": "Ada Lovelace", "you": "Wilhelmina"}, {}]):
        session = FakeSession(folder / f"2026010{number + 1}T080000.jsonl", START.replace(day=number + 1), **header)
        session.answer(f"QUESTION{number} FIRST", f"reply{number} one")
        session.record("lent")
        session.strike(f"MEMO{number}\nTIMOTHY: A PRINTED NOTE{number}\r\n" if number == 2 else f"MEMO{number}\r\n")
        session.record("returned")
        session.answer(f"TIMOTHY: QUESTION{number} AGAIN", f"reply{number} two")
        session.answer(f"THIRD{number} LINE", f"echo{number} three")
        session.save(is_closed=number != 1)
        if number == 1:
            later = FakeSession(folder / "20260102T080000-2.jsonl", START.replace(day=2), **header)
            later.memory = session.memory
            later.answer("NEXT PART", "of the same run")
            later.save()
    return folder


def forget(folder: Path, *words: str) -> int:
    return main(["log", "forget", "--log", str(folder), "--yes", *words])


def search_all(folder: Path) -> None:
    assert main(["log", "search", "--log", str(folder), "reply* memo* echo*"]) == 1
    assert main(["log", "search", "--log", str(folder), "first"]) == 0


@pytest.mark.parametrize(
    ("words", "gone", "kept"),
    [
        (["LAST"], ["third2", "echo2"], ["question2", "reply2", "memo2", "third0"]),
        (["20260102T080000"], ["question1", "reply1", "memo1", "echo1", "third1"], ["question2", "memo0", "same run"]),
        (
            ["--before", "2026-01-02"],
            ["question0", "reply0", "memo0", "echo0", "third0"],
            ["question1", "echo1", "question2"],
        ),
        (
            ["--before", "2026-01-02T08:00:10"],
            ["question0", "echo0", "question1 first", "reply1 one", "memo1"],
            ["question1 again", "echo1", "question2"],
        ),
        (
            ["--person", "timothy"],
            ["timothy", "question0 again", "reply1 two", "note2", "memo2"],
            ["question0 first", "memo0", "reply1 one", "echo2", "same run"],
        ),
        (["--person", "Wilhelmina"], ["wilhelmina", "question1", "memo1", "echo1"], ["question0", "memo2", "echo2"]),
    ],
)
def test_nothing_of_the_forgotten_text_is_in_any_file(
    words: list[str], gone: list[str], kept: list[str], archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search_all(archive)
    assert len(find_text(archive, *gone)) >= len(gone)  # the search can find
    before = {path.name: read_session(path) for path in archive.glob("*.jsonl")}
    assert forget(archive, *words) == 0
    assert not find_text(archive.parent, *gone)
    assert {found.partition(": ")[2] for found in find_text(archive, *kept)} >= set(kept)
    for name, session in before.items():
        after = read_session(archive / name)
        assert (after.duration_s, after.started_at) == (session.duration_s, session.started_at)
        codes = {turn.number: turn.code for turn in session.turns}
        assert all(codes[turn.number] == turn.code for turn in after.turns)
        assert (archive / name).stat().st_mode & 0o777 == 0o600 or after.turns == session.turns
    capsys.readouterr()
    assert main(["log", "search", "--log", str(archive), *gone[0].split()]) == 1
    assert not find_text(archive.parent, *gone)
    assert sorted(path.suffix for path in archive.iterdir()) == [*[".jsonl"] * 4, ".sqlite3"]


def test_forget_asks_first_and_says_how_much(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {path: path.read_bytes() for path in archive.iterdir()}
    assert main(["log", "forget", "--log", str(archive), "--person", "timothy"]) == 2
    message = capsys.readouterr().err
    assert "3 answers and 1 printed text in logs from 20260101T080000 to 20260103T080000" in message
    assert message.endswith("say --yes\n")
    assert main(["log", "forget", "--log", str(archive), "LAST"]) == 2
    assert "1 answer (THIRD2 LINE) in the log 20260103T080000" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in data} == data
    assert forget(archive, "--before", "1999") == 0
    assert capsys.readouterr().err == "asr33: nothing to forget\n"


def test_other_texts_that_mention_a_person_are_counted(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = FakeSession(archive / "20260104T080000.jsonl", START.replace(day=4))
    session.answer("WHO IS TIMOTHY", "Timothy is a friend.")
    session.save()
    assert forget(archive, "--person", "timothy") == 0
    assert "1 other text has this name" in capsys.readouterr().err


def test_a_log_in_use_without_a_daemon_that_answers_is_refused_and_unchanged(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = archive / "20260103T080000.jsonl"
    data = path.read_bytes()
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert forget(archive, "LAST") == 75
    assert "has its log open" in capsys.readouterr().err
    assert path.read_bytes() == data


def test_a_search_that_reads_the_old_logs_at_the_same_time_keeps_nothing(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_all(archive)
    monkeypatch.setattr(session_index, "BUSY_TIMEOUT_S", 0.1)
    replace_logs = forget_command._replace_logs
    with contextlib.closing(sqlite3.connect(archive / session_index.FILE_NAME, isolation_level=None)) as other:

        def replace_while_another_searches(plan: ForgetPlan) -> None:
            with session_index.open_index(archive) as index:
                index.refresh(lambda stage, done, total: None)
            replace_logs(plan)
            other.execute("BEGIN IMMEDIATE")

        monkeypatch.setattr(forget_command, "_replace_logs", replace_while_another_searches)
        assert forget(archive, "LAST") == 0
    assert not find_text(archive, "third2", "echo2")


def test_what_a_killed_command_has_left_is_completed(archive: Path) -> None:
    path = archive / "20260103T080000.jsonl"
    size = path.stat().st_size
    held = archive / f".{path.name}.{size}.forgotten"
    held.write_bytes(path.read_bytes() + b'{"t":900,"ev":"typed","text":"LATE"}\n')
    (archive / f".{path.name}.rewritten").write_text("half")
    assert forget(archive, "--before", "1999") == 0
    assert "LATE" in path.read_text()
    assert sorted(path.suffix for path in archive.iterdir()) == [".jsonl"] * 4


def test_a_date_is_compared_with_the_right_clock_wherever_the_log_has_it(archive: Path) -> None:
    session = FakeSession(archive / "19700101T000000.jsonl", START.replace(year=1970))
    for number in range(9):
        session.answer(f"LINE {number}", "words " * 40)
        if number == 4:
            session.record("clock", offset=(START.replace(day=3) - START.replace(year=1970)).total_seconds())
    session.save()
    assert forget(archive, "--before", "2026-01-02") == 0
    assert len(read_session(session.path).turns) == 9
    numbers = {path: path.stat().st_ino for path in archive.glob("*.jsonl")}
    assert forget(archive, "--before", "2026-01-02") == 0
    assert {path: path.stat().st_ino for path in numbers} == numbers, "a forgotten session is not written again"
    assert forget(archive, "--before", "2026-01-04") == 0
    assert not read_session(session.path).turns


def test_damaged_lines_go_too(tmp_path: Path) -> None:
    session = new_session(tmp_path)
    session.answer("HELLO", "secret")
    session.save()
    data = session.path.read_bytes()
    session.path.write_bytes(data[:-20] + b'\n{"t":5,"ev":"piece","text":"secr\n' + data[-20:])
    with session.path.open("ab") as file:
        file.write(b'{"t":5,"ev":"piece","text":"secret')
    assert forget(tmp_path, "LAST") == 0
    assert b"secr" not in session.path.read_bytes()


def make_state(state: Path) -> None:
    """A spool, saved conversations, and mentions, with Timothy in each, and a copy of a damaged spool."""
    store, spool = SpoolStore(state / "tty.spool"), Spool(SpoolRules())
    store.replace([])
    now = START.timestamp()
    for person, line in (("Timothy", "TIMOTHY: WAITING1"), ("Ada", "ADA: WAITING2"), ("Ada", "TIMOTHY: WAITING3")):
        spool.add(now, JobRequest("irc", person, (line, "MORE"), once=f"key-{line}"))
    spool.add(now, JobRequest("irc", "timothy", ("* TIMOTHY WAVES4",)))
    spool.note_line(now, 1)
    store.append(spool.take_changes())
    store.append([{"ev": "drop", "id": 4}])
    store.close()
    (state / "tty.spool.damaged").write_text('{"person":"T\\u0069mothy"')
    saved = SavedConversations(state / "conversations")
    saved.save("one", SavedConversation("You: Hi\nTimothy: I said waiting5", "Teletype", 1.0), replaces=False)
    saved.save("two", SavedConversation("Keep this first\nThird2 line echo2 three\nAnd this", "", 1.0), replaces=False)
    mention = Mention("78", "timothy@example.org", "waiting6 for you")
    people = PeopleMemory(["timothy@example.org", "ada@example.org"], [("timothy@example.org", now)])
    due = [PendingPost("answer", "k78", mention, "waiting7"), PendingPost("daily", "k", None, "daily8")]
    MentionStore(state / "mentions-mastodon.json").write(MentionState("79", due, ["77", "78"], people))
    (state / f".mentions-mastodon.json.{2**22 + 7}").write_text("timothy half written")  # no process has this number


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    folder = tmp_path / "state/asr33"
    folder.mkdir(parents=True)
    make_state(folder)
    return folder


def test_a_person_leaves_the_spool_saved_conversations_and_mentions(archive: Path, state: Path) -> None:
    session = FakeSession(archive / "20260104T080000.jsonl", START.replace(day=4))
    session.record("chat", source="irc", nick="Timothy", prompt="Timothy: waiting10", seed=1, text="waiting11")
    session.record("chat", source="irc", nick="Ada", prompt="Ada: kept12", seed=1, text="kept13")
    session.record("lent")
    session.record("job", id=1, source="irc", person="Timothy", line=0)
    session.strike("* HE WAVES14\r\n")
    session.record("returned")
    session.save()
    gone = [f"waiting{number}" for number in (1, 3, 5, 6, 7, 10, 11)] + ["timothy", "waves4", "waves14"]
    assert {found.partition(": ")[2].lower() for found in find_text(archive.parent, *gone)} == set(gone)
    assert forget(archive, "--person", "timothy") == 0
    assert not find_text(archive.parent, *gone)
    kept = ["waiting2", "keep this first", "daily8", "kept12", "kept13"]
    assert {found.partition(": ")[2].lower() for found in find_text(archive.parent, *kept)} == set(kept)
    mentions = MentionStore(state / "mentions-mastodon.json").read()
    assert (mentions.last_id, mentions.handled, mentions.people.told) == ("79", ["77", "78"], ["ada@example.org"])
    assert len(mentions.people.answered) == 1, "the answer counts for all still"
    spool = Spool(SpoolRules(source_budget=BudgetLimits(hour=45)))
    spool.restore(START.timestamp(), SpoolStore(state / "tty.spool").read())
    assert [job.lines[0] for job in spool.jobs] == ["ADA: WAITING2"]
    with pytest.raises(SpoolRefused, match="budget"):  # of the source, which has Timothy's characters still
        spool.add(START.timestamp(), JobRequest("irc", "new", ("X" * 5,)))
    assert sorted(path.name for path in state.iterdir()) == ["conversations", "mentions-mastodon.json", "tty.spool"]


def test_an_answer_leaves_the_saved_conversation_and_a_date_takes_what_is_older(archive: Path, state: Path) -> None:
    assert forget(archive, "LAST") == 0
    assert not find_text(archive.parent, "third2", "echo2")
    assert SavedConversations(state / "conversations").load("two").memory == "Keep this first\nAnd this"
    assert find_text(state, "waiting2")
    assert forget(archive, "--before", "2026-01-01") == 0
    assert find_text(state, "waiting2")
    assert forget(archive, "--before", "2100") == 0
    assert not find_text(state, "waiting2", "keep this first", "waiting5")
    assert MentionStore(state / "mentions-mastodon.json").read().last_id == "79"


def test_a_spool_whose_daemon_does_not_answer_is_refused_and_unchanged(
    archive: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (state / "tty.spool").read_bytes()
    with (state / "tty.spool").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert forget(archive, "--person", "timothy") == 75
    assert "does not answer" in capsys.readouterr().err
    assert (state / "tty.spool").read_bytes() == data
