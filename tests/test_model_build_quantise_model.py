from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes_model import TINY, tiny_weights

from model.build import numpy_gpt2
from model.build.gpt2_weights import LINEAR_LAYERS, LM_HEAD, TOKEN_EMBEDDING, linear_names
from model.build.quantise import gptq, quantise_model, smoothquant
from model.build.quantise.quantise import Floats, quantise
from model.build.quantise.quantise_model import QuantConfig, QuantisedModel

WINDOWS = np.random.default_rng(2).integers(0, TINY.vocab_size, (6, 40))
FINE = QuantConfig(8, 16, head_block=16)


def weights_with_loud_channels() -> dict[str, Floats]:
    weights = tiny_weights()
    for norm in ("h.0.ln_1", "h.1.ln_2", "ln_f"):
        weights[f"{norm}.weight"] = weights[f"{norm}.weight"] * np.float32([50] + [1] * 31)
    return weights


def logits(model: QuantisedModel) -> Floats:
    """The logits of the quantised matrices with the smoothed weights, as a graph computes them."""
    weights = dict(model.weights)
    for name in linear_names(TINY):
        weights[name] = model.quantised[name].dequantise().T
    weights[TOKEN_EMBEDDING] = model.quantised[TOKEN_EMBEDDING].dequantise()
    hidden = numpy_gpt2.hidden_states(weights, TINY, WINDOWS, numpy_gpt2.plain_linear(weights))
    return hidden @ model.quantised[LM_HEAD].dequantise().T


def plain_logits(weights: dict[str, Floats], windows: numpy_gpt2.Windows = WINDOWS) -> Floats:
    hidden = numpy_gpt2.hidden_states(weights, TINY, windows, numpy_gpt2.plain_linear(weights))
    return numpy_gpt2.logits(weights, hidden)


def logit_error(model: QuantisedModel, weights: dict[str, Floats]) -> float:
    expected = plain_logits(weights)
    return float(np.abs(logits(model) - expected).mean() / expected.std())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("feed", [False, True])
def test_quantising_keeps_the_function_with_or_without_smoothing(share: float, feed: bool) -> None:
    weights = weights_with_loud_channels()
    model = quantise_model.quantise_model(weights, TINY, replace(FINE, smooth=share, feed=feed), WINDOWS)
    assert logit_error(model, weights) < 0.02


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_the_outputs_of_a_layer_are_not_scaled(share: float) -> None:
    weights = weights_with_loud_channels()
    quantiser = quantise_model._ModelQuantiser(weights, TINY, replace(FINE, smooth=share), None)
    rows = np.random.default_rng(6).standard_normal((200, 4 * TINY.n_embd)).astype(np.float32)
    for kind in LINEAR_LAYERS:
        name = f"h.0.{kind}"
        inputs = rows[:, : len(weights[f"{name}.weight"])]
        expected = numpy_gpt2.plain_linear(weights)(name, inputs)
        np.testing.assert_allclose(quantiser.apply_linear(name, inputs), expected, atol=0.05 * np.abs(expected).max())


def test_the_given_weights_are_not_changed() -> None:
    weights = weights_with_loud_channels()
    before = {name: value.copy() for name, value in weights.items()}
    quantise_model.quantise_model(weights, TINY, FINE, WINDOWS)
    assert all(np.array_equal(weights[name], before[name]) for name in before)


def test_smoothing_scales_down_a_loud_channel() -> None:
    weights = weights_with_loud_channels()
    smooth = quantise_model.quantise_model(weights, TINY, FINE, WINDOWS).weights
    for norm in ("h.0.ln_1", "h.1.ln_2", "ln_f"):
        assert np.abs(smooth[f"{norm}.weight"]).max() < 0.5 * np.abs(weights[f"{norm}.weight"]).max()
    plain = quantise_model.quantise_model(weights, TINY, replace(FINE, smooth=0), WINDOWS).weights
    assert all(np.array_equal(plain[name], weights[name]) for name in weights)


def test_the_same_text_gives_the_same_bytes() -> None:
    first, second = (quantise_model.quantise_model(tiny_weights(), TINY, FINE, WINDOWS) for _ in range(2))
    for name, matrix in first.quantised.items():
        assert np.array_equal(matrix.codes, second.quantised[name].codes)
        assert np.array_equal(matrix.scales, second.quantised[name].scales)


def test_progress_rises_to_the_total() -> None:
    progress: list[tuple[int, int]] = []
    quantise_model.quantise_model(tiny_weights(), TINY, FINE, WINDOWS, lambda *done: progress.append(done))
    shares = [done / total for done, total in progress]
    assert shares == sorted(set(shares))
    assert shares[-1] == 1
    assert len(shares) == len(linear_names(TINY)) + 1


def test_second_moments_are_summed_over_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)
    monkeypatch.setattr(quantise_model, "ROWS_AT_ONCE", 7)
    expected = rows.T.astype(np.float64) @ rows
    np.testing.assert_allclose(quantise_model._second_moments(rows), expected, rtol=1e-5, atol=1e-5)


def test_abs_max_counts_negative_values() -> None:
    assert smoothquant.abs_max(np.float32([[1, -5, 0], [2, 3, 0]])).tolist() == [2, 5, 0]


