"""`asr33 corpus remove NAME SOURCE`: files are taken out again; any failure leaves the old corpus or the new."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from corpus_items import make_folder, make_zip
from hypothesis import given, settings
from hypothesis import strategies as st
from test_corpus_command import slack_export
from tool_errors import raises_tool_error

from tools.corpus import add, remove, storage
from tools.corpus.metadata import to_json
from tools.corpus.progress import ImportProgress
from tools.main import main

ROOT = Path(__file__).resolve().parents[1]
CHAT = "".join(f"0{1 + n % 9}/01/2021, 10:0{n % 10} - {('Ann', 'Bob')[n % 2]}: It is line {n}.\n" for n in range(40))
FILES = {
    "manuals/a.txt": "The carriage returns with a thump. It is the first text.\n",
    "manuals/parts/b.txt": "The motor hums, and the paper moves. It is the second text.\n",
    "manuals/parts/c.txt": "The bell rings at the margin. It is the third text.\n",
    "manuals/photo.jpg": b"\xff\xd8",
    "chat.txt": CHAT,
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.chdir(make_folder(tmp_path / "texts", FILES))
    make_zip(tmp_path / "texts" / "old.zip", {"x/d.txt": "The tape is punched. It is the fourth text.\n"})
    assert main(["corpus", "add", "manuals", "chat.txt", "old.zip", "--name", "attic"]) == 0
    return tmp_path / "corpora"


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sources(name: str = "attic") -> list[str]:
    """The sources of the records, each once. The kept records have the same: cleaning drops none of these texts."""
    kept = dict.fromkeys(record.source for record in storage.open_kept_records(name))
    assert list(dict.fromkeys(record.source for record in storage.open_records(name))) == list(kept)
    return list(kept)


ALL = ["chat.txt", "manuals/a.txt", "manuals/parts/b.txt", "manuals/parts/c.txt", "old.zip: x/d.txt"]


@pytest.mark.parametrize(
    ("words", "left", "removed"),
    [
        (["manuals/a.txt"], [0, 2, 3, 4], "1 file, 1 record"),
        (["./manuals//parts/"], [0, 1, 4], "2 files, 2 records"),
        (["manuals"], [0, 4], "3 files, 3 records"),
        (["old.zip"], [0, 1, 2, 3], "1 file, 1 record"),
        (["old.zip: x/d.txt"], [0, 1, 2, 3], "1 file, 1 record"),
        (["old.zip: x"], [0, 1, 2, 3], "1 file, 1 record"),
        (["chat.txt"], [1, 2, 3, 4], "1 file, 40 records"),
        (["chat.txt", "manuals/parts/b.txt"], [1, 3, 4], "2 files, 41 records"),
    ],
)
def test_a_source_is_taken_out_and_may_be_added_again(
    words: list[str], left: list[int], removed: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(sources()) == ALL
    capsys.readouterr()
    assert main(["corpus", "remove", "attic", *words]) == 0
    out, err = capsys.readouterr()
    assert f": {removed} removed; the files themselves are unchanged\n" in out
    assert " left after cleaning; asr33 corpus report attic\n" in out
    assert err == ""
    assert sorted(sources()) == [ALL[number] for number in left]
    assert len(list((home / "attic").iterdir())) == 3
    metadata = storage.read_metadata("attic")
    assert sum(batch.records for batch in metadata.batches) == metadata.records == metadata.kept_records
    assert sorted(location for batch in metadata.batches for location in batch.files) == [ALL[n] for n in left]
    assert sum(batch.members for batch in metadata.batches) == len(left)
    assert main(["corpus", "add", "manuals", "chat.txt", "old.zip", "--name", "attic"]) == 0
    assert sorted(sources()) == ALL
    assert main(["corpus", "add", "manuals", "chat.txt", "old.zip", "--name", "attic"]) == 0
    assert "nothing new" in capsys.readouterr().out


def test_the_rest_is_what_it_would_be_without_the_source(home: Path) -> None:
    main(["corpus", "remove", "attic", "manuals/parts"])
    (Path("manuals") / "parts").rename("elsewhere")
    main(["corpus", "add", "manuals", "chat.txt", "old.zip", "--name", "new"])
    assert list(storage.open_records("attic")) == list(storage.open_records("new"))
    assert list(storage.open_kept_records("attic")) == list(storage.open_kept_records("new"))
    old, new = (storage.read_metadata(name) for name in ("attic", "new"))
    assert [(b.path, b.kind, b.records, b.members, b.taken, b.digests) for b in old.batches] == [
        (b.path, b.kind, b.records, b.members, b.taken, b.digests) for b in new.batches
    ]


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("a.txt", "did you mean 'manuals/a.txt'?"),
        ("parts/c.txt", "did you mean 'manuals/parts/c.txt'?"),
        ("x/d.txt", "did you mean 'old.zip: x/d.txt'?"),
        ("old.zip/x/d.txt", "did you mean 'old.zip: x/d.txt'?"),
        ("manual", "did you mean 'manuals'?"),
        ("/home/ann/texts/chat.txt", "did you mean 'chat.txt'?"),
        ("chats.txt", "did you mean 'chat.txt'?"),
        ("c.tx", "did you mean 'manuals/parts/c.txt'?"),
        ("manuals/a", "did you mean 'manuals/a.txt'?"),
        ("manuals/part", "did you mean 'manuals/parts'?"),
        ("manuals/d.txt", "did you mean 'old.zip: x/d.txt'?"),
        ("zzz", "there are 'manuals', 'chat.txt', 'old.zip'"),
        ("bad\x1b[2J", "there are 'manuals'"),
    ],
)
def test_an_unknown_source_is_an_error_with_the_nearest_and_changes_nothing(
    source: str, hint: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(home / "attic")
    capsys.readouterr()
    assert main(["corpus", "remove", "attic", "chat.txt", source]) == 66
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("asr33: attic has no source ")
    assert err.count("\n") == 1
    assert hint in err
    assert "\x1b" not in err
    assert state(home / "attic") == before


@pytest.mark.parametrize("words", [["manuals", "chat.txt", "old.zip"], ["."], ["manuals/..", "manuals", "chat.txt"]])
def test_the_last_source_stays_and_the_error_names_how_to_remove_the_corpus(
    words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(home / "attic")
    capsys.readouterr()
    code, err = main(["corpus", "remove", "attic", *words]), capsys.readouterr().err
    assert state(home / "attic") == before
    if ".." in words[0]:  # a path is what was typed
        assert (code, err) == (66, "asr33: attic has no source 'manuals/..'; did you mean 'manuals'?\n")
    else:
        cure = "there is nothing else in attic; to remove the whole corpus: asr33 corpus remove attic\n"
        assert (code, err) == (2, f"asr33: {', '.join(words)}: {cure}")


def test_an_unknown_corpus_is_an_error_and_leaves_no_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "remove", "attik", "chat.txt"]) == 66
    assert "did you mean attic?" in capsys.readouterr().err
    assert [path.name for path in home.iterdir()] == ["attic"]


def test_a_file_of_an_export_goes_and_the_export_still_counts_as_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slack_export(tmp_path / "texts" / "slack.zip", 60, days=3)
    main(["corpus", "add", "slack.zip", "--name", "attic"])
    day = next(source for source in sources() if source.startswith("slack.zip: "))
    assert main(["corpus", "remove", "attic", day]) == 0
    out = capsys.readouterr().out
    assert f"{day}: 1 file, 20 records removed" in out
    assert "slack.zip: the removed part counts as known; to add it again, remove the whole of slack.zip first\n" in out
    assert day not in sources()
    main(["corpus", "add", "slack.zip", "--name", "attic"])
    assert day not in sources()
    main(["corpus", "remove", "attic", "slack.zip"])
    main(["corpus", "add", "slack.zip", "--name", "attic"])
    assert day in sources()


def test_a_corpus_of_an_older_version_loses_the_records_of_the_file(home: Path) -> None:
    path = home / "attic" / storage.METADATA_FILE
    content = json.loads(path.read_text("utf-8"))
    del content["record_file"]
    for batch in content["batches"]:
        del batch["files"]
    path.write_text(json.dumps(content), "utf-8")
    assert main(["corpus", "remove", "attic", "manuals/a.txt", "old.zip"]) == 0
    assert sorted(sources()) == [ALL[0], ALL[2], ALL[3]]


def test_what_a_source_reported_goes_with_it(home: Path) -> None:
    make_folder(
        Path(), {"manuals/bad.pdf": b"%PDF-1.4 and no more", "manuals/e.txt": "It is another text, the fifth.\n"}
    )
    main(["corpus", "add", "manuals", "--name", "attic"])
    assert "bad.pdf" in to_json(storage.read_metadata("attic"))
    assert main(["corpus", "remove", "attic", "manuals/bad.pdf"]) == 0
    assert "bad.pdf" not in to_json(storage.read_metadata("attic"))
    assert len(sources()) == 6


def test_options_of_the_cleaning_stay_and_an_impossible_person_changes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["corpus", "clean", "attic", "--person", "Ann"])
    main(["corpus", "remove", "attic", "manuals"])
    assert storage.read_metadata("attic").options.person == "Ann"
    before = state(home / "attic")
    assert main(["corpus", "remove", "attic", "chat.txt"]) == 65
    assert "--person Ann: no such name" in capsys.readouterr().err
    assert state(home / "attic") == before


class _StoppedProgress(ImportProgress):
    def count_record(self) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_leaves_the_corpus_unchanged(home: Path) -> None:
    before = state(home / "attic")
    with pytest.raises(KeyboardInterrupt):
        remove.remove_sources("attic", ["chat.txt"], _StoppedProgress())
    assert state(home / "attic") == before
    with storage.open_draft("attic"), raises_tool_error("busy"):
        remove.remove_sources("attic", ["chat.txt"], ImportProgress())


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Yields a function that limits the size of each file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, old)


def test_a_full_disk_leaves_the_corpus_unchanged(home: Path, small_disk: Callable[[int], None]) -> None:
    before = state(home / "attic")
    small_disk(2000)
    with raises_tool_error("create", "the corpus is unchanged"):
        remove.remove_sources("attic", ["manuals/a.txt"], ImportProgress())
    small_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert state(home / "attic") == before


def test_a_kill_at_any_moment_leaves_the_old_corpus_or_the_new(tmp_path: Path, home: Path) -> None:
    """Each attempt is killed a little later than the one before, by parts of the time that a whole removal takes."""
    lines = "".join(f"It is sentence {n} of the long text, and it is not the same as others.\n\n" for n in range(4000))
    (tmp_path / "texts" / "long.txt").write_text(lines, "utf-8")
    (tmp_path / "texts" / "big.csv").write_text("text\n" + "".join(f'"This is tweet {n}, so."\n' for n in range(6000)))
    main(["corpus", "add", "long.txt", "big.csv", "--name", "attic"])
    old = (storage.read_metadata("attic"), list(storage.open_records("attic")))
    command = [sys.executable, "-m", "tools.main", "corpus", "remove", "attic", "chat.txt"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    shutil.copytree(home, tmp_path / "copy")
    begun = time.monotonic()
    subprocess.run(
        command, env=environment | {"ASR33_CORPORA": str(tmp_path / "copy")}, check=True, capture_output=True
    )
    whole_s = time.monotonic() - begun
    outcomes, wait_s = list[str](), 0.4 * whole_s
    while outcomes[-1:] != ["new"]:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        time.sleep(wait_s)
        process.kill()
        process.wait()
        wait_s += 0.1 * whole_s
        if (metadata := storage.read_metadata("attic")) == old[0]:
            outcomes.append("old")
            assert list(storage.open_records("attic")) == old[1]
        else:
            outcomes.append("new")
        assert len(list(storage.open_kept_records("attic"))) == metadata.kept_records
    assert list(storage.open_records("attic")) == [record for record in old[1] if record.source != "chat.txt"]
    assert outcomes.count("old") >= 2
    main(["corpus", "remove", "attic", "long.txt"])
    assert len(list((home / "attic").iterdir())) == 3  # what the killed processes left is gone


@settings(max_examples=25)
@given(
    st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5), min_size=1), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", "a", "b", "c"])), min_size=1, max_size=3),
)
def test_any_removal_leaves_the_records_of_the_other_files(
    folders: list[Mapping[str, int]], removals: list[tuple[int, str]]
) -> None:
    """A reference: the records whose source does not begin with a removed path."""
    with TemporaryDirectory() as top, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASR33_CORPORA", f"{top}/corpora")
        patch.chdir(top)
        for number, files in enumerate(folders):
            texts = {
                f"{number}/{name}.txt": f"It is text {number} {seed}, and so on.\n" for name, seed in files.items()
            }
            make_folder(Path(), texts)
            add.add_paths("any", [Path(str(number))], "", None, ImportProgress())
        for number, name in removals:
            source = f"{number}/{name}.txt" if name else str(number)
            before = list(storage.open_records("any"))
            left = [
                record for record in before if record.source != source and not record.source.startswith(f"{source}/")
            ]
            if left == before or not left:
                with raises_tool_error("missing" if left else "usage"):
                    remove.remove_sources("any", [source], ImportProgress())
                left = before
            else:
                remove.remove_sources("any", [source], ImportProgress())
            assert list(storage.open_records("any")) == left
