"""Imports float32 weights from a GPT-2 folder of the Hugging Face hub, or from a model of asr33.

It knows the files and their faults, but not what the weights are used for. It does not need torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.build import graph, onnx_io
from model.build.gpt2_weights import select_weights
from model.build.hub_repository import CONFIG_FILE as CONFIG_FILE
from model.build.hub_repository import MAX_JSON_BYTES, SHARD_PATTERN, WEIGHTS_FILE, WEIGHTS_INDEX_FILE
from model.errors import ModelDamaged, ModelNotFound
from model.interface import HEAD_SIZE_MULTIPLE, GPT2Config
from model.onnx import tokenizer
from model.store import store
from model.store.regular_file import open_regular, read_regular

VOCABULARY_FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
HEADER_SIZE_BYTES = 8  # a safetensors file begins with the length of its header
MAX_HEADER_BYTES = 4 << 20  # a model of 48 layers has 0.1 MB
MASK_SUFFIXES = (".attn.bias", ".attn.masked_bias")  # causal masks in old files of the hub, not weights
# The values of a config that the graph supports, beside the sizes. A missing key has the first value.
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
    """A whole model in float32. Weights that the file has in float32 are mapped, not read."""

    name: str
    weights: dict[str, NDArray[np.float32]]
    shape: GPT2Config
    tokenizer_json: str
    training: dict[str, Any]  # of the manifest, if there is one


def read_source(name_or_path: str | Path) -> SourceModel:
    """Reads a folder of the hub, or a model of the store. Raises ModelNotFound and ModelDamaged."""
    folder = Path(name_or_path)
    if folder.name in (CONFIG_FILE, WEIGHTS_FILE, WEIGHTS_INDEX_FILE):
        folder = folder.parent
    if (folder / CONFIG_FILE).is_file():
        return _read_hub_folder(folder)
    if folder.is_dir() and not (folder / store.MANIFEST_FILE).is_file():
        problem = f"has neither {CONFIG_FILE} nor {store.MANIFEST_FILE}"
        raise ModelNotFound(f"{folder}: {problem}; give a folder of the hub's files")
    return _read_store_folder(store.find_model(name_or_path))


def read_safetensors(paths: Sequence[Path]) -> dict[str, NDArray[np.float32]]:
    """Reads the weights files of the hub, with or without `transformer.` before each name. Raises ModelDamaged.

    Some models store their head as a copy of the embedding: it is dropped, and must not differ.
    """
    weights: dict[str, NDArray[np.float32]] = {}
    for path in paths:
        weights |= _read_tensors(path)
    head = weights.pop("lm_head.weight", None)
    if head is not None and "wte.weight" in weights and not np.array_equal(head, weights["wte.weight"]):
        raise ModelDamaged(f"{paths[0]}: its head is not its embedding, so it is no GPT-2")
    return weights


def shape_from_config(config: Any, path: Path) -> GPT2Config:
    """Checks a `config.json`. Raises ModelDamaged for another architecture or impossible sizes."""
    if not isinstance(config, dict):
        raise ModelDamaged(f"{path}: not a table; fetch it again")
    for key, allowed in SUPPORTED_CONFIG.items():
        if config.get(key, allowed[0]) not in allowed:
            raise ModelDamaged(f"{path}: its {key} is {config[key]!r}, not {allowed[0]!r}: no GPT-2 that asr33 can run")
    sizes: dict[str, Any] = {item.name: config.get(item.name) for item in fields(GPT2Config)}
    try:
        shape = GPT2Config(**sizes)
    except (ValueError, TypeError) as error:
        raise ModelDamaged(f"{path}: {error}; fetch it again") from None
    if config.get("n_inner") not in (None, 4 * shape.n_embd):
        raise ModelDamaged(f"{path}: its n_inner is not four times its n_embd: no GPT-2 that asr33 can run")
    if shape.head_size % HEAD_SIZE_MULTIPLE:
        fault = f"its heads are {shape.head_size} wide, no multiple of {HEAD_SIZE_MULTIPLE}"
        raise ModelDamaged(f"{path}: {fault}: no GPT-2 that asr33 can run")
    return shape


def _read_store_folder(folder: Path) -> SourceModel:
    manifest = store.verify_model(folder)
    weights, shape = onnx_io.read_weights(folder / store.GRAPH_FILE)
    if shape != manifest.shape:
        raise ModelDamaged(
            f"{folder}: {store.GRAPH_FILE} is {shape}, its manifest says {manifest.shape}; fetch it again"
        )
    tokenizer.read_file(folder / store.TOKENIZER_FILE)
    text = (folder / store.TOKENIZER_FILE).read_text("utf-8")  # as it is: its hash tells whether two models match
    source = SourceModel(store.name_of_folder(folder), weights, shape, text, manifest.training)
    return _check_weights(source, folder / store.GRAPH_FILE)


def _read_hub_folder(folder: Path) -> SourceModel:
    shape = shape_from_config(_read_json(folder / CONFIG_FILE), folder / CONFIG_FILE)
    text = _read_tokenizer(folder, shape)  # before the weights, which take longer
    if (folder / WEIGHTS_INDEX_FILE).is_file():
        paths = [folder / name for name in _read_index(folder / WEIGHTS_INDEX_FILE)]
    else:
        paths = [folder / WEIGHTS_FILE]
    source = SourceModel(folder.resolve().name, read_safetensors(paths), shape, text, {})
    return _check_weights(source, paths[0])


def _read_index(path: Path) -> list[str]:
    """The names of the files that an index of split weights names. Raises ModelDamaged."""
    index = _read_json(path)
    names = index.get("weight_map") if isinstance(index, dict) else None
    files = set(map(str, names.values())) if isinstance(names, dict) else set[str]()
    if not files or not all(map(SHARD_PATTERN.fullmatch, files)):
        raise ModelDamaged(f"{path}: its weight_map does not tell where the weights are; fetch it again")
    return sorted(files)


def _check_weights(source: SourceModel, path: Path) -> SourceModel:
    """Keeps the weights of the shape only. Raises ModelDamaged if a weight is missing, or has a NaN or an infinity."""
    try:
        weights = select_weights(source.weights, source.shape)
    except ModelDamaged as error:
        raise ModelDamaged(f"{path}: {error}; fetch it again") from None
    for name, value in weights.items():
        if not (np.isfinite(value.min()) and np.isfinite(value.max())):
            raise ModelDamaged(f"{path}: the weight {name} has a NaN or an infinity; fetch it again, or train again")
    return replace(source, weights=weights)


def _read_tokenizer(folder: Path, shape: GPT2Config) -> str:
    """The text of `tokenizer.json`, made from OpenAI's two files if it is missing."""
    encoder = None
    if (folder / store.TOKENIZER_FILE).is_file():
        encoder = tokenizer.read_file(folder / store.TOKENIZER_FILE)
    for vocabulary, merges in VOCABULARY_FILES:
        if encoder is None and (folder / vocabulary).is_file() and (folder / merges).is_file():
            encoder = tokenizer.from_gpt2_files(folder / vocabulary, folder / merges)
    if encoder is None:
        raise ModelNotFound(f"{folder}: no {store.TOKENIZER_FILE}, nor vocab.json with merges.txt; fetch these too")
    if (size := encoder.vocab_size) > shape.vocab_size:
        fault = f"the tokenizer has {size} tokens, {CONFIG_FILE} {shape.vocab_size}"
        raise ModelDamaged(f"{folder}: {fault}; fetch both again")
    return encoder.to_json()


