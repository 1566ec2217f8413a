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

from tools.corpus import metadata, storage
from tools.corpus.cleaning import CleaningOptions
from tools.corpus.errors import CorpusBusy, CorpusDamaged, CorpusNotFound, CorpusUnwritten
from tools.corpus.metadata import CorpusMetadata, ImportBatch
from tools.corpus.record import Record

ONE = Record("a.zip: x", "general", "hello", "Zoë 👍", 1355517523.000005, "message", True)
TWO = Record("b.txt", "", "two\nlines\u2028and more")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    return tmp_path / "corpora"


def written(name: str, *records: Record, **changes: object) -> CorpusMetadata:
    with storage.open_draft(name) as draft:
        for record in records:
            draft.add_record(record)
        draft.write_kept_records(draft.all_records())
        return draft.commit(**changes)


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_kept_comes_back_as_it_was_as_often_as_wanted() -> None:
    written("mine", ONE, TWO)
    records = storage.open_records("mine")
    assert list(records) == [ONE, TWO] == list(records) == list(storage.open_kept_records("mine"))
    assert storage.list_corpora() == ["mine"]
    assert storage.corpus_exists("mine")


@settings(max_examples=30)
@given(
    records=st.lists(
        st.builds(
            Record,
            source=st.text(),
            thread=st.text(),
            text=st.text(),
            who=st.text(),
            when=st.none() | st.floats(allow_nan=False, allow_infinity=False),
            kind=st.sampled_from(["document", "message", "tweet"]),
            mine=st.booleans(),
        ),
        max_size=5,
    )
)
def test_any_record_comes_back(records: list[Record]) -> None:
    if storage.corpus_exists("any"):
        storage.remove_corpus("any")
    written("any", *records)
    assert list(storage.open_records("any")) == records


def test_half_a_character_is_replaced_and_two_halves_are_joined() -> None:
    written("mine", Record("\udce9.txt", "", "a\ud83d\udc4d b\ud83d"))
    assert list(storage.open_records("mine")) == [Record("\ufffd.txt", "", "a👍 b\ufffd")]


def test_the_ledger_says_what_counts_and_adding_goes_on_from_it() -> None:
    first = written("mine", ONE, options=CleaningOptions(person="Zoë", without=frozenset({"links"}), secret="s"))
    batch = ImportBatch("a.zip", "slack", "2026-01-01", 3, ("d",), 1, {"a photo": 2}, (("x", "why"),), (("y", "what"),))
    second = written("mine", TWO, batches=(batch,))
    assert storage.read_metadata("mine") == second
    assert (second.records, second.kept_records, second.generation) == (2, 2, first.generation + 1)
    assert second.options == first.options
    assert second.known_digests() == {"d"}
    assert list(storage.open_records("mine")) == [ONE, TWO]
    assert sorted(path.name for path in (storage.corpora_folder() / "mine").iterdir()) == [
        "corpus.json",
        second.kept,
        "records.jsonl",
    ]


def test_cleaning_alone_leaves_the_records_as_they_are() -> None:
    written("mine", ONE, TWO)
    with storage.open_draft("mine") as draft:
        draft.write_kept_records(record for record in draft.all_records() if record.who)
        draft.commit()
    assert (list(storage.open_records("mine")), list(storage.open_kept_records("mine"))) == ([ONE, TWO], [ONE])


def test_what_is_not_settled_never_was(home: Path) -> None:
    def interrupted() -> None:
        with storage.open_draft("mine") as draft:
            draft.add_record(TWO)
            draft.write_kept_records(draft.all_records())
            raise KeyboardInterrupt

    written("mine", ONE)
    before = state(home / "mine")
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert state(home / "mine") == before
    with storage.open_draft("never") as draft:
        draft.add_record(TWO)
    assert [path.name for path in home.iterdir()] == ["mine"]


def test_an_interruption_when_the_ledger_stands_already_harms_neither(home: Path) -> None:
    written("mine", ONE)

    class Late(storage.CorpusDraft):
        def settle(self, **changes: object) -> CorpusMetadata:
            super().commit(**changes)
            raise KeyboardInterrupt

    folder = home / "mine"
    late = Late(folder, storage.read_metadata("mine"))
    late.add_record(TWO)
    late.write_kept_records(late.all_records())
    with pytest.raises(KeyboardInterrupt):
        late.commit()
    late.metadata = replace(
        late.metadata, records=1, record_bytes=0, kept="kept-1.jsonl"
    )  # what it would still believe
    late.close()
    assert list(storage.open_records("mine")) == [ONE, TWO] == list(storage.open_kept_records("mine"))


def killed(home: Path, code: str) -> None:
    """A process that does this to the corpus `mine`, and is killed with no word of warning."""
    program = f"""
import os, signal
from tools.corpus import keeping
from tools.corpus.record import Record
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
with keeping.draft("mine") as draft:
    for n in range(12000):
        draft.add(Record("new", "", f"text {{n}} " + "x" * 100))
{code}
"""
    environment = os.environ | {"ASR33_CORPORA": str(home)}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "code",
    [
        "    die()",
        "    draft.keep(draft.records()); die()",
        "    draft.keep(draft.records()); keeping._put = die; draft.settle()",
        "    draft.keep(draft.records()); os.fsync = die; draft.settle()",
    ],
)
def test_a_process_killed_at_any_moment_leaves_the_corpus_as_it_was(home: Path, code: str) -> None:
    written("mine", ONE)
    killed(home, code)
    assert list(storage.open_records("mine")) == [ONE] == list(storage.open_kept_records("mine"))
    written("mine", TWO)
    assert list(storage.open_records("mine")) == [ONE, TWO] == list(storage.open_kept_records("mine"))
    assert len(list((home / "mine").iterdir())) == 3


