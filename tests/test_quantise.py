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


def engine(
    node: onnx.NodeProto, initializers: dict[str, object], kind: int, size: list[object]
) -> ort.InferenceSession:
    stored = [numpy_helper.from_array(value, name) for name, value in initializers.items()]
    x = helper.make_tensor_value_info("x", kind, size)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", [x], [y], stored)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def parts(near: QuantisedMatrix, *, flat: bool = False) -> dict[str, object]:
    codes, zeros = near.pack_codes(), near.pack_zeros()
    stored: dict[str, object] = {"B": codes.reshape(len(codes), -1) if flat else codes, "scales": near.scales}
    return stored if zeros is None else stored | {"zeros": zeros}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_onnxruntime_multiplies_by_the_very_numbers_that_we_say(bits: int, asymmetric: bool, blocks: int) -> None:
    width = 32 * blocks
    near = quantise.quantise(matrix(bits, 24, width), bits, 32, asymmetric=asymmetric)
    names = ["x", *parts(near)]
    size = {"K": width, "N": 24, "bits": bits, "block_size": 32, "accuracy_level": 1}
    node = helper.make_node("MatMulNBits", names, ["y"], domain=MICROSOFT, **size)
    x = matrix(1, 5, width)
    (y,) = engine(node, parts(near), TensorProto.FLOAT, ["M", width]).run(None, {"x": x})
    wanted = x @ near.dequantise().T
    np.testing.assert_allclose(y, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_onnxruntime_looks_up_the_very_rows_that_we_say(bits: int, asymmetric: bool) -> None:
    near = quantise.quantise(matrix(bits, 20, 96), bits, 32, asymmetric=asymmetric)
    stored = parts(near, flat=True)
    names = ["B", "x", *list(stored)[1:]]
    size = {"bits": bits, "block_size": 32, "gather_axis": 0, "quantize_axis": 1}
    node = helper.make_node("GatherBlockQuantized", names, ["y"], domain=MICROSOFT, **size)
    rows = np.array([0, 19, 7], np.int64)
    (y,) = engine(node, stored, TensorProto.INT64, ["M"]).run(None, {"x": rows})
    np.testing.assert_allclose(y, near.dequantise()[rows], rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.booleans(), st.sampled_from([16, 32, 64]))
def test_no_weight_is_further_off_than_half_a_step(seed: int, bits: int, asymmetric: bool, block: int) -> None:
    weights = matrix(seed, 6, 128)
    near = quantise.quantise(weights, bits, block, asymmetric=asymmetric)
    step = np.repeat(np.abs(near.scales), block, axis=1)
    # Where 4 bits have no zero point, the far end is one step short of the range; a zero point may be half a step off.
    slack = 1.0 if bits == 4 or asymmetric else 0.5
    assert (np.abs(near.dequantise() - weights) <= slack * step * 1.001).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.booleans())
def test_a_searched_grid_is_never_worse_than_the_plain_one(seed: int, bits: int, asymmetric: bool) -> None:
    weights = matrix(seed, 4, 64)
    importance = np.random.default_rng(seed).uniform(0.01, 10, 64).astype(np.float32)
    plain = quantise.quantise(weights, bits, 32, asymmetric=asymmetric)
    searched = quantise.quantise(weights, bits, 32, asymmetric=asymmetric, importance=importance)
    errors = [(np.square(near.dequantise() - weights) * importance).sum() for near in (searched, plain)]
    assert errors[0] <= errors[1] * 1.00001


@pytest.mark.parametrize("asymmetric", [False, True])
def test_a_searched_grid_is_no_worse_than_any_narrower_one(asymmetric: bool) -> None:
    random = np.random.default_rng(8)
    blocks = random.standard_normal((60, 1, 32)).astype(np.float32)
    blocks[:, 0, 0] *= 3
    importance = np.ones((1, 32), np.float32)
    importance[0, 0] = 0.01

    def error(grid: quantise.QuantGrid) -> Floats:
        off = grid.decode(grid.encode(blocks)) - blocks
        return np.asarray((np.square(off) * importance).sum(axis=2))

    found = error(quantise.search_grid(blocks, 4, importance, asymmetric=asymmetric))
    narrower = []
    for below in (1, 0.9, 0.8, 0.7):
        for above in (1, 0.9, 0.8, 0.7) if asymmetric else (below,):
            ends = blocks * np.where(blocks < 0, np.float32(below), np.float32(above))
            narrower.append(error(quantise.min_max_grid(ends, 4, asymmetric=asymmetric)))
    assert (found <= np.min(narrower, axis=0) * 1.001).all()
    assert found.mean() < 0.8 * narrower[0].mean()


