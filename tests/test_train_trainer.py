"""The end of a run and its memory: patience, weight average, dropout, microbatches, bfloat16, devices."""

# ruff: noqa: E402  torch may be missing

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_training as fakes
from safetensors.torch import load_file, save_file

from model.errors import ModelDamaged
from tools.train import checkpoint, data, device, loop, microbatches, schedule
from tools.train.gpt2 import DropoutFunction, Gpt2, no_dropout
from tools.train.loop import StepReport
from tools.train.microbatches import BatchSettings, make_dropout
from tools.train.run_config import RunLength
from tools.train.schedule import TrainPlan
from tools.train.trainer import BEST_FILE, make_optimisers

ROW, HELD_OUT = fakes.make_token_row(), fakes.make_token_row(800, seed=9)
FEW = fakes.make_token_row(400, seed=4)  # so few that a net overfits soon


tiny = fakes.tiny_net


def plan(steps: int, **changes: Any) -> TrainPlan:
    base = TrainPlan(RunLength(steps, None), batch=4, seed=3, save_every_s=1e9, look_every=5)
    return replace(base, **changes)


def evaluate_net(net: Gpt2, held_out: data.TokenIds = HELD_OUT) -> float:
    windows = data.sample_windows(held_out, 64, loop.EVALUATION_WINDOWS)
    assert windows is not None
    return microbatches.mean_loss(net, torch.from_numpy(windows).long())


def have_same_weights(a: Gpt2, b: Gpt2) -> bool:
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


PATIENT = replace(plan(600, patience=3), rates=schedule.LEARNING_RATES.scale(3))


@dataclass
class FinishedRun:
    """A run that ended early, and its files."""

    saved: Path
    net: Gpt2
    reports: list[StepReport]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    saved, net = tmp_path_factory.mktemp("ended") / "c.safetensors", tiny()
    return FinishedRun(saved, net, fakes.run_steps(net, FEW, HELD_OUT, PATIENT, saved))


def test_a_run_without_improvement_ends_with_the_best_weights(ended: FinishedRun) -> None:
    scores = {report.state.step: report.held_out_nats for report in ended.reports if report.held_out_nats is not None}
    best = min(scores, key=lambda step: scores[step])
    state = checkpoint.read_state(ended.saved)
    assert ended.reports[-1].state.step == best + 15 < 600
    assert (state.best_step, state.best, state.looks) == (best, scores[best], 3)
    assert evaluate_net(ended.net) == pytest.approx(scores[best], rel=1e-6)
    assert scores[best] < (state.first or 0.0) - 1


def test_a_resumed_run_ends_with_the_same_best_weights(tmp_path: Path, ended: FinishedRun) -> None:
    saved, parts = tmp_path / "c.safetensors", tiny()
    for steps in (7, 16, 1000):
        parts = tiny()
        fakes.run_steps(parts, FEW, HELD_OUT, PATIENT, saved, steps)
    assert have_same_weights(ended.net, parts)


def test_a_run_that_ended_early_loads_its_best_weights_again(tmp_path: Path, ended: FinishedRun) -> None:
    again, saved = tiny(), tmp_path / "c.safetensors"
    shutil.copytree(ended.saved.parent, tmp_path, dirs_exist_ok=True)
    assert fakes.run_steps(again, FEW, HELD_OUT, PATIENT, saved) == []
    assert have_same_weights(ended.net, again)
    (tmp_path / BEST_FILE).unlink()
    with pytest.raises(ModelDamaged, match="--fresh"):
        fakes.run_steps(tiny(), FEW, HELD_OUT, PATIENT, saved)


def test_without_patience_a_run_ends_with_the_last_weights(tmp_path: Path) -> None:
    saved, net = tmp_path / "c.safetensors", tiny()
    reports = fakes.run_steps(net, FEW, HELD_OUT, plan(30), saved)
    assert evaluate_net(net) == pytest.approx(reports[-1].held_out_nats, rel=1e-6)
    assert not (tmp_path / BEST_FILE).exists()


def test_the_held_out_text_is_scored_before_the_first_step(tmp_path: Path) -> None:
    (report,) = fakes.run_steps(tiny(), ROW, HELD_OUT, plan(9), tmp_path / "c.safetensors", 1)
    assert report.state.first == evaluate_net(tiny())


def test_the_weight_average_covers_the_last_steps_and_survives_a_stop(tmp_path: Path) -> None:
    train_plan, saved = plan(20, average=0.25), tmp_path / "c.safetensors"
    weights: list[dict[str, torch.Tensor]] = []
    net = tiny()
    for report in loop.train_net(net, ROW, None, train_plan, tmp_path / "whole.safetensors"):
        if report.state.step > 15:
            weights.append({name: value.clone() for name, value in net.state_dict().items()})
    assert len(weights) == 5
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, torch.stack([step[name] for step in weights]).mean(0), rtol=1e-4, atol=1e-6)
    parts = tiny()
    for steps in (17, 2, 100):
        parts = tiny()
        fakes.run_steps(parts, ROW, None, train_plan, saved, steps)
    assert have_same_weights(net, parts)


