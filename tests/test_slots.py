"""Many texts side by side: none of them may be told that it is not alone."""

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
# As wide as a small model that is used, and no multiple of what a kernel takes at once.
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
    luck = random.Random(5)
    lengths = [1, 2, shape.n_positions, *(luck.randint(1, shape.n_positions) for _ in range(count))]
    return [[luck.randrange(shape.vocab_size) for _ in range(length)] for length in lengths[:count]]


def last_logits(text: Sequence[int], session: OnnxSession) -> Floats:
    """The logits of a text's last token where it is alone: all but that one read, then a step."""
    session.rewind(0)
    if len(text) > 1:
        session.forward(text[:-1])
    return session.forward(text[-1:]).copy()


def prefill_all(ours: BatchedSession, some: Sequence[Sequence[int]], first: int = 0) -> None:
    for slot, text in enumerate(some, first):
        if len(text) > 1:
            ours.prefill(slot, 0, text[:-1])


def step_all(ours: BatchedSession, some: Sequence[Sequence[int]], first: int = 0) -> Floats:
    """The last token of each, in one step."""
    return ours.decode_step(first, [len(text) - 1 for text in some], [text[-1] for text in some], range(len(some)))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_in_float32_a_row_is_to_the_bit_what_it_is_alone(shape: GPT2Config) -> None:
    ours, some = make_batched(shape), random_texts(shape)
    wanted = [last_logits(text, make_single(shape)) for text in some]
    for first in (0, COUNT - 64):
        prefill_all(ours, some, first)
        for start, stop in ((0, 64), (0, 1), (7, 9), (20, 53)):
            found = step_all(ours, some[start:stop], first + start)
            assert found.dtype == np.float32
            for row, other in zip(found, wanted[start:stop], strict=True):
                assert np.array_equal(row, other)


def test_a_row_is_what_the_judge_says() -> None:
    ours, some = make_batched(), random_texts()[:20]
    prefill_all(ours, some)
    for row, text in zip(step_all(ours, some), some, strict=True):
        assert np.abs(row - reference_gpt2.logits(tiny_weights(), text, TINY.n_head)[-1]).max() < 1e-4


@given(st.lists(st.integers(1, 20), max_size=6), st.integers(0, COUNT - 1))
def test_a_prompt_read_in_pieces_is_what_it_is_for_a_session(sizes: list[int], slot: int) -> None:
    text, past = random_texts()[2], 0
    make_single().rewind(0)
    for size in sizes:
        if piece := text[past : past + size]:
            assert np.array_equal(make_batched().prefill(slot, past, piece), make_single().forward(piece))
            past += len(piece)


def test_a_copy_goes_on_as_the_text_it_was_made_of_and_leaves_that_alone() -> None:
    ours, text, other = make_batched(), random_texts()[2], random_texts()[2][::-1]
    ours.prefill(9, 0, text[:40])
    ours.prefill(30, 0, other[:9])
    ours.copy_cache(9, 31, 25)
    assert np.array_equal(ours.prefill(31, 25, [1, 2, 3]), replay([text[:40], 25, [1, 2, 3]]))
    assert np.array_equal(ours.prefill(9, 40, text[40:42]), replay([text[:40], text[40:42]]))
    assert np.array_equal(ours.prefill(30, 9, [7]), replay([other[:9], [7]]))


def test_copying_as_on_a_gpu_takes_the_whole_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, text = make_batched(), random_texts()[2]
    ours.prefill(1, 0, text[:40])
    for buffers in ours._cache:
        ours._copy_on_device(buffers, 1, 50)
        assert buffers.memory is not None
        assert buffers.memory[1].any()
        assert np.array_equal(buffers.memory[50], buffers.memory[1])
    assert np.array_equal(ours.prefill(50, 40, text[40:42]), replay([text[:40], text[40:42]]))


def test_rows_that_are_not_wanted_harm_nobody_not_even_themselves() -> None:
    ours, some = make_batched(), random_texts()[:12]  # the third is as long as the context
    for slot, text in enumerate(some):
        ours.prefill(slot, 0, text)
    past = [len(text) for text in some]
    fits = [slot for slot, length in enumerate(past) if length < TINY.n_positions][::2]
    found = ours.decode_step(0, past, [3] * 12, fits).copy()
    assert np.array_equal(found, [replay([some[slot], [3]]) for slot in fits])
    for slot, length in enumerate(past):
        if slot not in fits and length < TINY.n_positions:
            assert np.array_equal(ours.prefill(slot, length, [5]), replay([some[slot], [5]]))
    last = TINY.n_positions - 1
    assert np.array_equal(ours.decode_step(2, [last], [9], [0])[0], replay([some[2], last, [9]]))


