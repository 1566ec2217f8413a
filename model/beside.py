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

from model import manifest
from model.errors import ModelDamaged

PAGE = 4096  # only whole pages can be mapped; what is smaller than one is better off in the graph
# Of ModelProto, GraphProto, TensorProto, StringStringEntryProto: the numbers of their fields, by onnx.proto.
GRAPH, INITIALIZER, EXTERNAL_DATA, KEY, VALUE = 7, 5, 13, 1, 2
LONGEST = 4096  # of a key, or of a path

Data = bytes | mmap.mmap


class Pages:
    """The file as it is written: one array after the other, each from the beginning of a page."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = 0

    def put(self, array: NDArray[Any]) -> dict[str, str]:
        """Write an array; gives where, as ONNX tells it."""
        begin = -(-self._end // PAGE) * PAGE
        self._file.write(bytes(begin - self._end))
        self._file.write(np.ascontiguousarray(array).data)
        self._end = begin + array.nbytes
        return {"location": manifest.DATA, "offset": str(begin), "length": str(array.nbytes)}


def mapped(graph: Path, told: Mapping[str, str], dtype: np.dtype[Any], dims: tuple[int, ...]) -> NDArray[Any]:
    """An array beside the graph. It may be written to, in memory alone. Raises ValueError, KeyError and OSError."""
    if told["location"] != manifest.DATA:
        raise ValueError(f"weights in {told['location']!r}, not in {manifest.DATA}")
    array = np.memmap(graph.with_name(manifest.DATA), dtype, "c", int(told.get("offset", 0)), dims)
    if int(told.get("length", array.nbytes)) != array.nbytes:
        raise ValueError(f"{told['length']} bytes for {list(dims)} of {dtype}")
    return np.asarray(array)


def require_plain(graph: Path | bytes) -> None:
    """Raises ModelDamaged for a graph whose weights lie anywhere but in itself or, if it is a file, in `model.data`."""
    name, allowed = ("the model", set[str]()) if isinstance(graph, bytes) else (str(graph), {manifest.DATA})
    for place in locations(graph):
        if place not in allowed:
            raise ModelDamaged(f"{name}: has weights in {place!r}, not in itself or in {manifest.DATA}; fetch it again")


def locations(graph: Path | bytes) -> set[str]:
    """Where the initializers are that are not in the graph; of what cannot be read as a graph, none."""
    try:
        if isinstance(graph, bytes):
            return set(_locations(graph))
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return set(_locations(data))
    except (OSError, ValueError, IndexError):
        return set()  # whoever runs it will find words for it


def _locations(data: Data) -> Iterator[str]:
    for in_model, *graph in _messages(data, 0, len(data)):
        for in_graph, *tensor in _messages(data, *graph) if in_model == GRAPH else ():
            for in_tensor, *entry in _messages(data, *tensor) if in_graph == INITIALIZER else ():
                if in_tensor == EXTERNAL_DATA:
                    told = {number: data[at : min(end, at + LONGEST)] for number, at, end in _messages(data, *entry)}
                    if told.get(KEY) == b"location":
                        yield told.get(VALUE, b"").decode("utf-8", "replace")


def _messages(data: Data, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that have a length: number, begin, end. Raises ValueError for what is no message."""
    while at < end:
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint(data, at)
                if at + length > end:
                    raise ValueError("a field that ends after its message")
                yield tag >> 3, at, at + length
                at += length
            case 5:
                at += 4
            case kind:
                raise ValueError(f"a field of kind {kind}")


def _varint(data: Data, at: int) -> tuple[int, int]:
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
