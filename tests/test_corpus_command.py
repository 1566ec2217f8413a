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
from corpus_items import make_zip

from tools.corpus import add, storage
from tools.corpus.fields import make_printable
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
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """No progress is shown."""
    monkeypatch.setattr("tools.cli.progress.QUIET_S", 3600.0)


@pytest.fixture
def slack(tmp_path: Path) -> Path:
    return slack_export(tmp_path / "slack.zip", 60, days=3)


def slack_export(path: Path, messages: int, days: int) -> Path:
    generator = random.Random(1)
    users = [{"id": f"U{n}", "name": f"u{n}", "real_name": f"Person {n}"} for n in range(9)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("users.json", json.dumps(users))
        archive.writestr("channels.json", json.dumps([{"id": "C1", "name": "general"}]))
        archive.writestr("integration_logs.json", "[]")
        for day in range(days):
            texts = [
                {
                    "type": "message",
                    "user": f"U{generator.randrange(9)}",
                    "text": f"{day} {n} " + " ".join(generator.choices(WORDS, k=generator.randint(2, 20))),
                    "ts": f"{1.4e9 + 86400 * day + n:.6f}",
                }
                for n in range(messages // days)
            ]
            date = time.strftime("%Y-%m-%d", time.gmtime(1.4e9 + 86400 * day))
            archive.writestr(f"general/{date}.json", json.dumps(texts))
    return path


def kept_texts(name: str) -> list[str]:
    return [record.text for record in storage.open_kept_records(name)]


def folder_state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("no_progress")
def test_added_files_are_reported_and_ready_to_train_on(
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


def test_a_known_file_is_reported_and_not_added_again(
    tmp_path: Path, slack: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["corpus", "add", str(slack), "--name", "attic"])
    before = folder_state(home / "attic")
    copy = tmp_path / "copy.zip"
    copy.write_bytes(slack.read_bytes())
    capsys.readouterr()
    assert main(["corpus", "add", str(copy), "--name", "attic"]) == 0
    out = capsys.readouterr().out
    assert "in the corpus already, not added again" in out
    assert out.endswith("attic: nothing new; 60 records as before\n")
    assert folder_state(home / "attic") == before
    (tmp_path / "b.txt").write_text("new")
    (tmp_path / "c.txt").write_text("new")
    main(["corpus", "add", *(str(tmp_path / name) for name in ("copy.zip", "b.txt", "c.txt")), "--name", "attic"])
    assert storage.read_metadata("attic").records == 61


def test_unreadable_files_are_reported_and_the_rest_is_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"good.txt": "good", "../\x1b[2Jsly.txt": "sly", "photo.jpg": "\xff", "bad.txt": "damaged in the middle"}
    path = make_zip(tmp_path / "all.zip", files, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"damaged in", b"dAmaged in"))
    assert main(["corpus", "add", str(path), "--name", "x"]) == 0
    out, err = capsys.readouterr()
    assert "files left out, by ending: 1 .jpg" in out
    assert "sly.txt: its name points outside the archive" in err
    assert "bad.txt: Bad CRC-32" in err
    assert "\x1b" not in out + err
    assert "good" in kept_texts("x")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.bin", b"\0\1\2", "no known kind of file (1 .bin); name a file, a folder or a ZIP with texts"),
        ("a.txt", b" \n", "is only a file without text; name a file, a folder or a ZIP with texts"),
        (
            "old.txt",
            random.Random(1).randbytes(300).replace(b"\0", b""),
            "old.txt: not a text, or in an unknown encoding; if you know it: --encoding NAME",
        ),
        ("cut.zip", b"PK\x03\x04 and no more", "cut.zip: not a complete ZIP (File is not a zip file); fetch it again"),
    ],
)
def test_an_import_without_texts_is_an_error_and_creates_no_corpus(
    tmp_path: Path, name: str, data: bytes, message: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(data)
    assert main(["corpus", "add", str(tmp_path / name), "--name", "x"]) == 65
    assert message in capsys.readouterr().err
    assert not list(home.iterdir())


def test_an_error_names_the_first_files_that_were_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        (tmp_path / f"{number}.rtf").write_text("{\\rtf1 x}")
    assert main(["corpus", "add", str(tmp_path), "--name", "x"]) == 65
    err = capsys.readouterr().err
    assert all(f"/{number}.rtf: a document in RTF: save it as text or PDF" in err for number in range(3))
    assert err.endswith("(and 2 more such)\n")


def test_a_table_of_reviews_is_not_called_tweets_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.csv").write_text("text,date\nThe pump is fine.,2021-03-01\nIt was stuck.,2021-03-02\n")
    assert main(["corpus", "add", str(tmp_path / "r.csv"), "--name", "x"]) == 0
    assert "r.csv: tweets and other posts, 1 file, 2 records" in capsys.readouterr().out


def test_records_that_cleaning_split_are_no_part_of_the_read_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "The Project Gutenberg eBook of X\n\nThis ebook is for the use of anyone anywhere.\n\nTitle: X\n\n"
    start, end = (f"*** {word} OF THE PROJECT GUTENBERG EBOOK X ***" for word in ("START", "END"))
    licence = "START: FULL LICENSE\n\nTHE FULL PROJECT GUTENBERG LICENSE\nPLEASE READ THIS BEFORE YOU DISTRIBUTE\n\n"
    books = ("".join(f"On day {day} the pump was {state}.\n\n" for day in range(40)) for state in ("stuck", "fixed"))
    (tmp_path / "b.txt").write_text("".join(f"{head}{start}\n\n{book}{end}\n\n{licence}" for book in books))
    assert main(["corpus", "add", str(tmp_path / "b.txt"), "--name", "x", "--without", "doubles"]) == 0
    assert capsys.readouterr().out.endswith("x: cleaning split 1 record into 2; asr33 corpus report x\n")


def test_an_empty_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["corpus", "add", str(tmp_path / "empty"), "--name", "x"]) == 65
    assert "empty: no text; name a file, a folder or a ZIP that has some" in capsys.readouterr().err


