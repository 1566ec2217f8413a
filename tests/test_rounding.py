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


def logits(near: QuantisedModel) -> Floats:
    """What the rounded matrices and the smoothed weights give together, as a graph would."""
    weights = dict(near.weights)
    for name in linear_names(TINY):
        weights[name] = near.quantised[name].dequantise().T
    weights[TOKEN_EMBEDDING] = near.quantised[TOKEN_EMBEDDING].dequantise()
    seen = numpy_gpt2.hidden_states(weights, TINY, WINDOWS, numpy_gpt2.plain_linear(weights))
    return seen @ near.quantised[LM_HEAD].dequantise().T


def plain_logits(weights: dict[str, Floats]) -> Floats:
    return numpy_gpt2.logits(
        weights, numpy_gpt2.hidden_states(weights, TINY, WINDOWS, numpy_gpt2.plain_linear(weights))
    )


def logit_error(near: QuantisedModel, weights: dict[str, Floats]) -> float:
    wanted = plain_logits(weights)
    return float(np.abs(logits(near) - wanted).mean() / wanted.std())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("feed", [False, True])
def test_smoothed_or_not_it_is_the_function_it_was(share: float, feed: bool) -> None:
    weights = weights_with_loud_channels()
    assert (
        logit_error(
            quantise_model.quantise_model(weights, TINY, replace(FINE, smooth=share, feed=feed), WINDOWS), weights
        )
        < 0.02
    )


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_what_goes_on_to_the_next_layer_is_as_loud_as_before(share: float) -> None:
    weights = weights_with_loud_channels()
    work = quantise_model._ModelQuantiser(weights, TINY, replace(FINE, smooth=share), None)
    rows = np.random.default_rng(6).standard_normal((200, 4 * TINY.n_embd)).astype(np.float32)
    for kind in LINEAR_LAYERS:
        name = f"h.0.{kind}"
        some = rows[:, : len(weights[f"{name}.weight"])]
        wanted = numpy_gpt2.plain_linear(weights)(name, some)
        np.testing.assert_allclose(work.apply_linear(name, some), wanted, atol=0.05 * np.abs(wanted).max())


def test_no_weight_given_is_changed() -> None:
    weights = weights_with_loud_channels()
    before = {name: value.copy() for name, value in weights.items()}
    quantise_model.quantise_model(weights, TINY, FINE, WINDOWS)
    assert all(np.array_equal(weights[name], before[name]) for name in before)


def test_a_loud_channel_is_quiet_after_smoothing_and_not_without() -> None:
    weights = weights_with_loud_channels()
    smooth = quantise_model.quantise_model(weights, TINY, FINE, WINDOWS).weights
    for norm in ("h.0.ln_1", "h.1.ln_2", "ln_f"):
        assert np.abs(smooth[f"{norm}.weight"]).max() < 0.5 * np.abs(weights[f"{norm}.weight"]).max()
    plain = quantise_model.quantise_model(weights, TINY, replace(FINE, smooth=0), WINDOWS).weights
    assert all(np.array_equal(plain[name], weights[name]) for name in weights)


def test_the_same_text_gives_the_same_bytes() -> None:
    first, second = (quantise_model.quantise_model(tiny_weights(), TINY, FINE, WINDOWS) for _ in range(2))
    for name, near in first.quantised.items():
        assert np.array_equal(near.codes, second.quantised[name].codes)
        assert np.array_equal(near.scales, second.quantised[name].scales)


def test_progress_goes_up_to_the_whole() -> None:
    heard: list[tuple[int, int]] = []
    quantise_model.quantise_model(tiny_weights(), TINY, FINE, WINDOWS, lambda done, whole: heard.append((done, whole)))
    shares = [done / whole for done, whole in heard]
    assert shares == sorted(set(shares))
    assert shares[-1] == 1
    assert len(shares) == len(linear_names(TINY)) + 1


def test_moments_of_many_rows_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)
    monkeypatch.setattr(quantise_model, "ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(
        quantise_model._second_moments(rows), rows.T.astype(np.float64) @ rows, rtol=1e-5, atol=1e-5
    )


def test_loudness_counts_what_is_below_zero_too() -> None:
    assert smoothquant.abs_max(np.float32([[1, -5, 0], [2, 3, 0]])).tolist() == [2, 5, 0]


def test_the_share_says_how_much_of_the_loudness_goes_to_the_matrix() -> None:
    channels, matrix = np.float32([16, 1]), np.float32([[4, 1], [-1, 1]])
    assert smoothquant.smoothing_factors(channels, matrix, 1.0).tolist() == [16, 1]
    assert smoothquant.smoothing_factors(channels, matrix, 0.0).tolist() == [0.25, 1]
    assert smoothquant.smoothing_factors(channels, matrix, 0.5).tolist() == [2, 1]


