"""Checks an ONNX graph from a stranger before onnxruntime opens it: where its weights lie, and how large they are.

Every tensor is checked, wherever it is: among the weights, in a constant, in the branches of an If or the body of a
Loop, in a function. Its numbers must be in the graph or in the graph's `model.data`, and must be there in full, so that
onnxruntime allocates no more than the files hold. A part that this module does not know could hold a tensor too, so it
is refused.
"""

from __future__ import annotations

import math
import mmap
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import ModelDamaged
from model.onnx.protobuf import BYTES, VARINT, MessageBytes, iter_fields, iter_varints
from model.store import manifest
from model.store.regular_file import open_regular

MAX_PARTS = 1_000_000  # nodes, attributes, numbers of shapes: the largest GPT-2 has a third of this
MAX_DEPTH = 32  # of graphs in attributes of nodes of graphs, three levels each
MAX_DIMS = 16
MAX_ENTRY_BYTES = 4096  # of a key, or of a value
ENTRY_KEYS = {b"location", b"offset", b"length", b"checksum"}

# The numbers of fields in onnx.proto: which message lies in which field, and which other fields there are.
CHILDREN: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
}
OTHER_FIELDS: Mapping[str, frozenset[int]] = {
    "model": frozenset({1, 2, 3, 4, 5, 6, 8, 14, 26}),
    "graph": frozenset({2, 10, 11, 12, 13, 14, 16}),
    "node": frozenset({1, 2, 3, 4, 6, 7, 8, 9, 10}),
    "attribute": frozenset({1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 20, 21}),
    "function": frozenset({1, 4, 5, 6, 8, 9, 10, 12, 13, 14}),
    "training": frozenset({3, 4}),
}
# A second one of these would be merged with the first, after each was checked alone.
SINGLE = {("model", 7), ("attribute", 5), ("attribute", 6), ("training", 1), ("training", 2)}
# Of TensorProto:
DIMS, DATA_TYPE, RAW_DATA, NAME, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 9, 8, 13, 14
# Numbers that are stored one by one: of 4 and 8 bytes, texts, and numbers of at least one byte.
NUMBER_BYTES: Mapping[int, int] = {4: 4, 5: 1, 6: 0, 7: 1, 10: 8, 11: 1}
TENSOR_FIELDS = NUMBER_BYTES.keys() | {DIMS, DATA_TYPE, RAW_DATA, NAME, 12, EXTERNAL_DATA, DATA_LOCATION, 16}
BITS = {
    **{1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 8: 8, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128},
    **{16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2},
}


@dataclass(slots=True)
class GraphWeights:
    """The weights of a graph: the dimensions of each by its name, and the bytes of all numbers."""

    dims: dict[str, tuple[int, ...]] = field(default_factory=dict)
    total_bytes: int = 0


def check_graph(graph: Path | bytes) -> GraphWeights:
    """Checks a graph. One in memory may have no weights outside.

    Raises ModelDamaged. Returns no weights if there is no such file: onnxruntime reports that.
    """
    name = "the model" if isinstance(graph, bytes) else str(graph)
    try:
        if isinstance(graph, bytes):
            return _GraphChecker(graph, None).check()
        with open_regular(graph) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _GraphChecker(data, graph.with_name(manifest.DATA_FILE)).check()
    except FileNotFoundError:
        return GraphWeights()
    except OSError as error:
        raise ModelDamaged(f"{name}: {error.strerror}; fetch it again") from None
    except ModelDamaged as error:
        raise ModelDamaged(f"{name}: {error}; fetch it again") from None
    except (ValueError, IndexError) as error:
        raise ModelDamaged(f"{name}: not a whole ONNX file ({error}); fetch it again") from None