def test_a_missing_path_is_an_error_and_adds_nothing(
    tmp_path: Path, slack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["corpus", "add", str(slack), str(tmp_path / "absent"), "--name", "x"]) == 66
    assert "absent: No such file or directory; name a readable file" in capsys.readouterr().err
    assert main(["corpus", "add", str(tmp_path / "\x1b[2Jabsent"), "--name", "x"]) == 66
    assert "?[2Jabsent: No such file" in capsys.readouterr().err
    assert storage.list_corpora() == []


def test_a_kind_can_be_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.txt").write_bytes(b"caf\xe9\n")
    assert main(["corpus", "add", str(tmp_path / "old.txt"), "--name", "x", "--as", "text"]) == 0
    assert kept_texts("x")[0].strip() == "café"
    assert "1 character read as cp1252 (é)" in capsys.readouterr().err


def test_an_encoding_can_be_named_and_an_unknown_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.txt").write_bytes("Pompa nie działa.\n".encode("cp852"))
    command = ["corpus", "add", str(tmp_path / "old.txt"), "--name"]
    assert main([*command, "x", "--encoding", "cp852"]) == 0
    assert kept_texts("x") == ["Pompa nie działa."]
    assert "warning" not in capsys.readouterr().err
    for name in ("latim1", "rot13", "base64", "idna", "", " "):
        assert main([*command, "y", "--encoding", name]) == (64 if name else 0)
    assert "asr33: --encoding latim1: no such encoding; did you mean latin1\n" in capsys.readouterr().err


def test_cleaning_options_are_remembered_and_can_be_changed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("R&amp;D")
    (tmp_path / "b.txt").write_text("Q&amp;A")
    main(["corpus", "add", str(tmp_path / "a.txt"), "--name", "x", "--without", "entities,links", "--without", "empty"])
    main(["corpus", "add", str(tmp_path / "b.txt"), "--name", "x"])
    assert kept_texts("x") == ["R&amp;D", "Q&amp;A"]
    assert storage.read_metadata("x").options.without == {"entities", "links", "empty"}
    secret = storage.read_metadata("x").options.secret
    main(["corpus", "clean", "x"])
    assert kept_texts("x") == ["R&D", "Q&A"]
    assert storage.read_metadata("x").options.secret == secret != ""


def test_person_and_since_select_records(tmp_path: Path, slack: Path) -> None:
    main(["corpus", "add", str(slack), "--name", "x", "--since", "2014-05-14"])
    assert 0 < storage.read_metadata("x").kept_records < 60
    main(["corpus", "clean", "x", "--anonymous"])
    assert {record.who for record in storage.open_kept_records("x")}.isdisjoint({f"Person {n}" for n in range(9)})
    assert storage.read_metadata("x").options.anonymous


