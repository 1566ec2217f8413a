"""Weights to make a graph from: a folder as the Hugging Face hub has GPT-2, or a model that asr33 made.

It knows the files and what may be wrong with them, not what is made of the weights. No torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.build import graph, onnx_io
from model.store import store
from model.onnx import tokenizer
from model.interface import HEAD_SIZE_MULTIPLE, GPT2Config
from model.errors import ModelDamaged, ModelNotFound
from model.build.gpt2_weights import select_weights

CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE = "config.json", "model.safetensors", "model.safetensors.index.json"
VOCABULARY_FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
HEADER_SIZE_BYTES = 8  # bytes that say how long the header of a safetensors file is
MASK_SUFFIXES = (".attn.bias", ".attn.masked_bias")  # the causal masks that old files of the hub carry are no weights
# What a config may say, beside the sizes: all that our graph does. What it leaves out is so.
SUPPORTED_CONFIG: dict[str, tuple[object, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (graph.LAYER_NORM_EPSILON,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A whole model in float32, and where it was read from: the file itself where it has float32."""

    name: str
    weights: dict[str, NDArray[np.float32]]
    shape: GPT2Config
    tokenizer_json: str
    training: dict[str, Any]  # of the manifest, where there is one


def read_source(name_or_path: str | Path) -> SourceModel:
    """A folder of the hub, or a name or path that the store finds. Raises ModelNotFound and ModelDamaged."""
    folder = Path(name_or_path)
    if folder.name in (CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE):
        folder = folder.parent
    if (folder / CONFIG_FILE).is_file():
        return _read_hub_folder(folder)
    if folder.is_dir() and not (folder / store.MANIFEST_FILE).is_file():
        raise ModelNotFound(
            f"{folder}: neither {CONFIG_FILE} nor {store.MANIFEST_FILE} is there; give a folder of the hub's files"
        )
    return _read_store_folder(store.find_model(name_or_path))


def read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """The weights of a file of the hub, with or without `transformer.` before each name. Raises ModelDamaged."""
    return _drop_tied_head(_read_tensors(path), path)


def shape_from_config(config: Any, path: Path) -> GPT2Config:
    """The sizes in a `config.json`. Raises ModelDamaged for another architecture, or one that cannot be."""
    if not isinstance(config, dict):
        raise ModelDamaged(f"{path}: not a table; fetch it again")
    for key, allowed in SUPPORTED_CONFIG.items():
        if config.get(key, allowed[0]) not in allowed:
            raise ModelDamaged(f"{path}: its {key} is {config[key]!r}, not {allowed[0]!r}: no GPT-2 that asr33 can run")
    sizes: dict[str, Any] = {
        key: config.get(key) for key in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
    }
    try:
        shape = GPT2Config(**sizes)
    except (ValueError, TypeError) as error:
        raise ModelDamaged(f"{path}: {error}; fetch it again") from None
    if config.get("n_inner") not in (None, 4 * shape.n_embd):
        raise ModelDamaged(f"{path}: its n_inner is not four times its n_embd: no GPT-2 that asr33 can run")
    if shape.head_size % HEAD_SIZE_MULTIPLE:
        told = f"its heads are {shape.head_size} wide, no multiple of {HEAD_SIZE_MULTIPLE}"
        raise ModelDamaged(f"{path}: {told}: no GPT-2 that asr33 can run")
    return shape


def _read_store_folder(folder: Path) -> SourceModel:
    manifest = store.verify_model(folder)
    weights, shape = onnx_io.read_weights(folder / store.GRAPH_FILE)
    text = (folder / store.TOKENIZER_FILE).read_text("utf-8")
    return _check_weights(
        SourceModel(store.name_of_folder(folder), weights, shape, text, manifest.training), folder / store.GRAPH_FILE
    )


def _read_hub_folder(folder: Path) -> SourceModel:
    shape = shape_from_config(_read_json(folder / CONFIG_FILE), folder / CONFIG_FILE)
    text = _read_tokenizer(folder, shape)  # before the weights, which take their time
    if (folder / INDEX_FILE).is_file():
        index = _read_json(folder / INDEX_FILE)
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ModelDamaged(f"{folder / INDEX_FILE}: has no weight_map; fetch it again")
        paths = [folder / Path(name).name for name in sorted(set(names.values()))]
    else:
        paths = [folder / WEIGHTS_FILE]
    weights: dict[str, NDArray[np.float32]] = {}
    for path in paths:
        weights |= _read_tensors(path)
    return _check_weights(
        SourceModel(folder.resolve().name, _drop_tied_head(weights, paths[0]), shape, text, {}), paths[0]
    )