def test_killed_after_the_ledger_stood_it_is_the_new_one(home: Path) -> None:
    written("mine", ONE)
    killed(home, "    draft.keep(draft.records()); keeping.Path.unlink = die; draft.settle()")
    assert storage.read_metadata("mine").records == 12_001
    assert len(list(storage.open_kept_records("mine"))) == 12_001


def test_a_new_one_that_was_killed_is_not_there_and_its_name_is_free(home: Path) -> None:
    killed(home, "    die()")
    assert storage.list_corpora() == []
    with pytest.raises(CorpusNotFound):
        storage.open_records("mine")
    written("mine", ONE)
    assert list(storage.open_records("mine")) == [ONE]


def test_two_do_not_add_at_once_and_readers_read_on(home: Path) -> None:
    written("mine", ONE)
    with storage.open_draft("mine") as draft:
        draft.add_record(TWO)
        with pytest.raises(CorpusBusy, match="another process adds"), storage.open_draft("mine"):
            pass
        with pytest.raises(CorpusBusy):
            storage.remove_corpus("mine")
        assert list(storage.open_records("mine")) == [ONE]


def test_a_reader_of_what_is_kept_reads_to_the_end_while_it_is_replaced() -> None:
    written("mine", *[replace(ONE, text=f"{n}") for n in range(5000)])
    reading = iter(storage.open_kept_records("mine"))
    next(reading)
    written("mine", TWO)
    assert sum(1 for _ in reading) == 4999


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow over a megabyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, old)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_told_and_leaves_the_corpus_as_it_was(home: Path) -> None:
    written("mine", ONE)
    before = state(home / "mine")

    def added(name: str) -> None:
        with storage.open_draft(name) as draft:
            for _ in range(40):
                draft.add_record(replace(TWO, text="x" * 100_000))
            draft.all_records()

    def kept() -> None:
        with storage.open_draft("mine") as draft:
            draft.write_kept_records(replace(TWO, text="x" * 100_000) for _ in range(40))

    with pytest.raises(CorpusUnwritten, match="the corpus is as it was"):
        added("mine")
    with pytest.raises(CorpusUnwritten, match="make room"):
        kept()
    assert state(home / "mine") == before
    with pytest.raises(CorpusUnwritten):
        added("never")
    assert storage.list_corpora() == ["mine"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "file"))
    with pytest.raises(CorpusUnwritten, match="set ASR33_CORPORA"), storage.open_draft("mine"):
        pass


def test_nobody_else_looks_into_the_folder(home: Path) -> None:
    written("mine", ONE)
    assert (home / "mine").stat().st_mode & 0o777 == 0o700


def test_what_an_adding_left_that_was_killed_can_be_removed_and_nothing_else_can(home: Path) -> None:
    killed(home, "    draft.records(); die()")
    (home / "mine" / "photo.jpg").write_bytes(b"")
    with pytest.raises(CorpusNotFound):
        storage.remove_corpus("mine")
    (home / "mine" / "photo.jpg").unlink()
    storage.remove_corpus("mine")
    assert list(home.iterdir()) == []


def test_removed_is_gone_and_an_absent_one_is_told_with_what_was_meant(home: Path) -> None:
    written("manuals", ONE)
    with pytest.raises(CorpusNotFound, match="did you mean manuals"):
        storage.read_metadata("manual")
    storage.remove_corpus("manuals")
    assert list(home.iterdir()) == []
    for name in ("manuals", "../manuals", "", ".", "a/b"):
        with pytest.raises(CorpusNotFound, match="there are: none at all"):
            storage.remove_corpus(name)


def test_what_was_tampered_with_is_told(home: Path) -> None:
    written("mine", ONE, TWO)
    path = home / "mine" / "records.jsonl"
    whole = path.read_bytes()
    for damaged in (whole[:-3], whole[:20], b"\xff" + whole[1:], b"[]\n" + whole[3:], b""):
        path.write_bytes(damaged)
        with pytest.raises(CorpusDamaged, match=r"records\.jsonl: .*add its files again"):
            list(storage.open_records("mine"))
    with pytest.raises(CorpusDamaged, match="bytes of it are missing"), storage.open_draft("mine"):
        pass
    path.unlink()
    with pytest.raises(CorpusDamaged):
        list(storage.open_records("mine"))
    for text in ("", "{}", "[]", '{"format": 2}', '{"format": 1, "x": 1}', "\udcff"):
        (home / "mine" / "corpus.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(CorpusDamaged, match=r"corpus\.json"):
            storage.read_metadata("mine")


def test_a_ledger_in_json_is_the_ledger() -> None:
    batch = ImportBatch("a", "text", "2026-01-01", left={".jpg": 3}, warned=(("a", "b"),))
    whole = CorpusMetadata("x", (batch,), 1, 2, "kept-1.jsonl", options=CleaningOptions(since=1.5), counts={"read": 1})
    assert metadata.from_json(metadata.to_json(whole)) == whole
    assert json.loads(metadata.to_json(whole))["batches"][0]["left"] == {".jpg": 3}
