"""Weights that lie beside a graph, in a file which onnxruntime maps instead of copying it.

It lays the file out, maps it back, and reads from a graph where that says its weights are; for this last it takes
the graph apart itself, since to load `onnx` takes longer than a small model. What a weight is it does not know.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelDamaged
from model.store import manifest

PAGE_BYTES = 4096  # only whole pages can be mapped; what is smaller than one is better off in the graph
# Of ModelProto, GraphProto, TensorProto, StringStringEntryProto: the numbers of their fields, by onnx.proto.
GRAPH_FIELD, INITIALIZER_FIELD, EXTERNAL_DATA_FIELD, KEY_FIELD, VALUE_FIELD = 7, 5, 13, 1, 2
MAX_STRING_BYTES = 4096  # of a key, or of a path

GraphBytes = bytes | mmap.mmap


class ExternalDataWriter:
    """The file as it is written: one array after the other, each from the beginning of a page."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0

    def write_array(self, array: NDArray[Any]) -> dict[str, str]:
        """Write an array; gives where, as ONNX tells it."""
        begin = -(-self._size // PAGE_BYTES) * PAGE_BYTES
        self._file.write(bytes(begin - self._size))
        self._file.write(np.ascontiguousarray(array).data)
        self._size = begin + array.nbytes
        return {"location": manifest.DATA_FILE, "offset": str(begin), "length": str(array.nbytes)}


def memmap_tensor(
    graph_path: Path, entry: Mapping[str, str], dtype: np.dtype[Any], dims: tuple[int, ...]
) -> NDArray[Any]:
    """An array beside the graph. It may be written to, in memory alone. Raises ValueError, KeyError and OSError."""
    if entry["location"] != manifest.DATA_FILE:
        raise ValueError(f"weights in {entry['location']!r}, not in {manifest.DATA_FILE}")
    array = np.memmap(graph_path.with_name(manifest.DATA_FILE), dtype, "c", int(entry.get("offset", 0)), dims)
    if int(entry.get("length", array.nbytes)) != array.nbytes:
        raise ValueError(f"{entry['length']} bytes for {list(dims)} of {dtype}")
    return np.asarray(array)


def check_external_data(graph: Path | bytes) -> None:
    """Raises ModelDamaged for a graph whose weights lie anywhere but in itself or, if it is a file, in `model.data`."""
    name, allowed = ("the model", set[str]()) if isinstance(graph, bytes) else (str(graph), {manifest.DATA_FILE})
    for place in external_files(graph):
        if place not in allowed:
            raise ModelDamaged(
                f"{name}: has weights in {place!r}, not in itself or in {manifest.DATA_FILE}; fetch it again"
            )


def external_files(graph: Path | bytes) -> set[str]:
    """Where the initializers are that are not in the graph; of what cannot be read as a graph, none."""
    try:
        if isinstance(graph, bytes):
            return set(_iter_external_files(graph))
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return set(_iter_external_files(data))
    except (OSError, ValueError, IndexError):
        return set()  # whoever runs it will find words for it


def _iter_external_files(data: GraphBytes) -> Iterator[str]:
    for in_model, *graph in _iter_message_fields(data, 0, len(data)):
        for in_graph, *tensor in _iter_message_fields(data, *graph) if in_model == GRAPH_FIELD else ():
            for in_tensor, *entry in _iter_message_fields(data, *tensor) if in_graph == INITIALIZER_FIELD else ():
                if in_tensor == EXTERNAL_DATA_FIELD:
                    told = {
                        number: data[at : min(end, at + MAX_STRING_BYTES)]
                        for number, at, end in _iter_message_fields(data, *entry)
                    }
                    if told.get(KEY_FIELD) == b"location":
                        yield told.get(VALUE_FIELD, b"").decode("utf-8", "replace")


def _iter_message_fields(data: GraphBytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that have a length: number, begin, end. Raises ValueError for what is no message."""
    while at < end:
        tag, at = _read_varint(data, at)
        match tag & 7:
            case 0:
                _, at = _read_varint(data, at)
            case 1:
                at += 8
            case 2:
                length, at = _read_varint(data, at)
                if at + length > end:
                    raise ValueError("a field that ends after its message")
                yield tag >> 3, at, at + length
                at += length
            case 5:
                at += 4
            case kind:
                raise ValueError(f"a field of kind {kind}")


def _read_varint(data: GraphBytes, at: int) -> tuple[int, int]:
    """A number, and where it ends. Seven bits a byte, the lowest first; the highest bit says that there are more."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at + shift // 7]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at + shift // 7 + 1
    raise ValueError("a number without end")