def test_dropout_keeps_the_mean_and_depends_on_the_seeds_only() -> None:
    x, cpu = torch.ones(200, 200), torch.device("cpu")
    dropped, again, reseeded = (make_dropout(0.25, seeds, cpu)(x) for seeds in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(dropped, again)
    assert not torch.equal(dropped, reseeded)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)
    assert make_dropout(0, (1,), cpu) is no_dropout


def test_a_run_with_dropout_is_the_same_after_a_stop_with_more_threads(tmp_path: Path) -> None:
    nets = []
    for name, threads, parts in (("a", 1, [100]), ("b", 3, [5, 100])):
        for steps in parts:
            nets.append(net := tiny())
            train_plan, saved = plan(12, dropout=0.2, threads=threads), tmp_path / f"{name}.safetensors"
            losses = fakes.run_losses(net, ROW, train_plan, saved, steps)
    assert have_same_weights(nets[0], nets[-1])
    assert losses[-1] < 6


class SmallMemoryNet(Gpt2):
    """A net on a GPU with memory for so many sequences."""

    max_sequences = 2

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, drop: DropoutFunction = no_dropout) -> torch.Tensor:
        if len(ids) > self.max_sequences:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().loss(ids, targets, drop)


def test_a_small_gpu_gets_half_the_sequences_and_the_same_step(tmp_path: Path) -> None:
    net, reference = SmallMemoryNet(fakes.SHAPE), tiny()
    net.load_state_dict(reference.state_dict())
    train_plan = plan(3, batch=16, sequences=16)
    losses = fakes.run_losses(net, ROW, train_plan, tmp_path / "a.safetensors")
    assert losses == pytest.approx(fakes.run_losses(reference, ROW, train_plan, tmp_path / "b.safetensors"), rel=1e-3)
    net.max_sequences = 0
    with fakes.raises("system", match=r"^a single sequence is too much for this card: take --lora 8[^\n]*$"):
        fakes.run_steps(net, ROW, None, plan(4, batch=16), tmp_path / "a.safetensors")


