from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes_model import TEXT, TINY, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ModelDamaged
from model.interface import END_OF_TEXT
from model.onnx import tokenizer
from model.onnx.tokenizer import Tokenizer

PUBLISHED = Path(__file__).resolve().parents[1].parent / "shared" / "gpt2-tokenizer"


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    if not PUBLISHED.is_dir():
        pytest.skip(f"GPT-2's own vocabulary is not at {PUBLISHED}")
    return tokenizer.from_gpt2_files(PUBLISHED / "encoder.json", PUBLISHED / "vocab.bpe")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("asr: ", [292, 81, 25, 220]),
        (END_OF_TEXT, [27, 91, 437, 1659, 5239, 91, 29]),
        ("Hello world", [15496, 995]),
        ("\n\nX", [198, 198, 55]),
    ],
)
def test_gpt2s_own_vocabulary_gives_the_known_ids(gpt2: Tokenizer, text: str, ids: list[int]) -> None:
    assert gpt2.encode(text) == ids
    assert gpt2.decode(ids) == text


def test_gpt2s_end_of_text_is_its_last_token_and_has_no_bytes(gpt2: Tokenizer) -> None:
    assert (gpt2.vocab_size, gpt2.end_of_text) == (50257, 50256)
    assert gpt2.bytes_of(50256) == b""
    assert gpt2.decode([15496, 50256, 995]) == "Hello world"


def test_gpt2s_tokens_are_the_bytes_that_openai_published(gpt2: Tokenizer) -> None:
    published = json.loads((PUBLISHED / "encoder.json").read_text("utf-8"))
    assert {gpt2.bytes_of(token) for token in range(50256)} >= {bytes([byte]) for byte in range(256)}
    assert gpt2.bytes_of(published["Ġthe"]) == b" the"
    assert gpt2.bytes_of(published["âĢ"]) == "’".encode()[:2]


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back_from_gpt2s_vocabulary(gpt2: Tokenizer, text: str) -> None:
    assert gpt2.decode(gpt2.encode(text)) == text


@settings(deadline=None)
@given(st.text() | st.text(alphabet=" \n\t'<|endoftxabc é“"))
def test_any_text_comes_back_whole_or_line_by_line(text: str) -> None:
    assert tiny_tokenizer().decode(tiny_tokenizer().encode(text)) == text
    assert tiny_tokenizer().decode(tiny_tokenizer().encode_lines(text)) == text
    assert tiny_tokenizer().end_of_text not in tiny_tokenizer().encode(text)


@settings(deadline=None)
@given(st.text(alphabet="ab\n ."), st.text(alphabet="ab\n ."))
def test_the_ids_of_a_line_do_not_change_with_what_comes_after(first: str, rest: str) -> None:
    start = tiny_tokenizer().encode_lines(first + "\n")
    assert tiny_tokenizer().encode_lines(first + "\n" + rest)[: len(start)] == start


def test_a_learnt_vocabulary_has_its_size_and_ends_with_the_end_of_text() -> None:
    assert tiny_tokenizer().vocab_size == TINY.vocab_size
    assert tiny_tokenizer().end_of_text == TINY.vocab_size - 1
    assert len(tiny_tokenizer().encode(TEXT)) < len(TEXT) / 1.3, "nothing was learnt"
    assert tiny_tokenizer().max_token_bytes == max(
        len(tiny_tokenizer().bytes_of(token)) for token in range(tiny_tokenizer().vocab_size)
    )


def test_json_gives_the_same_tokenizer_again() -> None:
    again = tokenizer.from_json(tiny_tokenizer().to_json())
    assert again.to_json() == tiny_tokenizer().to_json()
    assert again.encode(f"a {END_OF_TEXT} b") == tiny_tokenizer().encode(f"a {END_OF_TEXT} b")
    assert again.end_of_text not in again.encode(END_OF_TEXT)


def test_an_id_past_the_vocabulary_has_no_bytes() -> None:
    assert tiny_tokenizer().bytes_of(TINY.vocab_size) == b""


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"model": 3}'])
def test_a_file_that_is_no_tokenizer_is_one_line(text: str) -> None:
    with pytest.raises(ModelDamaged, match="tokenizer cannot be read") as caught:
        tokenizer.from_json(text)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_without_an_end_of_text_is_refused() -> None:
    plain = json.loads(tiny_tokenizer().to_json())
    plain["added_tokens"] = []
    with pytest.raises(ModelDamaged, match="no <|endoftext|>".replace("|", r"\|")):
        tokenizer.from_json(json.dumps(plain))


def test_a_vocabulary_of_another_kind_is_refused() -> None:
    other = json.loads(tiny_tokenizer().to_json())
    other["model"]["vocab"]["▁the"] = other["model"]["vocab"].pop("Ġthe")
    other["model"]["merges"] = []
    with pytest.raises(ModelDamaged, match="none of GPT-2's kind"):
        tokenizer.from_json(json.dumps(other))
