from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fakes_model import TINY, tiny_folder, tiny_folder_with_data, write_model

from model.errors import ModelDamaged, ModelError, ModelNotFound
from model.store import store
from model.store.store import CARD_FILE, DATA_FILE, GRAPH_FILE, MANIFEST_FILE, TOKENIZER_FILE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def write_small_model(folder: Path, text: str = "one") -> store.Manifest:
    training = {"steps": 3, "words": text}
    return write_model(folder, text.encode() * 1000, tokenizer_json=text, training=training, card=f"# {text}\n")


def edit_manifest(folder: Path, change: Callable[[Any], object]) -> None:
    path = folder / MANIFEST_FILE
    data = json.loads(path.read_text("utf-8"))
    change(data)
    path.write_text(json.dumps(data), "utf-8")


def test_a_written_model_is_found_listed_and_verified(home: Path) -> None:
    manifest = write_small_model(home / "mine")
    names = {path.name for path in (home / "mine").iterdir()}
    assert names == {CARD_FILE, GRAPH_FILE, MANIFEST_FILE, TOKENIZER_FILE}
    assert store.find_model("mine") == home / "mine"
    assert store.verify_model(home / "mine") == manifest
    assert manifest.shape == TINY
    assert manifest.training == {"steps": 3, "words": "one"}
    assert manifest.files[GRAPH_FILE].bytes == 3000
    assert [path.name for path in home.iterdir()] == ["mine"]
    assert store.ModelEntry("mine", home / "mine", manifest) in store.list_models()


def test_a_model_is_found_by_name_by_folder_and_by_file(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small_model(home / "mine")
    other_folder = tmp_path / "elsewhere" / "theirs"
    write_small_model(other_folder)
    for path in (other_folder, str(other_folder), other_folder / GRAPH_FILE):
        assert store.find_model(path) == other_folder
    monkeypatch.chdir(other_folder.parent)
    assert store.find_model("theirs") == Path("theirs")
    monkeypatch.chdir(other_folder)
    assert store.find_model("model.onnx") == Path()
    assert [store.name_of_folder(store.find_model(path)) for path in ("model.onnx", ".")] == ["theirs"] * 2
    (other_folder / "deeper").mkdir()
    monkeypatch.chdir(other_folder / "deeper")
    assert store.name_of_folder(store.find_model("..")) == "theirs"
    monkeypatch.chdir(other_folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.find_model("~/elsewhere/theirs") == other_folder
    assert store.verify_model(store.find_model("model.onnx")).name == "theirs"


@pytest.mark.parametrize(
    "name", ["nix", "../mine", "/no/such/place", "", ".", "~", "~nobody-at-all/x", "x" * 5000, "a\0b"]
)
def test_an_absent_model_is_a_one_line_error_that_lists_the_others(home: Path, name: str) -> None:
    write_small_model(home / "mine")
    with pytest.raises(ModelNotFound, match="mine") as caught:
        store.verify_model(store.find_model(name))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 66


def test_a_servers_model_is_not_on_this_disk(home: Path) -> None:
    with pytest.raises(ModelNotFound, match="https://box:8000/v1: a server's model is not on this disk"):
        store.find_model("https://box:8000/v1")


def test_the_models_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> None:
    assert store.models_folder() == home
    monkeypatch.delenv("ASR33_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert store.models_folder() == tmp_path / "asr33" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert store.models_folder() == Path.home() / ".local" / "share" / "asr33" / "models"


@pytest.mark.parametrize("name", [GRAPH_FILE, TOKENIZER_FILE])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes where"),
        (lambda path: path.write_bytes(path.read_bytes() + b"!"), "bytes where"),
        (lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]), "its sha256 is not"),
        (lambda path: path.write_bytes(b""), "0 bytes where"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_a_damaged_file_is_named_with_the_cure(
    home: Path, name: str, damage: Callable[[Path], object], message: str
) -> None:
    write_small_model(home / "mine")
    damage(home / "mine" / name)
    with pytest.raises(ModelDamaged, match=f"{name}: .*{message}.*; train or fetch it again") as caught:
        store.verify_model(home / "mine")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(format=2), "format 2, this asr33 reads 1; install a newer asr33"),
        (lambda data: data.pop("format"), "not a manifest"),
        (lambda data: data.pop("shape"), "not a manifest"),
        (lambda data: data["shape"].update(colour="red"), "not a manifest"),
        (lambda data: data["files"].pop(GRAPH_FILE), f"not {GRAPH_FILE}, {TOKENIZER_FILE}"),
        (lambda data: data["shape"].update(n_embd="x"), "not a manifest (n_embd is 'x', not a whole number"),
        (lambda data: data["shape"].update(n_head=5), "not a manifest (5 heads do not divide the width 32)"),
        (lambda data: data["shape"].update(n_layer=-1), "not a manifest"),
        (lambda data: data.update(training=None), "not a manifest (training is None, not a table)"),
        (lambda data: data.update(name=3), "not a manifest (name is 3, not a text)"),
        (lambda data: data["files"][GRAPH_FILE].update(bytes="9"), "not a manifest (bytes of model.onnx is '9'"),
        (lambda data: data["files"][GRAPH_FILE].update(sha256=None), "not a manifest (sha256 of model.onnx is None"),
        (lambda data: data["files"].update({"a\nb": data["files"][GRAPH_FILE]}), "lists"),
        (lambda data: data["files"][GRAPH_FILE].update(bytes=-1), f"the hash or the size of {GRAPH_FILE} is none"),
        (lambda data: data["files"][GRAPH_FILE].update(bytes=2**63), "the hash or the size of"),
        (lambda data: data["files"][GRAPH_FILE].update(sha256="../x"), "the hash or the size of"),
        (lambda data: data["shape"].update(n_layer=10**4000), "n_layer is over 2,147,483,647"),
        (lambda data: data.update(name="\x1b[2J"), "its name has control characters"),
        (lambda data: data.update(name="a\u202eb"), "its name has control characters"),
        (lambda data: data.update(format="\x1b[31m" * 9), r"format \x1b[31m"),
        (lambda data: data.update(x="x" * 2_000_000), "over 1,048,576 bytes"),
        (lambda data: data.update(files=[1]), "not a manifest"),
        (lambda data: data.update(files={GRAPH_FILE: {"sha256": 3}}), "not a manifest"),
    ],
)
def test_an_unusable_manifest_is_a_one_line_error(home: Path, change: Callable[[Any], object], message: str) -> None:
    write_small_model(home / "mine")
    edit_manifest(home / "mine", change)
    write_small_model(home / "other")
    with pytest.raises(ModelDamaged, match=re.escape(message)) as caught:
        store.verify_model(home / "mine")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2100
    entries = {entry.name: entry for entry in store.list_models()}
    assert entries["other"].manifest is not None
    assert entries["mine"].manifest is None
    assert message in entries["mine"].fault


