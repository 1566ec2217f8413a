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
from fakes_model import TINY, tiny_folder, tiny_folder_with_data

from model.errors import ModelBusy, ModelDamaged, ModelNotFound
from model.store import store
from model.store.store import CARD_FILE, DATA_FILE, GRAPH_FILE, MANIFEST_FILE, TOKENIZER_FILE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def small(folder: Path, text: str = "one") -> store.Manifest:
    return store.write_model(
        folder,
        name=folder.name,
        shape=TINY,
        onnx_bytes=text.encode() * 1000,
        tokenizer_json=text,
        training={"steps": 3, "words": text},
        card=f"# {text}\n",
    )


def edited(folder: Path, change: Callable[[Any], object]) -> None:
    path = folder / MANIFEST_FILE
    data = json.loads(path.read_text("utf-8"))
    change(data)
    path.write_text(json.dumps(data), "utf-8")


def test_what_is_written_is_found_listed_and_whole(home: Path) -> None:
    manifest = small(home / "mine")
    assert sorted(path.name for path in (home / "mine").iterdir()) == sorted(
        [CARD_FILE, GRAPH_FILE, MANIFEST_FILE, TOKENIZER_FILE]
    )
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
    small(home / "mine")
    elsewhere = tmp_path / "elsewhere" / "theirs"
    small(elsewhere)
    assert (
        store.find_model(elsewhere)
        == store.find_model(str(elsewhere))
        == store.find_model(elsewhere / GRAPH_FILE)
        == elsewhere
    )
    monkeypatch.chdir(elsewhere.parent)
    assert store.find_model("theirs") == Path("theirs")
    monkeypatch.chdir(elsewhere)
    assert store.find_model("model.onnx") == Path()
    assert (
        store.name_of_folder(store.find_model("model.onnx")) == store.name_of_folder(store.find_model(".")) == "theirs"
    )
    (elsewhere / "deeper").mkdir()
    monkeypatch.chdir(elsewhere / "deeper")
    assert store.name_of_folder(store.find_model("..")) == "theirs"
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.find_model("~/elsewhere/theirs") == elsewhere
    assert store.verify_model(store.find_model("model.onnx")).name == "theirs"


@pytest.mark.parametrize(
    "name", ["nix", "../mine", "/no/such/place", "", ".", "~", "~nobody-at-all/x", "x" * 5000, "a\0b"]
)
def test_what_is_not_there_is_one_line_that_says_what_is(home: Path, name: str) -> None:
    small(home / "mine")
    with pytest.raises(ModelNotFound, match="mine") as caught:
        store.verify_model(store.find_model(name))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 66


