"""ONNX external data: weights in a file beside the graph, which onnxruntime maps instead of copying.

This module writes the file, maps it, and lists the files that a graph refers to. It parses the graph itself, because
importing `onnx` takes longer than loading a small model. It does not know what the arrays mean.
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

PAGE_BYTES = 4096  # only whole pages can be mapped; smaller weights stay in the graph
# Field numbers in onnx.proto, of ModelProto, GraphProto, TensorProto and StringStringEntryProto (key and value).
GRAPH_FIELD, INITIALIZER_FIELD, EXTERNAL_DATA_FIELD, KEY_FIELD, VALUE_FIELD = 7, 5, 13, 1, 2
MAX_STRING_BYTES = 4096  # of a key, or of a value

GraphBytes = bytes | mmap.mmap


class ExternalDataWriter:
    """Writes arrays one after the other, each at the beginning of a page."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0

    def write_array(self, array: NDArray[Any]) -> dict[str, str]:
        """Appends an array; returns its `external_data` entry."""
        begin = -(-self._size // PAGE_BYTES) * PAGE_BYTES
        self._file.write(bytes(begin - self._size))
        self._file.write(np.ascontiguousarray(array).data)
        self._size = begin + array.nbytes
        return {"location": manifest.DATA_FILE, "offset": str(begin), "length": str(array.nbytes)}


def memmap_tensor(
    graph_path: Path, entry: Mapping[str, str], dtype: np.dtype[Any], dims: tuple[int, ...]
) -> NDArray[Any]:
    """Maps an array copy-on-write: writing changes only memory. Raises ValueError, KeyError and OSError."""
    if entry["location"] != manifest.DATA_FILE:
        raise ValueError(f"weights in {entry['location']!r}, not in {manifest.DATA_FILE}")
    array = np.memmap(graph_path.with_name(manifest.DATA_FILE), dtype, "c", int(entry.get("offset", 0)), dims)
    if int(entry.get("length", array.nbytes)) != array.nbytes:
        raise ValueError(f"{entry['length']} bytes for {list(dims)} of {dtype}")
    return np.asarray(array)


def check_external_data(graph: Path | bytes) -> None:
    """Raises ModelDamaged if a graph refers to another file than its `model.data`; in memory, to any file."""
    name, allowed = ("the model", set[str]()) if isinstance(graph, bytes) else (str(graph), {manifest.DATA_FILE})
    for path in external_files(graph) - allowed:
        places = f"in {path!r}, not in itself or in {manifest.DATA_FILE}"
        raise ModelDamaged(f"{name}: has weights {places}; fetch it again")


def external_files(graph: Path | bytes) -> set[str]:
    """The files with weights outside the graph; none if the file is not a graph."""
    try:
        if isinstance(graph, bytes):
            return set(_iter_external_files(graph))
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return set(_iter_external_files(data))
    except (OSError, ValueError, IndexError):
        return set()  # loading the graph will report the error


def _iter_external_files(data: GraphBytes) -> Iterator[str]:
    for in_model, *graph in _iter_message_fields(data, 0, len(data)):
        for in_graph, *tensor in _iter_message_fields(data, *graph) if in_model == GRAPH_FIELD else ():
            for in_tensor, *entry in _iter_message_fields(data, *tensor) if in_graph == INITIALIZER_FIELD else ():
                if in_tensor == EXTERNAL_DATA_FIELD:
                    pair = {
                        number: data[start : min(end, start + MAX_STRING_BYTES)]
                        for number, start, end in _iter_message_fields(data, *entry)
                    }
                    if pair.get(KEY_FIELD) == b"location":
                        yield pair.get(VALUE_FIELD, b"").decode("utf-8", "replace")


def _iter_message_fields(data: GraphBytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields (number, start, end) of the length-delimited fields. Raises ValueError if it is not a message."""
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
    """A number and the index behind it. Each byte has seven bits, lowest first, and a flag that more bytes follow."""
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