def test_a_channel_that_is_silent_is_left_finite() -> None:
    found = smoothquant.smoothing_factors(np.zeros(2, np.float32), np.zeros((3, 2), np.float32), 0.7)
    assert np.isfinite(found).all()
    assert (found > 0).all()


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
def test_only_what_a_norm_feeds_is_divided_there(name: str, norm: str | None) -> None:
    assert smoothquant.norm_before(name) == norm


def test_quiet_values_touch_neither_queries_nor_keys() -> None:
    random = np.random.default_rng(3)
    matrix = quantise(random.standard_normal((12, 16)).astype(np.float32), 4, 16, asymmetric=True)
    bias, by = np.ones(12, np.float32), np.float32([2, 4, 5, 8])
    quiet, less = smoothquant.scale_values(matrix, bias, by)
    whole = np.concatenate([np.ones(8, np.float32), by])
    np.testing.assert_allclose(quiet.dequantise() * whole[:, None], matrix.dequantise(), rtol=1e-6)
    np.testing.assert_allclose(less * whole, bias)


def test_a_window_sees_no_other_window_and_no_token_what_comes_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        numpy_gpt2, "ROWS_AT_ONCE", 16
    )  # so that a window of 40 is looked at in three parts, the last not whole
    weights = tiny_weights()
    every = plain_logits(weights).reshape(*WINDOWS.shape, -1)
    monkeypatch.undo()
    changed = WINDOWS.copy()
    changed[1:] = 0
    changed[0, 30:] = 5
    seen = numpy_gpt2.hidden_states(weights, TINY, changed, numpy_gpt2.plain_linear(weights))
    np.testing.assert_allclose(numpy_gpt2.logits(weights, seen)[:30], every[0, :30], atol=1e-4 * np.abs(every).max())


def moments_of(width: int) -> gptq.Moments:
    rows = np.random.default_rng(width).standard_normal((3 * width, width)) @ np.diag(np.linspace(0.1, 3, width))
    return np.asarray(rows.T @ rows, np.float64)


@pytest.mark.parametrize("panel", [7, 16, 48, 256])
def test_the_factor_times_itself_is_the_damped_moments(panel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gptq, "PANEL_COLUMNS", panel)
    moments = moments_of(48)
    factor = gptq._upper_cholesky(moments.copy())
    assert np.array_equal(factor, np.triu(factor))
    damped = moments + gptq.DAMPING * np.diag(moments).mean() * np.eye(48)
    np.testing.assert_allclose(factor @ factor.T, damped, rtol=1e-4, atol=1e-4 * damped.max())


def gptq_by_definition(matrix: Floats, moments: gptq.Moments, bits: int) -> Floats:
    """GPTQ as its paper has it, column by column and with an inverse, on the grids of whole rows."""
    width = len(moments)
    damped = moments + gptq.DAMPING * np.diag(moments).mean() * np.eye(width)
    forward = np.linalg.cholesky(np.linalg.inv(damped)).T
    importance = (1 / np.square(np.diag(forward))).astype(np.float32)
    grid = gptq.search_grid(matrix[:, None, :], bits, importance[None], asymmetric=False)
    left, near = matrix.astype(np.float64), np.empty_like(matrix)
    for at in range(width):
        near[:, at] = grid.decode(grid.encode(left[:, at, None, None].astype(np.float32)))[:, 0, 0]
        left -= np.outer((left[:, at] - near[:, at]) / forward[at, at], forward[at] * (np.arange(width) > at))
    return near


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("strip", [1, 5, 16, 64])
def test_looking_back_comes_to_what_the_paper_feeds_forward(
    bits: int, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gptq, "STRIP_COLUMNS", strip)
    monkeypatch.setattr(gptq, "ROWS_AT_ONCE", 7)
    matrix = np.random.default_rng(bits).standard_normal((20, 48)).astype(np.float32)
    near = gptq.gptq_quantise(matrix, moments_of(48), bits, 48, asymmetric=False)
    same = np.isclose(near.dequantise(), gptq_by_definition(matrix, moments_of(48), bits), atol=1e-5)
    assert same.mean() > 0.98  # a tie that falls the other way moves a code, and those after it


def test_the_grid_of_a_block_lies_where_its_columns_are_going() -> None:
    random = np.random.default_rng(9)
    matrix = random.standard_normal((12, 32)).astype(np.float32)
    moments, seen = moments_of(32), []
    damped = moments + gptq.DAMPING * np.diag(moments).mean() * np.eye(32)
    original = gptq.search_grid
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gptq, "search_grid", lambda *given, **kinds: seen.append(given[0]) or original(*given, **kinds))
        near = gptq.gptq_quantise(matrix, moments.copy(), 4, 16, asymmetric=True)
    off = (matrix - near.dequantise())[:, :16]
    best = -np.linalg.solve(damped[16:, 16:], damped[16:, :16] @ off.T).T  # the errors of the rest that cost least
    np.testing.assert_allclose(seen[1][:, 0], matrix[:, 16:] - best, atol=1e-4)
