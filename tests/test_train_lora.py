"""LoRA adapters on a frozen net, and the memory of a run with and without them."""

# ruff: noqa: E402  torch may be missing

import io
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_training as fakes
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from model.errors import ModelDamaged
from model.interface import GPT2Config
from tools.cli.errors import ToolError
from tools.train import checkpoint, defaults, device, gpt2, memory, microbatches, options, schedule
from tools.train.display import TrainDisplay
from tools.train.gpt2 import Gpt2
from tools.train.memory import MemoryEstimate
from tools.train.run_config import RunConfig, RunLength
from tools.train.schedule import LORA_LEARNING_RATES, TrainPlan
from tools.train.trainer import make_optimisers

ROW, HELD_OUT = fakes.make_token_row(), fakes.make_token_row(800, seed=9)
GPT2, GPT2_LARGE = GPT2Config(50257, 1024, 768, 12, 12), GPT2Config(50257, 1024, 1280, 36, 20)
BATCH = torch.randint(300, (2, 65), generator=torch.Generator().manual_seed(1))


def tiny(rank: int = 0) -> Gpt2:
    net = fakes.tiny_net()
    if rank:
        gpt2.add_adapters(net, rank, 5)
    return net


def plan(steps: int) -> TrainPlan:
    return TrainPlan(RunLength(steps, None), 4, 3, LORA_LEARNING_RATES, save_every_s=1e9, look_every=20)


def test_new_adapters_change_nothing() -> None:
    net = tiny(4)
    assert microbatches.mean_loss(net, BATCH) == pytest.approx(microbatches.mean_loss(tiny(), BATCH), rel=1e-6)
    gpt2.merge_adapters(net)
    for name, value in tiny().state_dict().items():
        assert torch.equal(net.state_dict()[name], value)
    assert all(p.requires_grad for p in net.parameters())


def test_merged_adapters_keep_what_they_learnt(tmp_path: Path) -> None:
    net, before = tiny(4), tiny()
    reports = fakes.run_steps(net, ROW, HELD_OUT, plan(60), tmp_path / "c.safetensors")
    assert reports[-1].loss < reports[0].loss - 0.3
    adapted = microbatches.mean_loss(net, BATCH)
    gpt2.merge_adapters(net)
    assert microbatches.mean_loss(net, BATCH) == pytest.approx(adapted, rel=1e-5)
    assert set(net.state_dict()) == set(before.state_dict())
    assert torch.equal(net.wte.weight, before.wte.weight)
    assert not torch.equal(net.get_parameter("h.1.mlp.c_fc.weight"), before.get_parameter("h.1.mlp.c_fc.weight"))


def test_the_checkpoint_has_the_adapters_only_and_is_resumed(tmp_path: Path) -> None:
    saved, whole, parts = tmp_path / "c.safetensors", tiny(4), tiny(4)
    fakes.run_steps(whole, ROW, HELD_OUT, plan(20), tmp_path / "whole.safetensors")
    for steps in (7, 100):
        parts = tiny(4)
        fakes.run_steps(parts, ROW, HELD_OUT, plan(20), saved, steps)
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    stored = {name: value for name, value in load_file(saved).items() if name.startswith("net.")}
    assert {name.rsplit(".", 1)[1] for name in stored} == {"a", "b"}
    assert sum(value.numel() for value in stored.values()) == memory.count_trainable(fakes.SHAPE, 4)[0]
    for net in (tiny(), tiny(2)):
        with pytest.raises(ModelDamaged, match="not a checkpoint of this run"):
            checkpoint.load_checkpoint(saved, net, make_optimisers(net, plan(20)))


@pytest.mark.parametrize("rank", [0, 4])
def test_trainable_parameters_are_counted_without_a_net(rank: int) -> None:
    net = tiny(rank)
    trainable, muon_trainable = memory.count_trainable(fakes.SHAPE, rank)
    assert trainable == sum(p.numel() for p in net.parameters() if p.requires_grad)
    muon = make_optimisers(net, plan(1)).get("muon")
    assert muon_trainable == (sum(p.numel() for p in muon.param_groups[0]["params"]) if muon else 0)


def estimate(shape: GPT2Config, sequences: int = 2, rank: int = 0, threads: int = 1) -> MemoryEstimate:
    return MemoryEstimate(shape, *memory.count_trainable(shape, rank), sequences, threads)


