from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes_model import TINY, tiny_folder, tiny_tokenizer, tiny_weights
from safetensors.numpy import save_file

from model import interface
from model.build import graph, import_weights
from model.errors import ModelDamaged, ModelError, ModelNotFound

CONFIG: dict[str, Any] = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-05,
    "vocab_size": TINY.vocab_size,
    "n_positions": TINY.n_positions,
    "n_embd": TINY.n_embd,
    "n_layer": TINY.n_layer,
    "n_head": TINY.n_head,
}


def write_hub_folder(parent: Path, **config: object) -> Path:
    """A small GPT-2 as the hub has it."""
    path = parent / "small"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG | config))
    save_file(tiny_weights(), path / "model.safetensors")
    (path / "tokenizer.json").write_text(tiny_tokenizer().to_json())
    return path


def test_a_folder_of_the_hub_is_read(tmp_path: Path) -> None:
    path = write_hub_folder(tmp_path)
    for name in (path, str(path), path / "model.safetensors", path / "config.json"):
        source = import_weights.read_source(name)
        assert source.name == "small"
        assert source.shape == TINY
        assert all(np.array_equal(source.weights[key], value) for key, value in tiny_weights().items())
        assert source.tokenizer_json == tiny_tokenizer().to_json()


def test_weights_in_several_files_are_joined(tmp_path: Path) -> None:
    path = write_hub_folder(tmp_path)
    (path / "model.safetensors").unlink()
    names = list(tiny_weights())
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, half in halves.items():
        save_file({f"transformer.{name}": tiny_weights()[name] for name in half}, path / file)
    index = {f"transformer.{name}": file for file, half in halves.items() for name in half}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert graph.build_gpt2(import_weights.read_source(path).weights, TINY) == graph.build_gpt2(tiny_weights(), TINY)
    (path / "b.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"b\.safetensors: no such file"):
        import_weights.read_source(path)


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    path = write_hub_folder(tmp_path)
    save_file({name: value.astype(np.float16) for name, value in tiny_weights().items()}, path / "model.safetensors")
    weights = import_weights.read_source(path).weights
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(weights["wte.weight"], tiny_weights()["wte.weight"], rtol=1e-3, atol=1e-6)


def memory_of(value: np.ndarray[Any, Any]) -> object:
    while isinstance(value, np.ndarray) and not isinstance(value, np.memmap):
        value = value.base
    return value


@pytest.mark.parametrize(("margin", "mapped"), [(0, True), (1, False)])
def test_float32_is_mapped_unless_it_is_unaligned(tmp_path: Path, margin: int, mapped: bool) -> None:
    path = write_hub_folder(tmp_path)
    data = (path / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length] + b" " * margin
    (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    weights = import_weights.read_source(path).weights
    assert all(np.array_equal(weights[name], value) for name, value in tiny_weights().items())
    assert {isinstance(memory_of(value), np.memmap) for value in weights.values()} == {mapped}
    assert mapped == (not weights["wte.weight"].flags.writeable)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_nan_or_an_infinity_is_refused(tmp_path: Path, number: float) -> None:
    path, weights = write_hub_folder(tmp_path), tiny_weights()
    weights["h.1.mlp.c_fc.weight"][3, 4] = number
    save_file(weights, path / "model.safetensors")
    with pytest.raises(ModelDamaged, match=r"h\.1\.mlp\.c_fc\.weight has a NaN or an infinity"):
        import_weights.read_source(path)


def test_the_vocabulary_is_read_from_two_files(tmp_path: Path) -> None:
    path = write_hub_folder(tmp_path)
    bpe = json.loads((path / "tokenizer.json").read_text())["model"]
    (path / "tokenizer.json").unlink()
    with pytest.raises(ModelNotFound, match=r"vocab\.json with merges\.txt"):
        import_weights.read_source(path)
    (path / "vocab.json").write_text(json.dumps(bpe["vocab"] | {"<|endoftext|>": len(bpe["vocab"])}))
    (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in bpe["merges"]) + "\n")
    encoder = import_weights.tokenizer.from_json(import_weights.read_source(path).tokenizer_json)
    assert encoder.encode_lines("The motor hummed.\n") == tiny_tokenizer().encode_lines("The motor hummed.\n")
    assert encoder.end_of_text == tiny_tokenizer().end_of_text


def test_an_asr33_model_is_a_source(tmp_path: Path) -> None:
    source = import_weights.read_source(tiny_folder(tmp_path))
    assert (source.name, source.shape, source.training) == ("tiny", TINY, {"bits_per_byte": 7.5})
    np.testing.assert_allclose(source.weights["wte.weight"], tiny_weights()["wte.weight"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("model_type", "llama", "model_type is 'llama'"),
        ("activation_function", "relu", "activation_function is 'relu'"),
        ("layer_norm_epsilon", 1e-6, "layer_norm_epsilon"),
        ("scale_attn_by_inverse_layer_idx", True, "scale_attn_by_inverse_layer_idx"),
        ("n_inner", 100, "n_inner"),
        ("n_embd", None, "n_embd"),
        ("n_head", 3, "3 heads"),
        ("n_head", 8, "its heads are 4 wide, no multiple of 8"),
        ("n_layer", 0, "n_layer"),
        ("n_layer", 3, r"h\.2.* is missing"),
        ("n_positions", 65, "wpe.weight is"),
        ("vocab_size", 299, "300 tokens"),
    ],
)
def test_a_config_of_another_model_gives_a_one_line_error(
    tmp_path: Path, key: str, value: object, complaint: str
) -> None:
    with pytest.raises(ModelDamaged, match=complaint) as caught:
        import_weights.read_source(write_hub_folder(tmp_path, **{key: value}))
    assert "\n" not in str(caught.value)


def truncate_file(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("config.json", lambda path: path.write_text("{")),
        ("config.json", lambda path: path.write_text("[]")),
        ("config.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("model.safetensors", lambda path: truncate_file(path, 0.5)),
        ("model.safetensors", lambda path: truncate_file(path, 0.0)),
        ("model.safetensors", lambda path: path.write_bytes(bytes(range(256)) * 9)),
        ("model.safetensors", lambda path: path.unlink()),
        ("model.safetensors", lambda path: save_file({"x": np.zeros(3, np.float32)}, path)),
        ("model.safetensors", lambda path: save_file(tiny_weights() | {"ln_f.bias": np.full(32, np.nan, "f4")}, path)),
        ("tokenizer.json", lambda path: truncate_file(path, 0.5)),
        ("tokenizer.json", lambda path: path.write_text("{}")),
        ("model.safetensors.index.json", lambda path: path.write_text("{}")),
        ("model.safetensors.index.json", lambda path: path.write_text('{"weight_map": {"wte.weight": 3}}')),
    ],
)
def test_each_damaged_file_gives_a_one_line_error(tmp_path: Path, name: str, harm: Callable[[Path], object]) -> None:
    path = write_hub_folder(tmp_path)
    harm(path / name)
    with pytest.raises(ModelError, match="small") as caught:
        import_weights.read_source(path)
    assert "\n" not in str(caught.value)


def test_another_folder_and_a_missing_model_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"has neither config\.json nor manifest\.json"):
        import_weights.read_source(tmp_path)
    with pytest.raises(ModelNotFound, match="no model 'nowhere'"):
        import_weights.read_source("nowhere")


