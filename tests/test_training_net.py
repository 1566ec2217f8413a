"""The net, its head and Muon, against torch's own and against the graph that runs."""

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
from tools.train import base_model, export_onnx
from tools.train import gpt2 as nets
from tools.train.errors import RunHalted
from tools.train.gpt2 import Gpt2
from tools.train.muon import Muon, orthogonalise


def tiny(seed: int = 3) -> Gpt2:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = Gpt2(fakes.SHAPE)
    with torch.no_grad():  # biases and norms that are not zero and one, or a graph that forgot them would pass
        for value in net.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    return net


def test_the_chunked_head_is_cross_entropy_and_so_are_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets, "HEAD_CHUNK_ROWS", 50)  # 4 x 31 rows: two whole chunks and a rest
    net, ids = tiny(), torch.randint(300, (4, 32), generator=torch.Generator().manual_seed(1))
    net.loss(ids[:, :-1], ids[:, 1:]).backward()
    ours = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    plain = F.cross_entropy(net.logits(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    plain.backward()
    assert float(net.loss(ids[:, :-1], ids[:, 1:]).detach()) == pytest.approx(float(plain.detach()), abs=1e-5)
    assert set(ours) == {name for name, _ in net.named_parameters()}
    for name, p in net.named_parameters():
        torch.testing.assert_close(ours[name], p.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_a_position_sees_nothing_of_what_comes_after_it() -> None:
    net, ids = tiny(), torch.arange(40)[None]
    other = ids.clone()
    other[0, 30:] = 5
    with torch.no_grad():
        torch.testing.assert_close(net.logits(ids)[0, :30], net.logits(other)[0, :30])


def test_orthogonal_brings_every_singular_value_near_one() -> None:
    x = torch.randn(3, 24, 96, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonalise(x, 5))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


def test_muon_makes_query_key_and_value_orthogonal_apart() -> None:
    joint = torch.nn.Parameter(torch.zeros(16, 48))
    joint.grad = torch.randn(16, 48, generator=torch.Generator().manual_seed(4))
    joint.grad[:, :16] *= 1000  # together, the one with the large gradient would have the whole step
    Muon([joint], lr=1.0).step()
    for part in joint.detach().chunk(3, dim=1):
        values = torch.linalg.svdvals(part)
        assert float(values.min()) > 0.5
        assert float(values.max()) < 1.3


def test_muon_takes_a_tall_matrix_as_it_takes_a_wide_one() -> None:
    grad = torch.randn(64, 16, generator=torch.Generator().manual_seed(5))
    tall, wide = torch.nn.Parameter(torch.zeros(64, 16)), torch.nn.Parameter(torch.zeros(16, 64))
    tall.grad, wide.grad = grad, grad.t().contiguous()
    Muon([tall], lr=1.0).step()
    Muon([wide], lr=1.0).step()
    torch.testing.assert_close(2 * tall.detach(), wide.detach().t())  # sqrt(outputs / inputs) is 2 for the wide one


def test_the_exported_graph_says_what_torch_says(tmp_path: Path) -> None:
    windows = np.stack([fakes.token_row(65), fakes.token_row(65, seed=2)])
    onnx = export_onnx.write_onnx(tiny(), tmp_path)
    assert export_onnx.largest_difference(onnx, tiny(), windows, threads=1) < 1e-4


def test_a_graph_of_other_weights_is_refused(tmp_path: Path) -> None:
    windows = fakes.token_row(65)[None]
    onnx = export_onnx.write_onnx(tiny(), tmp_path)
    other = tiny()
    with torch.no_grad():
        other.get_parameter("h.1.mlp.c_proj.bias")[3] += 0.1
    assert export_onnx.largest_difference(onnx, other, windows, threads=1) > export_onnx.TOLERANCE
    with pytest.raises(RunHalted, match="nothing was written"):
        export_onnx.check_export(onnx, other, windows, threads=1)
    export_onnx.check_export(onnx, tiny(), windows, threads=1)


def test_weights_that_ran_away_are_never_exported(tmp_path: Path) -> None:
    net = tiny()
    with torch.no_grad():
        net.wpe.weight[0, 0] = 1e6
    with pytest.raises(ModelDamaged, match=r"wpe\.weight"):
        export_onnx.write_onnx(net, tmp_path)


def test_the_weights_of_a_stored_model_come_back(tmp_path: Path) -> None:
    base = base_model.read_base(str(fakes_model.tiny_folder(tmp_path)))
    assert base.shape == fakes_model.TINY
    assert set(base.net.state_dict()) == set(fakes_model.tiny_weights())
    for name, value in fakes_model.tiny_weights().items():
        kept = value.astype(np.float16).astype(np.float32) if value.ndim > 1 else value
        assert np.array_equal(base.net.state_dict()[name].numpy(), kept), name
    assert all(p.requires_grad for p in base.net.parameters())
