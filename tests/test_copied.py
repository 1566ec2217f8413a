from __future__ import annotations

import pytest
from fakes_model import TEXT, ScriptedSession
from hypothesis import given
from hypothesis import strategies as st

from model.build.memorisation import NgramOverlap, measure_overlap, split_words
from model.generate.sample_text import MAX_BLANK_TEXTS, write_sample_texts
from model.interface import Sampling

CORPUS = ["It was a bright cold day in the town, and all the clocks were slow by an hour.\n", TEXT]


def count_overlap_by_hand(text: str, corpus: list[str], run: int) -> NgramOverlap:
    """The definition: a word is copied if some run of so many words around it stands in a document."""
    there = {
        tuple(split_words(document)[at : at + run]) for document in corpus for at in range(len(split_words(document)))
    }
    said = split_words(text)
    covered = {
        at + more for at in range(len(said) - run + 1) if tuple(said[at : at + run]) in there for more in range(run)
    }
    return NgramOverlap(len(said), len(covered))


def test_a_text_of_the_corpus_is_copied_whole_and_another_is_not() -> None:
    own = "Nobody has ever put these very words one after the other in a book."
    assert [group.percent for group in measure_overlap([[CORPUS[0]], [own], [], [""]], CORPUS)] == [100, 0, 0, 0]


def test_of_a_sentence_with_eight_words_from_the_corpus_just_these_are_copied() -> None:
    assert measure_overlap([["He said IT WAS A BRIGHT, cold day in the garden."]], CORPUS) == [NgramOverlap(11, 8)]
    assert measure_overlap([["He said it was a bright cold day in a garden."]], CORPUS) == [
        NgramOverlap(11, 0)
    ]  # seven words


def test_no_run_reaches_over_two_texts_or_two_documents() -> None:
    assert measure_overlap([["it was a bright", "cold day in the"]], CORPUS) == [NgramOverlap(8, 0)]
    assert measure_overlap([["an hour the operator sat down at the"]], CORPUS) == [NgramOverlap(8, 0)]


def test_case_punctuation_and_the_kind_of_apostrophe_are_no_difference() -> None:
    assert split_words("“Don’t!” she SAID—twice; 3.5") == ["don't", "she", "said", "twice", "3", "5"]


WORDS = st.lists(st.sampled_from(["a", "b", "c", "It", "it"]), max_size=30).map(" ".join)


@given(WORDS, st.lists(WORDS, max_size=3), st.integers(1, 5))
def test_it_is_the_definition(text: str, corpus: list[str], run: int) -> None:
    assert measure_overlap([[text]], corpus, run) == [count_overlap_by_hand(text, corpus, run)]


def test_a_model_writes_as_many_words_as_are_wanted_in_several_texts() -> None:
    heard: list[tuple[int, int]] = []
    texts = write_sample_texts(
        ScriptedSession("One two three.\n"), ScriptedSession(""), 7, on_progress=lambda *done: heard.append(done)
    )
    assert texts[:2] == ["One two three.\n"] * 2
    assert 7 <= sum(len(split_words(text)) for text in texts) <= 9
    assert heard == sorted(heard)


def test_a_model_that_is_silent_is_not_asked_for_ever() -> None:
    assert write_sample_texts(ScriptedSession(""), ScriptedSession(""), 7) == [""] * MAX_BLANK_TEXTS


def test_a_text_without_an_end_is_cut_at_a_word() -> None:
    (text,) = write_sample_texts(ScriptedSession("word " * 100), ScriptedSession(""), 7, Sampling(max_tokens=1000))
    assert text == "word " * 7


@pytest.mark.parametrize("count", [0, 1])
def test_few_words_are_few(count: int) -> None:
    assert len(write_sample_texts(ScriptedSession("Word. "), ScriptedSession(""), count)) == count
