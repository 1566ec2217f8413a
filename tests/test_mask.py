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
# Small vocabularies, of pieces of text cut anywhere.

POOL = "ab é“”—😀🚀ъ\r\n\t\x07\u0301\ufffd\ue000"
texts = st.text(POOL, max_size=4).map(str.encode)
pieces = st.builds(lambda data, start, end: data[start : len(data) - end], texts, st.integers(0, 3), st.integers(0, 3))
vocabularies = st.lists(pieces | st.binary(max_size=2), max_size=30).map(lambda tokens: [*tokens, b""])
judges = st.sets(st.sampled_from(POOL)).map(lambda chars: chars.__contains__)

Judge = Callable[[str], bool]


def printed(char: str, judge: Judge) -> bool:
    garbage = unicodedata.category(char) in {"Cc", "Co", "Cn"} and char not in "\n\t"
    return judge(char) and not garbage and char != "\ufffd"


def rest(data: bytes, judge: Judge) -> bytes | None:
    """What is open after the data, if all before it is printed; a byte at a time, with the decoder of the library."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(data)
    except UnicodeDecodeError:
        return None
    return decoder.getstate()[0] if all(printed(char, judge) for char in text) else None


def all_states(vocabulary: Sequence[bytes], judge: Judge) -> dict[bytes, dict[int, bytes]]:
    """For each state that can be reached, what each token leads to; then those without a way out are struck off."""
    states: dict[bytes, dict[int, bytes]] = {}
    to_see = [b""]
    while to_see:
        state = to_see.pop()
        if state not in states:
            leads = {token: rest(state + data, judge) for token, data in enumerate(vocabulary) if data}
            states[state] = {token: after for token, after in leads.items() if after is not None}
            to_see += states[state].values()
    saved = {b""}
    while more := {state for state, leads in states.items() if saved & set(leads.values())} - saved:
        saved |= more
    return {
        state: {token: after for token, after in states[state].items() if after in saved}
        for state in states
        if state in saved
    }


@given(vocabularies, judges)
@example([b"\xe2\x80", b"\x9c", b"\x9d\xe2", b"\x80\xe2", b""], {"”", "“"}.__contains__)
@example([b"\xe2", b"\x80\x9c\xe2", b""], {"“"}.__contains__)
@example([b"\xf0", b"\x9f", b"\x98", b"\x80", b"\xc3", b"\xa9", b""], {"😀"}.__contains__)
def test_just_those_are_allowed_from_which_whole_printed_characters_can_be_had(
    vocabulary: list[bytes], judge: Judge
) -> None:
    end = len(vocabulary) - 1
    mask = TokenMask(vocabulary, end, judge)
    for state, leads in all_states(vocabulary, judge).items():
        allowed = set(np.flatnonzero(mask.allowed(state)).tolist())
        assert allowed.isdisjoint(barred := mask.forbidden(state).tolist())
        assert len(allowed) + len(barred) == len(mask.allowed(state))
        assert allowed == set(leads) | ({end} if not state else set())
        assert allowed
        assert {token: mask.open_bytes_after(state, token) for token in leads} == leads


@given(vocabularies, judges, st.lists(st.integers(0, 10**6), max_size=40))
def test_whatever_is_chosen_only_printed_characters_come_of_it(
    vocabulary: list[bytes], judge: Judge, choices: list[int]
) -> None:
    mask = TokenMask(vocabulary, len(vocabulary) - 1, judge)
    state, data = b"", b""
    for choice in choices:
        allowed = np.flatnonzero(mask.allowed(state))
        token = int(allowed[choice % len(allowed)])
        data += vocabulary[token]
        state = mask.open_bytes_after(state, token)
    assert data.endswith(state)
    assert all(printed(char, judge) for char in data[: len(data) - len(state)].decode())


@given(vocabularies, st.lists(st.integers(0, 30), max_size=20))
def test_what_is_open_is_what_a_forgiving_decoder_holds_back(vocabulary: list[bytes], choices: list[int]) -> None:
    end = len(vocabulary) - 1
    ids = [choice % len(vocabulary) for choice in choices]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in ids:
        decoder.decode(vocabulary[token], final=token == end)
    assert TokenMask(vocabulary, end, is_printable).open_bytes(ids) == decoder.getstate()[0]


def test_the_end_of_text_comes_after_whole_characters_alone() -> None:
    mask = TokenMask([b"\xc3", b"\xa9", b"a", b"<|endoftext|>"], 3, is_printable)
    assert mask.allowed().tolist() == [True, False, True, True]
    assert mask.allowed(b"\xc3").tolist() == [False, True, False, False]


def test_an_open_character_that_nothing_can_end_is_given_up() -> None:
    mask = TokenMask([b"\xc3", b"a", b""], 2, is_printable)
    assert mask.allowed(b"\xc3").tolist() == mask.allowed().tolist() == [False, True, True]


def test_a_token_of_no_bytes_is_never_chosen() -> None:
    assert TokenMask([b"", b"", b"a"], 0, is_printable).allowed().tolist() == [True, False, True]


def test_controls_and_the_replacement_are_garbage_whoever_says_otherwise() -> None:
    vocabulary = [b"\x00", b"\x07", b"\r", b"\x1b", b"\x7f", b"\xc2\x85", b"\xef\xbf\xbd", b"\n", b"\t", b" ", b"\xff"]
    mask = TokenMask([*vocabulary, b""], 11, lambda char: True)
    assert np.flatnonzero(mask.allowed()).tolist() == [7, 8, 9, 11]


def test_a_run_of_ideographs_is_asked_about_once() -> None:
    asked: Counter[str] = Counter()

    def judge(char: str) -> bool:
        asked[char] += char != "a"
        return False

    vocabulary = [*(bytes([byte]) for byte in range(256)), "中国".encode(), b""]
    mask = TokenMask(vocabulary, 257, judge)
    assert not mask.allowed()[[0xE5, 0xE9, 0xF3, 256]].any()
    assert set(asked) & {chr(code) for code in range(0x4E00, 0xA000)} == {"\u4e00"}
    assert max(asked.values()) == 1


@pytest.mark.parametrize(("first", "last"), UNIFORM_RANGES)
def test_the_runs_that_are_asked_about_once_are_alike_to_the_charset(first: int, last: int) -> None:
    assert not any(is_printable(chr(code)) for code in [*range(first, last + 1, 61), last])


# The vocabularies that there are.


@cache
def words(name: str) -> Tokenizer:
    if name == "embedded":
        return tokenizer.from_json((ROOT / "model" / "embedded" / "tokenizer.json").read_text("utf-8"))
    if not PUBLISHED.exists():
        pytest.skip("GPT-2's own vocabulary is not here")
    return tokenizer.from_gpt2_files(PUBLISHED / "encoder.json", PUBLISHED / "vocab.bpe")


@cache
def made(name: str) -> TokenMask:
    return TokenMask(
        [words(name).bytes_of(token) for token in range(words(name).vocab_size)], words(name).end_of_text, is_printable
    )


def sampled(name: str, count: int) -> Iterator[int]:
    """Tokens by chance, those with pieces of characters in them far oftener than a model would have them."""
    random = np.random.default_rng(5)
    mask = made(name)
    size = words(name).vocab_size
    rare = np.array([not words(name).bytes_of(token).isascii() for token in range(size)])
    logits = (4 * random.standard_normal((32, size)) + 9 * rare).astype(np.float32)
    state, sampling = b"", Sampling(temperature=1.0, top_k=1000, repetition_penalty=1.0)
    for position in range(count):
        token = choose_token(logits[position % 32], sampling, position, forbidden=mask.forbidden(state))
        state = mask.open_bytes_after(state, token)
        yield token


@pytest.mark.parametrize("name", ["gpt2", "embedded"])
def test_ten_thousand_tokens_have_no_character_that_the_charset_drops(name: str) -> None:
    text = words(name).decode([*sampled(name, 10_000)])
    whole = text.rstrip("\ufffd") if len(text) - len(text.rstrip("\ufffd")) <= 1 else text  # the last may be open
    assert not {char for char in whole if not is_printable(char)}
    assert "\ufffd" not in whole
    assert len({char for char in whole if not char.isascii()}) > 200


@pytest.mark.parametrize("name", ["gpt2", "embedded"])
def test_every_character_that_prints_can_still_be_spelt(name: str) -> None:
    codes = [*range(0x20, 0x3100), *range(0xA640, 0xD800, 97), *range(0xFB00, 0x10000), *range(0x1F000, 0x1FB00)]
    chars = {
        char
        for char in [*map(chr, codes), *REPLACEMENTS, *SYMBOL_READINGS]
        if is_printable(char) and char.isprintable()
    }
    assert {"“", "’", "—", "€", "…", "😀", "🚀", "½", "é", "Ж", "→"} <= chars
    spelt = words(name).encode_many([f"a{char} {char}\n" for char in sorted(chars)])
    mask = made(name)
    forbidden = set()
    for char, ids in zip(sorted(chars), spelt, strict=True):
        states = accumulate(ids, mask.open_bytes_after, initial=b"")
        if not all(mask.allowed(state)[token] for state, token in zip(states, ids, strict=False)):
            forbidden.add(char)
    assert not forbidden


@pytest.mark.parametrize("text", ["日本", "a\u0301", "\u200b", "¿Qué?", "объект", "👍🏽", "\r\n", "\x07", "\ufeff"])
def test_what_would_be_nothing_or_garbage_cannot_be_spelt(text: str) -> None:
    mask, ids = made("embedded"), words("embedded").encode(text)
    states = accumulate(ids, mask.open_bytes_after, initial=b"")
    assert not all(mask.allowed(state)[token] for state, token in zip(states, ids, strict=False))


def test_a_mask_is_made_without_asking_about_every_character_there_is() -> None:
    asked: Counter[str] = Counter()
    tokens = words("gpt2")
    vocabulary = [tokens.bytes_of(token) for token in range(tokens.vocab_size)]

    def prints_counted(char: str) -> bool:
        asked[char] += 1
        return is_printable(char)

    TokenMask(vocabulary, tokens.end_of_text, prints_counted)
    assert asked.total() < 1500