def test_a_servers_model_is_not_on_this_disk(home: Path) -> None:
    with pytest.raises(ModelNotFound, match="https://box:8000/v1: a server's model is not on this disk"):
        store.find_model("https://box:8000/v1")


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> None:
    assert store.models_folder() == home
    monkeypatch.delenv("ASR33_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert store.models_folder() == tmp_path / "asr33" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert store.models_folder() == Path.home() / ".local" / "share" / "asr33" / "models"


@pytest.mark.parametrize("name", [GRAPH_FILE, TOKENIZER_FILE])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes where"),
        (lambda path: path.write_bytes(path.read_bytes() + b"!"), "bytes where"),
        (lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]), "its sha256 is not"),
        (lambda path: path.write_bytes(b""), "0 bytes where"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_a_damaged_file_is_named_with_the_cure(
    home: Path, name: str, damage: Callable[[Path], object], says: str
) -> None:
    small(home / "mine")
    damage(home / "mine" / name)
    with pytest.raises(ModelDamaged, match=f"{name}: .*{says}.*; train or fetch it again") as caught:
        store.verify_model(home / "mine")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data.update(format=2), "format 2, this asr33 reads 1; install a newer asr33"),
        (lambda data: data.pop("format"), "not a manifest"),
        (lambda data: data.pop("shape"), "not a manifest"),
        (lambda data: data["shape"].update(colour="red"), "not a manifest"),
        (lambda data: data["files"].pop(GRAPH_FILE), f"not of {GRAPH_FILE}"),
        (lambda data: data["shape"].update(n_embd="x"), "not a manifest (n_embd is 'x', not a whole number"),
        (lambda data: data["shape"].update(n_head=5), "not a manifest (5 heads do not divide the width 32)"),
        (lambda data: data["shape"].update(n_layer=-1), "not a manifest"),
        (lambda data: data.update(training=None), "not a manifest (training is None, not a table)"),
        (lambda data: data.update(name=3), "not a manifest (name is 3, not a text)"),
        (lambda data: data["files"][GRAPH_FILE].update(bytes="9"), "not a manifest (bytes of model.onnx is '9'"),
        (lambda data: data["files"][GRAPH_FILE].update(sha256=None), "not a manifest (sha256 of model.onnx is None"),
        (lambda data: data["files"].update({"a\nb": data["files"][GRAPH_FILE]}), "tells of"),
        (lambda data: data.update(files=[1]), "not a manifest"),
        (lambda data: data.update(files={GRAPH_FILE: {"sha256": 3}}), "not a manifest"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_line(home: Path, change: Callable[[Any], object], says: str) -> None:
    small(home / "mine")
    edited(home / "mine", change)
    small(home / "other")
    with pytest.raises(ModelDamaged, match=re.escape(says)) as caught:
        store.verify_model(home / "mine")
    assert "\n" not in str(caught.value)
    assert any(each.name == "other" and each.manifest for each in store.list_models())
    (listed,) = [each for each in store.list_models() if each.name == "mine"]
    assert listed.manifest is None
    assert says in listed.fault


def test_a_model_that_the_embedded_ones_name_hides_is_listed_by_its_path(home: Path) -> None:
    small(home / "embedded")
    hidden = [listed for listed in store.list_models() if listed.folder == home / "embedded"]
    assert [listed.name for listed in hidden] == [str(home / "embedded")]
    assert store.find_model(hidden[0].name) == home / "embedded"


def test_a_manifest_that_is_no_json_is_damaged(home: Path) -> None:
    small(home / "mine")
    for text in (b"", b"[]", b"\xff\xfe", b"{", b"[" * 100_000):
        (home / "mine" / MANIFEST_FILE).write_bytes(text)
        with pytest.raises(ModelDamaged, match="not a manifest"):
            store.verify_model(home / "mine")


def test_a_manifest_cannot_point_out_of_its_folder(home: Path, tmp_path: Path) -> None:
    small(home / "mine")
    edited(home / "mine", lambda data: data["files"].update({"../../x": {"sha256": "0", "bytes": 1}}))
    with pytest.raises(ModelDamaged, match="tells of"):
        store.verify_model(home / "mine")


def test_writing_again_replaces_the_model(home: Path) -> None:
    small(home / "mine", "one")
    small(home / "mine", "two")
    assert store.verify_model(home / "mine").training["words"] == "two"
    assert [path.name for path in home.iterdir()] == ["mine"]


def test_a_write_killed_between_its_renames_gives_the_old_model_back(home: Path) -> None:
    small(home / "mine", "one")
    (home / "mine").rename(home / ".mine.old")
    for wanted in ("mine", home / "mine", home / "mine" / GRAPH_FILE):
        folder = store.find_model(wanted)
        assert store.verify_model(folder).training["words"] == "one"
        assert store.name_of_folder(folder) == "mine"
    (listed,) = [listed for listed in store.list_models() if listed.name == "mine"]
    assert listed.manifest is not None
    assert [path.name for path in home.iterdir()] == [".mine.old"], "a reader mended"
    small(home / "mine", "two")
    assert store.verify_model(store.find_model("mine")).training["words"] == "two"


READING = """
import sys, pathlib
from model import store
from model.interface import Shape
def read(event, args):
    if event == "os.rename" and str(args[1]).endswith("mine"):
        store.list_models(), store.verify(store.find("mine"))
sys.addaudithook(read)
store.write(pathlib.Path(sys.argv[1]), name="mine", shape=Shape(300), onnx_bytes=b"two", tokenizer_json="two",
            training={"words": "two"}, card="")
"""


def test_a_reader_between_the_renames_of_a_write_is_not_in_its_way(home: Path) -> None:
    small(home / "mine", "one")
    subprocess.run([sys.executable, "-c", READING, str(home / "mine")], check=True)
    assert store.verify_model(store.find_model("mine")).training["words"] == "two"
    assert [path.name for path in home.iterdir()] == ["mine"]


def test_a_write_killed_earlier_or_later_leaves_nothing_in_the_way(home: Path) -> None:
    small(home / "mine", "one")
    shutil.copytree(home / "mine", home / ".mine.old")
    (home / ".mine.new").mkdir()
    (home / ".mine.new" / GRAPH_FILE).write_bytes(b"half of")
    assert store.verify_model(store.find_model("mine")).training["words"] == "one"
    small(home / "mine", "two")
    assert store.verify_model(store.find_model("mine")).training["words"] == "two"
    assert [path.name for path in home.iterdir()] == ["mine"]


KILLED = """
import os, signal, sys, pathlib
from model import store
from model.interface import Shape
calls = 0
def count(event, args):
    global calls
    if event in ("open", "os.rename", "os.mkdir", "shutil.rmtree") and ".mine." in str(args) + " mine":
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
folder = pathlib.Path(sys.argv[1])
with store.draft(folder) as new:
    (new / "model.onnx").write_bytes(b"two")
    (new / "model.data").write_bytes(b"two" * 1000)
    store.settle(new, folder, name="mine", shape=Shape(300), tokenizer_json="two", training={"words": "two"}, card="")
print(calls)
"""


def test_killed_at_any_of_its_acts_a_write_leaves_the_old_model_or_the_new(home: Path) -> None:
    seen = set()
    for act in range(1, 50):
        small(home / "mine", "one")
        done = subprocess.run([sys.executable, "-c", KILLED, str(home / "mine"), str(act)], capture_output=True)
        seen.add(store.verify_model(store.find_model("mine")).training["words"])
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert act > 8
    assert seen == {"one", "two"}


def test_killed_twice_in_a_row_a_write_still_leaves_the_old_model(home: Path) -> None:
    for act in (1, 2, 3, 4):
        small(home / "mine", "one")
        (home / "mine").rename(home / ".mine.old")  # where the first kill came between the renames
        done = subprocess.run([sys.executable, "-c", KILLED, str(home / "mine"), str(act)], capture_output=True)
        assert done.returncode == -signal.SIGKILL
        assert store.verify_model(store.find_model("mine")).training["words"] == "one"


def test_a_draft_that_is_not_settled_leaves_no_trace(home: Path) -> None:
    small(home / "mine", "one")
    with suppress(KeyError), store.open_draft(home / "mine") as draft:
        (draft / GRAPH_FILE).write_bytes(b"half of")
        assert store.verify_model(store.find_model("mine")).training["words"] == "one"
        raise KeyError
    assert [path.name for path in home.iterdir()] == ["mine"]
    assert store.verify_model(store.find_model("mine")).training["words"] == "one"


def test_two_do_not_write_one_model_at_once(home: Path) -> None:
    with store.open_draft(home / "mine") as draft:
        (draft / GRAPH_FILE).write_bytes(b"one")
        with pytest.raises(ModelBusy, match="another process writes this model; let it end, or stop it") as caught:
            small(home / "mine", "two")
        assert caught.value.exit_code == 75
        assert (draft / GRAPH_FILE).read_bytes() == b"one"
        with store.open_draft(home / "other"):
            pass
    small(home / "mine", "two")
    assert store.verify_model(home / "mine").training["words"] == "two"


def test_a_model_of_two_files_takes_the_place_of_one_and_gives_it_back(home: Path) -> None:
    small(home / "tiny")
    one = store.verify_model(home / "tiny")
    assert (one.graph_bytes, one.graph_sha256) == (one.files[GRAPH_FILE].bytes, one.files[GRAPH_FILE].sha256)
    two = store.verify_model(tiny_folder_with_data(home))
    assert two.files.keys() == {GRAPH_FILE, DATA_FILE, TOKENIZER_FILE}
    assert two.graph_bytes == sum((home / "tiny" / name).stat().st_size for name in (GRAPH_FILE, DATA_FILE))
    assert two.graph_sha256 not in {record.sha256 for record in two.files.values()}
    small(home / "tiny")
    assert not (home / "tiny" / DATA_FILE).exists()
    assert store.verify_model(home / "tiny") == one


def test_other_weights_are_another_model_though_their_graph_is_the_same(home: Path) -> None:
    def written(weight: bytes) -> store.Manifest:
        with store.open_draft(home / "mine") as draft:
            (draft / GRAPH_FILE).write_bytes(b"graph")
            (draft / DATA_FILE).write_bytes(weight)
            return store.commit_draft(
                draft, home / "mine", name="mine", shape=TINY, tokenizer_json="", training={}, card=""
            )

    one, two = written(b"one"), written(b"two")
    assert one.files[GRAPH_FILE] == two.files[GRAPH_FILE]
    assert one.graph_sha256 != two.graph_sha256


def test_the_store_is_standard_library_alone() -> None:
    program = "import model.store.store, sys; print(*{'numpy', 'onnx', 'onnxruntime', 'tokenizers', 'rich'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


def test_a_real_model_is_whole(tmp_path: Path) -> None:
    assert store.verify_model(tiny_folder(tmp_path)).name == "tiny"
