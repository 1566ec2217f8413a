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

from model import graph, graph_file, store, tokenizer
from model.base import HEAD_UNIT, Shape
from model.errors import ModelDamaged, ModelNotFound
from model.weights import fitting

CONFIG, TENSORS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
VOCABULARIES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
LENGTH = 8  # bytes that say how long the header of a safetensors file is
MASKS = (".attn.bias", ".attn.masked_bias")  # the causal masks that old files of the hub carry are no weights
# What a config may say, beside the sizes: all that our graph does. What it leaves out is so.
GPT2: dict[str, tuple[object, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (graph.EPSILON,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A whole model in float32, and where it was read from: the file itself where it has float32."""

    name: str
    weights: dict[str, NDArray[np.float32]]
    shape: Shape
    tokenizer_json: str
    training: dict[str, Any]  # of the manifest, where there is one


def read(name_or_path: str | Path) -> Source:
    """A folder of the hub, or a name or path that the store finds. Raises ModelNotFound and ModelDamaged."""
    folder = Path(name_or_path)
    if folder.name in (CONFIG, TENSORS, INDEX):
        folder = folder.parent
    if (folder / CONFIG).is_file():
        return _from_hub(folder)
    if folder.is_dir() and not (folder / store.MANIFEST).is_file():
        raise ModelNotFound(
            f"{folder}: neither {CONFIG} nor {store.MANIFEST} is there; give a folder of the hub's files"
        )
    return _from_store(store.find(name_or_path))


def read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """The weights of a file of the hub, with or without `transformer.` before each name. Raises ModelDamaged."""
    return _untied(_tensors(path), path)


def shape_of(config: Any, path: Path) -> Shape:
    """The sizes in a `config.json`. Raises ModelDamaged for another architecture, or one that cannot be."""
    if not isinstance(config, dict):
        raise ModelDamaged(f"{path}: not a table; fetch it again")
    for key, allowed in GPT2.items():
        if config.get(key, allowed[0]) not in allowed:
            raise ModelDamaged(f"{path}: its {key} is {config[key]!r}, not {allowed[0]!r}: no GPT-2 that asr33 can run")
    sizes: dict[str, Any] = {
        key: config.get(key) for key in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
    }
    try:
        shape = Shape(**sizes)
    except (ValueError, TypeError) as error:
        raise ModelDamaged(f"{path}: {error}; fetch it again") from None
    if config.get("n_inner") not in (None, 4 * shape.n_embd):
        raise ModelDamaged(f"{path}: its n_inner is not four times its n_embd: no GPT-2 that asr33 can run")
    if shape.head_size % HEAD_UNIT:
        told = f"its heads are {shape.head_size} wide, no multiple of {HEAD_UNIT}"
        raise ModelDamaged(f"{path}: {told}: no GPT-2 that asr33 can run")
    return shape


def _from_store(folder: Path) -> Source:
    manifest = store.verify(folder)
    weights, shape = graph_file.read_weights(folder / store.GRAPH)
    text = (folder / store.TOKENIZER).read_text("utf-8")
    return _checked(Source(store.name_of(folder), weights, shape, text, manifest.training), folder / store.GRAPH)


def _from_hub(folder: Path) -> Source:
    shape = shape_of(_json(folder / CONFIG), folder / CONFIG)
    text = _vocabulary(folder, shape)  # before the weights, which take their time
    if (folder / INDEX).is_file():
        index = _json(folder / INDEX)
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ModelDamaged(f"{folder / INDEX}: has no weight_map; fetch it again")
        paths = [folder / Path(name).name for name in sorted(set(names.values()))]
    else:
        paths = [folder / TENSORS]
    weights: dict[str, NDArray[np.float32]] = {}
    for path in paths:
        weights |= _tensors(path)
    return _checked(Source(folder.resolve().name, _untied(weights, paths[0]), shape, text, {}), paths[0])


def _checked(source: Source, path: Path) -> Source:
    """Just the weights of the shape, every number of them a number."""
    try:
        weights = fitting(source.weights, source.shape)
    except ModelDamaged as error:
        raise ModelDamaged(f"{path}: {error}; fetch it again") from None
    for name, value in weights.items():
        if not (np.isfinite(value.min()) and np.isfinite(value.max())):
            raise ModelDamaged(f"{path}: the weight {name} has numbers that are none; fetch it again, or train anew")
    return Source(source.name, weights, source.shape, source.tokenizer_json, source.training)


def _vocabulary(folder: Path, shape: Shape) -> str:
    """The text of a `tokenizer.json`, made from OpenAI's two files where it is not there."""
    words = None
    try:
        if (folder / store.TOKENIZER).is_file():
            words = tokenizer.from_json((folder / store.TOKENIZER).read_text("utf-8"))
        for vocabulary, merges in VOCABULARIES:
            if words is None and (folder / vocabulary).is_file() and (folder / merges).is_file():
                words = tokenizer.from_gpt2_files(folder / vocabulary, folder / merges)
    except ModelDamaged as error:
        raise ModelDamaged(f"{folder}: {error}; fetch the tokenizer again") from None
    except Exception as error:  # of the tokenizers library, which raises the bare Exception
        raise ModelDamaged(f"{folder}: the tokenizer cannot be read ({error}); fetch it again") from None
    if words is None:
        raise ModelNotFound(f"{folder}: no {store.TOKENIZER}, nor vocab.json with merges.txt; fetch one of them too")
    if words.size > shape.vocab_size:
        raise ModelDamaged(
            f"{folder}: the tokenizer has {words.size} tokens, {CONFIG} {shape.vocab_size}; fetch both anew"
        )
    return words.to_json()


def _tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    from safetensors import SafetensorError, safe_open

    weights: dict[str, NDArray[np.float32]] = {}
    try:
        with safe_open(path, framework="np") as file:  # which knows whether the file is whole, and its header sound
            mapped = _mapped(path)
            for key in file.keys():  # noqa: SIM118 - it is no dictionary
                if not key.endswith(MASKS):
                    weight = mapped[key] if key in mapped else file.get_tensor(key).astype(np.float32)
                    weights[key.removeprefix("transformer.")] = weight
    except FileNotFoundError:
        raise ModelNotFound(f"{path}: no such file; fetch it from the hub beside {CONFIG}") from None
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelDamaged(f"{path}: not a safetensors file of float16 or float32 ({error})") from None
    return weights


def _mapped(path: Path) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a sound safetensors file where they lie in it: what is not looked at is not read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        header = json.loads(file.read(length))
    whole = np.memmap(path, np.uint8, "r").view(np.ndarray)[LENGTH + length :]
    found: dict[str, NDArray[np.float32]] = {}
    for name, tensor in header.items():
        if tensor.get("dtype") == "F32":
            start, stop = tensor["data_offsets"]
            weight = whole[start:stop].view(np.float32).reshape(tensor["shape"])
            if weight.flags.aligned:  # what is not, BLAS would copy at each use
                found[name] = weight
    return found


def _untied(weights: dict[str, NDArray[np.float32]], path: Path) -> dict[str, NDArray[np.float32]]:
    """The weights without the copy of the embedding that some files have for a head."""
    head = weights.pop("lm_head.weight", None)
    if head is not None and "wte.weight" in weights and not np.array_equal(head, weights["wte.weight"]):
        raise ModelDamaged(f"{path}: its head is not its embedding, so it is no GPT-2")
    return weights


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelDamaged(f"{path}: {error.strerror}; fetch it again") from None
    except (ValueError, RecursionError):
        raise ModelDamaged(f"{path}: not JSON; fetch it again") from None
