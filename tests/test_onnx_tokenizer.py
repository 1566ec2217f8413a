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
def test_any_text_survives_encoding_with_gpt2s_vocabulary(gpt2: Tokenizer, text: str) -> None:
    assert gpt2.decode(gpt2.encode(text)) == text


@settings(deadline=None)
@given(st.text() | st.text(alphabet=" \n\t'<|endoftxabc é“"))
def test_any_text_survives_encoding_whole_or_by_lines(text: str) -> None:
    assert tiny_tokenizer().decode(tiny_tokenizer().encode(text)) == text
    assert tiny_tokenizer().decode(tiny_tokenizer().encode_lines(text)) == text
    assert tiny_tokenizer().end_of_text not in tiny_tokenizer().encode(text)


@settings(deadline=None)
@given(st.text(alphabet="ab\n ."), st.text(alphabet="ab\n ."))
def test_later_lines_do_not_change_the_ids_of_a_line(first: str, rest: str) -> None:
    start = tiny_tokenizer().encode_lines(first + "\n")
    assert tiny_tokenizer().encode_lines(first + "\n" + rest)[: len(start)] == start


def test_a_trained_vocabulary_has_its_size_and_ends_with_the_end_of_text() -> None:
    encoder = tiny_tokenizer()
    assert encoder.vocab_size == TINY.vocab_size
    assert encoder.end_of_text == TINY.vocab_size - 1
    assert len(encoder.encode(TEXT)) < len(TEXT) / 1.3, "the vocabulary has no words"
    assert encoder.max_token_bytes == max(len(encoder.bytes_of(token)) for token in range(encoder.vocab_size))


def test_json_gives_the_same_tokenizer_again() -> None:
    copy = tokenizer.from_json(tiny_tokenizer().to_json())
    assert copy.to_json() == tiny_tokenizer().to_json()
    assert copy.encode(f"a {END_OF_TEXT} b") == tiny_tokenizer().encode(f"a {END_OF_TEXT} b")
    assert copy.end_of_text not in copy.encode(END_OF_TEXT)


def test_an_id_beyond_the_vocabulary_has_no_bytes() -> None:
    assert tiny_tokenizer().bytes_of(TINY.vocab_size) == b""


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"model": 3}'])
def test_a_file_that_is_no_tokenizer_is_a_one_line_error(text: str) -> None:
    with pytest.raises(ModelDamaged, match="tokenizer cannot be read") as caught:
        tokenizer.from_json(text)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_without_an_end_of_text_is_refused() -> None:
    data = json.loads(tiny_tokenizer().to_json())
    data["added_tokens"] = []
    with pytest.raises(ModelDamaged, match="no <|endoftext|>".replace("|", r"\|")):
        tokenizer.from_json(json.dumps(data))


def test_a_vocabulary_of_another_kind_is_refused() -> None:
    data = json.loads(tiny_tokenizer().to_json())
    data["model"]["vocab"]["▁the"] = data["model"]["vocab"].pop("Ġthe")
    data["model"]["merges"] = []
    with pytest.raises(ModelDamaged, match="not GPT-2's kind"):
        tokenizer.from_json(json.dumps(data))


def _change(**fields: object) -> str:
    return json.dumps(json.loads(tiny_tokenizer().to_json()) | fields)


def test_padding_and_truncation_of_a_file_are_ignored() -> None:
    padding = {"strategy": {"Fixed": 4_000_000_000}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    padded = tokenizer.from_json(_change(padding=padding | {"pad_type_id": 0, "pad_token": "x"}, truncation=truncation))
    assert padded.encode(TEXT) == tiny_tokenizer().encode(TEXT)


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 100_000},
        {"type": "Prepend", "prepend": "b" * 100_000},
        {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "b"}]},
    ],
)
def test_a_tokenizer_that_could_make_a_text_any_length_is_refused(normalizer: dict[str, object]) -> None:
    with pytest.raises(ModelDamaged, match="rewrites the text"):
        tokenizer.from_json(_change(normalizer=normalizer))
    assert tokenizer.from_json(_change(normalizer={"type": "NFC"})).encode("a") == tiny_tokenizer().encode("a")


def test_tokens_with_a_number_beyond_the_vocabulary_are_refused() -> None:
    data = json.loads(tiny_tokenizer().to_json())
    data["model"]["vocab"]["!"] = 4_000_000_000
    with pytest.raises(ModelDamaged, match="not numbered one after the other"):
        tokenizer.from_json(json.dumps(data))


def test_an_enormous_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(10 << 40)
    with pytest.raises(ModelDamaged, match=r"tokenizer\.json: not a tokenizer \(over 67,108,864 bytes") as caught:
        tokenizer.read_file(path)
    assert "\n" not in str(caught.value)
