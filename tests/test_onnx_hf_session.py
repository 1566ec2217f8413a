"""Graphs that Hugging Face tools export, and graphs with unknown inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference_gpt2
from fakes_hf_graph import build_hf_graph
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
    session = open_session(build_hf_graph(tiny_weights(), TINY, **STYLES[request.param]), threads=1, shape=TINY)
    assert isinstance(session, HfOnnxSession)
    return session


@pytest.fixture(scope="module")
def reference() -> NDArray[np.float64]:
    return reference_gpt2.logits(tiny_weights(), IDS, TINY.n_head)


def max_difference(actual: NDArray[np.float32], expected: NDArray[np.floating[Any]]) -> float:
    return float(np.abs(actual - expected).max())


@pytest.mark.parametrize("cuts", [[], [1], [63], [5, 6, 40], list(range(1, 64))])
def test_any_division_into_runs_gives_the_reference_logits(
    session: HfOnnxSession, reference: NDArray[np.float64], cuts: Sequence[int]
) -> None:
    session.rewind(0)
    for start, stop in zip([0, *cuts], [*cuts, len(IDS)], strict=True):
        assert max_difference(session.forward(IDS[start:stop]), reference[stop - 1]) < CLOSE
        assert session.length == stop


def test_a_rewind_leaves_no_trace_of_the_dropped_tokens(session: HfOnnxSession, reference: NDArray[np.float64]) -> None:
    session.rewind(0)
    session.forward(IDS[:20])
    session.forward([7] * 30)
    session.rewind(20)
    assert max_difference(session.forward([IDS[20]]), reference[20]) < CLOSE
    session.rewind(10)
    assert max_difference(session.forward_from(IDS[10:50], 7), reference[17:50]) < CLOSE
    with pytest.raises(ValueError, match="cannot rewind to 51 of 50"):
        session.rewind(51)


def test_a_text_beyond_the_context_is_refused_and_the_cache_stays(
    session: HfOnnxSession, reference: NDArray[np.float64]
) -> None:
    session.rewind(0)
    session.forward(IDS[:60])
    with pytest.raises(PromptTooLong, match="65 tokens do not fit the context of 64"):
        session.forward([1] * 5)
    assert max_difference(session.forward(IDS[60:61]), reference[60]) < CLOSE


def test_an_id_beyond_the_vocabulary_is_a_model_error_and_the_cache_stays(
    session: HfOnnxSession, reference: NDArray[np.float64]
) -> None:
    session.rewind(0)
    session.forward(IDS[:9])
    for ids in ([TINY.vocab_size], [*IDS[9:12], TINY.vocab_size]):
        with pytest.raises(ModelDamaged, match="cannot be run"):
            session.forward(ids)
        assert session.length == 9
    assert max_difference(session.forward(IDS[9:10]), reference[9]) < CLOSE


def test_half_precision_gives_nearly_the_same_logits(reference: NDArray[np.float64]) -> None:
    session = open_session(build_hf_graph(tiny_weights(), TINY, merged=True, half=True), threads=1, shape=TINY)
    logits = session.forward(IDS[:30])
    assert logits.dtype == np.float32
    assert CLOSE < max_difference(logits, reference[29]) < 0.05 * reference[29].std()


def test_the_shape_comes_from_the_graph_and_the_context_from_the_manifest() -> None:
    data = build_hf_graph(tiny_weights(), TINY)
    assert open_session(data, threads=1).shape == replace(TINY, n_positions=1024)
    assert open_session(data, threads=1, shape=TINY).shape == TINY
    assert open_session(data, threads=1, shape=replace(TINY, n_layer=7)).shape == TINY
    nameless = build_hf_graph(tiny_weights(), TINY, open_sizes=True)
    assert open_session(nameless, threads=1, shape=TINY).shape == TINY
    with pytest.raises(ModelDamaged, match="its sizes are open"):
        open_session(nameless, threads=1)


def test_open_session_recognises_a_graph_of_asr33() -> None:
    session = open_session(graph.build_gpt2(tiny_weights(), TINY, "float32"), threads=1, shape=GPT2Config(5))
    assert isinstance(session, OnnxSession)
    assert session.shape == TINY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": ("token_type_ids", "pixels")}, "its inputs token_type_ids, pixels are unknown to asr33"),
        ({"rename": ("past_key_values.1.value", "past_key_values.2.value")}, "it lacks past_key_values.1.value"),
        ({"rename": ("present.0.key", "present.zero")}, "it lacks present.0.key, so it is no GPT-2"),
        ({"rename": ("past_key_values.", "cache.")}, "its inputs cache.0.key, cache.0.value, cache.1.key"),
        ({"rename": ("attention_mask", "mask")}, "its inputs mask are unknown to asr33"),
    ],
)
def test_unknown_inputs_are_named_in_a_one_line_error(change: dict[str, Any], message: str) -> None:
    old, new = change.pop("rename", ("", ""))
    data = build_hf_graph(tiny_weights(), TINY, **change)
    if old:
        data = rename_tensors(data, old, new)
    with pytest.raises(ModelDamaged) as caught:
        open_session(data, threads=1)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def rename_tensors(data: bytes, old: str, new: str) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    for entry in (*model.graph.input, *model.graph.output):
        entry.name = entry.name.replace(old, new)
    for node in model.graph.node:
        node.input[:] = [name.replace(old, new) for name in node.input]
        node.output[:] = [name.replace(old, new) for name in node.output]
    serialised: bytes = model.SerializeToString()
    return serialised
