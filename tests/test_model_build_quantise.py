from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from model.build.quantise import gptq, quantise
from model.build.quantise.quantise import Floats, QuantisedMatrix

MICROSOFT = "com.microsoft"


def matrix(seed: int, rows: int, width: int) -> Floats:
    random = np.random.default_rng(seed)
    return (random.standard_normal((rows, width)) * random.uniform(0.01, 3, (rows, 1))).astype(np.float32)


def session_of(
    node: onnx.NodeProto, initializers: dict[str, object], dtype: int, size: list[object]
) -> ort.InferenceSession:
    stored = [numpy_helper.from_array(value, name) for name, value in initializers.items()]
    x = helper.make_tensor_value_info("x", dtype, size)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", [x], [y], stored)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def tensors_of(quantised: QuantisedMatrix, *, flat: bool = False) -> dict[str, object]:
    codes, zeros = quantised.pack_codes(), quantised.pack_zeros()
    stored: dict[str, object] = {"B": codes.reshape(len(codes), -1) if flat else codes, "scales": quantised.scales}
    return stored if zeros is None else stored | {"zeros": zeros}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_onnxruntime_multiplies_by_the_dequantised_numbers(bits: int, asymmetric: bool, blocks: int) -> None:
    width = 32 * blocks
    quantised = quantise.quantise(matrix(bits, 24, width), bits, 32, asymmetric=asymmetric)
    names = ["x", *tensors_of(quantised)]
    size = {"K": width, "N": 24, "bits": bits, "block_size": 32, "accuracy_level": 1}
    node = helper.make_node("MatMulNBits", names, ["y"], domain=MICROSOFT, **size)
    x = matrix(1, 5, width)
    (y,) = session_of(node, tensors_of(quantised), TensorProto.FLOAT, ["M", width]).run(None, {"x": x})
    expected = x @ quantised.dequantise().T
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_onnxruntime_looks_up_the_dequantised_rows(bits: int, asymmetric: bool) -> None:
    quantised = quantise.quantise(matrix(bits, 20, 96), bits, 32, asymmetric=asymmetric)
    stored = tensors_of(quantised, flat=True)
    names = ["B", "x", *list(stored)[1:]]
    size = {"bits": bits, "block_size": 32, "gather_axis": 0, "quantize_axis": 1}
    node = helper.make_node("GatherBlockQuantized", names, ["y"], domain=MICROSOFT, **size)
    rows = np.array([0, 19, 7], np.int64)
    (y,) = session_of(node, stored, TensorProto.INT64, ["M"]).run(None, {"x": rows})
    np.testing.assert_allclose(y, quantised.dequantise()[rows], rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.booleans(), st.sampled_from([16, 32, 64]))
def test_no_weight_is_off_by_more_than_half_a_step(seed: int, bits: int, asymmetric: bool, block: int) -> None:
    weights = matrix(seed, 6, 128)
    quantised = quantise.quantise(weights, bits, block, asymmetric=asymmetric)
    step = np.repeat(np.abs(quantised.scales), block, axis=1)
    # Without a zero point, the range of 4 bits is one step short at one end. A zero point may be off by half a step.
    slack = 1.0 if bits == 4 or asymmetric else 0.5
    assert (np.abs(quantised.dequantise() - weights) <= slack * step * 1.001).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.booleans())
def test_a_searched_grid_is_never_worse_than_the_min_max_grid(seed: int, bits: int, asymmetric: bool) -> None:
    weights = matrix(seed, 4, 64)
    importance = np.random.default_rng(seed).uniform(0.01, 10, 64).astype(np.float32)
    plain = quantise.quantise(weights, bits, 32, asymmetric=asymmetric)
    searched = quantise.quantise(weights, bits, 32, asymmetric=asymmetric, importance=importance)
    errors = [(np.square(quantised.dequantise() - weights) * importance).sum() for quantised in (searched, plain)]
    assert errors[0] <= errors[1] * 1.00001


@pytest.mark.parametrize("asymmetric", [False, True])
def test_a_searched_grid_is_no_worse_than_any_narrower_one(asymmetric: bool) -> None:
    random = np.random.default_rng(8)
    blocks = random.standard_normal((60, 1, 32)).astype(np.float32)
    blocks[:, 0, 0] *= 3
    importance = np.ones((1, 32), np.float32)
    importance[0, 0] = 0.01

    def error(grid: quantise.QuantGrid) -> Floats:
        difference = grid.decode(grid.encode(blocks)) - blocks
        return np.asarray((np.square(difference) * importance).sum(axis=2))

    searched = error(quantise.search_grid(blocks, 4, importance, asymmetric=asymmetric))
    narrower = []
    for below in (1, 0.9, 0.8, 0.7):
        for above in (1, 0.9, 0.8, 0.7) if asymmetric else (below,):
            ends = blocks * np.where(blocks < 0, np.float32(below), np.float32(above))
            narrower.append(error(quantise.min_max_grid(ends, 4, asymmetric=asymmetric)))
    assert (searched <= np.min(narrower, axis=0) * 1.001).all()
    assert searched.mean() < 0.8 * narrower[0].mean()


