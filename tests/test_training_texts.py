"""What is trained on and what is held out: texts, corpora by name, whole threads, and who speaks in them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import TextDamaged, TextNotFound
from model.interface import END_OF_TEXT
from tools.corpus import storage
from tools.corpus.record import Record
from tools.train import holdout, inputs
from tools.train.holdout import HoldOut, choose_documents, parse_hold_out
from tools.train.personas import count_personas

CHAT = [
    Record("one.json", "Ann and Bob", "Are you there?", "Ann", 0.0, "message"),
    Record("two.json", "Ann and Bob", "Always.", "Bob", 60.0, "message"),
    Record("two.json", "Ann and Bob", "Good morning.", "Ann", 90_000.0, "message"),
    Record("two.json", "Ann and Zoe", "Hello.\nIt rains.", "Zoe", 90_000.0, "message"),
    Record("t.csv", "", "A tweet.", kind="tweet"),
    Record("t.csv", "", "Another.", kind="tweet"),
    Record("b.txt", "Book", "A book.", kind="document"),
]


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A corpus as `asr33 corpus add` leaves it."""
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    with storage.open_draft("chat") as draft:
        for record in CHAT:
            draft.add_record(record)
        draft.write_kept_records(CHAT)
        draft.commit()
    return "chat"


def test_a_corpus_is_named_where_a_file_may_be(chat: str, tmp_path: Path) -> None:
    (book := tmp_path / "book.txt").write_text(f"One.\n{END_OF_TEXT}\nTwo.\n", "utf-8")
    inputs.require_readable([book, Path(chat)])
    found = inputs.read_texts([book, Path(chat)])
    assert found.documents[:4] == ["One.\n", "Two.\n", "Ann: Are you there?\nBob: Always.", "Ann: Good morning."]
    assert found.units == [1, 2, 3, 3, 4, 5, 6, 7]
    assert [source.name for source in found.sources] == ["book.txt", "chat"]
    assert found.has_corpus


def test_a_corpus_has_a_hash_of_what_the_model_sees(chat: str) -> None:
    (one,) = inputs.read_texts([Path(chat)]).sources
    (again,) = inputs.read_texts([Path(chat)]).sources
    with storage.open_draft(chat) as draft:
        draft.write_kept_records(CHAT[:-1])
        draft.commit()
    (other,) = inputs.read_texts([Path(chat)]).sources
    assert one == again != other


def test_a_file_of_that_name_goes_before_the_corpus(chat: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(chat).write_text("A file.\n", "utf-8")
    assert inputs.read_texts([Path(chat)]).documents == ["A file.\n"]


def test_what_is_neither_file_nor_corpus_is_one_line_with_its_cure(chat: str, tmp_path: Path) -> None:
    with pytest.raises(TextNotFound, match=r"^chats: there is no such file or corpus[^\n]*asr33 corpus list$"):
        inputs.require_readable([Path(chat), Path("chats")])
    with pytest.raises(TextDamaged, match=r"^[^\n]*: a folder; take it into a corpus: asr33 corpus add [^\n]*$"):
        inputs.read_texts([tmp_path])
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(TextNotFound, match=r"^[^\n]*pipe: can be read only once[^\n]*; give a file$"):
        inputs.require_readable([pipe])


@pytest.mark.parametrize(
    ("text", "held"),
    [("26,10,10", HoldOut((10, 26))), ("10%", HoldOut(percent=10)), ("", HoldOut()), ("0%", HoldOut())],
)
def test_numbers_or_a_share_are_held_out(text: str, held: HoldOut) -> None:
    assert parse_hold_out(text) == held
    assert parse_hold_out(str(held)) == held


@pytest.mark.parametrize("text", ["x", "1,x", "100%", "-1%", "nan%", "%"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its words are options'
        parse_hold_out(text)


def test_a_thread_is_held_out_whole_by_its_number() -> None:
    assert choose_documents(HoldOut((2,)), [1, 2, 2, 3], [1] * 4, Random(1)) == (2, 3)
    with pytest.raises(TextDamaged, match=r"--hold-out 4: there are only 3 documents"):
        choose_documents(HoldOut((4,)), [1, 2, 2, 3], [1] * 4, Random(1))


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 999)), min_size=2, max_size=60).map(sorted),
    st.integers(1, 99),
    st.integers(0, 9),
)
def test_a_share_is_drawn_by_seed_of_whole_threads_and_never_all(
    documents: list[tuple[int, int]], percent: int, seed: int
) -> None:
    units, sizes = [unit for unit, _ in documents], [size for _, size in documents]
    if len(set(units)) < 2:
        with pytest.raises(TextDamaged, match="nothing can be held out"):
            choose_documents(HoldOut(percent=percent), units, sizes, Random(seed))
        return
    out = choose_documents(HoldOut(percent=percent), units, sizes, Random(seed))
    assert out == choose_documents(HoldOut(percent=percent), units, sizes, Random(seed))
    there = {units[number - 1] for number in out}
    assert out == tuple(number for number, unit in enumerate(units, 1) if unit in there)
    assert 0 < len(there) < len(set(units))
    wanted, mean = percent / 100 * sum(sizes), sum(sizes) / len(set(units))
    assert sum(sizes[number - 1] for number in out) <= wanted + max(wanted, mean)


@given(st.integers(0, 999))
def test_a_large_thread_among_small_ones_is_not_the_one_held_out(seed: int) -> None:
    assert choose_documents(HoldOut(percent=10), [1] * 400 + [2] * 20, [30] * 420, Random(seed)) == tuple(
        range(401, 421)
    )
    assert choose_documents(HoldOut(percent=10), [1, 2, 3], [900_000, 100, 300], Random(seed)) == (2, 3)


def test_another_seed_holds_out_others() -> None:
    assert (
        len({choose_documents(HoldOut(percent=10), range(1, 101), [9] * 100, Random(seed)) for seed in range(5)}) == 5
    )
    assert len({choose_documents(HoldOut(percent=10), range(1, 4), [9] * 3, Random(seed)) for seed in range(9)}) == 3


def test_who_speaks_is_counted_in_dialogue_alone() -> None:
    talk = "Ann: Hello.\nBob Stone: Hm.\n  Note: this is Bob's second line.\nAnn: Well?\nJosé: 10:30!\n"
    prose = "Chapter one: how it began.\nNobody spoke.\nThen he said: go.\nThe end: it came.\nIt rained all day.\n"
    assert count_personas([talk, talk, prose]) == {"Ann": 4, "Bob Stone": 2, "José": 2}
    assert count_personas([prose]) == {}
    assert json.dumps(count_personas([talk])) == '{"Ann": 2}'  # who spoke once is nobody to talk to


@given(st.lists(st.text()))
def test_personas_takes_any_text(documents: list[str]) -> None:
    assert all(count > 1 and ":" not in name for name, count in count_personas(documents).items())


@given(st.floats(0, 100, exclude_max=True))
def test_a_share_is_written_to_its_last_digit(percent: float) -> None:
    assert parse_hold_out(str(HoldOut(percent=percent))) == HoldOut(percent=percent)


def test_holding_knows_what_is_nothing() -> None:
    assert not HoldOut()
    assert holdout.choose_documents(HoldOut(), [1, 2], [1, 1], Random(1)) == ()
