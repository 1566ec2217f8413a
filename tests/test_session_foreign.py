"""Graphs that are not ours: what the hub has for `gpt2`, and what nobody has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference_gpt2
from fakes_foreign import build_hf_graph
from fakes_model import TINY, tiny_weights
from numpy.typing import NDArray

from model.build import graph
from model.errors import ModelDamaged, PromptTooLong
from model.interface import GPT2Config
from model.onnx.hf_session import HfOnnxSession
from model.onnx.session import OnnxSession, open_session

CLOSE = 1e-4
IDS = [int(token) for token in np.random.default_rng(1).integers(0, TINY.vocab_size, TINY.n_positions)]
STYLES: dict[str, dict[str, bool]] = {
    "merged": {"merged": True, "positions": False},
    "merged with positions": {"merged": True},
    "plain": {},
    "plain without positions": {"positions": False},
    "merged, its step traced with one token": {"merged": True, "single_steps": True},
    "plain, traced with one token": {"single_steps": True},
}


@pytest.fixture(scope="module", params=STYLES)
def session(request: pytest.FixtureRequest) -> HfOnnxSession:
    ours = open_session(build_hf_graph(tiny_weights(), TINY, **STYLES[request.param]), threads=1, shape=TINY)
    assert isinstance(ours, HfOnnxSession)
    return ours


@pytest.fixture(scope="module")
def judge() -> NDArray[np.float64]:
    return reference_gpt2.logits(tiny_weights(), IDS, TINY.n_head)


def furthest(ours: NDArray[np.float32], theirs: NDArray[np.floating[Any]]) -> float:
    return float(np.abs(ours - theirs).max())


@pytest.mark.parametrize("cuts", [[], [1], [63], [5, 6, 40], list(range(1, 64))])
def test_any_way_to_cut_a_text_gives_the_judges_logits(
    session: HfOnnxSession, judge: NDArray[np.float64], cuts: Sequence[int]
) -> None:
    session.rewind(0)
    for start, stop in zip([0, *cuts], [*cuts, len(IDS)], strict=True):
        assert furthest(session.forward(IDS[start:stop]), judge[stop - 1]) < CLOSE
        assert session.length == stop


def test_after_a_rewind_nothing_is_left_of_what_was_forgotten(
    session: HfOnnxSession, judge: NDArray[np.float64]
) -> None:
    session.rewind(0)
    session.forward(IDS[:20])
    session.forward([7] * 30)
    session.rewind(20)
    assert furthest(session.forward([IDS[20]]), judge[20]) < CLOSE
    session.rewind(10)
    assert furthest(session.forward_from(IDS[10:50], 7), judge[17:50]) < CLOSE
    with pytest.raises(ValueError, match="cannot rewind to 51 of 50"):
        session.rewind(51)


def test_a_text_longer_than_the_context_is_refused_and_nothing_is_lost(
    session: HfOnnxSession, judge: NDArray[np.float64]
) -> None:
    session.rewind(0)
    session.forward(IDS[:60])
    with pytest.raises(PromptTooLong, match="65 tokens do not fit the context of 64"):
        session.forward([1] * 5)
    assert furthest(session.forward(IDS[60:61]), judge[60]) < CLOSE


def test_an_id_that_the_vocabulary_has_not_is_an_error_of_ours_and_nothing_is_lost(
    session: HfOnnxSession, judge: NDArray[np.float64]
) -> None:
    session.rewind(0)
    session.forward(IDS[:9])
    for ids in ([TINY.vocab_size], [*IDS[9:12], TINY.vocab_size]):
        with pytest.raises(ModelDamaged, match="cannot be run"):
            session.forward(ids)
        assert session.length == 9
    assert furthest(session.forward(IDS[9:10]), judge[9]) < CLOSE


def test_half_precision_gives_nearly_the_same(judge: NDArray[np.float64]) -> None:
    ours = open_session(build_hf_graph(tiny_weights(), TINY, merged=True, half=True), threads=1, shape=TINY)
    logits = ours.forward(IDS[:30])
    assert logits.dtype == np.float32
    assert CLOSE < furthest(logits, judge[29]) < 0.05 * judge[29].std()


def test_it_says_its_shape_but_for_the_context_that_only_its_manifest_knows() -> None:
    data = build_hf_graph(tiny_weights(), TINY)
    assert open_session(data, threads=1).shape == replace(TINY, n_positions=1024)
    assert open_session(data, threads=1, shape=TINY).shape == TINY
    assert open_session(data, threads=1, shape=replace(TINY, n_layer=7)).shape == TINY
    nameless = build_hf_graph(tiny_weights(), TINY, open_sizes=True)
    assert open_session(nameless, threads=1, shape=TINY).shape == TINY
    with pytest.raises(ModelDamaged, match="does not tell its size"):
        open_session(nameless, threads=1)


def test_a_graph_of_ours_is_taken_for_one() -> None:
    ours = open_session(graph.build_gpt2(tiny_weights(), TINY, "float32"), threads=1, shape=GPT2Config(5))
    assert isinstance(ours, OnnxSession)
    assert ours.shape == TINY


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": ("token_type_ids", "pixels")}, "it takes token_type_ids, pixels, which asr33 does not know"),
        ({"rename": ("past_key_values.1.value", "past_key_values.2.value")}, "it lacks past_key_values.1.value"),
        ({"rename": ("present.0.key", "present.zero")}, "it lacks present.0.key, so it is no GPT-2"),
        ({"rename": ("past_key_values.", "cache.")}, "it takes cache.0.key, cache.0.value, cache.1.key"),
        ({"rename": ("attention_mask", "mask")}, "it takes mask, which asr33 does not know how to give"),
    ],
)
def test_inputs_that_nobody_knows_are_named_in_one_line(change: dict[str, Any], said: str) -> None:
    old, new = change.pop("rename", ("", ""))
    data = build_hf_graph(tiny_weights(), TINY, **change)
    if old:
        data = renamed(data, old, new)
    with pytest.raises(ModelDamaged) as caught:
        open_session(data, threads=1)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def renamed(data: bytes, old: str, new: str) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    for entry in (*model.graph.input, *model.graph.output):
        entry.name = entry.name.replace(old, new)
    for node in model.graph.node:
        node.input[:] = [name.replace(old, new) for name in node.input]
        node.output[:] = [name.replace(old, new) for name in node.output]
    serialised: bytes = model.SerializeToString()
    return serialised