def test_the_rows_wanted_come_in_the_order_that_they_were_asked_for() -> None:
    ours, some = make_batched(), random_texts()[3:9]
    prefill_all(ours, some)
    every = step_all(ours, some).copy()
    past, ids = [len(text) - 1 for text in some], [text[-1] for text in some]
    assert np.array_equal(ours.decode_step(0, past, ids, [4, 0, 4]), every[[4, 0, 4]])
    assert ours.decode_step(0, past, ids, []).shape == (0, TINY.vocab_size)


def replay(history: Sequence[list[int] | int]) -> Floats:
    """What a session says that took just these pieces, and was rewound just so."""
    make_single().rewind(0)
    for taken in history:
        if isinstance(taken, int):
            make_single().rewind(taken)
        else:
            logits = make_single().forward(taken)
    return logits.copy()


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_whatever_joins_leaves_moves_and_steps_each_text_stays_its_own(luck: random.Random) -> None:
    ours = make_batched(TINY, 1)
    lengths = [0] * 8
    held: list[list[list[int] | int]] = [[] for _ in range(8)]
    for _ in range(12):  # at most five tokens each, so that no context fills
        slot, other = luck.sample(range(8), 2)
        match luck.choice(["read", "step", "step", "copy", "forget"]):
            case "read":
                ids = [luck.randrange(TINY.vocab_size) for _ in range(luck.randint(1, 5))]
                held[slot].append(ids)
                assert np.array_equal(ours.prefill(slot, lengths[slot], ids), replay(held[slot]))
                lengths[slot] += len(ids)
            case "step":
                rows = range(min(slot, other), max(slot, other) + 1)
                wanted = [index for index in range(len(rows)) if luck.random() < 0.7]
                ids = [luck.randrange(TINY.vocab_size) for _ in rows]
                logits = ours.decode_step(rows[0], [lengths[row] for row in rows], ids, wanted)
                for row, index in zip(logits, wanted, strict=True):
                    held[rows[index]].append([ids[index]])
                    assert np.array_equal(row, replay(held[rows[index]]))
                    lengths[rows[index]] += 1
            case "copy":
                length = luck.randint(0, lengths[slot])
                ours.copy_cache(slot, other, length)
                held[other], lengths[other] = [*held[slot], length], length
            case "forget":
                lengths[slot] = luck.randint(0, lengths[slot])
                held[slot].append(lengths[slot])


def test_a_shorter_context_than_the_models_is_kept_to() -> None:
    ours = BatchedSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), count=3, context=10, threads=1)
    text = random_texts()[2]
    assert (ours.context, ours.count, ours.shape) == (10, 3, TINY)
    assert np.array_equal(ours.prefill(1, 0, text[:10]), replay([text[:10]]))
    with pytest.raises(PromptTooLong, match="11 tokens do not fit the context of 10"):
        ours.prefill(1, 10, [1])
    with pytest.raises(PromptTooLong, match="11 tokens do not fit the context of 10"):
        ours.decode_step(0, [3, 10], [1, 1], [0, 1])
    assert ours.decode_step(0, [3, 10], [1, 1], [0]).shape == (1, TINY.vocab_size)
    assert np.array_equal(ours.decode_step(1, [9], [8], [0])[0], replay([text[:10], 9, [8]]))
    assert (
        BatchedSession(graph.build_gpt2(tiny_weights(), TINY), count=1, context=10_000, threads=1).context
        == TINY.n_positions
    )


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (COUNT - 1, 2), (0, COUNT + 1), (3, 0)])
def test_a_slot_that_is_not_there_is_a_mistake_of_the_caller(first: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"of {COUNT}"):
        make_batched().decode_step(first, [0] * count, [1] * count, range(count))


