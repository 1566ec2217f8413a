"""`asr33 model score`: what it prints of bits and of copying."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import fakes_model
import pytest

from model.errors import TextDamaged, TextNotFound
from model.interface import END_OF_TEXT
from tools.corpus import storage
from tools.corpus.record import Record
from tools.model import score
from tools.train import restore_holdout


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


def test_what_a_model_copies_is_said_beside_what_people_copy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = json.loads(run_score(capsys, tmp_path, "--copied", "--words", 30, "--hold-out", 3, "--json"))
    assert (found["documents"], found["copied_percent"], found["copied_percent_of_held_out"]) == (1, 0.0, 100.0)
    assert 30 <= found["copied_words"] < 200
    assert found["bits_per_byte"] > 1


def test_the_copying_alone_scores_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = run_score(capsys, tmp_path, "--copied", "--words", 30)
    assert line.startswith("0.00 % of ")
    assert line.endswith(" words it wrote are copied\n")
    assert "bits" not in line


def test_the_same_seed_writes_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one, again, other = (
        run_score(capsys, tmp_path, "--copied", "--words", 30, "--seed", seed, "--json") for seed in (1, 1, 2)
    )
    assert one == again != other


def test_a_model_that_tells_of_nothing_held_out_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TextDamaged, match=r"^--held-out: this model's manifest tells of nothing[^\n]*--hold-out N,N$"):
        run_score(capsys, tmp_path, "--held-out")


@pytest.mark.parametrize("more", [{}, {"hold_out": "2"}, {"hold_out": "30%"}])
def test_what_a_run_held_out_is_found_again_in_manifests_old_and_new(tmp_path: Path, more: dict[str, str]) -> None:
    (text := tmp_path / "text.txt").write_text(f"One.\n{END_OF_TEXT}\nTwo.\n{END_OF_TEXT}\nThree.\n", "utf-8")
    digest = hashlib.sha256(text.read_bytes()).hexdigest()
    training = {"texts": [{"name": "text.txt", "sha256": digest}], "held_out_documents": [2], "seed": 3, **more}
    corpus = restore_holdout.restore_held_out([text], training)
    assert corpus.held_out == (["Two.\n"] if "30%" not in more.values() else corpus.held_out[:1])
    assert len(corpus.train) == 2
    with pytest.raises(TextDamaged, match="2 texts, of which some are missing; give text"):
        restore_holdout.restore_held_out([text, text], training)


def test_a_corpus_is_scored_by_its_threads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    says = [("Ann and Bob", "Hello.", 0.0), ("Ann and Bob", "Good morning.", 90_000.0), ("Ann and Zoe", "It rains.", 0)]
    records = [Record("f", thread, text, "Ann", when, "message") for thread, text, when in says]
    with storage.open_draft("chat") as draft:
        for record in records:
            draft.add_record(record)
        draft.write_kept_records(records)
        draft.commit()
    folder = fakes_model.tiny_folder(tmp_path)
    assert score.main(parse_score_args("chat", "--model", folder, "--threads", 1, "--hold-out", 1, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 2
    with pytest.raises(TextDamaged, match="there are only 2 documents"):
        score.main(parse_score_args("chat", "--model", folder, "--hold-out", 3))
    with pytest.raises(TextNotFound, match="chats: "):
        score.main(parse_score_args("chats", "--model", folder))
