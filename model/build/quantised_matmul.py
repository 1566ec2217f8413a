"""Rows times the matrices of a model, in whatever bits each of them has: the nodes for it.

It knows the layout of onnxruntime's operators for few bits, and not what the products are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from model.build.graph_builder import MICROSOFT_DOMAIN, GraphBuilder
from model.build.quantise.quantise import QuantisedMatrix
from model.build.gpt2_weights import TOKEN_EMBEDDING

QuantisedWeights = Mapping[str, QuantisedMatrix]

AFTER_GELU = "mlp.c_proj"  # the layer that multiplies what GELU gave
GELU_SHIFT = np.float32(0.1701)  # GELU never goes further below zero
EMBEDDING_NAME = "embedding"  # the rounded embedding, which is never multiplied by
INT8_ACCURACY_LEVEL = (
    4  # MatMulNBits' accuracy_level that rounds the activations too, block by block; 8 bit is slow without
)


class MatMulEmitter:
    """`rows` is what has as many entries as there are rows at this point of the graph."""

    def __init__(self, builder: GraphBuilder, quantised: QuantisedWeights) -> None:
        self._builder, self._quantised = builder, quantised
        self.row_source = "input_ids"

    def add_linear(self, name: str, x: str, output: str) -> str:
        """x through a layer; with the bias where that costs nothing, else the caller's next node adds it."""
        weight = f"{name}.weight"
        if (matrix := self._quantised.get(weight)) is None:
            return self._builder.add_node("MatMul", [x, self._builder.output_names[weight]], output)
        return self.add_quantised(
            matrix,
            weight,
            x,
            output,
            self._builder.output_names[f"{name}.bias"],
            is_after_gelu=name.endswith(AFTER_GELU),
        )

    def pending_bias(self, name: str) -> str:
        """The bias that `linear` did not add."""
        matrix = self._quantised.get(f"{name}.weight")
        return f"{name}.bias" if matrix is None or matrix.is_per_row else ""

    def add_quantised(
        self, matrix: QuantisedMatrix, weight: str, x: str, output: str, bias: str = "", *, is_after_gelu: bool = False
    ) -> str:
        """x through a rounded matrix; a bias only where its blocks are many."""
        if matrix.is_per_row:
            return self._add_row_matmul(matrix, weight, x, output, is_after_gelu=is_after_gelu)
        rows, width = matrix.codes.shape
        size = {
            "N": rows,
            "K": width,
            "bits": matrix.bits,
            "block_size": matrix.block,
            "accuracy_level": INT8_ACCURACY_LEVEL,
        }
        inputs = [x, *self._add_matrix(matrix, weight), "", bias]
        while not inputs[-1]:
            inputs.pop()
        return self._builder.add_node("MatMulNBits", inputs, output, domain=MICROSOFT_DOMAIN, **size)

    def add_embedding_lookup(self, table: QuantisedMatrix) -> str:
        """The rows of a rounded embedding."""
        data, scales, zeros = self._add_matrix(table, EMBEDDING_NAME)
        size = {"bits": table.bits, "block_size": table.block, "gather_axis": 0, "quantize_axis": 1}
        inputs = [data, "input_ids", scales] + ([zeros] if zeros else [])
        return self._builder.add_node("GatherBlockQuantized", inputs, "wte", domain=MICROSOFT_DOMAIN, **size)

    def _add_row_matmul(self, matrix: QuantisedMatrix, weight: str, x: str, output: str, *, is_after_gelu: bool) -> str:
        """One scale for each row of x and of the matrix: the fastest for many rows, and rows do not mix.

        The codes of x are unsigned around 128, since onnxruntime has no quick way to multiply signed by signed on x86;
        what GELU has bent is lifted above zero, where it has all 255 to itself, and the bias takes the lift back.
        """
        codes = (matrix.codes.astype(np.int16) - 128).astype(np.int8).T
        add, constant = self._builder.add_node, self._builder.add_constant
        stored = constant(weight, np.ascontiguousarray(codes))
        scales = constant(f"{weight}.scales", np.ascontiguousarray(matrix.scales[:, 0]))
        zeros = self._row_zero_points(is_after_gelu=is_after_gelu)
        size = x = add("Add", [x, "rows.lift"], f"{x}.lifted") if is_after_gelu else x
        if not is_after_gelu:
            size = add("Abs", [x], f"{x}.size")
        size = add("ReduceMax", [size, "rows.axis"], f"{x}.largest", keepdims=1)
        size = add("Mul", [size, "rows.step.bent" if is_after_gelu else "rows.step"], f"{x}.step")
        size = add("Max", [size, "rows.least"], f"{x}.scale")
        flat = add("Reshape", [size, "rows.axis"], f"{x}.scales")
        near = add("QuantizeLinear", [x, flat, zeros], f"{x}.codes", axis=1)
        sums = [near, stored, "rows.one", scales, "rows.zero.bent" if is_after_gelu else "rows.zero"]
        product = add("MatMulIntegerToFloat", sums, f"{output}.sums", domain=MICROSOFT_DOMAIN)
        return add("Mul", [product, size], output)

    def _row_zero_points(self, *, is_after_gelu: bool) -> str:
        """A zero point for each row that is still there, all alike."""
        names, name = self._builder.output_names, f"rows.zeros.{self.row_source}" + (".bent" if is_after_gelu else "")
        if name not in names:
            if "rows.axis" not in names:
                self._add_row_constants()
            count = self._builder.add_node("Shape", [self.row_source], f"{name}.count", start=1)
            names[name] = self._builder.add_node(
                "Expand", ["rows.zero.each" + (".bent" if is_after_gelu else ""), count], name
            )
        return names[name]

    def _add_row_constants(self) -> None:
        values: dict[str, Any] = {"axis": np.array([-1]), "least": np.float32(1e-12), "one": np.float32(1)}
        values |= {"lift": GELU_SHIFT, "step": np.float32(1 / 127), "step.bent": np.float32(1 / 255)}
        values |= {"zero": np.uint8(128), "zero.bent": np.uint8(0)}
        values |= {"zero.each": np.array([128], np.uint8), "zero.each.bent": np.array([0], np.uint8)}
        for name, value in values.items():
            self._builder.output_names[f"rows.{name}"] = self._builder.add_constant(f"rows.{name}", np.asarray(value))

    def _add_matrix(self, matrix: QuantisedMatrix, name: str) -> tuple[str, str, str]:
        """The names of its codes, scales and zero points."""
        codes = matrix.pack_codes()
        # GatherBlockQuantized reads rows, MatMulNBits blocks.
        self._builder.add_constant(name, codes.reshape(len(codes), -1) if name == EMBEDDING_NAME else codes)
        self._builder.add_constant(f"{name}.scales", matrix.scales)
        zeros = matrix.pack_zeros()
        return name, f"{name}.scales", "" if zeros is None else self._builder.add_constant(f"{name}.zeros", zeros)


def gelu_shifted_bias(quantised: QuantisedWeights, name: str, value: Any) -> Any:
    """A bias as it is stored: where its matrix takes what was lifted above zero, less what the lift adds."""
    bent = quantised.get(name.replace(".bias", ".weight"))
    if bent is not None and bent.is_per_row and name.endswith(f"{AFTER_GELU}.bias"):
        return value - GELU_SHIFT * bent.dequantise().sum(axis=1)
    return value


def is_replaced(quantised: QuantisedWeights, name: str, head: str) -> bool:
    """Whether a weight need not be stored, since a rounded one is taken in its place."""
    return name in quantised and (name != TOKEN_EMBEDDING or head in quantised)