def test_a_model_hidden_by_the_embedded_models_name_is_listed_by_its_path(home: Path) -> None:
    write_small_model(home / "embedded")
    hidden = [entry for entry in store.list_models() if entry.folder == home / "embedded"]
    assert [entry.name for entry in hidden] == [str(home / "embedded")]
    assert store.find_model(hidden[0].name) == home / "embedded"


def test_a_manifest_that_is_no_json_is_damaged(home: Path) -> None:
    write_small_model(home / "mine")
    for text in (b"", b"[]", b"\xff\xfe", b"{", b"[" * 100_000):
        (home / "mine" / MANIFEST_FILE).write_bytes(text)
        with pytest.raises(ModelDamaged, match="not a manifest"):
            store.verify_model(home / "mine")


def test_a_manifest_cannot_list_files_outside_its_folder(home: Path, tmp_path: Path) -> None:
    write_small_model(home / "mine")
    edit_manifest(home / "mine", lambda data: data["files"].update({"../../x": {"sha256": "0", "bytes": 1}}))
    with pytest.raises(ModelDamaged, match="lists"):
        store.verify_model(home / "mine")


def test_writing_again_replaces_the_model(home: Path) -> None:
    write_small_model(home / "mine", "one")
    write_small_model(home / "mine", "two")
    assert store.verify_model(home / "mine").training["words"] == "two"
    assert [path.name for path in home.iterdir()] == ["mine"]


def test_a_write_killed_between_its_renames_restores_the_old_model(home: Path) -> None:
    write_small_model(home / "mine", "one")
    (home / "mine").rename(home / ".mine.old")
    for wanted in ("mine", home / "mine", home / "mine" / GRAPH_FILE):
        folder = store.find_model(wanted)
        assert store.verify_model(folder).training["words"] == "one"
        assert store.name_of_folder(folder) == "mine"
    (entry,) = [entry for entry in store.list_models() if entry.name == "mine"]
    assert entry.manifest is not None
    assert [path.name for path in home.iterdir()] == [".mine.old"], "a reader restored the old model"
    write_small_model(home / "mine", "two")
    assert store.verify_model(store.find_model("mine")).training["words"] == "two"


READING = """
import sys, pathlib
from model.interface import GPT2Config
from model.store import store
def read(event, args):
    if event == "os.rename" and str(args[1]).endswith("mine"):
        store.list_models(), store.verify_model(store.find_model("mine"))
sys.addaudithook(read)
folder = pathlib.Path(sys.argv[1])
with store.open_draft(folder) as draft:
    (draft / "model.onnx").write_bytes(b"two")
    fields = dict(name="mine", shape=GPT2Config(300), tokenizer_json="two", training={"words": "two"}, card="")
    store.commit_draft(draft, folder, **fields)
"""


def test_a_reader_between_the_renames_does_not_disturb_the_write(home: Path) -> None:
    write_small_model(home / "mine", "one")
    subprocess.run([sys.executable, "-c", READING, str(home / "mine")], check=True)
    assert store.verify_model(store.find_model("mine")).training["words"] == "two"
    assert [path.name for path in home.iterdir()] == ["mine"]


