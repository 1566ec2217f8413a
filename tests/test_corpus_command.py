from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import select
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tools.corpus import add, progress, storage
from tools.corpus.progress import ImportProgress
from tools.corpus.rendering import render_documents
from tools.main import main

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["the", "carriage", "returns", "with", "a", "thump", "when", "its", "line", "is", "full", "and", "so", "on"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    return tmp_path / "corpora"


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing takes so long that it says how far it is."""
    monkeypatch.setattr(progress, "INITIAL_DELAY_S", 3600.0)


@pytest.fixture
def slack(tmp_path: Path) -> Path:
    return slack_export(tmp_path / "slack.zip", 60, days=3)


def slack_export(path: Path, messages: int, days: int) -> Path:
    draw = random.Random(1)
    users = [{"id": f"U{n}", "name": f"u{n}", "real_name": f"Person {n}"} for n in range(9)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("users.json", json.dumps(users))
        archive.writestr("channels.json", json.dumps([{"id": "C1", "name": "general"}]))
        archive.writestr("integration_logs.json", "[]")
        for day in range(days):
            said = [
                {
                    "type": "message",
                    "user": f"U{draw.randrange(9)}",
                    "text": f"{day} {n} " + " ".join(draw.choices(WORDS, k=draw.randint(2, 20))),
                    "ts": f"{1.4e9 + 86400 * day + n:.6f}",
                }
                for n in range(messages // days)
            ]
            archive.writestr(
                f"general/{time.strftime('%Y-%m-%d', time.gmtime(1.4e9 + 86400 * day))}.json", json.dumps(said)
            )
    return path


def texts(name: str) -> list[str]:
    return [record.text for record in storage.open_kept_records(name)]


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("unhurried")
def test_files_are_added_told_and_ready_to_train_on(
    tmp_path: Path, slack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("THE QUICK BROWN FOX\n")
    assert main(["corpus", "add", str(slack), str(tmp_path / "a.txt"), "--name", "attic"]) == 0
    out, err = capsys.readouterr()
    assert f"{slack}: slack, 6 files, 60 records\n" in out
    assert f"{tmp_path / 'a.txt'}: text, 1 file, 1 record\n" in out
    assert out.endswith("attic: 61 of 61 records are left after cleaning; asr33 corpus report attic\n")
    assert err == ""
    assert list(render_documents(storage.open_kept_records("attic")))[-1].strip() == "THE QUICK BROWN FOX"


def test_the_same_file_again_adds_nothing_and_says_so(
    tmp_path: Path, slack: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["corpus", "add", str(slack), "--name", "attic"])
    before = state(home / "attic")
    copy = tmp_path / "copy.zip"
    copy.write_bytes(slack.read_bytes())
    capsys.readouterr()
    assert main(["corpus", "add", str(copy), "--name", "attic"]) == 0
    out = capsys.readouterr().out
    assert "there already, and not added again" in out
    assert out.endswith("attic: nothing new; 60 records as before\n")
    assert state(home / "attic") == before
    (tmp_path / "b.txt").write_text("new")
    (tmp_path / "c.txt").write_text("new")
    main(["corpus", "add", *(str(tmp_path / name) for name in ("copy.zip", "b.txt", "c.txt")), "--name", "attic"])
    assert storage.read_metadata("attic").records == 61


def test_what_cannot_be_taken_is_named_and_the_rest_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("good.txt", "good")
        archive.writestr("../\x1b[2Jsly.txt", "sly")
        archive.writestr("photo.jpg", "\xff")
        archive.writestr("bad.txt", "badly damaged in the middle of it")
    raw = (tmp_path / "all.zip").read_bytes().replace(b"badly damaged", b"badly dAmaged")
    (tmp_path / "all.zip").write_bytes(raw)
    assert main(["corpus", "add", str(tmp_path / "all.zip"), "--name", "x"]) == 0
    out, err = capsys.readouterr()
    assert "left alone, by their endings: 1 .jpg" in out
    assert "sly.txt: its name leads out of the archive" in err
    assert "bad.txt: Bad CRC-32" in err
    assert "\x1b" not in out + err
    assert "good" in texts("x")


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.bin", b"\0\1\2", "of no kind that is known (1 .bin); what is text all the same: --as text"),
        ("a.txt", b" \n", "no text in it, but 1 a file without text"),
        ("old.txt", b"caf\xe9", "old.txt: not UTF-8, or no text at all; --as text takes it all the same"),
        ("cut.zip", b"PK\x03\x04 and no more", "cut.zip: not a whole ZIP (File is not a zip file); fetch it again"),
    ],
)
def test_nothing_to_take_is_an_error_with_its_cure_and_makes_no_corpus(
    tmp_path: Path, name: str, data: bytes, told: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(data)
    assert main(["corpus", "add", str(tmp_path / name), "--name", "x"]) == 65
    assert told in capsys.readouterr().err
    assert not list(home.iterdir())


def test_an_empty_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["corpus", "add", str(tmp_path / "empty"), "--name", "x"]) == 65
    assert "empty: not one text in it; name a file, a folder or a ZIP that has some" in capsys.readouterr().err


def test_an_absent_path_is_an_error_and_takes_nothing_of_the_others(
    tmp_path: Path, slack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["corpus", "add", str(slack), str(tmp_path / "absent"), "--name", "x"]) == 66
    assert "absent: No such file or directory; name a file" in capsys.readouterr().err
    assert main(["corpus", "add", str(tmp_path / "\x1b[2Jabsent"), "--name", "x"]) == 66
    assert "?[2Jabsent: No such file" in capsys.readouterr().err
    assert storage.list_corpora() == []


def test_a_kind_can_be_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.txt").write_bytes(b"caf\xe9\n")
    assert main(["corpus", "add", str(tmp_path / "old.txt"), "--name", "x", "--as", "text"]) == 0
    assert texts("x")[0].strip() == "café"
    assert "look at this:" in capsys.readouterr().err


def test_cleaning_is_as_asked_then_as_before_and_can_be_done_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("R&amp;D")
    (tmp_path / "b.txt").write_text("Q&amp;A")
    main(["corpus", "add", str(tmp_path / "a.txt"), "--name", "x", "--without", "entities,links", "--without", "empty"])
    main(["corpus", "add", str(tmp_path / "b.txt"), "--name", "x"])
    assert texts("x") == ["R&amp;D", "Q&amp;A"]
    assert storage.read_metadata("x").options.without == {"entities", "links", "empty"}
    secret = storage.read_metadata("x").options.secret
    main(["corpus", "clean", "x"])
    assert texts("x") == ["R&D", "Q&A"]
    assert storage.read_metadata("x").options.secret == secret != ""


def test_people_and_days_are_chosen(tmp_path: Path, slack: Path) -> None:
    main(["corpus", "add", str(slack), "--name", "x", "--since", "2014-05-14"])
    assert 0 < storage.read_metadata("x").kept_records < 60
    main(["corpus", "clean", "x", "--anonymous"])
    assert {record.who for record in storage.open_kept_records("x")}.isdisjoint({f"Person {n}" for n in range(9)})
    assert storage.read_metadata("x").options.anonymous


def test_anonymous_hides_those_too_who_write_nothing(
    tmp_path: Path, slack: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    petra = {"id": "U7", "name": "pk", "real_name": "Petra Kowalczyk", "profile": {"display_name": "petrakow"}}
    said = {"type": "message", "user": "U8", "text": "<@U7> has it, Kowalczyk or her Silent Bob", "ts": "1400000000.0"}
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("users.json", json.dumps([petra, {"id": "U8", "name": "jo", "real_name": "Jo Zygmunt"}]))
        archive.writestr("general/2014-05-13.json", json.dumps([said]))
    people = [{"name": "Zoe Quinn"}, {"name": "Bob Silent"}]
    thread = {"participants": people, "messages": [{"sender_name": "Zoe Quinn", "timestamp_ms": 1, "content": "Bob!"}]}
    (tmp_path / "inbox" / "bob_1").mkdir(parents=True)
    (tmp_path / "inbox" / "bob_1" / "message_1.json").write_text(json.dumps(thread | {"title": "Bob Silent"}))
    assert main(["corpus", "add", str(tmp_path / "s.zip"), str(tmp_path / "inbox"), "--name", "x", "--anonymous"]) == 0
    main(["corpus", "clean", "x", "--anonymous"])
    capsys.readouterr()
    main(["corpus", "show", "x"])
    main(["corpus", "report", "x", "--json"])
    told = capsys.readouterr().out
    assert [name for name in ("Petra", "Kowal", "Zygmunt", "Silent", "Bob", "Quinn") if name in told] == []


def test_a_step_or_a_person_that_is_not_there_leaves_the_corpus_as_it_was(
    slack: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["corpus", "add", str(slack), "--name", "x"])
    before = state(home / "x")
    assert main(["corpus", "clean", "x", "--without", "entites"]) == 64
    assert "did you mean entities" in capsys.readouterr().err
    assert main(["corpus", "clean", "x", "--person", "\x1bNobody At All"]) != 0
    assert "--person ?Nobody At All: nobody is called that; there are Person " in capsys.readouterr().err
    assert state(home / "x") == before


def test_corpora_are_listed_and_removed(
    tmp_path: Path, slack: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["corpus", "list"]) == 0
    assert "make one: asr33 corpus add" in capsys.readouterr().out
    main(["corpus", "add", str(slack), "--name", "x"])
    capsys.readouterr()
    main(["corpus", "list"])
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["x", "60", "60"]
    main(["corpus", "list", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["kinds"] == ["slack"]
    (home / "x" / "corpus.json").write_text("{")
    assert main(["corpus", "list"]) == 0
    assert "remove it" in capsys.readouterr().err
    assert main(["corpus", "remove", "x"]) == 0
    assert main(["corpus", "remove", "x"]) == 66
    assert slack.exists()


def test_report_and_show_tell_of_what_is_there(slack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["corpus", "add", str(slack), "--name", "x"])
    capsys.readouterr()
    assert main(["corpus", "report", "x"]) == 0
    assert "x" in capsys.readouterr().out
    assert main(["corpus", "report", "x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "x"
    assert main(["corpus", "show", "x", "2", "--seed", "3"]) == 0
    assert "Person " in capsys.readouterr().out
    assert main(["corpus", "show", "absent"]) == main(["corpus", "report", "absent"]) == 66


def test_a_terminal_without_letters_of_ours_gets_question_marks(tmp_path: Path, home: Path) -> None:
    (tmp_path / "gruß.txt").write_text("grüß dich 😀", "utf-8")
    main(["corpus", "add", str(tmp_path / "gruß.txt"), "--name", "x"])
    command = [sys.executable, "-m", "tools.main", "corpus", "show", "x"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert "gr?? dich ?" in told


@pytest.mark.parametrize(
    "words",
    [
        ["add", "a", "--name", "../x"],
        ["add", "a", "--name", "x", "--since", "June"],
        ["add", "a", "--name", "x", "--since", "2019-13"],
        ["add", "a", "--name", "x", "--as", "fax"],
        ["show", "x", "0"],
        ["add", "a"],
        ["add", "", "--name", "x"],
        [],
    ],
)
def test_wrong_words_are_told_as_such(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["corpus", *words])
    assert ended.value.code == 2


@pytest.mark.usefixtures("unhurried")
def test_ctrl_c_leaves_the_corpus_as_it_was(
    slack: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["corpus", "add", str(slack), "--name", "x"])
    before = state(home / "x")
    more = slack_export(slack.with_name("more.zip"), 90, days=3)

    def interrupted(self: ImportProgress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImportProgress, "count_record", interrupted)
    assert main(["corpus", "add", str(more), "--name", "x"]) == 130
    assert capsys.readouterr().err == "asr33: stopped; x is as it was\n"
    assert main(["corpus", "add", str(more), "--name", "y"]) == 130
    assert capsys.readouterr().err == "asr33: stopped; y was not begun\n"
    assert state(home / "x") == before
    assert storage.list_corpora() == ["x"]


def test_progress_is_silent_at_first_and_then_tells_files_megabytes_and_records(
    slack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    shown = ImportProgress(lambda: now[0])
    add.add_paths("x", [slack], "", None, shown)
    assert capsys.readouterr().err == ""
    storage.remove_corpus("x")
    shown = ImportProgress(lambda: now[0])
    now[0] = 3.0
    add.add_paths("x", [slack], "", None, shown)
    assert capsys.readouterr().err.startswith("asr33: looking  1 file  0 MB")
    shown.start_phase("reading slack", 4_000_000)
    shown._count_read(2_000_000)
    now[0] += 2
    for _ in range(1000):
        shown.count_record()
    assert shown.status_line() == "reading slack  2 MB (50 %)  1,000 records, 500 a second"


@contextlib.contextmanager
def at_a_terminal(words: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command in a process whose standard error is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.main", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, wanted: bytes, seconds: float) -> bytes:
    seen, ends = b"", time.monotonic() + seconds
    while wanted not in seen and time.monotonic() < ends:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                break
    return seen


@pytest.mark.pace
def test_ctrl_c_at_a_real_terminal_ends_a_long_import_and_its_line(tmp_path: Path, slack: Path, home: Path) -> None:
    main(["corpus", "add", str(slack), "--name", "x"])
    before = state(home / "x")
    large = slack_export(tmp_path / "large.zip", 100_000, days=20)
    with at_a_terminal(["corpus", "add", str(large), "--name", "x"]) as (process, terminal):
        seen = read_until(terminal, b" a second", 60)
        assert b"reading slack" in seen
        process.send_signal(signal.SIGINT)
        ended = read_until(terminal, b"as it was", 60)
        assert process.wait(60) == 130
    assert b"\r\x1b[K" in ended
    assert state(home / "x") == before


@pytest.mark.usefixtures("unhurried")
def test_the_rest_of_the_progress_is_gone_when_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.show_progress() as shown:
        shown.update()
    assert capsys.readouterr().err == ""
    assert add.make_printable("a\x1b[2Jb\n\u202ec") == "a?[2Jb??c"


def test_of_very_many_paths_the_first_are_told_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (zips := tmp_path / "zips").mkdir()
    for number in range(30):
        with zipfile.ZipFile(zips / f"{number:02}.zip", "w") as archive:
            archive.writestr("a.txt", f"text {number}" if number < 29 else " ")
    assert main(["corpus", "add", str(zips), "--name", "x"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split("/")[-1] for line in out[19:22]] == [
        "19.zip: text, 1 file, 1 record",
        "10 more: text, 10 files, 9 records",
        "10 more: no text in 1 a file without text",
    ]
    assert len(out) == 23


def part(path: Path, number: int, moments: Sequence[int]) -> Path:
    """Of a download from Facebook: a file of two conversations, newest first."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("Bob", "Cy"):
            said = [{"sender_name": name, "timestamp_ms": 10**12 + at, "content": f"at {at}"} for at in moments]
            thread = {"participants": [{"name": name}, {"name": "Ann"}], "messages": said[::-1], "title": name}
            archive.writestr(f"messages/inbox/{name.lower()}_1/message_{number}.json", json.dumps(thread))
    return path


@pytest.mark.parametrize("folder", [True, False])
def test_a_download_in_several_zips_is_one_and_an_older_one_beside_it_disturbs_nothing(
    tmp_path: Path, folder: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (zips := tmp_path / "zips").mkdir()
    parts = [part(zips / "a-1.zip", 1, range(6, 9)), part(zips / "a-2.zip", 2, range(3, 6))]
    parts.append(part(zips / "a-3.zip", 3, range(3)))
    parts.append(part(zips / "old.zip", 1, range(1, 5)))
    assert main(["corpus", "add", *map(str, [zips] if folder else parts), "--name", "x"]) == 0
    assert capsys.readouterr().out.startswith(f"{parts[0]} and 3 more: messenger, 8 files, 26 records\n")
    kept = [(record.thread, record.text) for record in storage.open_kept_records("x")]
    assert kept == [(name, f"at {at}") for name in ("Bob", "Cy") for at in range(9)]
