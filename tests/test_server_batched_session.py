"""Many texts side by side give the same logits as each text alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
import onnx
import pytest
import reference_gpt2
from fakes_model import TINY, tiny_weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.build import graph
from model.build.quantise import quantise_model
from model.build.quantise.quantise_model import QuantConfig
from model.errors import EngineFailed, ModelDamaged, PromptTooLong
from model.interface import GPT2Config
from model.onnx.runtime import OnnxModel
from model.onnx.session import OnnxSession
from model.server.engine.batched_session import BatchedSession
from model.store import store

Floats = NDArray[np.float32]
COUNT = 66
# Wide enough for several blocks of a kernel, and no multiple of a block.
WIDE = GPT2Config(vocab_size=1003, n_positions=48, n_embd=192, n_layer=2, n_head=3)
SHAPES = {"tiny": TINY, "wide": WIDE}
WINDOWS = np.random.default_rng(2).integers(0, TINY.vocab_size, (6, 40))


@cache
def make_batched(shape: GPT2Config = TINY, threads: int = 2) -> BatchedSession:
    return BatchedSession(graph.build_gpt2(tiny_weights(shape), shape, "float32"), count=COUNT, threads=threads)


@cache
def make_single(shape: GPT2Config = TINY) -> OnnxSession:
    return OnnxSession(graph.build_gpt2(tiny_weights(shape), shape, "float32"), threads=1)


@cache
def random_texts(shape: GPT2Config = TINY, count: int = 64) -> list[list[int]]:
    rng = random.Random(5)
    lengths = [1, 2, shape.n_positions, *(rng.randint(1, shape.n_positions) for _ in range(count))]
    return [[rng.randrange(shape.vocab_size) for _ in range(length)] for length in lengths[:count]]


def last_logits(text: Sequence[int], session: OnnxSession) -> Floats:
    """The logits of the last token of a text without neighbours: a prefill of the other tokens, then a step."""
    session.rewind(0)
    if len(text) > 1:
        session.forward(text[:-1])
    return session.forward(text[-1:]).copy()


def prefill_all(batched: BatchedSession, texts: Sequence[Sequence[int]], first: int = 0) -> None:
    for slot, text in enumerate(texts, first):
        if len(text) > 1:
            batched.prefill(slot, 0, text[:-1])


def step_all(batched: BatchedSession, texts: Sequence[Sequence[int]], first: int = 0) -> Floats:
    """Computes the last token of each text, in one step."""
    past_lengths, last_tokens = [len(text) - 1 for text in texts], [text[-1] for text in texts]
    return batched.decode_step(first, past_lengths, last_tokens, range(len(texts)))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_in_float32_a_row_is_the_same_to_the_bit_as_alone(shape: GPT2Config) -> None:
    batched, texts = make_batched(shape), random_texts(shape)
    expected = [last_logits(text, make_single(shape)) for text in texts]
    for first in (0, COUNT - 64):
        prefill_all(batched, texts, first)
        for start, stop in ((0, 64), (0, 1), (7, 9), (20, 53)):
            logits = step_all(batched, texts[start:stop], first + start)
            assert logits.dtype == np.float32
            for row, expected_row in zip(logits, expected[start:stop], strict=True):
                assert np.array_equal(row, expected_row)


def test_a_row_agrees_with_the_reference_implementation() -> None:
    batched, texts = make_batched(), random_texts()[:20]
    prefill_all(batched, texts)
    for row, text in zip(step_all(batched, texts), texts, strict=True):
        assert np.abs(row - reference_gpt2.logits(tiny_weights(), text, TINY.n_head)[-1]).max() < 1e-4


@given(st.lists(st.integers(1, 20), max_size=6), st.integers(0, COUNT - 1))
def test_a_prompt_prefilled_in_chunks_gives_the_logits_of_a_session(sizes: list[int], slot: int) -> None:
    text, past = random_texts()[2], 0
    make_single().rewind(0)
    for size in sizes:
        if chunk := text[past : past + size]:
            assert np.array_equal(make_batched().prefill(slot, past, chunk), make_single().forward(chunk))
            past += len(chunk)


def test_a_copied_cache_continues_like_its_source_and_leaves_it_unchanged() -> None:
    batched, text, other = make_batched(), random_texts()[2], random_texts()[2][::-1]
    batched.prefill(9, 0, text[:40])
    batched.prefill(30, 0, other[:9])
    batched.copy_cache(9, 31, 25)
    assert np.array_equal(batched.prefill(31, 25, [1, 2, 3]), replay([text[:40], 25, [1, 2, 3]]))
    assert np.array_equal(batched.prefill(9, 40, text[40:42]), replay([text[:40], text[40:42]]))
    assert np.array_equal(batched.prefill(30, 9, [7]), replay([other[:9], [7]]))


def test_the_copy_on_a_device_takes_the_whole_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    batched, text = make_batched(), random_texts()[2]
    batched.prefill(1, 0, text[:40])
    for buffers in batched._cache:
        batched._copy_on_device(buffers, 1, 50)
        assert buffers.memory is not None
        assert buffers.memory[1].any()
        assert np.array_equal(buffers.memory[50], buffers.memory[1])
    assert np.array_equal(batched.prefill(50, 40, text[40:42]), replay([text[:40], text[40:42]]))


def test_padding_rows_change_no_text() -> None:
    batched, texts = make_batched(), random_texts()[:12]  # the third is as long as the context
    for slot, text in enumerate(texts):
        batched.prefill(slot, 0, text)
    past = [len(text) for text in texts]
    fits = [slot for slot, length in enumerate(past) if length < TINY.n_positions][::2]
    logits = batched.decode_step(0, past, [3] * 12, fits).copy()
    assert np.array_equal(logits, [replay([texts[slot], [3]]) for slot in fits])
    for slot, length in enumerate(past):
        if slot not in fits and length < TINY.n_positions:
            assert np.array_equal(batched.prefill(slot, length, [5]), replay([texts[slot], [5]]))
    last = TINY.n_positions - 1
    assert np.array_equal(batched.decode_step(2, [last], [9], [0])[0], replay([texts[2], last, [9]]))


def test_the_wanted_rows_come_in_the_requested_order() -> None:
    batched, texts = make_batched(), random_texts()[3:9]
    prefill_all(batched, texts)
    all_rows = step_all(batched, texts).copy()
    past, ids = [len(text) - 1 for text in texts], [text[-1] for text in texts]
    assert np.array_equal(batched.decode_step(0, past, ids, [4, 0, 4]), all_rows[[4, 0, 4]])
    assert batched.decode_step(0, past, ids, []).shape == (0, TINY.vocab_size)


def replay(history: Sequence[list[int] | int]) -> Floats:
    """The logits of a session that took these chunks, and was rewound to these lengths."""
    make_single().rewind(0)
    for item in history:
        if isinstance(item, int):
            make_single().rewind(item)
        else:
            logits = make_single().forward(item)
    return logits.copy()


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_texts_stay_independent_in_any_order_of_operations(rng: random.Random) -> None:
    batched = make_batched(TINY, 1)
    lengths = [0] * 8
    histories: list[list[list[int] | int]] = [[] for _ in range(8)]
    for _ in range(12):  # at most five tokens each, so that no context fills
        slot, other = rng.sample(range(8), 2)
        match rng.choice(["prefill", "step", "step", "copy", "rewind"]):
            case "prefill":
                ids = [rng.randrange(TINY.vocab_size) for _ in range(rng.randint(1, 5))]
                histories[slot].append(ids)
                assert np.array_equal(batched.prefill(slot, lengths[slot], ids), replay(histories[slot]))
                lengths[slot] += len(ids)
            case "step":
                rows = range(min(slot, other), max(slot, other) + 1)
                expected = [index for index in range(len(rows)) if rng.random() < 0.7]
                ids = [rng.randrange(TINY.vocab_size) for _ in rows]
                logits = batched.decode_step(rows[0], [lengths[row] for row in rows], ids, expected)
                for row, index in zip(logits, expected, strict=True):
                    histories[rows[index]].append([ids[index]])
                    assert np.array_equal(row, replay(histories[rows[index]]))
                    lengths[rows[index]] += 1
            case "copy":
                length = rng.randint(0, lengths[slot])
                batched.copy_cache(slot, other, length)
                histories[other], lengths[other] = [*histories[slot], length], length
            case "rewind":
                lengths[slot] = rng.randint(0, lengths[slot])
                histories[slot].append(lengths[slot])


def test_a_context_shorter_than_the_models_is_enforced() -> None:
    batched = BatchedSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), count=3, context=10, threads=1)
    text = random_texts()[2]
    assert (batched.context, batched.count, batched.shape) == (10, 3, TINY)
    assert np.array_equal(batched.prefill(1, 0, text[:10]), replay([text[:10]]))
    with pytest.raises(PromptTooLong, match="11 tokens do not fit the context of 10"):
        batched.prefill(1, 10, [1])
    with pytest.raises(PromptTooLong, match="11 tokens do not fit the context of 10"):
        batched.decode_step(0, [3, 10], [1, 1], [0, 1])
    assert batched.decode_step(0, [3, 10], [1, 1], [0]).shape == (1, TINY.vocab_size)
    assert np.array_equal(batched.decode_step(1, [9], [8], [0])[0], replay([text[:10], 9, [8]]))
    wide = BatchedSession(graph.build_gpt2(tiny_weights(), TINY), count=1, context=10_000, threads=1)
    assert wide.context == TINY.n_positions


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (COUNT - 1, 2), (0, COUNT + 1), (3, 0)])
def test_a_slot_out_of_range_raises_value_error(first: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"of {COUNT}"):
        make_batched().decode_step(first, [0] * count, [1] * count, range(count))


def test_a_token_outside_the_vocabulary_is_an_error_and_the_next_step_is_right() -> None:
    batched, texts = make_batched(), random_texts()[:4]
    prefill_all(batched, texts)
    with pytest.raises(ModelDamaged, match="cannot be run"):
        batched.decode_step(0, [0] * 4, [TINY.vocab_size] * 4, range(4))
    prefill_all(batched, texts)
    assert np.array_equal(step_all(batched, texts), [last_logits(text, make_single()) for text in texts])


def test_a_graph_for_one_text_is_refused_with_the_cure() -> None:
    model = onnx.load_from_string(graph.build_gpt2(tiny_weights(), TINY))
    for entry in (*model.graph.input, *model.graph.output):
        for dim in entry.type.tensor_type.shape.dim:
            if dim.dim_param in ("B", "T"):
                dim.dim_value = 1 if dim.dim_param == "B" else TINY.n_positions
    data = model.SerializeToString()
    with pytest.raises(ModelDamaged, match=r"one text at a time; make it again with: asr33 model make") as caught:
        BatchedSession(data, count=2)
    assert "\n" not in str(caught.value)
    assert OnnxSession(data, threads=1).forward([1, 2, 3]).shape == (TINY.vocab_size,)


def test_a_cache_beyond_the_memory_is_a_one_line_error() -> None:
    loaded = OnnxModel(graph.build_gpt2(tiny_weights(), TINY), threads=1)
    with pytest.raises(EngineFailed, match="too little memory for the model: free some") as caught:
        BatchedSession(loaded, count=2**44)
    assert "\n" not in str(caught.value)


def test_the_embedded_model_takes_many_texts_at_once() -> None:
    batched = BatchedSession(store.find_model(store.EMBEDDED) / store.GRAPH_FILE, count=5, context=20, threads=1)
    session = OnnxSession(store.find_model(store.EMBEDDED) / store.GRAPH_FILE, threads=1)
    texts = [[5, 6, 7], [100], [3000, 4000, 4095, 1]]
    prefill_all(batched, texts, 1)
    assert np.array_equal(step_all(batched, texts, 1), [last_logits(text, session) for text in texts])


def test_half_precision_is_close_to_the_reference() -> None:
    """Half precision has eleven bits: 2^-11 of the largest logit for each of about ten roundings of a row."""
    data = graph.build_gpt2(tiny_weights(), TINY, compute="float16")
    batched, texts = BatchedSession(data, count=12, threads=1), random_texts()[:12]
    assert batched._cache[0].dtype == np.float16
    prefill_all(batched, texts)
    logits = step_all(batched, texts)
    assert logits.dtype == np.float32
    for row, text in zip(logits, texts, strict=True):
        expected = reference_gpt2.logits(tiny_weights(), text, TINY.n_head)[-1]
        assert 0 < np.abs(row - expected).max() < 10 * 2**-11 * np.abs(expected).max()
    assert np.array_equal(logits, [last_logits(text, OnnxSession(data, threads=1)) for text in texts])
    quantised = quantise_model.quantise_to_nearest(tiny_weights(), TINY, QuantConfig(8, 0))
    with pytest.raises(ValueError, match="computed in float32"):
        graph.build_gpt2(tiny_weights(), TINY, quantised=quantised, compute="float16")


def quantised_graph(config: QuantConfig) -> bytes:
    quantised = quantise_model.quantise_model(tiny_weights(), TINY, config, WINDOWS)
    return graph.build_gpt2(
        quantised.weights, TINY, "float32", quantised.quantised, cache_scales=quantised.cache_scales
    )


@pytest.mark.parametrize("is_int8_cache", [False, True])
def test_in_int8_texts_stay_independent_too(is_int8_cache: bool) -> None:
    data = quantised_graph(QuantConfig(8, 0, head_block=0, cache=is_int8_cache))
    batched, texts = BatchedSession(data, count=64, threads=2), random_texts()
    session = OnnxSession(data, threads=1)
    assert batched._cache[0].dtype == (np.int8 if is_int8_cache else np.float32)
    prefill_all(batched, texts)
    expected = np.array([last_logits(text, session) for text in texts])
    for start, stop in ((0, 64), (3, 4), (7, 40)):
        np.testing.assert_array_equal(step_all(batched, texts[start:stop], start), expected[start:stop])


def test_an_int8_cache_changes_the_logits_by_little() -> None:
    config = QuantConfig(8, 0, head_block=0, cache=True)
    quantised = quantise_model.quantise_model(tiny_weights(), TINY, config, WINDOWS)
    scales = quantise_model.measure_cache_scales(tiny_weights(), TINY, WINDOWS)
    names = {f"h.{layer}.attn.{kind}" for layer in (0, 1) for kind in ("key", "value")}
    assert quantised.cache_scales.keys() == scales.keys() == names
    wide = graph.build_gpt2(tiny_weights(), TINY, "float32")
    narrow = graph.build_gpt2(tiny_weights(), TINY, "float32", cache_scales=scales)
    for text in WINDOWS:
        expected = OnnxSession(wide, threads=1).forward_from(list(text), 0)
        logits = OnnxSession(narrow, threads=1).forward_from(list(text), 0)
        assert 0 < np.sqrt(np.square(logits - expected).mean()) < 0.03 * expected.std()
