"""Documents to tokens to batches: which text a step sees depends on seed and step alone."""

# ruff: noqa: E402  torch may be missing

from itertools import islice

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_training as fakes
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import TextDamaged
from model.onnx import tokenizer
from model.store.documents import hold_out_documents
from tools.train import data


@given(start=st.integers(0, 40), seed=st.integers(0, 5), batch=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_run_that_goes_on_gets_the_batches_it_would_have_had(start: int, seed: int, batch: int) -> None:
    ids = fakes.token_row(900)
    whole = list(islice(data.iter_batches(ids, 64, batch, seed), start + 3))
    for later, expected in zip(data.iter_batches(ids, 64, batch, seed, start=start), whole[start:], strict=False):
        assert np.array_equal(later, expected)


def test_an_epoch_shows_each_window_once_and_the_next_cuts_anew() -> None:
    ids = np.arange(1000, dtype=np.int32)
    windows = data.require_windows(ids, 64, 2)
    epochs = list(islice(data.iter_batches(ids, 64, 2, seed=1), 2 * (windows // 2)))
    first, second = (np.concatenate(part)[:, 0] for part in (epochs[: windows // 2], epochs[windows // 2 :]))
    assert len(set(first.tolist())) == len(first) == windows // 2 * 2
    assert {int(at) % 64 for at in first} != {int(at) % 64 for at in second}
    assert all(np.array_equal(row, np.arange(row[0], row[0] + 65)) for batch in epochs for row in batch)


def test_documents_held_out_never_reach_the_training_row() -> None:
    corpus = hold_out_documents(fakes.documents(), [2, 5])
    words = tokenizer.train_tokenizer(data.iter_lines(corpus.train, lambda _: None), 300)
    text = words.decode(data.encode_documents(corpus.train, words).tolist())
    assert [n for n in range(1, 7) if f"This was document {n}." in text] == [1, 3, 4, 6]
    assert "This was document 5." in words.decode(data.encode_documents(corpus.held_out, words).tolist())


def test_encoding_goes_line_by_line_with_an_end_of_text_before_each_document(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, heard = fakes.documents(2), []
    words = tokenizer.train_tokenizer(texts, 300)
    monkeypatch.setattr(data, "LINES_AT_ONCE", 7)
    row = data.encode_documents(texts, words, heard.append)
    wanted = [token for text in texts for token in (words.end_of_text, *words.encode_lines(text))]
    assert row.tolist() == wanted
    assert sum(heard) == sum(map(len, texts))
    assert len(heard) > 5


def test_too_little_text_says_what_would_do() -> None:
    with pytest.raises(TextDamaged, match=r"too few for 8 windows of 64: add text, or lower --batch or --context"):
        next(data.iter_batches(fakes.token_row(300), 64, 8, seed=1))


def test_a_look_needs_one_whole_window() -> None:
    assert data.sample_windows(fakes.token_row(64), 64, 3) is None
    windows = data.sample_windows(fakes.token_row(65), 64, 3)
    assert windows is not None
    assert windows.shape == (3, 65)