def test_alpha_is_the_share_of_the_range_that_moves_to_the_matrix() -> None:
    channels, matrix = np.float32([16, 1]), np.float32([[4, 1], [-1, 1]])
    assert smoothquant.smoothing_factors(channels, matrix, 1.0).tolist() == [16, 1]
    assert smoothquant.smoothing_factors(channels, matrix, 0.0).tolist() == [0.25, 1]
    assert smoothquant.smoothing_factors(channels, matrix, 0.5).tolist() == [2, 1]


def test_factors_of_a_silent_channel_are_finite() -> None:
    factors = smoothquant.smoothing_factors(np.zeros(2, np.float32), np.zeros((3, 2), np.float32), 0.7)
    assert np.isfinite(factors).all()
    assert (factors > 0).all()


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("h.3.attn.c_attn.weight", "h.3.ln_1"),
        ("h.11.mlp.c_fc.weight", "h.11.ln_2"),
        ("h.3.attn.c_proj.weight", None),
        ("h.3.mlp.c_proj.weight", None),
        (LM_HEAD, "ln_f"),
    ],
)
def test_only_layers_behind_a_norm_are_divided_there(name: str, norm: str | None) -> None:
    assert smoothquant.norm_before(name) == norm


def test_scaled_values_leave_queries_and_keys_alone() -> None:
    random = np.random.default_rng(3)
    matrix = quantise(random.standard_normal((12, 16)).astype(np.float32), 4, 16, asymmetric=True)
    bias, factors = np.ones(12, np.float32), np.float32([2, 4, 5, 8])
    scaled, scaled_bias = smoothquant.scale_values(matrix, bias, factors)
    whole = np.concatenate([np.ones(8, np.float32), factors])
    np.testing.assert_allclose(scaled.dequantise() * whole[:, None], matrix.dequantise(), rtol=1e-6)
    np.testing.assert_allclose(scaled_bias * whole, bias)


def test_attention_is_causal_and_stays_in_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_gpt2, "ROWS_AT_ONCE", 16)  # a window of 40 takes three parts, the last one shorter
    weights = tiny_weights()
    expected = plain_logits(weights).reshape(*WINDOWS.shape, -1)
    monkeypatch.undo()
    changed = WINDOWS.copy()
    changed[1:] = 0
    changed[0, 30:] = 5
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(plain_logits(weights, changed)[:30], expected[0, :30], atol=tolerance)


def moments_of(width: int) -> gptq.Moments:
    rows = np.random.default_rng(width).standard_normal((3 * width, width)) @ np.diag(np.linspace(0.1, 3, width))
    return np.asarray(rows.T @ rows, np.float64)


@pytest.mark.parametrize("panel", [7, 16, 48, 256])
def test_the_cholesky_factor_squared_is_the_damped_moments(panel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gptq, "PANEL_COLUMNS", panel)
    moments = moments_of(48)
    factor = gptq._upper_cholesky(moments.copy())
    assert np.array_equal(factor, np.triu(factor))
    damped = moments + gptq.DAMPING * np.diag(moments).mean() * np.eye(48)
    np.testing.assert_allclose(factor @ factor.T, damped, rtol=1e-4, atol=1e-4 * damped.max())


def gptq_by_definition(matrix: Floats, moments: gptq.Moments, bits: int) -> Floats:
    """GPTQ as in its paper: column by column, with an inverse, on the grids of whole rows."""
    width = len(moments)
    damped = moments + gptq.DAMPING * np.diag(moments).mean() * np.eye(width)
    forward = np.linalg.cholesky(np.linalg.inv(damped)).T
    importance = (1 / np.square(np.diag(forward))).astype(np.float32)
    grid = gptq.search_grid(matrix[:, None, :], bits, importance[None], asymmetric=False)
    remaining, result = matrix.astype(np.float64), np.empty_like(matrix)
    for at in range(width):
        result[:, at] = grid.decode(grid.encode(remaining[:, at, None, None].astype(np.float32)))[:, 0, 0]
        errors = (remaining[:, at] - result[:, at]) / forward[at, at]
        remaining -= np.outer(errors, forward[at] * (np.arange(width) > at))
    return result


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("strip", [1, 5, 16, 64])
def test_gptq_matches_the_algorithm_of_its_paper(bits: int, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gptq, "STRIP_COLUMNS", strip)
    monkeypatch.setattr(gptq, "ROWS_AT_ONCE", 7)
    matrix = np.random.default_rng(bits).standard_normal((20, 48)).astype(np.float32)
    quantised = gptq.gptq_quantise(matrix, moments_of(48), bits, 48, asymmetric=False)
    same = np.isclose(quantised.dequantise(), gptq_by_definition(matrix, moments_of(48), bits), atol=1e-5)
    assert same.mean() > 0.98  # a tie may move a code, and the codes after it


def test_the_grid_of_a_block_fits_its_compensated_columns() -> None:
    random = np.random.default_rng(9)
    matrix = random.standard_normal((12, 32)).astype(np.float32)
    moments, blocks = moments_of(32), []
    damped = moments + gptq.DAMPING * np.diag(moments).mean() * np.eye(32)
    original = gptq.search_grid
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gptq, "search_grid", lambda *args, **kwargs: blocks.append(args[0]) or original(*args, **kwargs))
        quantised = gptq.gptq_quantise(matrix, moments.copy(), 4, 16, asymmetric=True)
    errors = (matrix - quantised.dequantise())[:, :16]
    # The errors of the other columns that cost least.
    best = -np.linalg.solve(damped[16:, 16:], damped[16:, :16] @ errors.T).T
    np.testing.assert_allclose(blocks[1][:, 0], matrix[:, 16:] - best, atol=1e-4)