@pytest.mark.train
def test_the_safetensors_of_transformers_give_its_logits(tmp_path: Path) -> None:
    import torch
    import transformers

    from model.onnx.session import OnnxSession

    torch.manual_seed(33)
    shape = interface.GPT2Config(vocab_size=300, n_positions=64, n_embd=64, n_layer=3, n_head=4)
    sizes = {name: getattr(shape, name) for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")}
    settings = transformers.GPT2Config(**sizes, initializer_range=0.2, bos_token_id=0, eos_token_id=0)
    torch_model = transformers.GPT2LMHeadModel(settings).eval()
    torch_model.save_pretrained(tmp_path / "theirs")
    torch_model.double()
    (tmp_path / "theirs" / "tokenizer.json").write_text(tiny_tokenizer().to_json())
    source = import_weights.read_source(tmp_path / "theirs")
    assert source.shape == shape
    session = OnnxSession(graph.build_gpt2(source.weights, source.shape, "float32"), threads=1)
    random = np.random.default_rng(3)
    for _ in range(10):
        ids = [int(token) for token in random.integers(0, 300, 50)]
        session.rewind(0)
        with torch.no_grad():  # in float64: in float32 its logits are off by 1e-5, and by 3e-4 on one processor
            expected = torch_model(torch.tensor([ids])).logits[0].numpy()
        assert np.abs(session.forward_from(ids, 0) - expected).max() < 1e-4
