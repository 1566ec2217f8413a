"""What a run ends with, and what it does where memory is short: patience, the mean, dropout, shares, bfloat16."""

# ruff: noqa: E402  torch may be missing

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_training as fakes
from safetensors.torch import load_file, save_file

from model.errors import ModelDamaged
from tools.train import checkpoint, data, device, loop, microbatches
from tools.train.dropout import make_dropout
from tools.train.errors import DeviceMissing, MemoryShort
from tools.train.gpt2 import DropoutFunction, Gpt2, no_dropout
from tools.train.loop import StepReport
from tools.train.microbatches import BatchSettings
from tools.train.run_config import RunLength
from tools.train.schedule import TrainPlan
from tools.train.steps import BEST_FILE

ROW, HELD_OUT = fakes.token_row(), fakes.token_row(800, seed=9)
FEW = fakes.token_row(400, seed=4)  # which a net soon knows by heart


def tiny() -> Gpt2:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    return Gpt2(fakes.SHAPE)


def plan(steps: int, **more: Any) -> TrainPlan:
    made = TrainPlan(RunLength(steps, None), batch=4, seed=3, save_every_s=1e9, look_every=5)
    return replace(made, **more)


def evaluate_net(net: Gpt2, held_out: data.TokenIds = HELD_OUT) -> float:
    windows = data.sample_windows(held_out, 64, loop.EVALUATION_WINDOWS)
    assert windows is not None
    return microbatches.mean_loss(net, torch.from_numpy(windows).long())


def have_same_weights(one: Gpt2, other: Gpt2) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


PATIENT = replace(plan(600, patience=3), matrix_rate=0.06, vector_rate=9e-3)


@dataclass
class FinishedRun:
    """A run that got no better, and what it left."""

    saved: Path
    net: Gpt2
    reports: list[StepReport]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    saved, net = tmp_path_factory.mktemp("ended") / "c.safetensors", tiny()
    return FinishedRun(saved, net, list(loop.train_net(net, FEW, HELD_OUT, PATIENT, saved)))


def test_a_run_that_gets_no_better_ends_at_the_best_weights_it_had(ended: FinishedRun) -> None:
    looks = {report.state.step: report.held_out_nats for report in ended.reports if report.held_out_nats is not None}
    best = min(looks, key=lambda step: looks[step])
    progress = checkpoint.read_state(ended.saved)
    assert ended.reports[-1].state.step == best + 15 < 600
    assert (progress.best_step, progress.best, progress.looks) == (best, looks[best], 3)
    assert evaluate_net(ended.net) == pytest.approx(looks[best], rel=1e-6)
    assert looks[best] < (progress.first or 0.0) - 1


def test_a_run_stopped_on_its_way_comes_to_the_same_best(tmp_path: Path, ended: FinishedRun) -> None:
    saved, parts = tmp_path / "c.safetensors", tiny()
    for more in (7, 16, 1000):
        parts = tiny()
        with closing(loop.train_net(parts, FEW, HELD_OUT, PATIENT, saved)) as reports:
            list(islice(reports, more))
    assert have_same_weights(ended.net, parts)


def test_a_run_that_ended_early_takes_no_further_step_and_has_its_best_weights_again(
    tmp_path: Path, ended: FinishedRun
) -> None:
    again, saved = tiny(), tmp_path / "c.safetensors"
    shutil.copytree(ended.saved.parent, tmp_path, dirs_exist_ok=True)
    assert list(loop.train_net(again, FEW, HELD_OUT, PATIENT, saved)) == []
    assert have_same_weights(ended.net, again)
    (tmp_path / BEST_FILE).unlink()
    with pytest.raises(ModelDamaged, match="--fresh"):
        list(loop.train_net(tiny(), FEW, HELD_OUT, PATIENT, saved))


