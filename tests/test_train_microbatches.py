"""A batch in microbatches gives the same numbers as the whole batch, for any number of threads."""

# ruff: noqa: E402  torch may be missing

import threading
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_training as fakes

from tools.train import microbatches
from tools.train.microbatches import BatchSettings
from tools.train.muon import Muon
from tools.train.run_config import RunLength
from tools.train.schedule import TrainPlan

ROW = fakes.make_token_row(6000)


tiny = fakes.tiny_net


def make_batch(count: int) -> torch.Tensor:
    return torch.randint(300, (count, 65), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_microbatches_give_the_gradient_of_the_batch(count: int) -> None:
    batch, whole, parts = make_batch(count), tiny(), tiny()
    loss = whole.loss(batch[:, :-1], batch[:, 1:])
    loss.backward()
    expected = pytest.approx(float(loss.detach()), rel=1e-5)
    with microbatches.open_thread_map(2) as thread_map:
        assert microbatches.compute_gradient(parts, batch, BatchSettings(thread_map)) == expected
        assert microbatches.mean_loss(parts, batch, BatchSettings(thread_map)) == expected
    for (name, p), q in zip(whole.named_parameters(), parts.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_any_number_of_threads_gives_the_same_weights(tmp_path: Path) -> None:
    nets = []
    for threads in (1, 3):
        nets.append(net := tiny())
        plan = TrainPlan(RunLength(6, None), batch=9, seed=3, threads=threads)
        fakes.run_steps(net, ROW, None, plan, tmp_path / f"{threads}.safetensors")
    single, threaded = (net.state_dict() for net in nets)
    assert all(torch.equal(value, threaded[name]) for name, value in single.items())


def test_muon_gives_the_same_weights_with_a_thread_map() -> None:
    results = []
    with microbatches.open_thread_map(3) as thread_map:
        for parallel_map in (map, thread_map):
            generator = torch.Generator().manual_seed(4)
            params = [torch.nn.Parameter(torch.zeros(16, 16 + 16 * (n % 2))) for n in range(17)]
            for p in params:
                p.grad = torch.randn(p.shape, generator=generator)
            Muon(params, lr=1.0, parallel_map=parallel_map).step()
            results.append(params)
    assert all(torch.equal(p, q) for p, q in zip(*results, strict=True))


def test_threads_use_one_torch_thread_and_end_with_the_map() -> None:
    with microbatches.open_thread_map(2) as thread_map:
        assert set(thread_map(lambda _: torch.get_num_threads(), range(8))) == {1}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("microbatch")]


def test_a_blocked_thread_does_not_block_the_other() -> None:
    free = threading.Event()

    def do(item: int) -> int:
        if item == 0:
            assert free.wait(30)
        elif item == 5:
            free.set()  # only reached if the other thread takes all other items
        return item

    with microbatches.open_thread_map(2) as thread_map:
        assert list(thread_map(do, range(6))) == list(range(6))
