"""Writes and reads a graph's files: `model.onnx`, and `model.data` with the tensors of a page and more.

It also reads a graph with its weights in one file.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.build import graph
from model.build.gpt2_weights import Weights, select_weights
from model.errors import ModelDamaged
from model.interface import SHAPE_KEY, GPT2Config
from model.onnx import external_data, graph_check
from model.store import manifest

QUANTISED_OPS = ("MatMulNBits", "MatMulIntegerToFloat")


def write_graph(
    folder: Path,
    weights: Weights,
    shape: GPT2Config,
    store_as: graph.Precision = "float16",
    quantised: graph.QuantisedWeights | None = None,
    compute: graph.Precision = "float32",
    cache_scales: graph.CacheScales | None = None,
) -> None:
    """Writes a model in two files (see `build_gpt2`). Tensors of a page and more are not kept in memory."""
    with (folder / manifest.DATA_FILE).open("wb") as file:
        make_tensor = partial(_externalise, external_data.ExternalDataWriter(file))
        serialised = graph.build_gpt2(weights, shape, store_as, quantised, make_tensor, compute, cache_scales)
    (folder / manifest.GRAPH_FILE).write_bytes(serialised)


def read_weights(path: Path) -> tuple[dict[str, NDArray[np.float32]], GPT2Config]:
    """Reads the weights of a float model of asr33, as float32. Raises ModelDamaged."""
    graph_check.check_graph(path)
    try:
        model = onnx.load(path, load_external_data=False)
        shape = GPT2Config(**json.loads({prop.key: prop.value for prop in model.metadata_props}[SHAPE_KEY]))
        if any(node.op_type in QUANTISED_OPS for node in model.graph.node):
            raise ModelDamaged(f"{path}: its weights are quantised; take the model that it was made from")
        stored = {tensor.name: _read_tensor(tensor, path) for tensor in model.graph.initializer}
    except ModelDamaged:
        raise
    except (OSError, KeyError, ValueError, TypeError, OverflowError, onnx.checker.ValidationError) as error:
        raise ModelDamaged(f"{path}: not a model that asr33 made ({error})") from None
    except Exception as error:  # protobuf's DecodeError: its module differs between implementations
        raise ModelDamaged(f"{path}: not an ONNX file ({error})") from None
    return select_weights(stored, shape), shape


def _read_tensor(tensor: onnx.TensorProto, path: Path) -> NDArray[np.float32]:
    if tensor.data_location != TensorProto.EXTERNAL:
        value: NDArray[np.float32] = numpy_helper.to_array(tensor).astype(np.float32)
        return value
    location = {entry.key: entry.value for entry in tensor.external_data}
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.asarray(external_data.memmap_tensor(path, location, dtype, tuple(tensor.dims)), np.float32)


def _externalise(writer: external_data.ExternalDataWriter, value: NDArray[Any], name: str) -> onnx.TensorProto:
    if value.nbytes < external_data.PAGE_BYTES:
        return numpy_helper.from_array(value, name)
    dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
    tensor = TensorProto(name=name, dims=value.shape, data_type=dtype, data_location=TensorProto.EXTERNAL)
    for key, text in writer.write_array(value).items():
        tensor.external_data.add(key=key, value=text)
    return tensor