def test_without_patience_a_run_goes_to_its_end_and_keeps_the_last_weights(tmp_path: Path) -> None:
    saved, net = tmp_path / "c.safetensors", tiny()
    reports = list(loop.train_net(net, FEW, HELD_OUT, plan(30), saved))
    assert evaluate_net(net) == pytest.approx(reports[-1].held_out_nats, rel=1e-6)
    assert not (tmp_path / BEST_FILE).exists()


def test_what_was_held_out_is_looked_at_before_the_first_step(tmp_path: Path) -> None:
    before = evaluate_net(tiny())
    with closing(loop.train_net(tiny(), ROW, HELD_OUT, plan(9), tmp_path / "c.safetensors")) as reports:
        assert next(reports).state.first == before


def test_the_mean_is_that_of_the_last_weights_and_no_stop_changes_it(tmp_path: Path) -> None:
    made, saved = plan(20, average=0.25), tmp_path / "c.safetensors"
    seen: list[dict[str, torch.Tensor]] = []
    net = tiny()
    for report in loop.train_net(net, ROW, None, made, tmp_path / "whole.safetensors"):
        if report.state.step > 15:
            seen.append({name: value.clone() for name, value in net.state_dict().items()})
    assert len(seen) == 5
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in seen]).mean(0), rtol=1e-4, atol=1e-6)
    parts = tiny()
    for more in (17, 2, 100):
        parts = tiny()
        with closing(loop.train_net(parts, ROW, None, made, saved)) as reports:
            list(islice(reports, more))
    assert have_same_weights(net, parts)


