from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes_foreign import build_hf_graph
from fakes_model import TINY, tiny_folder, tiny_folder_with_data, tiny_tokenizer, tiny_weights

from model.errors import EngineFailed, EngineMissing, ModelDamaged, ModelNotFound
from model.generate.loading import load_model
from model.onnx.hf_session import HfOnnxSession
from model.onnx.session import OnnxSession
from model.store import store


def test_a_model_on_disk_comes_as_a_session_and_its_tokenizer(tmp_path: Path) -> None:
    session, tokenizer = load_model(tiny_folder(tmp_path), threads=1)
    assert isinstance(session, OnnxSession)
    assert (session.shape, tokenizer.vocab_size) == (TINY, tiny_tokenizer().vocab_size)
    assert session.device_label.startswith("CPU, 1 thread")


def test_a_graph_from_elsewhere_is_told_its_context_by_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    store.write_model(
        folder,
        name="hub",
        shape=TINY,
        onnx_bytes=build_hf_graph(tiny_weights(), TINY, merged=True),
        tokenizer_json=tiny_tokenizer().to_json(),
        training={},
        card="",
    )
    session, _ = load_model(folder, threads=1)
    assert isinstance(session, HfOnnxSession)
    assert session.context == TINY.n_positions


@pytest.mark.parametrize("name", [store.GRAPH_FILE, store.TOKENIZER_FILE])
def test_a_damaged_file_is_told_by_its_hash_whether_or_not_it_still_loads(tmp_path: Path, name: str) -> None:
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
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: path.write_bytes(b""), r"0 bytes where \d+ should be"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"\d+ bytes where \d+ should be"),
        (lambda path: path.write_bytes(path.read_bytes() + b"!"), r"\d+ bytes where \d+ should be"),
        (lambda path: path.write_bytes(b"\x01" + path.read_bytes()[1:]), "damaged, its sha256 is not the manifest's"),
    ],
)
def test_weights_beside_the_graph_are_held_to_their_hash(
    tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    folder = tiny_folder_with_data(tmp_path)
    session, _ = load_model(folder, threads=1)
    assert session.shape == TINY
    damage(folder / store.DATA_FILE)
    with pytest.raises(ModelDamaged, match=rf"model\.data: {says}; train or fetch it again") as caught:
        load_model(folder, threads=1)
    assert "\n" not in str(caught.value)


def test_weights_that_no_manifest_tells_of_are_not_used(tmp_path: Path) -> None:
    folder = tiny_folder_with_data(tmp_path)
    manifest = json.loads((folder / store.MANIFEST_FILE).read_text("utf-8"))
    del manifest["files"][store.DATA_FILE]
    (folder / store.MANIFEST_FILE).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ModelDamaged, match=r"model\.data: its manifest does not tell of it; train or fetch it again"):
        load_model(folder, threads=1)


def test_a_file_that_is_what_the_manifest_says_and_no_model_is_one_line(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    for name, said in (
        (store.GRAPH_FILE, "onnxruntime cannot load it"),
        (store.TOKENIZER_FILE, "the tokenizer cannot be read"),
    ):
        before = (folder / name).read_bytes()
        vouched(folder, name, b"not what it should be")
        with pytest.raises(ModelDamaged, match=said) as caught:
            load_model(folder, threads=1)
        assert "\n" not in str(caught.value)
        vouched(folder, name, before)
    assert load_model(folder, threads=1)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        load_model(tmp_path / "nowhere")


def test_a_gpu_that_is_not_to_be_had_leaves_no_thread_behind(tmp_path: Path) -> None:
    with pytest.raises((EngineMissing, EngineFailed)) as caught:  # where there is one, it wants float16
        load_model(tiny_folder(tmp_path), device="cuda")
    assert "\n" not in str(caught.value)
    assert not [thread for thread in threading.enumerate() if thread.name == "loading"]


def vouched(folder: Path, name: str, data: bytes) -> None:
    """Write a file, and its hash into the manifest."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / store.MANIFEST_FILE).read_text("utf-8"))
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / store.MANIFEST_FILE).write_text(json.dumps(manifest), "utf-8")
