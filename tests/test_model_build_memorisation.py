from __future__ import annotations

import pytest
from fakes_model import TEXT, ScriptedSession
from hypothesis import given
from hypothesis import strategies as st

from model.build.memorisation import MAX_BLANK_TEXTS, NgramOverlap, measure_overlap, write_sample_texts
from model.interface import Sampling
from model.words import split_words

CORPUS = ["It was a bright cold day in the town, and all the clocks were slow by an hour.\n", TEXT]


def count_overlap_by_hand(text: str, corpus: list[str], run: int) -> NgramOverlap:
    """The definition: a word is copied if a run of `run` words around it stands in a document."""
    corpus_runs = {
        tuple(split_words(document)[at : at + run]) for document in corpus for at in range(len(split_words(document)))
    }
    words = split_words(text)
    covered = {
        at + offset
        for at in range(len(words) - run + 1)
        if tuple(words[at : at + run]) in corpus_runs
        for offset in range(run)
    }
    return NgramOverlap(len(words), len(covered))


def test_a_text_of_the_corpus_counts_as_copied_and_a_new_text_does_not() -> None:
    new = "Nobody has ever put these very words one after the other in a book."
    assert [group.percent for group in measure_overlap([[CORPUS[0]], [new], [], [""]], CORPUS)] == [100, 0, 0, 0]


def test_only_the_eight_words_from_the_corpus_count_as_copied() -> None:
    assert measure_overlap([["He said IT WAS A BRIGHT, cold day in the garden."]], CORPUS) == [NgramOverlap(11, 8)]
    seven_words = "He said it was a bright cold day in a garden."
    assert measure_overlap([[seven_words]], CORPUS) == [NgramOverlap(11, 0)]


def test_no_run_crosses_two_texts_or_two_documents() -> None:
    assert measure_overlap([["it was a bright", "cold day in the"]], CORPUS) == [NgramOverlap(8, 0)]
    assert measure_overlap([["an hour the operator sat down at the"]], CORPUS) == [NgramOverlap(8, 0)]


def test_case_punctuation_and_apostrophe_do_not_matter() -> None:
    assert split_words("“Don’t!” she SAID—twice; 3.5") == ["don't", "she", "said", "twice", "3", "5"]


WORDS = st.lists(st.sampled_from(["a", "b", "c", "It", "it"]), max_size=30).map(" ".join)


@given(WORDS, st.lists(WORDS, max_size=3), st.integers(1, 5))
def test_overlap_matches_its_definition(text: str, corpus: list[str], run: int) -> None:
    assert measure_overlap([[text]], corpus, run) == [count_overlap_by_hand(text, corpus, run)]


def test_a_model_writes_the_requested_words_in_several_texts() -> None:
    progress: list[tuple[int, int]] = []
    session = ScriptedSession("One two three.\n")
    texts = write_sample_texts(session, session, 7, on_progress=lambda *done: progress.append(done))
    assert texts[:2] == ["One two three.\n"] * 2
    assert 7 <= sum(len(split_words(text)) for text in texts) <= 9
    assert progress == sorted(progress)


def test_a_silent_model_is_given_up() -> None:
    assert write_sample_texts(ScriptedSession(""), ScriptedSession(""), 7) == [""] * MAX_BLANK_TEXTS


def test_a_text_without_an_end_is_cut_at_a_word() -> None:
    (text,) = write_sample_texts(ScriptedSession("word " * 100), ScriptedSession(""), 7, Sampling(max_tokens=1000))
    assert text == "word " * 7


@pytest.mark.parametrize("count", [0, 1])
def test_few_requested_words_give_few_texts(count: int) -> None:
    assert len(write_sample_texts(ScriptedSession("Word. "), ScriptedSession(""), count)) == count