class _GraphChecker:
    """Walks through a graph, with a list instead of recursion."""

    def __init__(self, data: MessageBytes, data_file: Path | None) -> None:
        self._data, self._data_file = data, data_file
        self._data_file_size = -1  # not yet known
        self._weights, self._part_count = GraphWeights(), 0

    def check(self) -> GraphWeights:
        """Raises ModelDamaged, ValueError, IndexError."""
        todo = [("model", 0, len(self._data), 0)]
        while todo:
            message, start, end, depth = todo.pop()
            if depth > MAX_DEPTH * 3:
                raise ModelDamaged("its graphs are nested too deeply")
            seen: set[int] = set()
            for number, kind, field_start, field_end in iter_fields(self._data, start, end):
                self._count_part()
                child = CHILDREN[message].get(number)
                if child is None:
                    if number not in OTHER_FIELDS[message]:
                        raise ModelDamaged(f"it has a part that asr33 does not know (field {number} of a {message})")
                    continue
                if kind != BYTES:
                    raise ValueError(f"field {number} of a {message} is no message")
                if (message, number) in SINGLE and number in seen:
                    raise ValueError(f"field {number} of a {message} is there twice")
                seen.add(number)
                if child == "sparse":
                    raise ModelDamaged("it has a sparse tensor, which no model of asr33 has")
                if child == "tensor":
                    self._check_tensor(field_start, field_end, is_weight=message == "graph")
                else:
                    todo.append((child, field_start, field_end, depth + 1))
        return self._weights

    def _count_part(self) -> None:
        self._part_count += 1
        if self._part_count > MAX_PARTS:
            raise ModelDamaged("it has too many parts for a GPT-2")

    def _check_tensor(self, start: int, end: int, is_weight: bool) -> None:
        data = self._data
        dims: list[int] = []
        entries: list[tuple[int, int]] = []
        data_type, raw_bytes, listed_count, name, is_external = 0, 0, 0, "", False
        for number, kind, field_start, field_end in iter_fields(data, start, end):
            self._count_part()
            if number == DIMS:
                if kind not in (VARINT, BYTES):  # onnxruntime would overlook it
                    raise ValueError("a dimension that is no number")
                dims += [field_start] if kind == VARINT else iter_varints(data, field_start, field_end)
            elif number == DATA_TYPE and kind == VARINT:
                data_type = field_start
            elif number == DATA_LOCATION and kind == VARINT:
                is_external = field_start == 1
            elif number == EXTERNAL_DATA and kind == BYTES:
                entries.append((field_start, field_end))
            elif number == RAW_DATA and kind == BYTES:
                raw_bytes = field_end - field_start
            elif number == NAME and kind == BYTES:
                name = data[field_start : min(field_end, field_start + MAX_ENTRY_BYTES)].decode("utf-8", "replace")
            elif number in NUMBER_BYTES:
                size = NUMBER_BYTES[number] if kind == BYTES else 0
                listed_count += (field_end - field_start) // size if size else 1
            elif number not in TENSOR_FIELDS:
                raise ModelDamaged(f"a tensor has a part that asr33 does not know (field {number})")
            if len(dims) > MAX_DIMS:
                raise ModelDamaged(f"a tensor has over {MAX_DIMS} dimensions")
        external_bytes = self._external_bytes(entries) if entries or is_external else 0
        stored_bytes = external_bytes if is_external else raw_bytes
        self._require_numbers(name, dims, data_type, stored_bytes, 0 if is_external else listed_count)
        if is_weight:
            self._weights.dims[name] = tuple(dims)
        self._weights.total_bytes += stored_bytes + listed_count

    def _require_numbers(self, name: str, dims: list[int], data_type: int, stored_bytes: int, listed: int) -> None:
        """Raises ModelDamaged unless all numbers of the dimensions are there: stored in bytes, or listed one by one."""
        if data_type not in BITS:
            raise ModelDamaged(f"the tensor {name!r} has numbers of an unknown type ({data_type})")
        if any(dim > 1 << 62 for dim in dims):  # a negative number, in two's complement
            raise ModelDamaged(f"the tensor {name!r} has a negative dimension")
        bits = BITS[data_type]
        there = max(8 * stored_bytes // bits, listed * max(1, 8 // bits))  # one byte lists several short numbers
        if math.prod(dims) > there:
            sizes = " x ".join(map(str, dims)) or "one number"
            raise ModelDamaged(f"the tensor {name!r} is {sizes}, but has only {there:,} numbers")

    def _external_bytes(self, entries: list[tuple[int, int]]) -> int:
        """The number of bytes in the data file. Raises ModelDamaged if the file or the place is not allowed."""
        values: dict[bytes, bytes] = {}
        for start, end in entries:
            pair: dict[int, bytes] = {}
            for number, kind, field_start, field_end in iter_fields(self._data, start, end):
                if kind != BYTES or number not in (1, 2) or number in pair or field_end - field_start > MAX_ENTRY_BYTES:
                    raise ValueError("a place of weights that is no pair of texts")
                pair[number] = self._data[field_start:field_end]
            key = pair.get(1, b"")
            if key not in ENTRY_KEYS or key in values:
                raise ModelDamaged(f"a place of weights has the key {key[:80].decode('utf-8', 'replace')!r}")
            values[key] = pair.get(2, b"")
        location = values.get(b"location", b"").decode("utf-8", "replace")
        if self._data_file is None or location != self._data_file.name:
            raise ModelDamaged(f"has weights in {location!r}, not in itself or in {manifest.DATA_FILE}")
        offset, size = _parse_size(values.get(b"offset", b"0")), self._size_of_data_file()
        length = _parse_size(values[b"length"]) if b"length" in values else size - offset
        if not 0 <= offset <= offset + length <= size:
            raise ModelDamaged(f"has weights beyond the {size:,} bytes of {manifest.DATA_FILE}")
        return length

    def _size_of_data_file(self) -> int:
        """Raises ModelDamaged unless the file is a regular one in the graph's folder."""
        if self._data_file_size < 0:
            assert self._data_file
            try:
                status, folder = self._data_file.stat(), self._data_file.resolve().parent
                is_inside = folder == self._data_file.parent.resolve()
            except (OSError, RuntimeError) as error:
                problem = getattr(error, "strerror", "") or "a link that leads to itself"
                raise ModelDamaged(f"its {manifest.DATA_FILE}: {problem}") from None
            if not stat.S_ISREG(status.st_mode):
                raise ModelDamaged(f"its {manifest.DATA_FILE} is not a regular file")
            if not is_inside:
                raise ModelDamaged(f"its {manifest.DATA_FILE} is a link that leads out of its folder")
            self._data_file_size = status.st_size
        return self._data_file_size


def _parse_size(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise ModelDamaged(f"a place of weights has the number {text[:80].decode('utf-8', 'replace')!r}")
    return int(text)
