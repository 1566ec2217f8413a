"""A share of one long conversation, or of one book: it is held out in stretches."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import TextDamaged
from tools.train.holdout import HoldOut
from tools.train.inputs import TrainingTexts
from tools.train.split_documents import MIN_PART_CHARS, choose_held_out, split_document


def texts(*threads: list[str]) -> TrainingTexts:
    documents = [document for thread in threads for document in thread]
    units = [number for number, thread in enumerate(threads, 1) for _ in thread]
    return TrainingTexts((), documents, units, True)


def chat(lines: int) -> str:
    return "\n".join(f"{'Ann' if n % 3 else 'Bob'}: This is line {n}.\n  And it has another." for n in range(lines))


def share(found: TrainingTexts, out: tuple[int, ...]) -> float:
    return sum(len(found.documents[number - 1]) for number in out) / sum(map(len, found.documents))


@pytest.mark.parametrize("seed", range(5))
def test_one_thread_in_one_piece_has_a_tenth_held_out_where_messages_begin(seed: int) -> None:
    found, out = choose_held_out(texts([chat(2000)]), HoldOut(percent=10), Random(seed))
    assert len(out) == 2
    assert 0.08 < share(found, out) < 0.12
    assert all(document.startswith(("Ann: This", "Bob: This")) for document in found.documents)
    assert "\n".join(found.documents) == chat(2000)


def test_one_thread_of_many_conversations_has_some_of_them_held_out_whole() -> None:
    talks = [chat(20) for _ in range(100)]
    found, out = choose_held_out(texts(talks), HoldOut(percent=10), Random(1))
    assert found.documents == talks
    assert len(out) == 10


def test_a_large_thread_among_small_ones_is_parted_and_the_others_stay_whole() -> None:
    found, out = choose_held_out(
        texts([chat(2000)], *([chat(50), chat(50)] for _ in range(20))), HoldOut(percent=10), Random(1)
    )
    assert found.documents[-40:] == [chat(50)] * 40
    assert found.units[-4:] == [found.units[-1] - 1] * 2 + [found.units[-1]] * 2
    assert 0.05 < share(found, out) < 0.15


def test_threads_and_books_that_are_small_enough_or_numbered_stay_whole() -> None:
    books = texts(*([chat(300)] for _ in range(5)))
    found, out = choose_held_out(books, HoldOut(percent=10), Random(1))
    assert (found.documents, len(out)) == (books.documents, 1)
    assert choose_held_out(texts([chat(2000)], ["b"]), HoldOut((2,)), Random(1)) == (texts([chat(2000)], ["b"]), (2,))


def test_a_book_is_cut_between_paragraphs() -> None:
    book = "\n\n".join(f"Paragraph {n} of this book\nhas two lines." for n in range(1000))
    assert all(part.startswith("Paragraph") for part in split_document(book, 3000))
    assert "\n\n".join(split_document(book, 3000)) == book


def test_what_is_too_short_to_be_divided_is_refused_as_ever() -> None:
    with pytest.raises(TextDamaged, match="nothing can be held out"):
        choose_held_out(texts(["x" * MIN_PART_CHARS]), HoldOut(percent=10), Random(1))


@given(
    st.lists(st.lists(st.text("ab\n :", max_size=3000), min_size=1, max_size=4), min_size=1, max_size=5),
    st.integers(1, 99),
    st.integers(0, 9),
)
def test_nothing_is_lost_and_the_same_seed_draws_the_same(threads: list[list[str]], percent: int, seed: int) -> None:
    try:
        found, out = choose_held_out(texts(*threads), HoldOut(percent=percent), Random(seed))
    except TextDamaged:
        return
    assert "".join("".join(found.documents).split()) == "".join("".join(map("".join, threads)).split())
    assert (found, out) == choose_held_out(texts(*threads), HoldOut(percent=percent), Random(seed))
    assert found.units == sorted(found.units)
    there = {found.units[number - 1] for number in out}
    assert out == tuple(number for number, unit in enumerate(found.units, 1) if unit in there)
    assert len(there) < len(set(found.units))