def test_anonymous_hides_people_who_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    petra = {"id": "U7", "name": "pk", "real_name": "Petra Kowalczyk", "profile": {"display_name": "petrakow"}}
    text = "<@U7> has it, Kowalczyk or her Silent Bob"
    message = {"type": "message", "user": "U8", "text": text, "ts": "1400000000.0"}
    users = [petra, {"id": "U8", "name": "jo", "real_name": "Jo Zygmunt"}]
    files = {"users.json": json.dumps(users), "general/2014-05-13.json": json.dumps([message])}
    slack = make_zip(tmp_path / "s.zip", files)
    people = [{"name": "Zoe Quinn"}, {"name": "Bob Silent"}]
    thread = {"participants": people, "messages": [{"sender_name": "Zoe Quinn", "timestamp_ms": 1, "content": "Bob!"}]}
    (tmp_path / "inbox" / "bob_1").mkdir(parents=True)
    (tmp_path / "inbox" / "bob_1" / "message_1.json").write_text(json.dumps(thread | {"title": "Bob Silent"}))
    assert main(["corpus", "add", str(slack), str(tmp_path / "inbox"), "--name", "x", "--anonymous"]) == 0
    main(["corpus", "clean", "x", "--anonymous"])
    capsys.readouterr()
    main(["corpus", "show", "x"])
    main(["corpus", "report", "x", "--json"])
    out = capsys.readouterr().out
    assert [name for name in ("Petra", "Kowal", "Zygmunt", "Silent", "Bob", "Quinn") if name in out] == []


