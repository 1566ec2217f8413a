"""Our graph <-> its files: `model.onnx`, and `model.data` beside it with what fills a page.

With `model.build.graph` alone it knows `onnx`. A graph in one file, with its weights inside, is read too.
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

from model.onnx import external_data
from model.build import graph
from model.store import manifest
from model.interface import SHAPE_KEY, GPT2Config
from model.errors import ModelDamaged
from model.build.gpt2_weights import Weights, select_weights

QUANTISED_OPS = ("MatMulNBits", "MatMulIntegerToFloat")  # what multiplies by few bits


def write_graph(
    folder: Path,
    weights: Weights,
    shape: GPT2Config,
    store_as: graph.Precision = "float16",
    quantised: graph.QuantisedWeights | None = None,
    compute: graph.Precision = "float32",
    cache_scales: graph.CacheScales | None = None,
) -> None:
    """What `build` makes, in two files: what fills a page lies beside the graph, and none of it in memory."""
    with (folder / manifest.DATA_FILE).open("wb") as file:
        keep = partial(_externalise, external_data.ExternalDataWriter(file))
        serialised = graph.build_gpt2(weights, shape, store_as, quantised, keep, compute, cache_scales)
    (folder / manifest.GRAPH_FILE).write_bytes(serialised)


def read_weights(path: Path) -> tuple[dict[str, NDArray[np.float32]], GPT2Config]:
    """The weights of a file that `build` or `write` made, in float32. Raises ModelDamaged."""
    try:
        model = onnx.load(path, load_external_data=False)
        shape = GPT2Config(**json.loads({prop.key: prop.value for prop in model.metadata_props}[SHAPE_KEY]))
        _check_not_quantised(model, path)
        stored = {tensor.name: _read_tensor(tensor, path) for tensor in model.graph.initializer}
    except ModelDamaged:
        raise
    except (OSError, KeyError, ValueError, TypeError, OverflowError, onnx.checker.ValidationError) as error:
        raise ModelDamaged(f"{path}: not a model that asr33 made ({error})") from None
    except Exception as error:  # protobuf's DecodeError, whose home differs between its implementations
        raise ModelDamaged(f"{path}: not an ONNX file ({error})") from None
    return select_weights(stored, shape), shape


def _check_not_quantised(model: onnx.ModelProto, path: Path) -> None:
    if any(node.op_type in QUANTISED_OPS for node in model.graph.node):
        raise ModelDamaged(f"{path}: its weights are rounded to few bits; take the model that it was made from")


def _read_tensor(tensor: onnx.TensorProto, path: Path) -> NDArray[np.float32]:
    if tensor.data_location != TensorProto.EXTERNAL:
        inside: NDArray[np.float32] = numpy_helper.to_array(tensor).astype(np.float32)
        return inside
    told = {entry.key: entry.value for entry in tensor.external_data}
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.asarray(external_data.memmap_tensor(path, told, dtype, tuple(tensor.dims)), np.float32)


def _externalise(writer: external_data.ExternalDataWriter, value: NDArray[Any], name: str) -> onnx.TensorProto:
    if value.nbytes < external_data.PAGE_BYTES:
        return numpy_helper.from_array(value, name)
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    tensor = TensorProto(name=name, dims=value.shape, data_type=kind, data_location=TensorProto.EXTERNAL)
    for key, told in writer.write_array(value).items():
        tensor.external_data.add(key=key, value=told)
    return tensor
