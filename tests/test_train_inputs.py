"""The texts of a run and the held-out documents: files, corpora by name, whole threads, and speakers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import fakes_training as fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.interface import END_OF_TEXT
from tools.corpus import storage
from tools.corpus.record import Record
from tools.train import inputs
from tools.train.holdout import HoldOut, choose_documents, parse_hold_out
from tools.train.inputs import count_personas

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
    """A corpus as `asr33 corpus add` makes it."""
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    with storage.open_draft("chat") as draft:
        for record in CHAT:
            draft.add_record(record)
        draft.write_kept_records(CHAT)
        draft.commit()
    return "chat"


def test_a_corpus_name_is_accepted_like_a_file(chat: str, tmp_path: Path) -> None:
    (book := tmp_path / "book.txt").write_text(f"One.\n{END_OF_TEXT}\nTwo.\n", "utf-8")
    inputs.require_readable([book, Path(chat)])
    texts = inputs.read_texts([book, Path(chat)])
    assert texts.documents[:4] == ["One.\n", "Two.\n", "Ann: Are you there?\nBob: Always.", "Ann: Good morning."]
    assert texts.units == [1, 2, 3, 3, 4, 5, 6, 7]
    assert [source.name for source in texts.sources] == ["book.txt", "chat"]
    assert texts.has_corpus


def test_the_hash_of_a_corpus_covers_its_rendered_text(chat: str) -> None:
    (source,) = inputs.read_texts([Path(chat)]).sources
    (again,) = inputs.read_texts([Path(chat)]).sources
    with storage.open_draft(chat) as draft:
        draft.write_kept_records(CHAT[:-1])
        draft.commit()
    (changed,) = inputs.read_texts([Path(chat)]).sources
    assert source == again != changed


def test_a_file_takes_precedence_over_a_corpus_of_the_same_name(
    chat: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(chat).write_text("A file.\n", "utf-8")
    assert inputs.read_texts([Path(chat)]).documents == ["A file.\n"]


def test_an_unreadable_text_gives_a_one_line_error_with_a_cure(chat: str, tmp_path: Path) -> None:
    with fakes.raises("missing", match=r"^chats: there is no such file or corpus[^\n]*asr33 corpus list$"):
        inputs.require_readable([Path(chat), Path("chats")])
    with fakes.raises("damaged", match=r"^[^\n]*: is a folder; add it to a corpus: asr33 corpus add [^\n]*$"):
        inputs.read_texts([tmp_path])
    os.mkfifo(pipe := tmp_path / "pipe")
    with fakes.raises("missing", match=r"^[^\n]*pipe: can be read only once[^\n]*; give a file$"):
        inputs.require_readable([pipe])


@pytest.mark.parametrize(
    ("text", "hold_out"),
    [("26,10,10", HoldOut((10, 26))), ("10%", HoldOut(percent=10)), ("", HoldOut()), ("0%", HoldOut())],
)
def test_a_hold_out_is_numbers_or_a_share(text: str, hold_out: HoldOut) -> None:
    assert parse_hold_out(text) == hold_out
    assert parse_hold_out(str(hold_out)) == hold_out


@pytest.mark.parametrize("text", ["x", "1,x", "100%", "-1%", "nan%", "%"])
def test_an_invalid_hold_out_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - options writes the message
        parse_hold_out(text)


def test_a_thread_is_held_out_whole_by_its_number() -> None:
    assert choose_documents(HoldOut((2,)), [1, 2, 2, 3], [1] * 4, Random(1)) == (2, 3)
    with fakes.raises("damaged", match=r"--hold-out 4: there are only 3 documents"):
        choose_documents(HoldOut((4,)), [1, 2, 2, 3], [1] * 4, Random(1))


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 999)), min_size=2, max_size=60).map(sorted),
    st.integers(1, 99),
    st.integers(0, 9),
)
def test_a_share_draws_whole_threads_by_seed_but_never_all(
    documents: list[tuple[int, int]], percent: int, seed: int
) -> None:
    units, sizes = [unit for unit, _ in documents], [size for _, size in documents]
    if len(set(units)) < 2:
        with fakes.raises("damaged", match="nothing can be held out"):
            choose_documents(HoldOut(percent=percent), units, sizes, Random(seed))
        return
    numbers = choose_documents(HoldOut(percent=percent), units, sizes, Random(seed))
    assert numbers == choose_documents(HoldOut(percent=percent), units, sizes, Random(seed))
    held_units = {units[number - 1] for number in numbers}
    assert numbers == tuple(number for number, unit in enumerate(units, 1) if unit in held_units)
    assert 0 < len(held_units) < len(set(units))
    target, mean = percent / 100 * sum(sizes), sum(sizes) / len(set(units))
    assert sum(sizes[number - 1] for number in numbers) <= target + max(target, mean)


@given(st.integers(0, 999))
def test_a_large_thread_among_small_ones_is_not_held_out(seed: int) -> None:
    numbers = choose_documents(HoldOut(percent=10), [1] * 400 + [2] * 20, [30] * 420, Random(seed))
    assert numbers == tuple(range(401, 421))
    assert choose_documents(HoldOut(percent=10), [1, 2, 3], [900_000, 100, 300], Random(seed)) == (2, 3)


def test_another_seed_holds_out_others() -> None:
    for count, seeds, choices in ((100, 5, 5), (3, 9, 3)):
        units, sizes = range(1, count + 1), [9] * count
        drawn = {choose_documents(HoldOut(percent=10), units, sizes, Random(seed)) for seed in range(seeds)}
        assert len(drawn) == choices


def test_speakers_are_counted_in_dialogue_only() -> None:
    dialogue = "Ann: Hello.\nBob Stone: Hm.\n  Note: this is Bob's second line.\nAnn: Well?\nJosé: 10:30!\n"
    prose = "Chapter one: how it began.\nNobody spoke.\nThen he said: go.\nThe end: it came.\nIt rained all day.\n"
    assert count_personas([dialogue, dialogue, prose]) == {"Ann": 4, "Bob Stone": 2, "José": 2}
    assert count_personas([prose]) == {}
    assert json.dumps(count_personas([dialogue])) == '{"Ann": 2}'  # a speaker of a single line does not count


@given(st.lists(st.text()))
def test_count_personas_accepts_any_text(documents: list[str]) -> None:
    assert all(count > 1 and ":" not in name for name, count in count_personas(documents).items())


@given(st.floats(0, 100, exclude_max=True))
def test_a_share_is_written_with_all_digits(percent: float) -> None:
    assert parse_hold_out(str(HoldOut(percent=percent))) == HoldOut(percent=percent)


def test_an_empty_hold_out_holds_nothing_out() -> None:
    assert not HoldOut()
    assert choose_documents(HoldOut(), [1, 2], [1, 1], Random(1)) == ()


def test_each_document_of_a_text_comes_as_often_as_the_text(tmp_path: Path) -> None:
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    paths[0].write_text("one\n<|endoftext|>\ntwo\n")
    paths[1].write_text("three\n")
    assert inputs.read_texts(paths).times == [1, 1, 1]
    assert inputs.read_texts(paths, (2, 5)).times == [2, 2, 5]