def test_anonymous_refuses_files_whose_writers_are_unknown(
    tmp_path: Path, slack: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("Dear Odo Brink,\nthe pump is stuck.\n")
    letter = str(tmp_path / "letter.txt")
    assert main(["corpus", "add", letter, "--name", "x", "--anonymous"]) == 65
    assert "letter.txt does not say who wrote it" in capsys.readouterr().err
    assert not storage.corpus_exists("x")
    main(["corpus", "add", str(slack), "--name", "x", "--anonymous"])
    before = folder_state(home / "x")
    assert main(["corpus", "add", letter, "--name", "x"]) == 65
    assert folder_state(home / "x") == before


def test_dropped_texts_are_remembered_for_the_next_files(tmp_path: Path, slack: Path) -> None:
    main(["corpus", "add", str(slack), "--name", "x", "--drop", "0 *", "--drop", "1 *"])
    assert {text[0] for text in kept_texts("x")} == {"2"}
    (tmp_path / "a.txt").write_text("0 Hello.")
    main(["corpus", "add", str(tmp_path / "a.txt"), "--name", "x"])
    assert {text[0] for text in kept_texts("x")} == {"2"}


def test_an_unknown_step_or_person_leaves_the_corpus_unchanged(
    slack: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["corpus", "add", str(slack), "--name", "x"])
    before = folder_state(home / "x")
    assert main(["corpus", "clean", "x", "--without", "entites"]) == 64
    assert "did you mean entities" in capsys.readouterr().err
    assert main(["corpus", "clean", "x", "--person", "\x1bNobody At All"]) != 0
    assert "--person ?Nobody At All: no such name; there are Person " in capsys.readouterr().err
    assert folder_state(home / "x") == before


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
    assert "remove the corpus" in capsys.readouterr().err
    assert main(["corpus", "remove", "x"]) == 0
    assert main(["corpus", "remove", "x"]) == 66
    assert slack.exists()


def test_report_and_show_print_the_corpus(slack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["corpus", "add", str(slack), "--name", "x"])
    capsys.readouterr()
    assert main(["corpus", "report", "x"]) == 0
    assert "x" in capsys.readouterr().out
    assert main(["corpus", "report", "x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "x"
    assert main(["corpus", "show", "x", "2", "--seed", "3"]) == 0
    assert "Person " in capsys.readouterr().out
    assert main(["corpus", "show", "absent"]) == main(["corpus", "report", "absent"]) == 66


def test_unencodable_letters_become_question_marks(tmp_path: Path, home: Path) -> None:
    (tmp_path / "gruß.txt").write_text("grüß dich 😀", "utf-8")
    main(["corpus", "add", str(tmp_path / "gruß.txt"), "--name", "x"])
    command = [sys.executable, "-m", "tools.main", "corpus", "show", "x"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "gr?? dich ?" in process.stdout


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
def test_wrong_arguments_are_usage_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["corpus", *words])
    assert exit_info.value.code == 2


@pytest.mark.usefixtures("no_progress")
def test_ctrl_c_leaves_the_corpus_unchanged(
    slack: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["corpus", "add", str(slack), "--name", "x"])
    before = folder_state(home / "x")
    more = slack_export(slack.with_name("more.zip"), 90, days=3)

    def interrupt(self: ImportProgress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImportProgress, "count_record", interrupt)
    assert main(["corpus", "add", str(more), "--name", "x"]) == 130
    assert capsys.readouterr().err == "asr33: stopped; x is unchanged\n"
    assert main(["corpus", "add", str(more), "--name", "y"]) == 130
    assert capsys.readouterr().err == "asr33: stopped; y was not created\n"
    assert folder_state(home / "x") == before
    assert storage.list_corpora() == ["x"]


def test_progress_is_silent_at_first_then_shows_files_megabytes_and_records(
    slack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    progress = ImportProgress(lambda: now[0])
    add.add_paths("x", [slack], "", None, progress)
    assert capsys.readouterr().err == ""
    storage.remove_corpus("x")
    progress = ImportProgress(lambda: now[0])
    now[0] = 3.0
    add.add_paths("x", [slack], "", None, progress)
    assert capsys.readouterr().err.startswith("asr33: looking  1 file  0 MB")
    progress.start_phase("reading slack", 4_000_000)
    progress._count_read(2_000_000)
    now[0] += 2
    for _ in range(1000):
        progress.count_record()
    assert progress.status_line() == "reading slack  2 MB (50 %)  1,000 records, 500 a second"


@contextlib.contextmanager
def run_at_terminal(words: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Runs the command in a process whose standard error is a terminal; yields the process and the terminal."""
    terminal, child_end = pty.openpty()
    command = [sys.executable, "-m", "tools.main", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=child_end)
    os.close(child_end)
    try:
        yield process, terminal
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def read_until(terminal: int, wanted: bytes, seconds: float) -> bytes:
    output, deadline = b"", time.monotonic() + seconds
    while wanted not in output and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                output += os.read(terminal, 4096)
            except OSError:
                break
    return output


@pytest.mark.pace
def test_ctrl_c_at_a_terminal_stops_a_long_import_and_clears_its_line(tmp_path: Path, slack: Path, home: Path) -> None:
    main(["corpus", "add", str(slack), "--name", "x"])
    before = folder_state(home / "x")
    large = slack_export(tmp_path / "large.zip", 300_000, days=20)
    with run_at_terminal(["corpus", "add", str(large), "--name", "x"]) as (process, terminal):
        assert b"reading slack" in read_until(terminal, b" a second", 60)
        process.send_signal(signal.SIGINT)
        last_output = read_until(terminal, b"is unchanged", 60)
        assert process.wait(60) == 130
    assert b"\r\x1b[K" in last_output
    assert folder_state(home / "x") == before


@pytest.mark.usefixtures("no_progress")
def test_the_progress_line_is_cleared_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with ImportProgress() as progress:
        progress.show("text")
    assert capsys.readouterr().err == ""
    assert make_printable("a\x1b[2Jb\n\u202ec") == "a?[2Jb??c"


def test_only_the_first_of_many_paths_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (zips := tmp_path / "zips").mkdir()
    for number in range(30):
        make_zip(zips / f"{number:02}.zip", {"a.txt": f"text {number}" if number < 29 else " "})
    assert main(["corpus", "add", str(zips), "--name", "x"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split("/")[-1] for line in out[19:22]] == [
        "19.zip: text, 1 file, 1 record",
        "10 more: text, 10 files, 9 records",
        "10 more: left out, without text: a file without text (1)",
    ]
    assert len(out) == 23


def facebook_part(path: Path, number: int, times: Sequence[int]) -> Path:
    """Writes a ZIP of a Facebook download with two conversations, newest message first."""
    files = {}
    for name in ("Bob", "Cy"):
        messages = [{"sender_name": name, "timestamp_ms": 10**12 + at, "content": f"at {at}"} for at in times]
        thread = {"participants": [{"name": name}, {"name": "Ann"}], "messages": messages[::-1], "title": name}
        files[f"messages/inbox/{name.lower()}_1/message_{number}.json"] = json.dumps(thread)
    return make_zip(path, files)


@pytest.mark.parametrize("folder", [True, False])
def test_a_download_in_several_zips_is_one_export(
    tmp_path: Path, folder: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (zips := tmp_path / "zips").mkdir()
    parts = [facebook_part(zips / "a-1.zip", 1, range(6, 9)), facebook_part(zips / "a-2.zip", 2, range(3, 6))]
    parts.append(facebook_part(zips / "a-3.zip", 3, range(3)))
    parts.append(facebook_part(zips / "old.zip", 1, range(1, 5)))
    assert main(["corpus", "add", *map(str, [zips] if folder else parts), "--name", "x"]) == 0
    assert capsys.readouterr().out.startswith(f"{parts[0]} and 3 more: messenger, 8 files, 26 records\n")
    records = [(record.thread, record.text) for record in storage.open_kept_records("x")]
    assert records == [(name, f"at {at}") for name in ("Bob", "Cy") for at in range(9)]