def _read_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    from safetensors import SafetensorError, safe_open

    weights: dict[str, NDArray[np.float32]] = {}
    try:
        _require_small_header(path)
        with safe_open(path, framework="np") as file:  # this checks the size and the header
            mapped = _memmap_float32(path)
            for key in file.keys():  # noqa: SIM118 - not a dictionary
                if not key.endswith(MASK_SUFFIXES):
                    weight = mapped[key] if key in mapped else file.get_tensor(key).astype(np.float32)
                    weights[key.removeprefix("transformer.")] = weight
    except FileNotFoundError:
        raise ModelNotFound(f"{path}: no such file; fetch it from the hub beside {CONFIG_FILE}") from None
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelDamaged(f"{path}: not a safetensors file of float16 or float32 ({error})") from None
    return weights


def _require_small_header(path: Path) -> None:
    """Raises ValueError and OSError if the header is longer than the file, or than that of any GPT-2."""
    with open_regular(path) as file:
        length = int.from_bytes(file.read(HEADER_SIZE_BYTES), "little")
        size = os.fstat(file.fileno()).st_size
    if length > min(MAX_HEADER_BYTES, size - HEADER_SIZE_BYTES):
        raise ValueError(f"its header would have {length:,} bytes")


def _memmap_float32(path: Path) -> dict[str, NDArray[np.float32]]:
    """Maps the float32 tensors of a valid safetensors file: pages that are not used are not read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(HEADER_SIZE_BYTES), "little")
        header = json.loads(file.read(length))
    whole = np.memmap(path, np.uint8, "r").view(np.ndarray)[HEADER_SIZE_BYTES + length :]
    weights: dict[str, NDArray[np.float32]] = {}
    for name, tensor in header.items():
        if tensor.get("dtype") == "F32":
            start, stop = tensor["data_offsets"]
            weight = whole[start:stop].view(np.float32).reshape(tensor["shape"])
            if weight.flags.aligned:  # BLAS would copy an unaligned array at each use
                weights[name] = weight
    return weights


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_regular(path, MAX_JSON_BYTES).decode("utf-8"))
    except OSError as error:
        raise ModelDamaged(f"{path}: {error.strerror}; fetch it again") from None
    except (ValueError, RecursionError):
        raise ModelDamaged(f"{path}: not JSON; fetch it again") from None