@pytest.mark.parametrize(("layers", "sequences"), [(4, 2), (8, 1)])
def test_what_a_block_keeps_for_its_gradient_is_what_is_estimated(layers: int, sequences: int) -> None:
    """Autograd's memory between forward and backward: each storage once, without the weights."""
    shape = GPT2Config(300, 128, 64, layers, 4)
    net, saved = Gpt2(shape), dict[int, int]()
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}

    def pack(x: torch.Tensor) -> torch.Tensor:
        if x.untyped_storage().data_ptr() not in weights:
            saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    batch = torch.randint(300, (sequences, 129))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = net.loss(batch[:, :-1], batch[:, 1:])
    estimated = estimate(shape, 2 * sequences).total_bytes - estimate(shape, sequences).total_bytes
    assert loss.isfinite()
    assert 0.75 * estimated < sum(saved.values()) < 1.1 * estimated


def test_the_batch_is_cut_to_fit_then_the_threads() -> None:
    whole = estimate(GPT2, sequences=16, threads=2)
    assert memory.fit_to_memory(whole, None) == memory.fit_to_memory(whole, 1 << 50) == whole
    assert memory.fit_to_memory(whole, 8 << 30).sequences == 2
    cut = memory.fit_to_memory(whole, 5 << 30)
    assert (cut.sequences, cut.threads) == (1, 1)


def test_a_run_that_does_not_fit_gives_a_one_line_error_with_a_cure() -> None:
    needed = r"^the run needs about 1\d\.\d GB of memory, and can have 7\.7 GB: take [^\n]*--lora 8$"
    with fakes.raises("system", match=needed):
        memory.fit_to_memory(estimate(GPT2_LARGE), 8 << 30)
    assert memory.fit_to_memory(estimate(GPT2_LARGE, rank=8), 12 << 30).sequences == 2
    with fakes.raises("system", match=r"take a smaller base$"):
        memory.fit_to_memory(estimate(GPT2_LARGE, rank=8), 1 << 30)


@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 64), st.booleans())
def test_only_a_run_that_does_not_fit_is_cut(sequences: int, threads: int, gigabytes: int, is_bfloat16: bool) -> None:
    whole, free = replace(estimate(GPT2, sequences, threads=threads), is_bfloat16=is_bfloat16), gigabytes << 30
    try:
        cut = memory.fit_to_memory(whole, free)
    except ToolError:
        assert replace(whole, sequences=1, threads=1).total_bytes > memory.USABLE_SHARE * free
        return
    assert cut.total_bytes <= memory.USABLE_SHARE * free
    assert (cut == whole) == (whole.total_bytes <= memory.USABLE_SHARE * free)


@pytest.mark.parametrize(("steps", "span"), [(40, 25), (200, 25), (1000, 125), (9000, 250), (None, 250)])
def test_evaluation_steps_do_not_depend_on_the_length_but_patience_does(steps: int | None, span: int) -> None:
    train_plan = TrainPlan(RunLength(steps, None if steps else 5.0), 4, 3, look_every=0, patience=3)
    steps_evaluated = [step for step in range(1, 1501) if schedule.is_evaluation_step(train_plan, step)]
    assert steps_evaluated == [*range(25, 201, 25), *range(250, 401, 50), *range(500, 1001, 100), 1250, 1500]
    assert train_plan.patience_span == span
    often = replace(train_plan, look_every=7)
    assert often.patience_span == 7
    assert [step for step in range(1, 15) if schedule.is_evaluation_step(often, step)] == [7, 14]


def test_the_plan_reports_memory_and_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    words = (
        "t",
        "--name",
        "m",
        "--steps",
        9,
        "--batch",
        16,
        "--threads",
        2,
        "--device",
        "cpu",
        "--precision",
        "float32",
    )
    train_options = options.parse_options(fakes.parse_train_args(*words))
    output = io.StringIO()
    display = TrainDisplay(output, lambda: None)
    free_bytes = int(estimate(GPT2, 1, threads=2).total_bytes / memory.USABLE_SHARE) + 1
    monkeypatch.setattr(device, "free_memory", lambda where: free_bytes)
    plan = defaults.make_plan(train_options, RunConfig(texts=(), patience=3), GPT2, display)
    assert (plan.sequences, plan.threads, plan.batch, plan.device, plan.is_bfloat16) == (1, 2, 16, "cpu", False)
    first, cut, patience = output.getvalue().splitlines()
    assert first.startswith("on the CPU, products in float32 (--precision), about ")
    assert cut == "cut to fit: 1 of a step's 16 sequences at once"
    assert patience.startswith("the run ends after 75 steps without improvement")
