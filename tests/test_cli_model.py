from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes_model import tiny_folder, tiny_folder_with_data

from daemon import config
from model.build import download_folder
from model.errors import ModelDamaged, ModelNotFound
from model.store import default_model, store
from tools import main as command

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("ASR33_MODELS", str(models))
    return models


def run_model(*words: str) -> int:
    return command.main(["model", *words])


def test_the_embedded_model_is_the_default_until_another_is_set(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert default_model.get_default() == config.load_config({}).model.name == "embedded"
    tiny_folder(home)
    assert run_model("use", "tiny") == 0
    assert capsys.readouterr() == ("tiny: it is the default model of run, demo and ask\n", "")
    assert default_model.get_default() == config.load_config({}).model.name == "tiny"
    assert run_model("use", "embedded") == 0
    assert default_model.get_default() == config.load_config({}).model.name == "embedded"
    assert [path.name for path in home.iterdir()] == ["tiny"]


def test_ask_takes_the_default_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["ask", "The operator", "--seed", "7", "--max-tokens", "5"]
    tiny_folder(home)
    command.main([*ask, "--model", "tiny"])
    tiny = capsys.readouterr().out
    run_model("use", "tiny")
    capsys.readouterr()
    command.main(ask)
    assert capsys.readouterr().out == tiny
    command.main([*ask, "--model", "embedded"])
    assert capsys.readouterr().out != tiny


def test_a_servers_url_can_be_the_default_and_is_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_model("use", "http://gpu.lan:8033#gpt2") == 0
    assert default_model.get_default() == config.load_config({}).model.name == "http://gpu.lan:8033#gpt2"
    capsys.readouterr()
    assert run_model("list") == 0
    marked = [line for line in capsys.readouterr().out.splitlines() if "(in use)" in line]
    assert [" ".join(line.split()) for line in marked] == ["http://gpu.lan:8033#gpt2 - - - - a server (in use)"]
    assert run_model("use", "embedded") == 0
    with pytest.raises(match="not the URL of a model server"):
        default_model.set_default("ftp://gpu")
    assert default_model.get_default() == "embedded"


def test_a_model_outside_the_models_folder_is_the_default_by_its_path(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_folder(tmp_path / "elsewhere")
    monkeypatch.chdir(folder.parent)
    assert run_model("use", "./tiny") == 0
    assert default_model.get_default() == str(folder)
    assert default_model.is_default(folder)


def test_an_absent_model_cannot_be_the_default(home: Path) -> None:
    with pytest.raises(ModelNotFound, match="no model 'other'"):
        default_model.set_default("other")
    (tiny_folder(home) / store.MANIFEST_FILE).write_text("{")
    with pytest.raises(ModelDamaged):
        default_model.set_default("tiny")
    assert default_model.get_default() == "embedded"


def test_use_names_the_setting_that_overrides_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_folder(home)
    monkeypatch.setenv("ASR33_MODEL_NAME", "embedded")
    assert run_model("use", "tiny") == 0
    cause = "by [model] name of the configuration, or by ASR33_MODEL_NAME"
    assert capsys.readouterr().err == f"asr33: but run and demo take embedded, {cause}\n"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\n"])
def test_an_unreadable_default_is_the_embedded_model(home: Path, content: bytes) -> None:
    (home / default_model.DEFAULT_MODEL_FILE).write_bytes(content)
    assert default_model.get_default() == "embedded"


def test_an_unwritable_folder_is_a_one_line_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(home)
    path = home / default_model.DEFAULT_MODEL_FILE
    path.mkdir()
    assert run_model("use", "tiny") == 73
    assert capsys.readouterr().err == f"asr33: {path}: cannot be written (Is a directory); see to its folder\n"
    assert set(home.iterdir()) == {path, home / "tiny"}


def test_the_list_marks_the_default_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(home)
    default_model.set_default("tiny")
    run_model("list")
    marked = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith("(in use)")]
    assert marked == ["tiny"]
    run_model("list", "--json")
    in_use = {entry["name"]: entry["in_use"] for entry in json.loads(capsys.readouterr().out)}
    assert in_use == {"embedded": False, "tiny": True}


def test_show_prints_the_shape_the_files_and_the_card(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder_with_data(home)
    (folder / store.CARD_FILE).write_text("# tiny\n\x1b[31mred\n")
    assert run_model("show", "tiny") == 0
    facts, _, card = capsys.readouterr().out.partition("\n\n")
    values = dict(line.split(maxsplit=1) for line in facts.splitlines())
    assert values["name"] == "tiny"
    assert values["shape"].startswith("0.0 M parameters: 2 layers, width 32, 2 heads; a context of 64 tokens")
    assert {"model.onnx", "model.data", "tokenizer.json"} <= values.keys()
    assert values["where"] == str(folder)
    assert card == "# tiny\n[31mred\n"


def test_show_without_a_name_shows_the_default_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_model("show") == 0
    out = capsys.readouterr().out
    assert "embedded" in out
    assert "bits/byte" in out
    assert "(in use)" in out
    assert run_model("show", "--json") == 0
    assert json.loads(capsys.readouterr().out)["shape"]["vocab_size"] == 8192


def test_show_prints_origin_and_fidelity_of_a_pulled_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(home)
    manifest = json.loads((folder / store.MANIFEST_FILE).read_text())
    quality = {"ratio": 1.0012, "perplexity": 30.5, "kl": 0.001, "agree": 0.975}
    manifest["training"] = {"repository": "some/tiny", "revision": "0123", "as": "int8", "licence": "mit"}
    manifest["training"]["quality"] = quality
    (folder / store.MANIFEST_FILE).write_text(json.dumps(manifest))
    run_model("show", "tiny")
    out = capsys.readouterr().out
    for text in ("some/tiny, commit 0123", "int8", "30.50, 1.0012 times that of float32", "97.5%", "mit"):
        assert text in out


def test_show_names_the_base_that_a_model_was_trained_from(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(home)
    manifest = json.loads((folder / store.MANIFEST_FILE).read_text())
    manifest["training"] = {"base": {"name": "gpt2", "sha256": "00"}}
    (folder / store.MANIFEST_FILE).write_text(json.dumps(manifest))
    run_model("show", "tiny")
    assert "it was trained here, from gpt2\n" in capsys.readouterr().out


def test_a_model_is_removed_with_its_unfinished_pull(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(home)
    tiny_folder(home, "other")
    pulled = home / ".tiny.pull"
    pulled.mkdir()
    (pulled / "model.safetensors.part").write_bytes(bytes(2_000_000))
    shutil.copytree(home / "tiny", home / ".tiny.old")
    (home / ".tiny.new").mkdir()
    assert run_model("remove", "tiny", "--yes") == 0
    assert capsys.readouterr() == ("tiny: removed\n", "")
    assert [path.name for path in home.iterdir()] == ["other"]
    assert run_model("remove", "tiny", "--yes") == 66
    assert "no model 'tiny'" in capsys.readouterr().err


def test_an_unfinished_pull_alone_can_be_removed(home: Path) -> None:
    (home / ".tiny.pull").mkdir()
    assert run_model("remove", "tiny", "--yes") == 0
    assert list(home.iterdir()) == []


def test_the_next_removal_completes_a_killed_one(home: Path) -> None:
    tiny_folder(home)
    (home / "tiny").rename(home / ".tiny.gone")
    assert [entry.name for entry in store.list_models()] == ["embedded"]
    store.remove_model("tiny")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "code"), [("embedded", 77), ("../models/tiny", 66), (".", 66), ("", 66), (".tiny.pull", 66), ("notes", 66)]
)
def test_only_listed_models_can_be_removed(home: Path, name: str, code: int) -> None:
    tiny_folder(home)
    (home / "notes").mkdir()
    assert run_model("remove", name, "--yes") == code
    assert sorted(path.name for path in home.iterdir()) == ["notes", "tiny"]


def test_after_removing_the_default_model_the_embedded_model_is_the_default(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default_model.set_default(tiny_folder(home).name)
    assert run_model("remove", "tiny", "--yes") == 0
    assert capsys.readouterr().out == "tiny: removed, and the embedded model is the default\n"
    assert default_model.get_default() == "embedded"


def test_removing_a_link_keeps_its_target(home: Path, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "elsewhere")
    (home / "tiny").symlink_to(folder)
    store.remove_model("tiny")
    assert not list(home.iterdir())
    store.verify_model(folder)


def test_a_model_that_is_being_written_is_not_removed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(home)
    with store.open_draft(home / "tiny"):
        assert run_model("remove", "tiny", "--yes") == 75
    with download_folder.open_download_folder(home, "tiny"):
        assert run_model("remove", "tiny", "--yes") == 75
    store.verify_model(home / "tiny")


def test_without_a_terminal_removal_needs_yes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(home)
    command_line = [sys.executable, "-m", "tools.main", "model", "remove", "tiny"]
    done = subprocess.run(command_line, cwd=ROOT, input="y\n", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "say --yes" in done.stderr
    store.verify_model(home / "tiny")


@pytest.mark.parametrize(("answer", "stays"), [(b"y\n", False), (b"\n", True), (b"no\n", True), (b"\x04", True)])
def test_at_a_terminal_removal_asks(home: Path, answer: bytes, stays: bool) -> None:
    default_model.set_default(tiny_folder(home).name)
    master, terminal = pty.openpty()
    os.write(master, answer)
    command_line = [sys.executable, "-m", "tools.main", "model", "remove", "tiny"]
    done = subprocess.run(command_line, cwd=ROOT, stdin=terminal, capture_output=True, text=True, timeout=30)
    os.close(master)
    os.close(terminal)
    assert done.returncode == 0
    summary = f"tiny: 0.1 MB in {home}; it is the default model, and `embedded` takes its place"
    assert done.stderr.startswith(f"{summary}. Remove")
    assert (home / "tiny").exists() == stays