def _check_weights(source: SourceModel, path: Path) -> SourceModel:
    """Just the weights of the shape, every number of them a number."""
    try:
        weights = select_weights(source.weights, source.shape)
    except ModelDamaged as error:
        raise ModelDamaged(f"{path}: {error}; fetch it again") from None
    for name, value in weights.items():
        if not (np.isfinite(value.min()) and np.isfinite(value.max())):
            raise ModelDamaged(f"{path}: the weight {name} has numbers that are none; fetch it again, or train anew")
    return SourceModel(source.name, weights, source.shape, source.tokenizer_json, source.training)


def _read_tokenizer(folder: Path, shape: GPT2Config) -> str:
    """The text of a `tokenizer.json`, made from OpenAI's two files where it is not there."""
    words = None
    try:
        if (folder / store.TOKENIZER_FILE).is_file():
            words = tokenizer.from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
        for vocabulary, merges in VOCABULARY_FILES:
            if words is None and (folder / vocabulary).is_file() and (folder / merges).is_file():
                words = tokenizer.from_gpt2_files(folder / vocabulary, folder / merges)
    except ModelDamaged as error:
        raise ModelDamaged(f"{folder}: {error}; fetch the tokenizer again") from None
    except Exception as error:  # of the tokenizers library, which raises the bare Exception
        raise ModelDamaged(f"{folder}: the tokenizer cannot be read ({error}); fetch it again") from None
    if words is None:
        raise ModelNotFound(
            f"{folder}: no {store.TOKENIZER_FILE}, nor vocab.json with merges.txt; fetch one of them too"
        )
    if words.vocab_size > shape.vocab_size:
        raise ModelDamaged(
            f"{folder}: the tokenizer has {words.vocab_size} tokens, {CONFIG_FILE} {shape.vocab_size}; fetch both anew"
        )
    return words.to_json()


def _read_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    from safetensors import SafetensorError, safe_open

    weights: dict[str, NDArray[np.float32]] = {}
    try:
        with safe_open(path, framework="np") as file:  # which knows whether the file is whole, and its header sound
            mapped = _memmap_float32(path)
            for key in file.keys():  # noqa: SIM118 - it is no dictionary
                if not key.endswith(MASK_SUFFIXES):
                    weight = mapped[key] if key in mapped else file.get_tensor(key).astype(np.float32)
                    weights[key.removeprefix("transformer.")] = weight
    except FileNotFoundError:
        raise ModelNotFound(f"{path}: no such file; fetch it from the hub beside {CONFIG_FILE}") from None
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelDamaged(f"{path}: not a safetensors file of float16 or float32 ({error})") from None
    return weights


def _memmap_float32(path: Path) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a sound safetensors file where they lie in it: what is not looked at is not read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(HEADER_SIZE_BYTES), "little")
        header = json.loads(file.read(length))
    whole = np.memmap(path, np.uint8, "r").view(np.ndarray)[HEADER_SIZE_BYTES + length :]
    found: dict[str, NDArray[np.float32]] = {}
    for name, tensor in header.items():
        if tensor.get("dtype") == "F32":
            start, stop = tensor["data_offsets"]
            weight = whole[start:stop].view(np.float32).reshape(tensor["shape"])
            if weight.flags.aligned:  # what is not, BLAS would copy at each use
                found[name] = weight
    return found


def _drop_tied_head(weights: dict[str, NDArray[np.float32]], path: Path) -> dict[str, NDArray[np.float32]]:
    """The weights without the copy of the embedding that some files have for a head."""
    head = weights.pop("lm_head.weight", None)
    if head is not None and "wte.weight" in weights and not np.array_equal(head, weights["wte.weight"]):
        raise ModelDamaged(f"{path}: its head is not its embedding, so it is no GPT-2")
    return weights


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelDamaged(f"{path}: {error.strerror}; fetch it again") from None
    except (ValueError, RecursionError):
        raise ModelDamaged(f"{path}: not JSON; fetch it again") from None