@pytest.mark.parametrize("asymmetric", [False, True])
def test_a_fitted_scale_is_the_best_for_its_codes_and_its_error_is_returned(asymmetric: bool) -> None:
    random = np.random.default_rng(11)
    blocks = (random.standard_normal((9, 2, 16)) + 0.4).astype(np.float32)
    sqrt_importance = random.uniform(0.2, 2, (2, 16)).astype(np.float32)
    grid = quantise.min_max_grid(blocks, 4, asymmetric=asymmetric)
    steps = grid.encode(blocks) - grid.zeros[..., None]
    fitted, fitted_error = quantise._fit_scales(grid, blocks, blocks * sqrt_importance, sqrt_importance)

    def error(scales: Floats) -> Floats:
        return np.asarray((np.square(steps * scales[..., None] - blocks) * np.square(sqrt_importance)).sum(axis=2))

    np.testing.assert_allclose(fitted_error, error(fitted.scales), rtol=1e-3)
    for share in (0.98, 1.02):
        assert (error(fitted.scales * np.float32(share)) > fitted_error).all()
    assert (fitted_error <= error(grid.scales) * 1.0001).all()


@given(st.lists(st.integers(0, 15), min_size=1, max_size=9))
def test_a_byte_holds_two_codes_the_first_one_low(codes: list[int]) -> None:
    packed = quantise.pack_bits(np.array([codes], np.uint8), 4)[0]
    assert packed.dtype == np.uint8
    assert [half for byte in packed for half in (byte & 15, byte >> 4)][: len(codes)] == codes


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_zeros_and_constant_blocks_are_exact(bits: int, asymmetric: bool) -> None:
    weights = np.zeros((3, 64), np.float32)
    weights[1], weights[2] = 0.75, -0.75
    for importance in (None, np.ones(64, np.float32)):
        quantised = quantise.quantise(weights, bits, 32, asymmetric=asymmetric, importance=importance)
        np.testing.assert_allclose(quantised.dequantise(), weights, rtol=1e-5)


def test_rows_are_rounded_alike_in_one_part_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = matrix(4, 50, 64)
    whole = quantise.quantise(weights, 4, 32, asymmetric=True)
    monkeypatch.setattr(quantise, "WEIGHTS_AT_ONCE", 64 * 7)
    piecewise = quantise.quantise(weights, 4, 32, asymmetric=True)
    assert np.array_equal(whole.codes, piecewise.codes)
    assert np.array_equal(whole.dequantise(), piecewise.dequantise())


@pytest.mark.parametrize(
    ("width", "limit", "block"), [(256, 128, 128), (96, 128, 32), (768, 512, 256), (1600, 128, 64)]
)
def test_the_largest_block_divides_the_width(width: int, limit: int, block: int) -> None:
    assert quantise.largest_block(width, limit) == block


def test_a_width_that_no_block_divides_has_no_block() -> None:
    assert quantise.largest_block(24, 32) == 0


def gptq_and_nearest_error(seed: int, bits: int, block: int, asymmetric: bool) -> tuple[float, float]:
    """The errors of the products with GPTQ and with rounding to the nearest."""
    random = np.random.default_rng(seed)
    rows = (random.standard_normal((400, 8)) @ random.standard_normal((8, 256))).astype(np.float32)
    rows += 0.3 * random.standard_normal(rows.shape).astype(np.float32)
    weights = matrix(seed, 40, 256)
    moments = rows.T.astype(np.float64) @ rows
    by_gptq = gptq.gptq_quantise(weights, moments, bits, block, asymmetric=asymmetric)
    nearest = quantise.quantise(weights, bits, block, asymmetric=asymmetric)
    errors = [np.square(rows @ (result.dequantise() - weights).T).sum() for result in (by_gptq, nearest)]
    return float(errors[0]), float(errors[1])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [32, 128, 256])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_gptq_halves_the_error_of_the_products(bits: int, block: int, asymmetric: bool) -> None:
    by_gptq, nearest = gptq_and_nearest_error(5, bits, block, asymmetric)
    assert by_gptq < 0.5 * nearest


def test_gptq_stays_finite_with_unused_inputs() -> None:
    weights = matrix(6, 8, 64)
    moments = np.zeros((64, 64))
    moments[:32, :32] = np.eye(32)
    quantised = gptq.gptq_quantise(weights, moments, 8, 32, asymmetric=False)
    assert np.abs(quantised.dequantise() - weights).max() < 0.02 * np.abs(weights).max()
    unused = gptq.gptq_quantise(weights, np.zeros((64, 64)), 8, 32, asymmetric=False)
    assert np.isfinite(unused.dequantise()).all()