def test_leftovers_of_a_killed_write_do_not_disturb_the_next(home: Path) -> None:
    write_small_model(home / "mine", "one")
    shutil.copytree(home / "mine", home / ".mine.old")
    (home / ".mine.new").mkdir()
    (home / ".mine.new" / GRAPH_FILE).write_bytes(b"half of")
    assert store.verify_model(store.find_model("mine")).training["words"] == "one"
    write_small_model(home / "mine", "two")
    assert store.verify_model(store.find_model("mine")).training["words"] == "two"
    assert [path.name for path in home.iterdir()] == ["mine"]


KILLED = """
import os, signal, sys, pathlib
from model.interface import GPT2Config
from model.store import store
calls = 0
def count(event, args):
    global calls
    if event in ("open", "os.rename", "os.mkdir", "shutil.rmtree") and ".mine." in str(args) + " mine":
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
folder = pathlib.Path(sys.argv[1])
with store.open_draft(folder) as draft:
    (draft / "model.onnx").write_bytes(b"two")
    (draft / "model.data").write_bytes(b"two" * 1000)
    fields = dict(name="mine", shape=GPT2Config(300), tokenizer_json="two", training={"words": "two"}, card="")
    store.commit_draft(draft, folder, **fields)
print(calls)
"""


def test_a_write_killed_at_any_system_call_leaves_the_old_model_or_the_new(home: Path) -> None:
    seen = set()
    for call in range(1, 50):
        write_small_model(home / "mine", "one")
        done = subprocess.run([sys.executable, "-c", KILLED, str(home / "mine"), str(call)], capture_output=True)
        seen.add(store.verify_model(store.find_model("mine")).training["words"])
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert call > 8
    assert seen == {"one", "two"}


def test_a_write_killed_twice_in_a_row_still_leaves_the_old_model(home: Path) -> None:
    for call in (1, 2, 3, 4):
        write_small_model(home / "mine", "one")
        (home / "mine").rename(home / ".mine.old")  # as after a first kill between the renames
        done = subprocess.run([sys.executable, "-c", KILLED, str(home / "mine"), str(call)], capture_output=True)
        assert done.returncode == -signal.SIGKILL
        assert store.verify_model(store.find_model("mine")).training["words"] == "one"


def test_an_uncommitted_draft_leaves_no_trace(home: Path) -> None:
    write_small_model(home / "mine", "one")
    with suppress(KeyError), store.open_draft(home / "mine") as draft:
        (draft / GRAPH_FILE).write_bytes(b"half of")
        assert store.verify_model(store.find_model("mine")).training["words"] == "one"
        raise KeyError
    assert [path.name for path in home.iterdir()] == ["mine"]
    assert store.verify_model(store.find_model("mine")).training["words"] == "one"


def test_two_processes_cannot_write_one_model_at_once(home: Path) -> None:
    with store.open_draft(home / "mine") as draft:
        (draft / GRAPH_FILE).write_bytes(b"one")
        with pytest.raises(ModelError, match="another process writes this model; let it end, or stop it") as caught:
            write_small_model(home / "mine", "two")
        assert (caught.value.kind, caught.value.exit_code) == ("busy", 75)
        assert (draft / GRAPH_FILE).read_bytes() == b"one"
        with store.open_draft(home / "other"):
            pass
    write_small_model(home / "mine", "two")
    assert store.verify_model(home / "mine").training["words"] == "two"


def test_models_with_and_without_external_weights_replace_each_other(home: Path) -> None:
    write_small_model(home / "tiny")
    first = store.verify_model(home / "tiny")
    assert (first.graph_bytes, first.graph_sha256) == (first.files[GRAPH_FILE].bytes, first.files[GRAPH_FILE].sha256)
    second = store.verify_model(tiny_folder_with_data(home))
    assert second.files.keys() == {GRAPH_FILE, DATA_FILE, TOKENIZER_FILE}
    assert second.graph_bytes == sum((home / "tiny" / name).stat().st_size for name in (GRAPH_FILE, DATA_FILE))
    assert second.graph_sha256 not in {record.sha256 for record in second.files.values()}
    write_small_model(home / "tiny")
    assert not (home / "tiny" / DATA_FILE).exists()
    assert store.verify_model(home / "tiny") == first


def test_other_external_weights_change_the_models_hash(home: Path) -> None:
    def write_weights(weight: bytes) -> store.Manifest:
        with store.open_draft(home / "mine") as draft:
            (draft / GRAPH_FILE).write_bytes(b"graph")
            (draft / DATA_FILE).write_bytes(weight)
            fields = {"name": "mine", "shape": TINY, "tokenizer_json": "", "training": {}, "card": ""}
            return store.commit_draft(draft, home / "mine", **fields)

    first, second = write_weights(b"one"), write_weights(b"two")
    assert first.files[GRAPH_FILE] == second.files[GRAPH_FILE]
    assert first.graph_sha256 != second.graph_sha256


def test_the_store_imports_the_standard_library_alone() -> None:
    names = {"numpy", "onnx", "onnxruntime", "tokenizers", "rich"}
    program = f"import model.store.store, sys; print(*{names} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


def test_the_embedded_model_is_whole(tmp_path: Path) -> None:
    assert store.verify_model(tiny_folder(tmp_path)).name == "tiny"