def test_an_id_that_the_vocabulary_has_not_is_an_error_of_ours_and_the_next_step_is_right() -> None:
    ours, some = make_batched(), random_texts()[:4]
    prefill_all(ours, some)
    with pytest.raises(ModelDamaged, match="cannot be run"):
        ours.decode_step(0, [0] * 4, [TINY.vocab_size] * 4, range(4))
    prefill_all(ours, some)
    assert np.array_equal(step_all(ours, some), [last_logits(text, make_single()) for text in some])


def test_a_graph_of_one_text_says_how_to_make_another() -> None:
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


def test_a_cache_beyond_all_memory_is_one_line() -> None:
    loaded = OnnxModel(graph.build_gpt2(tiny_weights(), TINY), threads=1)
    with pytest.raises(EngineFailed, match="free memory") as caught:
        BatchedSession(loaded, count=2**44)
    assert "\n" not in str(caught.value)


def test_the_embedded_model_takes_many_texts() -> None:
    ours = BatchedSession(store.find_model(store.EMBEDDED) / store.GRAPH_FILE, count=5, context=20, threads=1)
    session = OnnxSession(store.find_model(store.EMBEDDED) / store.GRAPH_FILE, threads=1)
    some = [[5, 6, 7], [100], [3000, 4000, 4095, 1]]
    prefill_all(ours, some, 1)
    assert np.array_equal(step_all(ours, some, 1), [last_logits(text, session) for text in some])


def test_half_precision_throughout_is_near_enough() -> None:
    """Half precision has eleven bits: 2^-11 of the largest logit for each of some ten roundings on a row's way."""
    data = graph.build_gpt2(tiny_weights(), TINY, compute="float16")
    ours, some = BatchedSession(data, count=12, threads=1), random_texts()[:12]
    assert ours._cache[0].dtype == np.float16
    prefill_all(ours, some)
    found = step_all(ours, some)
    assert found.dtype == np.float32
    for row, text in zip(found, some, strict=True):
        wanted = reference_gpt2.logits(tiny_weights(), text, TINY.n_head)[-1]
        assert 0 < np.abs(row - wanted).max() < 10 * 2**-11 * np.abs(wanted).max()
    assert np.array_equal(found, [last_logits(text, OnnxSession(data, threads=1)) for text in some])
    with pytest.raises(ValueError, match="worked out in float32"):
        graph.build_gpt2(
            tiny_weights(),
            TINY,
            quantised=quantise_model.quantise_to_nearest(tiny_weights(), TINY, QuantConfig(8, 0)),
            compute="float16",
        )


def quantised_graph(how: QuantConfig) -> bytes:
    near = quantise_model.quantise_model(tiny_weights(), TINY, how, WINDOWS)
    return graph.build_gpt2(near.weights, TINY, "float32", near.quantised, cache_scales=near.cache_scales)


@pytest.mark.parametrize("kept", [False, True])
def test_in_eight_bits_by_rows_a_text_is_its_own_too(kept: bool) -> None:
    data = quantised_graph(QuantConfig(8, 0, head_block=0, cache=kept))
    ours, some = BatchedSession(data, count=64, threads=2), random_texts()
    session = OnnxSession(data, threads=1)
    assert ours._cache[0].dtype == (np.int8 if kept else np.float32)
    prefill_all(ours, some)
    wanted = np.array([last_logits(text, session) for text in some])
    for start, stop in ((0, 64), (3, 4), (7, 40)):
        np.testing.assert_array_equal(step_all(ours, some[start:stop], start), wanted[start:stop])


def test_a_cache_of_bytes_moves_the_logits_by_little() -> None:
    near = quantise_model.quantise_model(tiny_weights(), TINY, QuantConfig(8, 0, head_block=0, cache=True), WINDOWS)
    scales = {"known": near.cache_scales, "plain": quantise_model.measure_cache_scales(tiny_weights(), TINY, WINDOWS)}
    assert (
        scales["known"].keys()
        == scales["plain"].keys()
        == {f"h.{n}.attn.{k}" for n in (0, 1) for k in ("key", "value")}
    )
    wide = graph.build_gpt2(tiny_weights(), TINY, "float32")
    narrow = graph.build_gpt2(tiny_weights(), TINY, "float32", cache_scales=scales["plain"])
    for text in WINDOWS:
        wanted = OnnxSession(wide, threads=1).forward_from(list(text), 0)
        found = OnnxSession(narrow, threads=1).forward_from(list(text), 0)
        assert 0 < np.sqrt(np.square(found - wanted).mean()) < 0.03 * wanted.std()
