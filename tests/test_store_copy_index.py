"""The copy index of a model: it finds the runs of the training text, hardly any other, and shows no word of it."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fakes_model import TEXT, tiny_folder
from fakes_training import make_documents
from hypothesis import given, settings
from hypothesis import strategies as st

from model.build.copy_index_writer import _mix, write_copy_index
from model.errors import ModelError
from model.store.copy_index import HEADER_BYTES, INDEX_FILE, open_copy_index
from model.words import WordSplitter, mix, split_words
from tools.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models"), "voice")


WORDS = st.lists(st.sampled_from(["a", "b", "c", "It", "it's", "-"]), max_size=20).map(" ".join)


@settings(max_examples=20)  # each one measures 400,000 other runs
@given(st.lists(WORDS, min_size=1, max_size=3), st.integers(3, 5))
def test_every_run_of_the_text_is_found_and_none_across_two_documents(
    folder: Path, documents: list[str], length: int
) -> None:
    runs = {
        tuple(split_words(document)[at : at + length])
        for document in documents
        for at in range(len(split_words(document)) - length + 1)
    }
    if not runs:
        with pytest.raises(ModelError, match="no document has"):
            write_copy_index(folder, documents, length)
        return
    assert write_copy_index(folder, documents, length).runs == len(runs)
    index = open_copy_index(folder, "voice")
    words = split_words(" ".join(documents))
    for at in range(len(words) - length + 1):
        run = words[at : at + length]
        assert index.has_run(run) or tuple(run) not in runs


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_both_forms_of_the_hash_are_one(numbers: list[int]) -> None:
    assert _mix(np.array(numbers, np.uint64)).tolist() == list(map(mix, numbers))


@given(st.text("aİßŉ'’\u0345α -.é", max_size=30), st.lists(st.integers(0, 30)))
def test_a_text_in_pieces_has_the_words_of_the_whole(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    splitter = WordSplitter()
    parts = [part for a, b in pairwise(places) for part in splitter.feed(text[a:b])] + splitter.flush()
    assert "".join(part.text for part in parts) == text
    assert [part.word for part in parts if part.word] == split_words(text)


def test_other_runs_are_seldom_found_and_the_size_is_two_bytes_a_run(folder: Path) -> None:
    rng = random.Random(1)
    text = " ".join(str(rng.randrange(10**6)) for _ in range(20_000))
    header = write_copy_index(folder, [text], 6)
    assert (folder / INDEX_FILE).stat().st_size - HEADER_BYTES < 2.2 * header.runs
    assert 0 < header.false_rate < 1 / 3000
    index = open_copy_index(folder, "voice")
    found = sum(index.has_run([str(rng.randrange(10**6)) for _ in range(6)]) for _ in range(20_000))
    assert found < 20


def test_one_who_knows_five_words_and_the_vocabulary_cannot_read_on(folder: Path) -> None:
    """The walk: which words may follow? With 20,000 words to try there are more false ways than true ones."""
    rng = random.Random(2)
    vocabulary = [f"w{number}" for number in range(20_000)]
    text = [rng.choice(vocabulary) for _ in range(3000)]
    write_copy_index(folder, [" ".join(text)], 6)
    index = open_copy_index(folder, "voice")
    after = [word for word in vocabulary if index.has_run([*text[100:105], word])]
    assert text[105] in after
    assert len(after) > 1


def test_the_file_has_no_word_and_another_model_refuses_it(folder: Path, tmp_path: Path) -> None:
    write_copy_index(folder, [TEXT], 6)
    data = (folder / INDEX_FILE).read_bytes()
    assert not [word for word in split_words(TEXT) if len(word) > 4 and word.encode() in data.lower()]
    other = tiny_folder(tmp_path, "other")
    header = data[:HEADER_BYTES].replace(b'"model_sha256": "', b'"model_sha256": "00')[:HEADER_BYTES]
    for damaged in (b"", data[:100], data[:-1], data + b"x", b"\xff" * len(data), header + data[HEADER_BYTES:]):
        (other / INDEX_FILE).write_bytes(damaged)
        with pytest.raises(ModelError, match="make it again: asr33 model index other TEXT"):
            open_copy_index(other, "other")


def test_the_command_makes_and_removes_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
    voice = tiny_folder(tmp_path / "models", "voice")
    with pytest.raises(ModelError, match="asr33 model index voice TEXT"):
        open_copy_index(voice, "voice")
    text = tmp_path / "text.txt"
    text.write_text(make_documents(1)[0])
    assert main(["model", "index", "voice", str(text)]) == 0
    assert "voice: an index of" in capsys.readouterr().out
    assert open_copy_index(voice, "voice").has_run(split_words(text.read_text())[:6])
    assert main(["model", "verify", "voice"]) == 0
    assert main(["model", "index", "voice"]) == 2
    assert "name the texts of voice" in capsys.readouterr().err
    assert main(["model", "index", "embedded", str(text)]) == 77
    assert main(["model", "index", "voice", "--remove"]) == 0
    assert not (voice / INDEX_FILE).exists()
