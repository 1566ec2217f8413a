"""A batch in shares: the same numbers as the batch in one, and for any number of threads."""

# ruff: noqa: E402  torch may be missing

import threading
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_training as fakes

from tools.train import loop, microbatches
from tools.train.gpt2 import Gpt2
from tools.train.microbatches import BatchSettings
from tools.train.muon import Muon
from tools.train.run_config import RunLength
from tools.train.schedule import TrainPlan

ROW = fakes.token_row(6000)


def tiny() -> Gpt2:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    return Gpt2(fakes.SHAPE)


def some(count: int) -> torch.Tensor:
    return torch.randint(300, (count, 65), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_gradient_in_shares_is_the_gradient_of_the_batch(count: int) -> None:
    batch, whole, parts = some(count), tiny(), tiny()
    loss = whole.loss(batch[:, :-1], batch[:, 1:])
    loss.backward()
    with microbatches.open_thread_map(2) as spread:
        assert microbatches.compute_gradient(parts, batch, BatchSettings(spread)) == pytest.approx(
            float(loss.detach()), rel=1e-5
        )
        assert microbatches.mean_loss(parts, batch, BatchSettings(spread)) == pytest.approx(
            float(loss.detach()), rel=1e-5
        )
    for (name, p), q in zip(whole.named_parameters(), parts.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_any_number_of_threads_comes_to_the_very_same_weights(tmp_path: Path) -> None:
    nets = []
    for threads in (1, 3):
        nets.append(net := tiny())
        plan = TrainPlan(RunLength(6, None), batch=9, seed=3, threads=threads)
        list(loop.train_net(net, ROW, None, plan, tmp_path / f"{threads}.safetensors"))
    one, three = (net.state_dict() for net in nets)
    assert all(torch.equal(one[name], three[name]) for name in one)


def test_muon_comes_to_the_very_same_weights_with_its_matrices_apart() -> None:
    made = []
    with microbatches.open_thread_map(3) as spread:
        for how in (map, spread):
            draw = torch.Generator().manual_seed(4)
            params = [torch.nn.Parameter(torch.zeros(16, 16 + 16 * (n % 2))) for n in range(17)]
            for p in params:
                p.grad = torch.randn(p.shape, generator=draw)
            Muon(params, lr=1.0, parallel_map=how).step()
            made.append(params)
    assert all(torch.equal(p, q) for p, q in zip(*made, strict=True))


def test_no_thread_has_threads_of_its_own_and_none_is_left() -> None:
    with microbatches.open_thread_map(2) as spread:
        assert set(spread(lambda _: torch.get_num_threads(), range(8))) == {1}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("share")]


def test_a_thread_that_is_held_up_holds_up_no_other() -> None:
    free = threading.Event()

    def do(item: int) -> int:
        if item == 0:
            assert free.wait(30)
        elif item == 5:
            free.set()  # only reached if the other thread takes all the rest meanwhile
        return item

    with microbatches.open_thread_map(2) as spread:
        assert list(spread(do, range(6))) == list(range(6))
