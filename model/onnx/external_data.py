"""ONNX external data: weights in a file beside the graph, which onnxruntime maps instead of copying.

This module writes the file and maps it. It does not know what the arrays mean. `graph_check` checks the references of
a graph to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from model.store import manifest

PAGE_BYTES = 4096  # only whole pages can be mapped; smaller weights stay in the graph


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
