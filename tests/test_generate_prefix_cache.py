from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from fakes_model import Floats
from hypothesis import given
from hypothesis import strategies as st

from model.generate.prefix_cache import PREFILL_CHUNK, PrefixCache, stable_prefix
from model.onnx import tokenizer
from model.store import store

LINE = st.text(st.sampled_from("AaBbIiLlRrEeVv019 .,'-!?\\\"\n"), max_size=40)


class CountingSession:
    """A session that records its cached ids and the number of ids in each pass."""

    context = 1000

    def __init__(self) -> None:
        self.cached: list[int] = [7, 7, 7]
        self.passes: list[int] = []

    def forward(self, ids: Sequence[int]) -> Floats:
        assert 0 < len(ids) <= PREFILL_CHUNK
        self.cached += ids
        self.passes.append(len(ids))
        return np.zeros(1, np.float32)

    def rewind(self, length: int) -> None:
        assert length <= len(self.cached)
        del self.cached[length:]


@cache
def embedded_tokenizer() -> tokenizer.Tokenizer:
    return tokenizer.from_json((store.find_model("embedded") / store.TOKENIZER_FILE).read_text("utf-8"))


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=20), st.integers(0, 300))
def test_the_cache_is_always_a_prefix_of_the_last_prompt(prompts: list[list[int]], memory: int) -> None:
    session = CountingSession()
    cache = PrefixCache(session)
    for line in prompts:
        ids = [9] * memory + line
        before = list(cache.ids)
        cache.prefill_chunk(ids)
        assert session.cached == cache.ids == ids[: len(cache.ids)]
        pairs = enumerate(zip(before, ids, strict=False))
        common = next((index for index, (a, b) in pairs if a != b), len(before))
        assert len(cache.ids) >= min(len(ids), common)


def test_the_common_prefix_of_two_prompts_is_not_computed_again() -> None:
    session = CountingSession()
    cache = PrefixCache(session)
    memory = list(range(300))
    assert [cache.prefill_chunk(memory) for _ in range(4)] == [PREFILL_CHUNK, PREFILL_CHUNK, 300 - 2 * PREFILL_CHUNK, 0]
    assert session.passes == [PREFILL_CHUNK, PREFILL_CHUNK, 300 - 2 * PREFILL_CHUNK]
    cache.prefill_chunk([*memory, 1, 2, 3])
    cache.prefill_chunk([*memory, 1, 5])
    assert session.passes[3:] == [3, 1]
    assert not cache.prefill_chunk([*memory, 1])
    assert cache.ids == [*memory, 1]


@given(LINE, LINE)
def test_the_stable_prefix_keeps_its_ids_whatever_is_typed_next(typed: str, more: str) -> None:
    before = embedded_tokenizer().encode_lines(stable_prefix(typed))
    assert embedded_tokenizer().encode_lines(typed + more)[: len(before)] == before


@given(LINE)
def test_only_the_last_word_is_unstable(typed: str) -> None:
    remaining = typed.removeprefix(stable_prefix(typed))
    assert typed == stable_prefix(typed) + remaining
    assert len(remaining.split()) <= 1


def test_a_word_is_stable_once_the_next_begins() -> None:
    line = "The quick fox"
    lengths = [len(stable_prefix(line[:end])) for end in range(len(line) + 1)]
    assert lengths == [0] * 5 + [3] * 6 + [9] * 3
    assert stable_prefix("Said.\nThe") == "Said.\n"
    assert stable_prefix("Said.") == stable_prefix("") == ""