@pytest.mark.parametrize("asymmetric", [False, True])
def test_a_fitted_scale_is_the_best_for_its_codes_and_its_error_is_told(asymmetric: bool) -> None:
    random = np.random.default_rng(11)
    blocks = (random.standard_normal((9, 2, 16)) + 0.4).astype(np.float32)
    ears = random.uniform(0.2, 2, (2, 16)).astype(np.float32)
    grid = quantise.min_max_grid(blocks, 4, asymmetric=asymmetric)
    steps = grid.encode(blocks) - grid.zeros[..., None]
    fitted, told = quantise._fit_scales(grid, blocks, blocks * ears, ears)

    def error(scales: Floats) -> Floats:
        return np.asarray((np.square(steps * scales[..., None] - blocks) * np.square(ears)).sum(axis=2))

    np.testing.assert_allclose(told, error(fitted.scales), rtol=1e-3)
    for share in (0.98, 1.02):
        assert (error(fitted.scales * np.float32(share)) > told).all()
    assert (told <= error(grid.scales) * 1.0001).all()


@given(st.lists(st.integers(0, 15), min_size=1, max_size=9))
def test_two_codes_lie_in_a_byte_the_first_of_them_low(codes: list[int]) -> None:
    packed = quantise.pack_bits(np.array([codes], np.uint8), 4)[0]
    assert packed.dtype == np.uint8
    assert [half for byte in packed for half in (byte & 15, byte >> 4)][: len(codes)] == codes


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_zeros_stay_zeros_and_a_constant_block_stays_itself(bits: int, asymmetric: bool) -> None:
    weights = np.zeros((3, 64), np.float32)
    weights[1], weights[2] = 0.75, -0.75
    for importance in (None, np.ones(64, np.float32)):
        near = quantise.quantise(weights, bits, 32, asymmetric=asymmetric, importance=importance)
        np.testing.assert_allclose(near.dequantise(), weights, rtol=1e-5)


def test_many_rows_at_a_time_are_rounded_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = matrix(4, 50, 64)
    whole = quantise.quantise(weights, 4, 32, asymmetric=True)
    monkeypatch.setattr(quantise, "WEIGHTS_AT_ONCE", 64 * 7)
    piecewise = quantise.quantise(weights, 4, 32, asymmetric=True)
    assert np.array_equal(whole.codes, piecewise.codes)
    assert np.array_equal(whole.dequantise(), piecewise.dequantise())


@pytest.mark.parametrize(
    ("width", "wanted", "block"), [(256, 128, 128), (96, 128, 32), (768, 512, 256), (1600, 128, 64)]
)
def test_a_block_divides_the_width(width: int, wanted: int, block: int) -> None:
    assert quantise.largest_block(width, wanted) == block


def test_a_width_that_no_block_divides_has_none() -> None:
    assert quantise.largest_block(24, 32) == 0


def gptq_and_nearest_error(seed: int, bits: int, block: int, asymmetric: bool) -> tuple[float, float]:
    """The error of the products: fed forward, and rounded to the nearest."""
    random = np.random.default_rng(seed)
    rows = (random.standard_normal((400, 8)) @ random.standard_normal((8, 256))).astype(np.float32)
    rows += 0.3 * random.standard_normal(rows.shape).astype(np.float32)
    weights = matrix(seed, 40, 256)
    moments = rows.T.astype(np.float64) @ rows
    ahead = gptq.gptq_quantise(weights, moments, bits, block, asymmetric=asymmetric)
    nearest = quantise.quantise(weights, bits, block, asymmetric=asymmetric)
    first, second = (float(np.square(rows @ (near.dequantise() - weights).T).sum()) for near in (ahead, nearest))
    return first, second


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [32, 128, 256])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_products_come_out_nearer_when_errors_are_fed_forward(bits: int, block: int, asymmetric: bool) -> None:
    ahead, nearest = gptq_and_nearest_error(5, bits, block, asymmetric)
    assert ahead < 0.5 * nearest


def test_inputs_that_never_moved_do_no_harm() -> None:
    weights = matrix(6, 8, 64)
    moments = np.zeros((64, 64))
    moments[:32, :32] = np.eye(32)
    near = gptq.gptq_quantise(weights, moments, 8, 32, asymmetric=False)
    assert np.abs(near.dequantise() - weights).max() < 0.02 * np.abs(weights).max()
    nothing = gptq.gptq_quantise(weights, np.zeros((64, 64)), 8, 32, asymmetric=False)
    assert np.isfinite(nothing.dequantise()).all()