def test_dropout_leaves_the_mean_and_its_draw_depends_on_the_seeds_alone() -> None:
    x, here = torch.ones(200, 200), torch.device("cpu")
    one, again, other = (make_dropout(0.25, seeds, here)(x) for seeds in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert float((one == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(one.mean()) == pytest.approx(1, abs=0.02)
    assert make_dropout(0, (1,), here) is no_dropout


def test_with_dropout_a_run_stopped_and_continued_with_more_threads_is_the_same(tmp_path: Path) -> None:
    nets = []
    for name, threads, parts in (("a", 1, [100]), ("b", 3, [5, 100])):
        for more in parts:
            nets.append(net := tiny())
            made = plan(12, dropout=0.2, threads=threads)
            with closing(loop.train_net(net, ROW, None, made, tmp_path / f"{name}.safetensors")) as reports:
                losses = [report.loss for report in islice(reports, more)]
    assert have_same_weights(nets[0], nets[-1])
    assert losses[-1] < 6


class Short(Gpt2):
    """A net on a card that holds so many sequences at once."""

    holds = 2

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, drop: DropoutFunction = no_dropout) -> torch.Tensor:
        if len(ids) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().loss(ids, targets, drop)


def test_a_card_that_is_too_small_gets_half_and_the_step_stays_the_same(tmp_path: Path) -> None:
    net, wanted = Short(fakes.SHAPE), tiny()
    net.load_state_dict(wanted.state_dict())
    made = plan(3, batch=16, sequences=16)
    losses = [report.loss for report in loop.train_net(net, ROW, None, made, tmp_path / "a.safetensors")]
    straight = [report.loss for report in loop.train_net(wanted, ROW, None, made, tmp_path / "b.safetensors")]
    assert losses == pytest.approx(straight, rel=1e-3)
    net.holds = 0
    with pytest.raises(MemoryShort, match=r"^a single sequence is too much for this card: take --lora 8[^\n]*$"):
        list(loop.train_net(net, ROW, None, plan(4, batch=16), tmp_path / "a.safetensors"))


def test_in_bfloat16_the_loss_and_its_gradient_are_nearly_the_same() -> None:
    batch = torch.randint(300, (4, 65), generator=torch.Generator().manual_seed(1))
    exact, half = tiny(), tiny()
    loss = microbatches.compute_gradient(exact, batch, BatchSettings())
    assert microbatches.compute_gradient(half, batch, BatchSettings(is_bfloat16=True)) == pytest.approx(loss, rel=2e-3)
    assert microbatches.mean_loss(half, batch, BatchSettings(is_bfloat16=True)) == pytest.approx(loss, rel=2e-3)
    for (name, p), q in zip(exact.named_parameters(), half.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert q.grad.dtype == torch.float32
        # The bias of a key moves no softmax: its gradient is rounding, here and there.
        if float(p.grad.norm()) > 1e-4 and not name.endswith("c_attn.bias"):
            assert float((p.grad - q.grad).norm() / p.grad.norm()) < 0.05, name


def test_in_bfloat16_a_run_learns_as_well(tmp_path: Path) -> None:
    reports = list(loop.train_net(tiny(), ROW, HELD_OUT, plan(40, half=True), tmp_path / "c.safetensors"))
    assert reports[-1].held_out_nats is not None
    assert reports[-1].held_out_nats < 4.5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card: hide it with CUDA_VISIBLE_DEVICES=")
def test_a_card_that_is_not_there_is_one_line_with_its_cure() -> None:
    with pytest.raises(DeviceMissing, match=r"^--device cuda: torch sees no such card here; take --device cpu[^\n]*$"):
        device.choose_device("cuda")
    assert device.choose_device("auto") == device.choose_device("cpu") == "cpu"


def test_memory_that_is_free_is_known() -> None:
    free = device.free_memory("cpu")
    assert free is None or 0 < free < 1 << 50


def test_what_a_process_has_already_it_need_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = {"MemAvailable": 1000, "RssAnon": 300}
    monkeypatch.setattr(device, "_read_kernel_table", lambda path, key: kernel.get(key))
    monkeypatch.setattr(device, "CGROUP_LIMITS", ())
    assert device.free_memory("cpu") == 1300
    kernel.clear()
    assert device.free_memory("cpu") is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, which only Linux has")
def test_what_was_freed_goes_back_to_the_system() -> None:
    def has() -> int:
        return device._read_kernel_table("/proc/self/status", "RssAnon") or 0

    pieces = [torch.ones(16 << 10) for _ in range(2000)]  # 128 MB, none so large that it would be mapped
    del pieces[:-1]  # the last one holds up all the rest
    before = has()
    device.trim_heap()
    assert has() < before - (90 << 20)


def test_a_checkpoint_of_the_past_has_no_looks_and_goes_on(tmp_path: Path) -> None:
    saved, net = tmp_path / "c.safetensors", tiny()
    with closing(loop.train_net(net, ROW, HELD_OUT, plan(12), saved)) as reports:
        next(reports)
    old = {"progress": json.dumps({"step": 1, "tokens": 256, "elapsed_s": 0.1})}
    save_file(load_file(saved), saved, metadata=old)
    progress = checkpoint.read_state(saved)
    assert (progress.step, progress.first, progress.looks) == (1, None, 0)
    assert len(list(loop.train_net(tiny(), ROW, HELD_OUT, plan(12), saved))) == 11


def test_each_step_and_each_share_of_it_drops_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[Sequence[int]] = []
    backward = microbatches.compute_gradient

    def noted(net: Gpt2, batch: torch.Tensor, way: BatchSettings, some: Sequence[int]) -> float:
        seeds.append(some)
        return backward(net, batch, way, some)

    monkeypatch.setattr(microbatches, "compute_gradient", noted)
    list(loop.train_net(tiny(), ROW, None, plan(3, dropout=0.2), tmp_path / "c.safetensors"))
    assert seeds == [(3, 0), (3, 1), (3, 2)]
    twice = torch.from_numpy(ROW[None, :65]).long().repeat(4, 1)
    losses = [tiny().loss(twice[:2, :-1], twice[:2, 1:], make_dropout(0.2, (3, 0, n), twice.device)) for n in (0, 1)]
    assert backward(tiny(), twice, BatchSettings(dropout=0.2), (3, 0)) == pytest.approx(
        float(sum(losses).detach()) / 2, rel=1e-5
    )
    assert float(losses[0].detach()) != float(losses[1].detach())
