"""The net, its head and Muon, compared with torch and with the exported graph."""

# ruff: noqa: E402  torch may be missing

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_model
import fakes_training as fakes
import torch.nn.functional as F

from model.errors import ModelDamaged
from model.interface import GPT2Config
from tools.train import export_onnx, gpt2, prepare
from tools.train.attention import attend
from tools.train.gpt2 import Gpt2
from tools.train.muon import Muon, choose_interval, orthogonalise


def tiny() -> Gpt2:
    net = fakes.tiny_net()
    with torch.no_grad():  # otherwise a graph without biases and norms would pass
        for value in net.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    return net


def test_the_chunked_head_is_cross_entropy_and_so_are_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt2, "HEAD_CHUNK_ROWS", 50)  # 4 x 31 rows: two whole chunks and a part
    net, ids = tiny(), torch.randint(300, (4, 32), generator=torch.Generator().manual_seed(1))
    net.loss(ids[:, :-1], ids[:, 1:]).backward()
    grads = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    expected = F.cross_entropy(net.logits(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    expected.backward()
    assert float(net.loss(ids[:, :-1], ids[:, 1:]).detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    assert set(grads) == {name for name, _ in net.named_parameters()}
    for name, p in net.named_parameters():
        torch.testing.assert_close(grads[name], p.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_attention_is_causal() -> None:
    net, ids = tiny(), torch.arange(40)[None]
    changed = ids.clone()
    changed[0, 30:] = 5
    with torch.no_grad():
        torch.testing.assert_close(net.logits(ids)[0, :30], net.logits(changed)[0, :30])


@pytest.mark.parametrize("length", [1, 31, 128, 129, 300])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.bfloat16, 0.03)])
def test_attention_in_blocks_and_its_gradient_match_torch(length: int, dtype: torch.dtype, tolerance: float) -> None:
    generator, heads, size = torch.Generator().manual_seed(length), 3, 16
    qkv = torch.randn(2, length, 3 * heads * size, generator=generator).to(dtype).requires_grad_()
    slope = torch.randn(2, length, heads * size, generator=generator).to(dtype)
    exact = qkv.detach().double().requires_grad_()
    q, k, v = exact.view(2, length, 3, heads, size).permute(2, 0, 3, 1, 4)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
    mixed = attend(qkv, heads)
    torch.testing.assert_close(mixed.double(), expected, rtol=tolerance, atol=tolerance)
    (grad,) = torch.autograd.grad(mixed, qkv, slope)
    (expected_grad,) = torch.autograd.grad(expected, exact, slope.double())
    assert float((grad.double() - expected_grad).norm() / expected_grad.norm()) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalise_brings_every_singular_value_near_one(dtype: torch.dtype) -> None:
    x = torch.randn(3, 24, 96, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonalise(x, 5, dtype).float())
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


def test_muon_makes_query_key_and_value_orthogonal_apart() -> None:
    joint = torch.nn.Parameter(torch.zeros(16, 48))
    joint.grad = torch.randn(16, 48, generator=torch.Generator().manual_seed(4))
    joint.grad[:, :16] *= 1000  # together, this gradient would dominate the step
    Muon([joint], lr=1.0).step()
    for part in joint.detach().chunk(3, dim=1):
        values = torch.linalg.svdvals(part)
        assert float(values.min()) > 0.5
        assert float(values.max()) < 1.3


def test_muon_treats_tall_and_wide_matrices_alike() -> None:
    grad = torch.randn(64, 16, generator=torch.Generator().manual_seed(5))
    tall, wide = torch.nn.Parameter(torch.zeros(64, 16)), torch.nn.Parameter(torch.zeros(16, 64))
    tall.grad, wide.grad = grad, grad.t().contiguous()
    Muon([tall], lr=1.0).step()
    Muon([wide], lr=1.0).step()
    torch.testing.assert_close(2 * tall.detach(), wide.detach().t())  # sqrt(outputs / inputs) is 2 for the wide one


def test_the_exported_graph_matches_torch(tmp_path: Path) -> None:
    windows = np.stack([fakes.make_token_row(65), fakes.make_token_row(65, seed=2)])
    onnx = export_onnx.write_onnx(tiny(), tmp_path)
    assert export_onnx.largest_difference(onnx, tiny(), windows, threads=1) < 1e-4


def test_a_graph_of_other_weights_is_refused(tmp_path: Path) -> None:
    windows = fakes.make_token_row(65)[None]
    onnx = export_onnx.write_onnx(tiny(), tmp_path)
    changed = tiny()
    with torch.no_grad():
        changed.get_parameter("h.1.mlp.c_proj.bias")[3] += 0.1
    assert export_onnx.largest_difference(onnx, changed, windows, threads=1) > export_onnx.TOLERANCE
    with fakes.raises("failed", match="nothing was written"):
        export_onnx.check_export(onnx, changed, windows, threads=1)
    export_onnx.check_export(onnx, tiny(), windows, threads=1)


def test_diverged_weights_are_not_exported(tmp_path: Path) -> None:
    net = tiny()
    with torch.no_grad():
        net.wpe.weight[0, 0] = 1e6
    with pytest.raises(ModelDamaged, match=r"wpe\.weight"):
        export_onnx.write_onnx(net, tmp_path)


def test_a_stored_model_is_read_as_a_base(tmp_path: Path) -> None:
    base = prepare.read_base(str(fakes_model.tiny_folder(tmp_path)))
    assert base.shape == fakes_model.TINY
    assert set(base.net.state_dict()) == set(fakes_model.tiny_weights())
    for name, value in fakes_model.tiny_weights().items():
        stored = value.astype(np.float16).astype(np.float32) if value.ndim > 1 else value
        assert np.array_equal(base.net.state_dict()[name].numpy(), stored), name
    assert all(p.requires_grad for p in base.net.parameters())


@pytest.mark.parametrize(
    ("shape", "tokens", "interval"),
    [
        (GPT2Config(8192, 512, 320, 6, 5), 16 * 512, 1),  # the embedded model
        (GPT2Config(50257, 1024, 768, 12, 12), 4 * 512, 4),  # GPT-2 124M, 4 sequences: Muon would be half of a step
        (GPT2Config(50257, 1024, 768, 12, 12), 32 * 512, 1),
    ],
)
def test_matrices_take_a_step_after_several_small_batches(shape: GPT2Config, tokens: int, interval: int) -> None:
    with torch.device("meta"):
        net = Gpt2(shape)
    matrices = [p for name, p in net.named_parameters() if name.startswith("h.") and p.ndim == 2]
    assert choose_interval(matrices, sum(p.numel() for p in net.parameters()), tokens) == interval


def test_a_step_that_is_not_due_changes_the_momentum_alone() -> None:
    weight = torch.nn.Parameter(torch.randn(8, 8))
    before = weight.detach().clone()
    muon = Muon([weight], lr=0.1)
    weight.grad = torch.randn(8, 8)
    muon.param_groups[0]["is_due"] = False
    muon.step()
    assert torch.equal(weight, before)
    assert muon.state[weight]["momentum"].abs().sum() > 0
    muon.param_groups[0]["is_due"] = True
    muon.step()
    assert not torch.equal(weight, before)
