"""Documents to tokens to batches: the batch of a step depends on seed and step alone."""

# ruff: noqa: E402  torch may be missing

from itertools import islice, pairwise

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_training as fakes
from hypothesis import given, settings
from hypothesis import strategies as st

from model.onnx import tokenizer
from model.store.documents import hold_out_documents
from tools.train import data


@given(start=st.integers(0, 40), seed=st.integers(0, 5), batch=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_resumed_run_gets_the_same_batches(start: int, seed: int, batch: int) -> None:
    ids = fakes.make_token_row(900)
    whole = list(islice(data.iter_batches(ids, 64, batch, seed), start + 3))
    for later, expected in zip(data.iter_batches(ids, 64, batch, seed, start=start), whole[start:], strict=False):
        assert np.array_equal(later, expected)


def test_an_epoch_has_each_window_once_and_the_next_cuts_anew() -> None:
    ids = np.arange(1000, dtype=np.int32)
    windows = data.require_windows(ids, 64, 2)
    epochs = list(islice(data.iter_batches(ids, 64, 2, seed=1), 2 * (windows // 2)))
    first, second = (np.concatenate(part)[:, 0] for part in (epochs[: windows // 2], epochs[windows // 2 :]))
    assert len(set(first.tolist())) == len(first) == windows // 2 * 2
    assert {int(at) % 64 for at in first} != {int(at) % 64 for at in second}
    assert all(np.array_equal(row, np.arange(row[0], row[0] + 65)) for batch in epochs for row in batch)


def test_held_out_documents_are_not_in_the_training_tokens() -> None:
    corpus = hold_out_documents(fakes.make_documents(), [2, 5])
    encoder = tokenizer.train_tokenizer(data.iter_lines(corpus.train, lambda _: None), 300)
    text = encoder.decode(data.encode_documents(corpus.train, encoder).tolist())
    assert [n for n in range(1, 7) if f"This was document {n}." in text] == [1, 3, 4, 6]
    assert "This was document 5." in encoder.decode(data.encode_documents(corpus.held_out, encoder).tolist())


def test_encoding_goes_line_by_line_with_an_end_of_text_before_each_document(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, progress = fakes.make_documents(2), []
    encoder = tokenizer.train_tokenizer(texts, 300)
    monkeypatch.setattr(data, "LINES_AT_ONCE", 7)
    row = data.encode_documents(texts, encoder, progress.append)
    expected = [token for text in texts for token in (encoder.end_of_text, *encoder.encode_lines(text))]
    assert row.tolist() == expected
    assert sum(progress) == sum(map(len, texts))
    assert len(progress) > 5


def test_a_document_may_come_several_times() -> None:
    texts = fakes.make_documents(3)
    encoder = tokenizer.train_tokenizer(texts, 300)
    once = [data.encode_documents([text], encoder).tolist() for text in texts]
    row = data.encode_documents(texts, encoder, times=[1, 3, 2])
    assert row.tolist() == [*once[0], *once[1] * 3, *once[2] * 2]


def test_too_little_text_is_an_error_with_a_cure() -> None:
    with fakes.raises("damaged", match=r"too few for 8 windows of 64: add text, or lower --batch or --context"):
        next(data.iter_batches(fakes.make_token_row(300), 64, 8, seed=1))


def test_an_evaluation_needs_one_whole_window() -> None:
    assert data.sample_windows(fakes.make_token_row(64), 64, 3) is None
    windows = data.sample_windows(fakes.make_token_row(65), 64, 3)
    assert windows is not None
    assert windows.shape == (3, 65)


@given(parts=st.integers(1, 4), context=st.integers(2, 9), count=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_cut_windows_have_the_same_pairs_of_a_token_and_its_next(parts: int, context: int, count: int) -> None:
    windows = np.arange(count * (parts * context + 1), dtype=np.int32).reshape(count, -1)
    cut = data.cut_windows(windows, context)
    assert cut.shape == (count * parts, context + 1)
    pairs = {tuple(pair) for rows in (windows, cut) for row in rows for pair in pairwise(row.tolist())}
    assert {tuple(pair) for row in cut for pair in pairwise(row.tolist())} == pairs
    assert len(pairs) == count * parts * context
