from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_errors import raises_tool_error

from tools.corpus import metadata, storage
from tools.corpus.cleaning import CleaningOptions
from tools.corpus.metadata import CorpusMetadata, ImportBatch
from tools.corpus.record import Record

ONE = Record("a.zip: x", "general", "hello", "Zoë 👍", 1355517523.000005, "message", True)
TWO = Record("b.txt", "", "two\nlines\u2028and more")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    return tmp_path / "corpora"


def write_corpus(name: str, *records: Record, **changes: object) -> CorpusMetadata:
    with storage.open_draft(name) as draft:
        for record in records:
            draft.add_record(record)
        draft.write_kept_records(draft.all_records())
        return draft.commit(**changes)


def folder_state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_kept_records_can_be_read_again_and_again() -> None:
    write_corpus("mine", ONE, TWO)
    records = storage.open_records("mine")
    assert list(records) == [ONE, TWO] == list(records) == list(storage.open_kept_records("mine"))
    assert storage.list_corpora() == ["mine"]
    assert storage.corpus_exists("mine")


TIMES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
KINDS = st.sampled_from(["document", "message", "tweet"])
RECORDS = st.builds(Record, st.text(), st.text(), st.text(), st.text(), TIMES, KINDS, st.booleans())


@settings(max_examples=30)
@given(st.lists(RECORDS, max_size=5))
def test_any_record_survives_a_round_trip(records: list[Record]) -> None:
    if storage.corpus_exists("any"):
        storage.remove_corpus("any")
    write_corpus("any", *records)
    assert list(storage.open_records("any")) == records


def test_lone_surrogates_are_replaced_and_pairs_joined() -> None:
    write_corpus("mine", Record("\udce9.txt", "", "a\ud83d\udc4d b\ud83d"))
    assert list(storage.open_records("mine")) == [Record("\ufffd.txt", "", "a👍 b\ufffd")]


def test_the_metadata_says_what_is_valid_and_an_import_continues_there() -> None:
    first = write_corpus("mine", ONE, options=CleaningOptions(person="Zoë", without=frozenset({"links"}), secret="s"))
    batch = ImportBatch("a.zip", "slack", "2026-01-01", 3, ("d",), 1, {"a photo": 2}, (("x", "why"),), (("y", "what"),))
    second = write_corpus("mine", TWO, batches=(batch,))
    assert storage.read_metadata("mine") == second
    assert (second.records, second.kept_records, second.generation) == (2, 2, first.generation + 1)
    assert second.options == first.options
    assert second.known_digests() == {"d"}
    assert list(storage.open_records("mine")) == [ONE, TWO]
    names = sorted(path.name for path in (storage.corpora_folder() / "mine").iterdir())
    assert names == ["corpus.json", second.kept, "records.jsonl"]


def test_cleaning_leaves_the_records_unchanged() -> None:
    write_corpus("mine", ONE, TWO)
    with storage.open_draft("mine") as draft:
        draft.write_kept_records(record for record in draft.all_records() if record.who)
        draft.commit()
    assert (list(storage.open_records("mine")), list(storage.open_kept_records("mine"))) == ([ONE, TWO], [ONE])


def test_an_uncommitted_draft_is_discarded(home: Path) -> None:
    def write_until_interrupt() -> None:
        with storage.open_draft("mine") as draft:
            draft.add_record(TWO)
            draft.write_kept_records(draft.all_records())
            raise KeyboardInterrupt

    write_corpus("mine", ONE)
    before = folder_state(home / "mine")
    with pytest.raises(KeyboardInterrupt):
        write_until_interrupt()
    assert folder_state(home / "mine") == before
    with storage.open_draft("never") as draft:
        draft.add_record(TWO)
    assert [path.name for path in home.iterdir()] == ["mine"]


def test_an_interruption_after_the_commit_harms_nothing(home: Path) -> None:
    write_corpus("mine", ONE)

    class InterruptedDraft(storage.CorpusDraft):
        def commit(self, **changes: object) -> CorpusMetadata:
            super().commit(**changes)
            raise KeyboardInterrupt

    folder = home / "mine"
    draft = InterruptedDraft(folder, storage.read_metadata("mine"))
    draft.add_record(TWO)
    draft.write_kept_records(draft.all_records())
    with pytest.raises(KeyboardInterrupt):
        draft.commit()
    # The state before the commit.
    draft.metadata = replace(draft.metadata, records=1, record_bytes=0, kept="kept-1.jsonl")
    draft.close()
    assert list(storage.open_records("mine")) == [ONE, TWO] == list(storage.open_kept_records("mine"))


def run_killed(home: Path, code: str) -> None:
    """Runs code on a draft of the corpus `mine` in a process that kills itself."""
    program = f"""
import os, signal
from tools.corpus import storage
from tools.corpus.record import Record
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
with storage.open_draft("mine") as draft:
    for n in range(12000):
        draft.add_record(Record("new", "", f"text {{n}} " + "x" * 100))
{code}
"""
    environment = os.environ | {"ASR33_CORPORA": str(home)}
    process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=False)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "code",
    [
        "    die()",
        "    draft.write_kept_records(draft.all_records()); die()",
        "    draft.write_kept_records(draft.all_records()); storage._write_metadata = die; draft.commit()",
        "    draft.write_kept_records(draft.all_records()); os.fsync = die; draft.commit()",
    ],
)
def test_a_process_killed_before_the_commit_leaves_the_corpus_unchanged(home: Path, code: str) -> None:
    write_corpus("mine", ONE)
    run_killed(home, code)
    assert list(storage.open_records("mine")) == [ONE] == list(storage.open_kept_records("mine"))
    write_corpus("mine", TWO)
    assert list(storage.open_records("mine")) == [ONE, TWO] == list(storage.open_kept_records("mine"))
    assert len(list((home / "mine").iterdir())) == 3


