from __future__ import annotations

import codecs
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.text.charset import is_printable
from drivers.text.charset_table import REPLACEMENTS, SYMBOL_READINGS
from model.generate.sampling import choose_token
from model.generate.token_mask import UNIFORM_RANGES, TokenMask
from model.interface import Sampling
from model.onnx import tokenizer
from model.onnx.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT.parent / "shared" / "gpt2-tokenizer"
# Small vocabularies, of texts cut at any byte.
POOL = "ab é“”—😀🚀ъ\r\n\t\x07\u0301\ufffd\ue000"
texts = st.text(POOL, max_size=4).map(str.encode)
token_bytes = st.builds(
    lambda data, start, end: data[start : len(data) - end], texts, st.integers(0, 3), st.integers(0, 3)
)
vocabularies = st.lists(token_bytes | st.binary(max_size=2), max_size=30).map(lambda tokens: [*tokens, b""])
printable_sets = st.sets(st.sampled_from(POOL)).map(lambda chars: chars.__contains__)

CharTest = Callable[[str], bool]


def is_kept_text(char: str, is_kept: CharTest) -> bool:
    garbage = unicodedata.category(char) in {"Cc", "Co", "Cn"} and char not in "\n\t"
    return is_kept(char) and not garbage and char != "\ufffd"


def open_bytes_of(data: bytes, is_kept: CharTest) -> bytes | None:
    """The open bytes after the data by Python's decoder; None if a character before them is not printable."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(data)
    except UnicodeDecodeError:
        return None
    return decoder.getstate()[0] if all(is_kept_text(char, is_kept) for char in text) else None


def all_states(vocabulary: Sequence[bytes], is_kept: CharTest) -> dict[bytes, dict[int, bytes]]:
    """For each reachable state, the state after each token; without states that no token completes."""
    states: dict[bytes, dict[int, bytes]] = {}
    queue = [b""]
    while queue:
        state = queue.pop()
        if state not in states:
            leads = {token: open_bytes_of(state + data, is_kept) for token, data in enumerate(vocabulary) if data}
            states[state] = {token: after for token, after in leads.items() if after is not None}
            queue += states[state].values()
    completable = {b""}
    while more := {state for state, leads in states.items() if completable & set(leads.values())} - completable:
        completable |= more
    return {
        state: {token: after for token, after in states[state].items() if after in completable}
        for state in states
        if state in completable
    }


@given(vocabularies, printable_sets)
@example([b"\xe2\x80", b"\x9c", b"\x9d\xe2", b"\x80\xe2", b""], {"”", "“"}.__contains__)
@example([b"\xe2", b"\x80\x9c\xe2", b""], {"“"}.__contains__)
@example([b"\xf0", b"\x9f", b"\x98", b"\x80", b"\xc3", b"\xa9", b""], {"😀"}.__contains__)
def test_exactly_the_tokens_that_lead_to_printable_characters_are_allowed(
    vocabulary: list[bytes], is_kept: CharTest
) -> None:
    end = len(vocabulary) - 1
    mask = TokenMask(vocabulary, end, is_kept)
    for state, leads in all_states(vocabulary, is_kept).items():
        allowed = set(np.flatnonzero(mask.allowed(state)).tolist())
        assert allowed.isdisjoint(forbidden := mask.forbidden(state).tolist())
        assert len(allowed) + len(forbidden) == len(mask.allowed(state))
        assert allowed == set(leads) | ({end} if not state else set())
        assert allowed
        assert {token: mask.open_bytes_after(state, token) for token in leads} == leads


@given(vocabularies, printable_sets, st.lists(st.integers(0, 10**6), max_size=40))
def test_any_choice_of_allowed_tokens_gives_printable_characters(
    vocabulary: list[bytes], is_kept: CharTest, choices: list[int]
) -> None:
    mask = TokenMask(vocabulary, len(vocabulary) - 1, is_kept)
    state, data = b"", b""
    for choice in choices:
        allowed = np.flatnonzero(mask.allowed(state))
        token = int(allowed[choice % len(allowed)])
        data += vocabulary[token]
        state = mask.open_bytes_after(state, token)
    assert data.endswith(state)
    assert all(is_kept_text(char, is_kept) for char in data[: len(data) - len(state)].decode())


@given(vocabularies, st.lists(st.integers(0, 30), max_size=20))
def test_open_bytes_are_those_that_a_replacing_decoder_keeps(vocabulary: list[bytes], choices: list[int]) -> None:
    end = len(vocabulary) - 1
    ids = [choice % len(vocabulary) for choice in choices]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in ids:
        decoder.decode(vocabulary[token], final=token == end)
    assert TokenMask(vocabulary, end, is_printable).open_bytes(ids) == decoder.getstate()[0]


def test_the_end_of_text_is_allowed_after_whole_characters_alone() -> None:
    mask = TokenMask([b"\xc3", b"\xa9", b"a", b"<|endoftext|>"], 3, is_printable)
    assert mask.allowed().tolist() == [True, False, True, True]
    assert mask.allowed(b"\xc3").tolist() == [False, True, False, False]


def test_open_bytes_that_no_token_completes_are_given_up() -> None:
    mask = TokenMask([b"\xc3", b"a", b""], 2, is_printable)
    assert mask.allowed(b"\xc3").tolist() == mask.allowed().tolist() == [False, True, True]


def test_a_token_without_bytes_is_never_allowed() -> None:
    assert TokenMask([b"", b"", b"a"], 0, is_printable).allowed().tolist() == [True, False, True]


def test_controls_and_the_replacement_character_are_never_allowed() -> None:
    vocabulary = [b"\x00", b"\x07", b"\r", b"\x1b", b"\x7f", b"\xc2\x85", b"\xef\xbf\xbd", b"\n", b"\t", b" ", b"\xff"]
    mask = TokenMask([*vocabulary, b""], 11, lambda char: True)
    assert np.flatnonzero(mask.allowed()).tolist() == [7, 8, 9, 11]


def test_a_range_of_ideographs_is_tested_once() -> None:
    test_counts: Counter[str] = Counter()

    def is_kept(char: str) -> bool:
        test_counts[char] += char != "a"
        return False

    vocabulary = [*(bytes([byte]) for byte in range(256)), "中国".encode(), b""]
    mask = TokenMask(vocabulary, 257, is_kept)
    assert not mask.allowed()[[0xE5, 0xE9, 0xF3, 256]].any()
    assert set(test_counts) & {chr(code) for code in range(0x4E00, 0xA000)} == {"\u4e00"}
    assert max(test_counts.values()) == 1


@pytest.mark.parametrize(("first", "last"), UNIFORM_RANGES)
def test_characters_of_a_uniform_range_are_alike_to_the_charset(first: int, last: int) -> None:
    assert not any(is_printable(chr(code)) for code in [*range(first, last + 1, 61), last])


# The vocabularies of real models.


@cache
def load_tokenizer(name: str) -> Tokenizer:
    if name == "embedded":
        return tokenizer.from_json((ROOT / "model" / "embedded" / "tokenizer.json").read_text("utf-8"))
    if not PUBLISHED.exists():
        pytest.skip(f"GPT-2's own vocabulary is not at {PUBLISHED}")
    return tokenizer.from_gpt2_files(PUBLISHED / "encoder.json", PUBLISHED / "vocab.bpe")


@cache
def build_mask(name: str) -> TokenMask:
    encoder = load_tokenizer(name)
    vocabulary = [encoder.bytes_of(token) for token in range(encoder.vocab_size)]
    return TokenMask(vocabulary, encoder.end_of_text, is_printable)


def sample_tokens(name: str, count: int) -> Iterator[int]:
    """Random tokens; those with parts of characters are far more frequent than in a model's text."""
    rng = np.random.default_rng(5)
    mask = build_mask(name)
    size = load_tokenizer(name).vocab_size
    rare = np.array([not load_tokenizer(name).bytes_of(token).isascii() for token in range(size)])
    logits = (4 * rng.standard_normal((32, size)) + 9 * rare).astype(np.float32)
    state, sampling = b"", Sampling(temperature=1.0, top_k=1000, repetition_penalty=1.0)
    for position in range(count):
        token = choose_token(logits[position % 32], sampling, position, forbidden=mask.forbidden(state))
        state = mask.open_bytes_after(state, token)
        yield token


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt2", 1500),
        ("embedded", 5000),
        *(pytest.param(name, 50_000, marks=pytest.mark.soak) for name in ("gpt2", "embedded")),
    ],
)
def test_thousands_of_tokens_have_no_character_that_the_charset_drops(name: str, count: int) -> None:
    text = load_tokenizer(name).decode([*sample_tokens(name, count)])
    whole = text.removesuffix("\ufffd")  # the last character may be incomplete
    assert not {char for char in whole if not is_printable(char)}
    assert "\ufffd" not in whole
    assert len({char for char in whole if not char.isascii()}) > 200


