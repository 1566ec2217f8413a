"""Rows times the matrices of a model, in whatever bits each of them has: the nodes for it.

It knows the layout of onnxruntime's operators for few bits, and not what the products are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from model.nodes import MICROSOFT, Nodes
from model.quantise import Quantised
from model.weights import EMBEDDING

Packed = Mapping[str, Quantised]

BENT = "mlp.c_proj"  # the layer that multiplies what GELU gave
LIFT = np.float32(0.1701)  # GELU never goes further below zero
TABLE = "embedding"  # the rounded embedding, which is never multiplied by
INTEGERS = 4  # MatMulNBits' accuracy_level that rounds the activations too, block by block; 8 bit is slow without


class Products:
    """`rows` is what has as many entries as there are rows at this point of the graph."""

    def __init__(self, nodes: Nodes, packed: Packed) -> None:
        self._nodes, self._packed = nodes, packed
        self.rows = "input_ids"

    def linear(self, name: str, x: str, output: str) -> str:
        """x through a layer; with the bias where that costs nothing, else the caller's next node adds it."""
        weight = f"{name}.weight"
        if (matrix := self._packed.get(weight)) is None:
            return self._nodes.add("MatMul", [x, self._nodes.names[weight]], output)
        return self.rounded(matrix, weight, x, output, self._nodes.names[f"{name}.bias"], bent=name.endswith(BENT))

    def rest(self, name: str) -> str:
        """The bias that `linear` did not add."""
        matrix = self._packed.get(f"{name}.weight")
        return f"{name}.bias" if matrix is None or matrix.whole else ""

    def rounded(
        self, matrix: Quantised, weight: str, x: str, output: str, bias: str = "", *, bent: bool = False
    ) -> str:
        """x through a rounded matrix; a bias only where its blocks are many."""
        if matrix.whole:
            return self._multiply_rows(matrix, weight, x, output, bent=bent)
        rows, width = matrix.codes.shape
        size = {"N": rows, "K": width, "bits": matrix.bits, "block_size": matrix.block, "accuracy_level": INTEGERS}
        inputs = [x, *self._stored(matrix, weight), "", bias]
        while not inputs[-1]:
            inputs.pop()
        return self._nodes.add("MatMulNBits", inputs, output, domain=MICROSOFT, **size)

    def gathered(self, table: Quantised) -> str:
        """The rows of a rounded embedding."""
        data, scales, zeros = self._stored(table, TABLE)
        size = {"bits": table.bits, "block_size": table.block, "gather_axis": 0, "quantize_axis": 1}
        inputs = [data, "input_ids", scales] + ([zeros] if zeros else [])
        return self._nodes.add("GatherBlockQuantized", inputs, "wte", domain=MICROSOFT, **size)

    def _multiply_rows(self, matrix: Quantised, weight: str, x: str, output: str, *, bent: bool) -> str:
        """One scale for each row of x and of the matrix: the fastest for many rows, and rows do not mix.

        The codes of x are unsigned around 128, since onnxruntime has no quick way to multiply signed by signed on x86;
        what GELU has bent is lifted above zero, where it has all 255 to itself, and the bias takes the lift back.
        """
        codes = (matrix.codes.astype(np.int16) - 128).astype(np.int8).T
        add, constant = self._nodes.add, self._nodes.constant
        stored = constant(weight, np.ascontiguousarray(codes))
        scales = constant(f"{weight}.scales", np.ascontiguousarray(matrix.scales[:, 0]))
        zeros = self._zeros(bent=bent)
        size = x = add("Add", [x, "rows.lift"], f"{x}.lifted") if bent else x
        if not bent:
            size = add("Abs", [x], f"{x}.size")
        size = add("ReduceMax", [size, "rows.axis"], f"{x}.largest", keepdims=1)
        size = add("Mul", [size, "rows.step.bent" if bent else "rows.step"], f"{x}.step")
        size = add("Max", [size, "rows.least"], f"{x}.scale")
        flat = add("Reshape", [size, "rows.axis"], f"{x}.scales")
        near = add("QuantizeLinear", [x, flat, zeros], f"{x}.codes", axis=1)
        sums = [near, stored, "rows.one", scales, "rows.zero.bent" if bent else "rows.zero"]
        product = add("MatMulIntegerToFloat", sums, f"{output}.sums", domain=MICROSOFT)
        return add("Mul", [product, size], output)

    def _zeros(self, *, bent: bool) -> str:
        """A zero point for each row that is still there, all alike."""
        names, name = self._nodes.names, f"rows.zeros.{self.rows}" + (".bent" if bent else "")
        if name not in names:
            if "rows.axis" not in names:
                self._ready_for_rows()
            count = self._nodes.add("Shape", [self.rows], f"{name}.count", start=1)
            names[name] = self._nodes.add("Expand", ["rows.zero.each" + (".bent" if bent else ""), count], name)
        return names[name]

    def _ready_for_rows(self) -> None:
        values: dict[str, Any] = {"axis": np.array([-1]), "least": np.float32(1e-12), "one": np.float32(1)}
        values |= {"lift": LIFT, "step": np.float32(1 / 127), "step.bent": np.float32(1 / 255)}
        values |= {"zero": np.uint8(128), "zero.bent": np.uint8(0)}
        values |= {"zero.each": np.array([128], np.uint8), "zero.each.bent": np.array([0], np.uint8)}
        for name, value in values.items():
            self._nodes.names[f"rows.{name}"] = self._nodes.constant(f"rows.{name}", np.asarray(value))

    def _stored(self, matrix: Quantised, name: str) -> tuple[str, str, str]:
        """The names of its codes, scales and zero points."""
        codes = matrix.packed()
        # GatherBlockQuantized reads rows, MatMulNBits blocks.
        self._nodes.constant(name, codes.reshape(len(codes), -1) if name == TABLE else codes)
        self._nodes.constant(f"{name}.scales", matrix.scales)
        zeros = matrix.packed_zeros()
        return name, f"{name}.scales", "" if zeros is None else self._nodes.constant(f"{name}.zeros", zeros)


def lifted(packed: Packed, name: str, value: Any) -> Any:
    """A bias as it is stored: where its matrix takes what was lifted above zero, less what the lift adds."""
    bent = packed.get(name.replace(".bias", ".weight"))
    if bent is not None and bent.whole and name.endswith(f"{BENT}.bias"):
        return value - LIFT * bent.dequantised().sum(axis=1)
    return value


def left_out(packed: Packed, name: str, head: str) -> bool:
    """Whether a weight need not be stored, since a rounded one is taken in its place."""
    return name in packed and (name != EMBEDDING or head in packed)