def test_in_bfloat16_the_loss_and_its_gradient_are_nearly_the_same() -> None:
    batch = torch.randint(300, (4, 65), generator=torch.Generator().manual_seed(1))
    exact, rounded, settings = tiny(), tiny(), BatchSettings(is_bfloat16=True)
    loss = pytest.approx(microbatches.compute_gradient(exact, batch, BatchSettings()), rel=2e-3)
    assert microbatches.compute_gradient(rounded, batch, settings) == loss
    assert microbatches.mean_loss(rounded, batch, settings) == loss
    for (name, p), q in zip(exact.named_parameters(), rounded.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert q.grad.dtype == torch.float32
        # The bias of a key does not change the softmax: its gradient is rounding error.
        if float(p.grad.norm()) > 1e-4 and not name.endswith("c_attn.bias"):
            assert float((p.grad - q.grad).norm() / p.grad.norm()) < 0.05, name


def test_in_bfloat16_a_run_learns_as_well(tmp_path: Path) -> None:
    reports = fakes.run_steps(tiny(), ROW, HELD_OUT, plan(40, is_bfloat16=True), tmp_path / "c.safetensors")
    assert reports[-1].held_out_nats is not None
    assert reports[-1].held_out_nats < 4.5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: hide it with CUDA_VISIBLE_DEVICES=")
def test_a_missing_gpu_gives_a_one_line_error_with_a_cure() -> None:
    with fakes.raises("unavailable", match=r"^--device cuda: torch sees no such card here; take --device cpu[^\n]*$"):
        device.choose_device("cuda")
    assert device.choose_device("auto") == device.choose_device("cpu") == "cpu"


def test_the_precision_is_the_faster_one_and_the_first_line_says_why() -> None:
    choose = device.choose_precision
    assert choose("auto", "cpu", 256, lambda: 2.94) == (
        True,
        "products in bfloat16 (here bfloat16 is 2.9 times as fast)",
    )
    assert choose("auto", "cpu", 256, lambda: 1.29) == (
        False,
        "products in float32 (here bfloat16 is 1.3 times as fast)",
    )
    assert choose("auto", "cpu", 64, lambda: 9.0) == (False, "products in float32")
    assert choose("auto", "cuda", 64) == (True, "products in bfloat16")
    assert choose("float32", "cuda", 256) == (False, "products in float32 (--precision)")
    assert choose("bfloat16", "cpu", 64) == (True, "products in bfloat16 (--precision)")
    threads = torch.get_num_threads()
    assert 0 < device.measure_bfloat16_gain() < 1000
    assert torch.get_num_threads() == threads


def test_free_memory_is_plausible_or_unknown() -> None:
    free = device.free_memory("cpu")
    assert free is None or 0 < free < 1 << 50


def test_free_memory_includes_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = {"MemAvailable": 1000, "RssAnon": 300}
    monkeypatch.setattr(device, "_read_kernel_table", lambda path, key: kernel.get(key))
    monkeypatch.setattr(device, "CGROUP_LIMITS", ())
    assert device.free_memory("cpu") == 1300
    kernel.clear()
    assert device.free_memory("cpu") is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, which only Linux has")
def test_trim_heap_returns_freed_memory() -> None:
    def used_memory() -> int:
        return device._read_kernel_table("/proc/self/status", "RssAnon") or 0

    tensors = [torch.ones(16 << 10) for _ in range(2000)]  # 128 MB, each too small to be mapped
    del tensors[:-1]  # the last one keeps the heap from shrinking
    before = used_memory()
    device.trim_heap()
    assert used_memory() < before - (90 << 20)


def test_an_old_checkpoint_without_looks_is_resumed(tmp_path: Path) -> None:
    saved = tmp_path / "c.safetensors"
    fakes.run_steps(tiny(), ROW, HELD_OUT, plan(12), saved, 1)
    old = {"progress": json.dumps({"step": 1, "tokens": 256, "elapsed_s": 0.1})}
    save_file(load_file(saved), saved, metadata=old)
    state = checkpoint.read_state(saved)
    assert (state.step, state.first, state.looks) == (1, None, 0)
    assert len(fakes.run_steps(tiny(), ROW, HELD_OUT, plan(12), saved)) == 11


def test_each_step_and_microbatch_has_another_dropout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[Sequence[int]] = []
    compute_gradient = microbatches.compute_gradient

    def record_seeds(net: Gpt2, batch: torch.Tensor, settings: BatchSettings, step_seeds: Sequence[int]) -> float:
        seeds.append(step_seeds)
        return compute_gradient(net, batch, settings, step_seeds)

    monkeypatch.setattr(microbatches, "compute_gradient", record_seeds)
    fakes.run_steps(tiny(), ROW, None, plan(3, dropout=0.2), tmp_path / "c.safetensors")
    assert seeds == [(3, 0), (3, 1), (3, 2)]
    twice = torch.from_numpy(ROW[None, :65]).long().repeat(4, 1)
    losses = [tiny().loss(twice[:2, :-1], twice[:2, 1:], make_dropout(0.2, (3, 0, n), twice.device)) for n in (0, 1)]
    mean = float(sum(losses).detach()) / 2
    assert compute_gradient(tiny(), twice, BatchSettings(dropout=0.2), (3, 0)) == pytest.approx(mean, rel=1e-5)
    assert float(losses[0].detach()) != float(losses[1].detach())


def test_the_rates_on_a_base_are_a_fifth_unless_given() -> None:
    full, lora = schedule.LEARNING_RATES, schedule.LORA_LEARNING_RATES
    assert schedule.choose_rates(has_base=False, has_adapters=False, percent=0) == full
    assert schedule.choose_rates(has_base=True, has_adapters=False, percent=0) == full.scale(0.2)
    assert schedule.choose_rates(has_base=True, has_adapters=False, percent=100) == full
    assert schedule.choose_rates(has_base=True, has_adapters=True, percent=50) == lora.scale(0.5)


def test_each_kind_of_parameter_has_its_rate() -> None:
    net, train_plan = tiny(), plan(3)
    optimisers = make_optimisers(net, train_plan)
    names = {id(p): name for name, p in net.named_parameters()}
    kinds = [
        {names[id(p)] for p in group["params"]} for kind in ("muon", "adam") for group in optimisers[kind].param_groups
    ]
    matrices, tables, positions, vectors = kinds
    assert (tables, positions) == ({"wte.weight"}, {"wpe.weight"})
    assert {"h.0.ln_1.weight", "h.0.attn.c_attn.bias", "ln_f.weight"} <= vectors
    assert {"h.0.attn.c_attn.weight", "h.0.mlp.c_proj.weight"} <= matrices
    assert sum(map(len, kinds)) == len(names)
    full_rates = [group["full_rate"] for kind in ("muon", "adam") for group in optimisers[kind].param_groups]
    assert full_rates == [0.02, 9e-3, 3e-3, 1e-2]


def test_the_windows_of_a_run_from_random_weights_are_short_at_first() -> None:
    growing = replace(plan(10), grows_context=True)
    assert [schedule.count_cuts(growing, done, 512) for done in (0.0, 0.19, 0.2, 0.39, 0.4, 1.0)] == [4, 4, 2, 2, 1, 1]
    assert [schedule.count_cuts(growing, 0.0, context) for context in (1024, 514, 256, 64)] == [4, 1, 1, 1]
    assert schedule.count_cuts(plan(10), 0.0, 512) == 1
