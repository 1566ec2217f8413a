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
from daemon.config import ModelConfig
from model.build import download_folder
from model.errors import AddressWrong, ModelDamaged, ModelNotFound
from model.store import default_model, removal, store
from tools import main as command

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("ASR33_MODELS", str(models))
    return models


def model(*words: str) -> int:
    return command.main(["model", *words])


def test_the_embedded_model_is_in_use_until_another_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert default_model.get_default() == ModelConfig().name == "embedded"
    tiny_folder(home)
    assert model("use", "tiny") == 0
    assert capsys.readouterr() == ("tiny: run, demo and ask take it where nobody says\n", "")
    assert default_model.get_default() == config.load_config({}).model.name == "tiny"
    assert model("use", "embedded") == 0
    assert default_model.get_default() == config.load_config({}).model.name == "embedded"
    assert [path.name for path in home.iterdir()] == ["tiny"]


def test_ask_takes_the_one_in_use(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["ask", "The operator", "--seed", "7", "--max-tokens", "5"]
    tiny_folder(home)
    command.main([*ask, "--model", "tiny"])
    tiny = capsys.readouterr().out
    model("use", "tiny")
    capsys.readouterr()
    command.main(ask)
    assert capsys.readouterr().out == tiny
    command.main([*ask, "--model", "embedded"])
    assert capsys.readouterr().out != tiny


def test_a_servers_model_is_used_by_its_url_and_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert model("use", "http://gpu.lan:8033#gpt2") == 0
    assert default_model.get_default() == config.load_config({}).model.name == "http://gpu.lan:8033#gpt2"
    capsys.readouterr()
    assert model("list") == 0
    marked = [line for line in capsys.readouterr().out.splitlines() if "(in use)" in line]
    assert [line.split() for line in marked] == [
        ["http://gpu.lan:8033#gpt2", "-", "-", "-", "-", "a", "server", "(in", "use)"]
    ]
    assert model("use", "embedded") == 0
    with pytest.raises(AddressWrong, match="not the URL of a model server"):
        default_model.set_default("ftp://gpu")
    assert default_model.get_default() == "embedded"


def test_a_model_elsewhere_is_used_by_its_path(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder(tmp_path / "elsewhere")
    monkeypatch.chdir(folder.parent)
    assert model("use", "./tiny") == 0
    assert default_model.get_default() == str(folder)
    assert default_model.is_default(folder)


def test_what_is_not_there_or_no_model_is_not_taken(home: Path) -> None:
    with pytest.raises(ModelNotFound, match="no model 'other'"):
        default_model.set_default("other")
    (tiny_folder(home) / store.MANIFEST_FILE).write_text("{")
    with pytest.raises(ModelDamaged):
        default_model.set_default("tiny")
    assert default_model.get_default() == "embedded"


def test_use_says_what_is_over_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_folder(home)
    monkeypatch.setenv("ASR33_MODEL_NAME", "embedded")
    assert model("use", "tiny") == 0
    assert capsys.readouterr().err == (
        "asr33: but run and demo take embedded, by [model] name of the configuration, or by ASR33_MODEL_NAME\n"
    )


@pytest.mark.parametrize("said", [b"", b"\xff\xfe", b"\n"])
def test_what_cannot_be_read_is_the_embedded_model(home: Path, said: bytes) -> None:
    (home / default_model.DEFAULT_MODEL_FILE).write_bytes(said)
    assert default_model.get_default() == "embedded"


def test_a_folder_that_cannot_be_written_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(home)
    (home / default_model.DEFAULT_MODEL_FILE).mkdir()
    assert model("use", "tiny") == 73
    assert (
        capsys.readouterr().err
        == f"asr33: {home / default_model.DEFAULT_MODEL_FILE}: cannot be written (Is a directory); see to its folder\n"
    )
    assert sorted(path.name for path in home.iterdir()) == [default_model.DEFAULT_MODEL_FILE, "tiny"]


def test_the_list_marks_the_one_in_use(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(home)
    default_model.set_default("tiny")
    model("list")
    marked = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith("(in use)")]
    assert marked == ["tiny"]
    model("list", "--json")
    assert {one["name"]: one["in_use"] for one in json.loads(capsys.readouterr().out)} == {
        "embedded": False,
        "tiny": True,
    }


def test_show_tells_the_shape_the_files_and_the_card(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder_with_data(home)
    (folder / store.CARD_FILE).write_text("# tiny\n\x1b[31mred\n")
    assert model("show", "tiny") == 0
    facts, _, card = capsys.readouterr().out.partition("\n\n")
    told = dict(line.split(maxsplit=1) for line in facts.splitlines())
    assert told["name"] == "tiny"
    assert told["shape"].startswith("0.0 M parameters: 2 layers, width 32, 2 heads; a context of 64 tokens")
    assert {"model.onnx", "model.data", "tokenizer.json"} <= told.keys()
    assert told["where"] == str(folder)
    assert card == "# tiny\n[31mred\n"


def test_show_without_a_name_shows_the_one_in_use(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert model("show") == 0
    out = capsys.readouterr().out
    assert "embedded" in out
    assert "bits/byte" in out
    assert "(in use)" in out
    assert model("show", "--json") == 0
    assert json.loads(capsys.readouterr().out)["shape"]["vocab_size"] == 8192


def test_show_tells_where_a_pulled_model_is_from_and_how_good_it_is(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_folder(home)
    manifest = json.loads((folder / store.MANIFEST_FILE).read_text())
    quality = {"ratio": 1.0012, "perplexity": 30.5, "kl": 0.001, "agree": 0.975}
    manifest["training"] = {"repository": "some/tiny", "revision": "0123", "as": "int8", "licence": "mit"}
    manifest["training"]["quality"] = quality
    (folder / store.MANIFEST_FILE).write_text(json.dumps(manifest))
    model("show", "tiny")
    out = capsys.readouterr().out
    for says in ("some/tiny, commit 0123", "int8", "30.50, 1.0012 times that of float32", "97.5%", "mit"):
        assert says in out


def test_show_names_the_base_that_a_model_was_trained_from(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(home)
    manifest = json.loads((folder / store.MANIFEST_FILE).read_text())
    manifest["training"] = {"base": {"name": "gpt2", "sha256": "00"}}
    (folder / store.MANIFEST_FILE).write_text(json.dumps(manifest))
    model("show", "tiny")
    assert "it was trained here, from gpt2\n" in capsys.readouterr().out


def test_a_model_is_removed_with_what_a_pull_left_of_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(home)
    tiny_folder(home, "other")
    pulled = download_folder.download_folder_path(home, "tiny")
    pulled.mkdir()
    (pulled / "model.safetensors.part").write_bytes(bytes(2_000_000))
    shutil.copytree(home / "tiny", home / ".tiny.old")
    (home / ".tiny.new").mkdir()
    assert model("remove", "tiny", "--yes") == 0
    assert capsys.readouterr() == ("tiny: removed\n", "")
    assert [path.name for path in home.iterdir()] == ["other"]
    assert model("remove", "tiny", "--yes") == 66
    assert "no model 'tiny'" in capsys.readouterr().err


def test_what_only_a_pull_left_is_removed_too(home: Path) -> None:
    download_folder.download_folder_path(home, "tiny").mkdir()
    assert model("remove", "tiny", "--yes") == 0
    assert list(home.iterdir()) == []


def test_a_removal_that_was_killed_is_ended_by_the_next(home: Path) -> None:
    tiny_folder(home)
    (home / "tiny").rename(home / ".tiny.gone")
    assert [listed.name for listed in store.list_models()] == ["embedded"]
    removal.remove_model("tiny")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "code"), [("embedded", 77), ("../models/tiny", 66), (".", 66), ("", 66), (".tiny.pull", 66), ("notes", 66)]
)
def test_what_is_no_model_of_the_list_stays(home: Path, name: str, code: int) -> None:
    tiny_folder(home)
    (home / "notes").mkdir()
    assert model("remove", name, "--yes") == code
    assert sorted(path.name for path in home.iterdir()) == ["notes", "tiny"]


def test_the_one_in_use_says_so_and_the_embedded_takes_its_place(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default_model.set_default(tiny_folder(home).name)
    assert model("remove", "tiny", "--yes") == 0
    assert capsys.readouterr().out == "tiny: removed, and the embedded model is in use\n"
    assert default_model.get_default() == "embedded"


def test_a_link_goes_and_what_it_leads_to_stays(home: Path, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "elsewhere")
    (home / "tiny").symlink_to(folder)
    removal.remove_model("tiny")
    assert not list(home.iterdir())
    store.verify_model(folder)


def test_a_model_that_is_being_made_is_not_removed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(home)
    with store.open_draft(home / "tiny"):
        assert model("remove", "tiny", "--yes") == 75
    with download_folder.open_download_folder(home, "tiny"):
        assert model("remove", "tiny", "--yes") == 75
    store.verify_model(home / "tiny")


def test_with_nobody_to_ask_it_wants_yes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(home)
    command_line = [sys.executable, "-m", "tools.main", "model", "remove", "tiny"]
    done = subprocess.run(command_line, cwd=ROOT, input="y\n", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "say --yes" in done.stderr
    store.verify_model(home / "tiny")


@pytest.mark.parametrize(("answer", "stays"), [(b"y\n", False), (b"\n", True), (b"no\n", True), (b"\x04", True)])
def test_at_a_terminal_it_asks(home: Path, answer: bytes, stays: bool) -> None:
    default_model.set_default(tiny_folder(home).name)
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    command_line = [sys.executable, "-m", "tools.main", "model", "remove", "tiny"]
    done = subprocess.run(command_line, cwd=ROOT, stdin=theirs, capture_output=True, text=True, timeout=30)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0
    assert done.stderr.startswith(f"tiny: 0.1 MB in {home}; it is the one in use, and the embedded one will be. Remove")
    assert (home / "tiny").exists() == stays