@pytest.mark.parametrize("name", ["gpt2", "embedded"])
def test_every_printable_character_can_be_generated(name: str) -> None:
    codes = [*range(0x20, 0x3100), *range(0xA640, 0xD800, 97), *range(0xFB00, 0x10000), *range(0x1F000, 0x1FB00)]
    candidates = [*map(chr, codes), *REPLACEMENTS, *SYMBOL_READINGS]
    chars = {char for char in candidates if is_printable(char) and char.isprintable()}
    assert {"“", "’", "—", "€", "…", "😀", "🚀", "½", "é", "Ж", "→"} <= chars
    encoded = load_tokenizer(name).encode_many([f"a{char} {char}\n" for char in sorted(chars)])
    mask = build_mask(name)
    forbidden = set()
    for char, ids in zip(sorted(chars), encoded, strict=True):
        states = accumulate(ids, mask.open_bytes_after, initial=b"")
        if not all(mask.allowed(state)[token] for state, token in zip(states, ids, strict=False)):
            forbidden.add(char)
    assert not forbidden


@pytest.mark.parametrize("text", ["日本", "a\u0301", "\u200b", "¿Qué?", "объект", "👍🏽", "\r\n", "\x07", "\ufeff"])
def test_unprintable_characters_cannot_be_generated(text: str) -> None:
    mask, ids = build_mask("embedded"), load_tokenizer("embedded").encode(text)
    states = accumulate(ids, mask.open_bytes_after, initial=b"")
    assert not all(mask.allowed(state)[token] for state, token in zip(states, ids, strict=False))


def test_a_mask_is_built_without_testing_every_character() -> None:
    test_counts: Counter[str] = Counter()
    gpt2 = load_tokenizer("gpt2")
    vocabulary = [gpt2.bytes_of(token) for token in range(gpt2.vocab_size)]

    def count_test(char: str) -> bool:
        test_counts[char] += 1
        return is_printable(char)

    TokenMask(vocabulary, gpt2.end_of_text, count_test)
    assert test_counts.total() < 1500
