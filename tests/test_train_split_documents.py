"""Holding out a share of one long conversation or one book, in parts."""

from __future__ import annotations

from random import Random

import fakes_training as fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ModelError
from tools.train.holdout import HoldOut
from tools.train.inputs import TrainingTexts
from tools.train.split_documents import (
    MAX_TRAIN_CHARS,
    MIN_PART_CHARS,
    choose_held_out,
    cut_long_documents,
    split_document,
)


def texts(*threads: list[str]) -> TrainingTexts:
    documents = [document for thread in threads for document in thread]
    units = [number for number, thread in enumerate(threads, 1) for _ in thread]
    return TrainingTexts((), documents, units, True, times=[1] * len(documents))


def chat(lines: int) -> str:
    return "\n".join(f"{'Ann' if n % 3 else 'Bob'}: This is line {n}.\n  And it has another." for n in range(lines))


def share(result: TrainingTexts, out: tuple[int, ...]) -> float:
    return sum(len(result.documents[number - 1]) for number in out) / sum(map(len, result.documents))


@pytest.mark.parametrize("seed", range(5))
def test_one_long_conversation_is_cut_where_messages_begin(seed: int) -> None:
    result, out = choose_held_out(texts([chat(2000)]), HoldOut(percent=10), Random(seed))
    assert len(out) == 2
    assert 0.08 < share(result, out) < 0.12
    assert all(document.startswith(("Ann: This", "Bob: This")) for document in result.documents)
    assert "\n".join(result.documents) == chat(2000)


def test_conversations_of_one_thread_are_held_out_whole() -> None:
    conversations = [chat(20) for _ in range(100)]
    result, out = choose_held_out(texts(conversations), HoldOut(percent=10), Random(1))
    assert result.documents == conversations
    assert len(out) == 10


def test_only_a_large_thread_is_divided() -> None:
    threads = [[chat(2000)], *([chat(50), chat(50)] for _ in range(20))]
    result, out = choose_held_out(texts(*threads), HoldOut(percent=10), Random(1))
    assert result.documents[-40:] == [chat(50)] * 40
    assert result.units[-4:] == [result.units[-1] - 1] * 2 + [result.units[-1]] * 2
    assert 0.05 < share(result, out) < 0.15


def test_small_or_numbered_units_stay_whole() -> None:
    books = texts(*([chat(300)] for _ in range(5)))
    result, out = choose_held_out(books, HoldOut(percent=10), Random(1))
    assert (result.documents, len(out)) == (books.documents, 1)
    assert choose_held_out(texts([chat(2000)], ["b"]), HoldOut((2,)), Random(1)) == (texts([chat(2000)], ["b"]), (2,))


def test_a_book_is_cut_between_paragraphs() -> None:
    book = "\n\n".join(f"Paragraph {n} of this book\nhas two lines." for n in range(1000))
    assert all(part.startswith("Paragraph") for part in split_document(book, 3000))
    assert "\n\n".join(split_document(book, 3000)) == book


def test_long_documents_are_trained_as_parts_that_begin_with_a_line() -> None:
    book = "".join(f"Line {n} of a book without paragraphs.\n" for n in range(3000))
    parts, times = cut_long_documents([book, "short\n"], [2, 5])
    assert "".join(parts) == f"{book}short\n"
    assert times == [2] * (len(parts) - 1) + [5]
    assert all(part.startswith("Line ") for part in parts[:-1])
    assert max(map(len, parts)) < 1.5 * MAX_TRAIN_CHARS
    assert cut_long_documents([line := "x" * 3 * MAX_TRAIN_CHARS], [1]) == ([line], [1])


def test_a_text_too_short_to_divide_is_refused() -> None:
    with fakes.raises("damaged", match="nothing can be held out"):
        choose_held_out(texts(["x" * MIN_PART_CHARS]), HoldOut(percent=10), Random(1))


@given(
    st.lists(st.lists(st.text("ab\n :", max_size=3000), min_size=1, max_size=4), min_size=1, max_size=5),
    st.integers(1, 99),
    st.integers(0, 9),
)
def test_dividing_loses_no_text_and_depends_on_the_seed_only(threads: list[list[str]], percent: int, seed: int) -> None:
    try:
        result, out = choose_held_out(texts(*threads), HoldOut(percent=percent), Random(seed))
    except ModelError:
        return
    assert "".join("".join(result.documents).split()) == "".join("".join(map("".join, threads)).split())
    assert (result, out) == choose_held_out(texts(*threads), HoldOut(percent=percent), Random(seed))
    assert result.units == sorted(result.units)
    held_units = {result.units[number - 1] for number in out}
    assert out == tuple(number for number, unit in enumerate(result.units, 1) if unit in held_units)
    assert len(held_units) < len(set(result.units))
