from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes_hf_graph import build_hf_graph
from fakes_model import TINY, tiny_folder, tiny_folder_with_data, tiny_tokenizer, tiny_weights, write_model

from model.errors import EngineFailed, EngineMissing, ModelDamaged, ModelNotFound
from model.onnx.hf_session import HfOnnxSession
from model.onnx.model_loader import load_model
from model.onnx.session import OnnxSession
from model.store import store


def test_a_model_on_disk_is_loaded_as_session_and_tokenizer(tmp_path: Path) -> None:
    session, tokenizer = load_model(tiny_folder(tmp_path), threads=1)
    assert isinstance(session, OnnxSession)
    assert (session.shape, tokenizer.vocab_size) == (TINY, tiny_tokenizer().vocab_size)
    assert session.device_label.startswith("CPU, 1 thread")


def test_a_hugging_face_graph_gets_its_context_from_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    write_model(folder, build_hf_graph(tiny_weights(), TINY, merged=True))
    session, _ = load_model(folder, threads=1)
    assert isinstance(session, HfOnnxSession)
    assert session.context == TINY.n_positions


@pytest.mark.parametrize("name", [store.GRAPH_FILE, store.TOKENIZER_FILE])
def test_a_damaged_file_is_found_by_its_hash_even_if_it_still_loads(tmp_path: Path, name: str) -> None:
    path = tiny_folder(tmp_path) / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + b"?" * 40)
    with pytest.raises(ModelDamaged, match=f"{name}: damaged, its sha256 is not the manifest's"):
        load_model(path.parent, threads=1)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelDamaged, match=rf"{name}: \d+ bytes where \d+ should be"):
        load_model(path.parent, threads=1)
    assert not [thread for thread in threading.enumerate() if thread.name == "loading"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: path.write_bytes(b""), r"0 bytes where \d+ should be"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"\d+ bytes where \d+ should be"),
        (lambda path: path.write_bytes(path.read_bytes() + b"!"), r"\d+ bytes where \d+ should be"),
        (lambda path: path.write_bytes(b"\x01" + path.read_bytes()[1:]), "damaged, its sha256 is not the manifest's"),
    ],
)
def test_external_weights_are_checked_by_their_hash(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = tiny_folder_with_data(tmp_path)
    session, _ = load_model(folder, threads=1)
    assert session.shape == TINY
    damage(folder / store.DATA_FILE)
    with pytest.raises(ModelDamaged, match=rf"model\.data: {message}; train or fetch it again") as caught:
        load_model(folder, threads=1)
    assert "\n" not in str(caught.value)


def test_weights_that_the_manifest_does_not_list_are_refused(tmp_path: Path) -> None:
    folder = tiny_folder_with_data(tmp_path)
    manifest = json.loads((folder / store.MANIFEST_FILE).read_text("utf-8"))
    del manifest["files"][store.DATA_FILE]
    (folder / store.MANIFEST_FILE).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ModelDamaged, match=r"model\.data: its manifest does not list it; train or fetch it again"):
        load_model(folder, threads=1)


def test_a_verified_file_that_is_no_model_is_a_one_line_error(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    for name, message in (
        (store.GRAPH_FILE, "not a whole ONNX file"),
        (store.TOKENIZER_FILE, "the tokenizer cannot be read"),
    ):
        before = (folder / name).read_bytes()
        write_with_hash(folder, name, b"not what it should be")
        with pytest.raises(ModelDamaged, match=message) as caught:
            load_model(folder, threads=1)
        assert "\n" not in str(caught.value)
        write_with_hash(folder, name, before)
    assert load_model(folder, threads=1)


@pytest.mark.parametrize("name", [store.GRAPH_FILE, store.TOKENIZER_FILE, store.DATA_FILE])
@pytest.mark.parametrize("kind", ["link out", "relative link out", "fifo", "device", "folder", "loop"])
def test_only_regular_files_of_the_folder_are_opened(tmp_path: Path, name: str, kind: str) -> None:
    folder = tiny_folder_with_data(tmp_path)
    path = folder / name
    path.rename(tmp_path / "outside")
    match kind:
        case "link out":
            path.symlink_to(tmp_path / "outside")
        case "relative link out":
            path.symlink_to("../outside")
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(name)
    with pytest.raises(ModelDamaged, match=name.replace(".", r"\.")) as caught:
        load_model(folder, threads=1)
    assert "\n" not in str(caught.value)
    assert not [thread for thread in threading.enumerate() if thread.name == "loading"]


def test_links_inside_of_a_folder_and_to_a_folder_are_followed(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    (folder / store.TOKENIZER_FILE).rename(folder / "the tokenizer")
    (folder / store.TOKENIZER_FILE).symlink_to("the tokenizer")
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link"):
        assert load_model(place, threads=1)


def test_an_absent_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        load_model(tmp_path / "nowhere")


def test_an_absent_gpu_leaves_no_thread_behind(tmp_path: Path) -> None:
    with pytest.raises((EngineMissing, EngineFailed)) as caught:  # a present GPU needs float16
        load_model(tiny_folder(tmp_path), device="cuda")
    assert "\n" not in str(caught.value)
    assert not [thread for thread in threading.enumerate() if thread.name == "loading"]


def write_with_hash(folder: Path, name: str, data: bytes) -> None:
    """Writes a file and updates its hash in the manifest."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / store.MANIFEST_FILE).read_text("utf-8"))
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / store.MANIFEST_FILE).write_text(json.dumps(manifest), "utf-8")
