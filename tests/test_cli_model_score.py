"""`asr33 model score`: bits per byte and copying."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import fakes_model
import pytest

from model.errors import ModelError
from model.interface import END_OF_TEXT
from tools.corpus import storage
from tools.corpus.record import Record
from tools.model import score
from tools.train import split_documents


def parse_score_args(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    score.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def run_score(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: object) -> str:
    text = tmp_path / "text.txt"
    text.write_text(f"\n{END_OF_TEXT}\n".join([fakes_model.TEXT, "Two words.", fakes_model.TEXT]), "utf-8")
    folder = tmp_path / "tiny"
    if not folder.exists():
        fakes_model.tiny_folder(tmp_path)
    assert score.main(parse_score_args(text, "--model", folder, "--threads", 1, *words)) == 0
    return capsys.readouterr().out


def test_copying_is_printed_beside_that_of_held_out_documents(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = json.loads(run_score(capsys, tmp_path, "--copied", "--words", 30, "--hold-out", 3, "--json"))
    assert (result["documents"], result["copied_percent"], result["copied_percent_of_held_out"]) == (1, 0.0, 100.0)
    assert 30 <= result["copied_words"] < 200
    assert result["bits_per_byte"] > 1


def test_copied_alone_scores_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = run_score(capsys, tmp_path, "--copied", "--words", 30)
    assert line.startswith("0.00 % of ")
    assert line.endswith(" words it wrote are copied\n")
    assert "bits" not in line


def test_the_same_seed_gives_the_same_result(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("--copied", "--words", 30, "--json", "--seed")
    first, repeated, another = (run_score(capsys, tmp_path, *words, seed) for seed in (1, 1, 2))
    assert first == repeated != another


def test_a_manifest_without_held_out_documents_is_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=r"^--held-out: the manifest of this model has no[^\n]*--hold-out N,N$"):
        run_score(capsys, tmp_path, "--held-out")


@pytest.mark.parametrize("more", [{}, {"hold_out": "2"}, {"hold_out": "30%"}])
def test_held_out_documents_are_found_in_old_and_new_manifests(tmp_path: Path, more: dict[str, str]) -> None:
    (text := tmp_path / "text.txt").write_text(f"One.\n{END_OF_TEXT}\nTwo.\n{END_OF_TEXT}\nThree.\n", "utf-8")
    digest = hashlib.sha256(text.read_bytes()).hexdigest()
    training = {"texts": [{"name": "text.txt", "sha256": digest}], "held_out_documents": [2], "seed": 3, **more}
    corpus = split_documents.restore_held_out([text], training)
    assert corpus.held_out == (["Two.\n"] if "30%" not in more.values() else corpus.held_out[:1])
    assert len(corpus.train) == 2
    with pytest.raises(ModelError, match="2 texts, of which some are missing; give text"):
        split_documents.restore_held_out([text, text], training)


def test_a_corpus_is_scored_by_its_threads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    messages = [
        ("Ann and Bob", "Hello.", 0.0),
        ("Ann and Bob", "Good morning.", 90_000.0),
        ("Ann and Zoe", "It rains.", 0),
    ]
    records = [Record("f", thread, text, "Ann", when, "message") for thread, text, when in messages]
    with storage.open_draft("chat") as draft:
        for record in records:
            draft.add_record(record)
        draft.write_kept_records(records)
        draft.commit()
    folder = fakes_model.tiny_folder(tmp_path)
    assert score.main(parse_score_args("chat", "--model", folder, "--threads", 1, "--hold-out", 1, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 2
    with pytest.raises(ModelError, match="there are only 2 documents"):
        score.main(parse_score_args("chat", "--model", folder, "--hold-out", 3))
    with pytest.raises(ModelError, match="chats: "):
        score.main(parse_score_args("chats", "--model", folder))
