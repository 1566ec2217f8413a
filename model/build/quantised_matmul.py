"""Emits the graph nodes for a matrix product, for float matrices and for quantised ones.

It knows the operators of onnxruntime for quantised matrices. It does not know what a product is used for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from model.build.gpt2_weights import LM_HEAD, TOKEN_EMBEDDING
from model.build.graph_builder import MICROSOFT_DOMAIN, GraphBuilder
from model.build.quantise.quantise import QuantisedMatrix

QuantisedWeights = Mapping[str, QuantisedMatrix]

AFTER_GELU = "mlp.c_proj"  # the layer whose input is the output of GELU
GELU_SHIFT = np.float32(0.1701)  # GELU is never below minus this
EMBEDDING_NAME = "embedding"  # the quantised token embedding, which is only looked up
INT8_ACCURACY_LEVEL = 4  # of MatMulNBits: quantise the activations too, block by block; 8 bits are slow without it


class MatMulEmitter:
    """Adds products to a graph. `row_source` names a value with one entry for each row at this point of the graph."""

    def __init__(self, builder: GraphBuilder, quantised: QuantisedWeights) -> None:
        self._builder, self._quantised = builder, quantised
        self.row_source = "input_ids"

    def add_linear(self, name: str, x: str, output: str) -> str:
        """Adds x times a layer's matrix, plus the bias if the operator adds it for free (see `pending_bias`)."""
        weight, names = f"{name}.weight", self._builder.output_names
        if (matrix := self._quantised.get(weight)) is None:
            return self._builder.add_node("MatMul", [x, names[weight]], output)
        bias, is_after_gelu = names[f"{name}.bias"], name.endswith(AFTER_GELU)
        return self.add_quantised(matrix, weight, x, output, bias, is_after_gelu=is_after_gelu)

    def pending_bias(self, name: str) -> str:
        """The name of the bias that `add_linear` did not add, or an empty string."""
        matrix = self._quantised.get(f"{name}.weight")
        return f"{name}.bias" if matrix is None or matrix.is_per_row else ""

    def add_quantised(
        self, matrix: QuantisedMatrix, weight: str, x: str, output: str, bias: str = "", *, is_after_gelu: bool = False
    ) -> str:
        """Adds x times a quantised matrix. The bias is added only if the matrix has several blocks a row."""
        if matrix.is_per_row:
            return self._add_row_matmul(matrix, weight, x, output, is_after_gelu=is_after_gelu)
        rows, width = matrix.codes.shape
        size = {"N": rows, "K": width, "bits": matrix.bits, "block_size": matrix.block}
        inputs = [x, *self._add_matrix(matrix, weight), "", bias]
        while not inputs[-1]:
            inputs.pop()
        return self._builder.add_node(
            "MatMulNBits", inputs, output, domain=MICROSOFT_DOMAIN, **size, accuracy_level=INT8_ACCURACY_LEVEL
        )

    def add_embedding_lookup(self, table: QuantisedMatrix) -> str:
        """Adds the rows of a quantised embedding at `input_ids`."""
        data, scales, zeros = self._add_matrix(table, EMBEDDING_NAME)
        size = {"bits": table.bits, "block_size": table.block, "gather_axis": 0, "quantize_axis": 1}
        inputs = [data, "input_ids", scales] + ([zeros] if zeros else [])
        return self._builder.add_node("GatherBlockQuantized", inputs, "wte", domain=MICROSOFT_DOMAIN, **size)

    def _add_row_matmul(self, matrix: QuantisedMatrix, weight: str, x: str, output: str, *, is_after_gelu: bool) -> str:
        """A product with one scale for each row of x and of the matrix: the fastest for many rows.

        The codes of x are unsigned, around 128: onnxruntime is slow at signed times signed on x86. After GELU the
        values are at least -0.17, so they are shifted to use 0 to 255; `gelu_shifted_bias` corrects the bias.
        """
        codes = (matrix.codes.astype(np.int16) - 128).astype(np.int8).T
        add, constant = self._builder.add_node, self._builder.add_constant
        stored = constant(weight, np.ascontiguousarray(codes))
        scales = constant(f"{weight}.scales", np.ascontiguousarray(matrix.scales[:, 0]))
        zeros = self._row_zero_points(is_after_gelu=is_after_gelu)
        if is_after_gelu:
            size = x = add("Add", [x, "rows.lift"], f"{x}.lifted")
        else:
            size = add("Abs", [x], f"{x}.size")
        size = add("ReduceMax", [size, "rows.axis"], f"{x}.largest", keepdims=1)
        size = add("Mul", [size, "rows.step.bent" if is_after_gelu else "rows.step"], f"{x}.step")
        size = add("Max", [size, "rows.least"], f"{x}.scale")
        flat = add("Reshape", [size, "rows.axis"], f"{x}.scales")
        rounded = add("QuantizeLinear", [x, flat, zeros], f"{x}.codes", axis=1)
        factors = [rounded, stored, "rows.one", scales, "rows.zero.bent" if is_after_gelu else "rows.zero"]
        product = add("MatMulIntegerToFloat", factors, f"{output}.sums", domain=MICROSOFT_DOMAIN)
        return add("Mul", [product, size], output)

    def _row_zero_points(self, *, is_after_gelu: bool) -> str:
        """The equal zero points of the rows at this point of the graph."""
        ending = ".bent" if is_after_gelu else ""
        names, name = self._builder.output_names, f"rows.zeros.{self.row_source}{ending}"
        if name not in names:
            if "rows.axis" not in names:
                self._add_row_constants()
            count = self._builder.add_node("Shape", [self.row_source], f"{name}.count", start=1)
            names[name] = self._builder.add_node("Expand", [f"rows.zero.each{ending}", count], name)
        return names[name]

    def _add_row_constants(self) -> None:
        values: dict[str, Any] = {"axis": np.array([-1]), "least": np.float32(1e-12), "one": np.float32(1)}
        values |= {"lift": GELU_SHIFT, "step": np.float32(1 / 127), "step.bent": np.float32(1 / 255)}
        values |= {"zero": np.uint8(128), "zero.bent": np.uint8(0)}
        values |= {"zero.each": np.array([128], np.uint8), "zero.each.bent": np.array([0], np.uint8)}
        for name, value in values.items():
            self._builder.output_names[f"rows.{name}"] = self._builder.add_constant(f"rows.{name}", np.asarray(value))

    def _add_matrix(self, matrix: QuantisedMatrix, name: str) -> tuple[str, str, str]:
        """Stores a matrix; returns the names of its codes, scales and zero points."""
        codes = matrix.pack_codes()
        # GatherBlockQuantized reads rows, MatMulNBits reads blocks.
        self._builder.add_constant(name, codes.reshape(len(codes), -1) if name == EMBEDDING_NAME else codes)
        self._builder.add_constant(f"{name}.scales", matrix.scales)
        zeros = matrix.pack_zeros()
        return name, f"{name}.scales", "" if zeros is None else self._builder.add_constant(f"{name}.zeros", zeros)


def gelu_shifted_bias(quantised: QuantisedWeights, name: str, value: Any) -> Any:
    """The bias to store. If the inputs of its matrix are shifted, the contribution of GELU_SHIFT is subtracted."""
    matrix = quantised.get(name.replace(".bias", ".weight"))
    if matrix is not None and matrix.is_per_row and name.endswith(f"{AFTER_GELU}.bias"):
        return value - GELU_SHIFT * matrix.dequantise().sum(axis=1)
    return value


def is_replaced(quantised: QuantisedWeights, name: str) -> bool:
    """Whether a float weight need not be stored, because the graph uses a quantised one."""
    return name in quantised and (name != TOKEN_EMBEDDING or LM_HEAD in quantised)