def test_a_process_killed_after_the_commit_leaves_the_new_corpus(home: Path) -> None:
    write_corpus("mine", ONE)
    run_killed(home, "    draft.write_kept_records(draft.all_records()); storage.Path.unlink = die; draft.commit()")
    assert storage.read_metadata("mine").records == 12_001
    assert len(list(storage.open_kept_records("mine"))) == 12_001


def test_a_killed_new_corpus_does_not_exist_and_its_name_is_free(home: Path) -> None:
    run_killed(home, "    die()")
    assert storage.list_corpora() == []
    with raises_tool_error("missing"):
        storage.open_records("mine")
    write_corpus("mine", ONE)
    assert list(storage.open_records("mine")) == [ONE]


def test_a_second_import_is_refused_and_readers_continue(home: Path) -> None:
    write_corpus("mine", ONE)
    with storage.open_draft("mine") as draft:
        draft.add_record(TWO)
        with raises_tool_error("busy", "another process is adding"), storage.open_draft("mine"):
            pass
        with raises_tool_error("busy"):
            storage.remove_corpus("mine")
        assert list(storage.open_records("mine")) == [ONE]


def test_a_reader_finishes_while_the_kept_records_are_replaced() -> None:
    write_corpus("mine", *[replace(ONE, text=f"{n}") for n in range(5000)])
    records = iter(storage.open_kept_records("mine"))
    next(records)
    write_corpus("mine", TWO)
    assert sum(1 for _ in records) == 4999


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Limits all files to a megabyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, old)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_an_error_and_leaves_the_corpus_unchanged(home: Path) -> None:
    write_corpus("mine", ONE)
    before = folder_state(home / "mine")
    records = [replace(TWO, text="x" * 100_000)] * 40

    def add_records(name: str) -> None:
        with storage.open_draft(name) as draft:
            for record in records:
                draft.add_record(record)
            draft.all_records()

    with raises_tool_error("create", "the corpus is unchanged"):
        add_records("mine")
    with raises_tool_error("create", "make room"), storage.open_draft("mine") as draft:
        draft.write_kept_records(records)
    assert folder_state(home / "mine") == before
    with raises_tool_error("create"):
        add_records("never")
    assert storage.list_corpora() == ["mine"]


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "file"))
    with raises_tool_error("create", "set ASR33_CORPORA"), storage.open_draft("mine"):
        pass


def test_the_folder_is_private(home: Path) -> None:
    write_corpus("mine", ONE)
    assert (home / "mine").stat().st_mode & 0o777 == 0o700


def test_only_a_corpus_or_a_killed_import_can_be_removed(home: Path) -> None:
    run_killed(home, "    draft.all_records(); die()")
    (home / "mine" / "photo.jpg").write_bytes(b"")
    with raises_tool_error("missing"):
        storage.remove_corpus("mine")
    (home / "mine" / "photo.jpg").unlink()
    storage.remove_corpus("mine")
    assert list(home.iterdir()) == []


def test_a_removed_corpus_is_gone_and_a_missing_one_is_an_error_with_a_suggestion(home: Path) -> None:
    write_corpus("manuals", ONE)
    with raises_tool_error("missing", "did you mean manuals"):
        storage.read_metadata("manual")
    storage.remove_corpus("manuals")
    assert list(home.iterdir()) == []
    for name in ("manuals", "../manuals", "", ".", "a/b"):
        with raises_tool_error("missing", "there are: none at all"):
            storage.remove_corpus(name)


def test_damaged_files_are_an_error(home: Path) -> None:
    write_corpus("mine", ONE, TWO)
    path = home / "mine" / "records.jsonl"
    intact = path.read_bytes()
    for damaged in (intact[:-3], intact[:20], b"\xff" + intact[1:], b"[]\n" + intact[3:], b""):
        path.write_bytes(damaged)
        with raises_tool_error("damaged", r"records\.jsonl: .*add its files again"):
            list(storage.open_records("mine"))
    with raises_tool_error("damaged", "bytes are missing"), storage.open_draft("mine"):
        pass
    path.unlink()
    with raises_tool_error("damaged"):
        list(storage.open_records("mine"))
    for text in ("", "{}", "[]", '{"format": 2}', '{"format": 1, "x": 1}', "\udcff"):
        (home / "mine" / "corpus.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with raises_tool_error("damaged", r"corpus\.json"):
            storage.read_metadata("mine")


def test_the_metadata_survives_a_round_trip() -> None:
    batch = ImportBatch("a", "text", "2026-01-01", left={".jpg": 3}, warned=(("a", "b"),))
    options = CleaningOptions(since=1.5)
    original = CorpusMetadata("x", (batch,), 1, 2, "kept-1.jsonl", options=options, counts={"read": 1})
    assert metadata.from_json(metadata.to_json(original)) == original
    assert json.loads(metadata.to_json(original))["batches"][0]["left"] == {".jpg": 3}
