from __future__ import annotations

import pytest
from fakes_model import TEXT, Script
from hypothesis import given
from hypothesis import strategies as st

from model.base import Sampling
from model.copied import Copied, copied, words
from model.writing import TRIES, written

CORPUS = ["It was a bright cold day in the town, and all the clocks were slow by an hour.\n", TEXT]


def by_hand(text: str, corpus: list[str], run: int) -> Copied:
    """The definition: a word is copied if some run of so many words around it stands in a document."""
    there = {tuple(words(document)[at : at + run]) for document in corpus for at in range(len(words(document)))}
    said = words(text)
    covered = {
        at + more for at in range(len(said) - run + 1) if tuple(said[at : at + run]) in there for more in range(run)
    }
    return Copied(len(said), len(covered))


def test_a_text_of_the_corpus_is_copied_whole_and_another_is_not() -> None:
    own = "Nobody has ever put these very words one after the other in a book."
    assert [group.percent for group in copied([[CORPUS[0]], [own], [], [""]], CORPUS)] == [100, 0, 0, 0]


def test_of_a_sentence_with_eight_words_from_the_corpus_just_these_are_copied() -> None:
    assert copied([["He said IT WAS A BRIGHT, cold day in the garden."]], CORPUS) == [Copied(11, 8)]
    assert copied([["He said it was a bright cold day in a garden."]], CORPUS) == [Copied(11, 0)]  # seven words


def test_no_run_reaches_over_two_texts_or_two_documents() -> None:
    assert copied([["it was a bright", "cold day in the"]], CORPUS) == [Copied(8, 0)]
    assert copied([["an hour the operator sat down at the"]], CORPUS) == [Copied(8, 0)]


def test_case_punctuation_and_the_kind_of_apostrophe_are_no_difference() -> None:
    assert words("“Don’t!” she SAID—twice; 3.5") == ["don't", "she", "said", "twice", "3", "5"]


WORDS = st.lists(st.sampled_from(["a", "b", "c", "It", "it"]), max_size=30).map(" ".join)


@given(WORDS, st.lists(WORDS, max_size=3), st.integers(1, 5))
def test_it_is_the_definition(text: str, corpus: list[str], run: int) -> None:
    assert copied([[text]], corpus, run) == [by_hand(text, corpus, run)]


def test_a_model_writes_as_many_words_as_are_wanted_in_several_texts() -> None:
    heard: list[tuple[int, int]] = []
    texts = written(Script("One two three.\n"), Script(""), 7, progress=lambda *done: heard.append(done))
    assert texts[:2] == ["One two three.\n"] * 2
    assert 7 <= sum(len(words(text)) for text in texts) <= 9
    assert heard == sorted(heard)


def test_a_model_that_is_silent_is_not_asked_for_ever() -> None:
    assert written(Script(""), Script(""), 7) == [""] * TRIES


def test_a_text_without_an_end_is_cut_at_a_word() -> None:
    (text,) = written(Script("word " * 100), Script(""), 7, Sampling(max_tokens=1000))
    assert text == "word " * 7


@pytest.mark.parametrize("count", [0, 1])
def test_few_words_are_few(count: int) -> None:
    assert len(written(Script("Word. "), Script(""), count)) == count
