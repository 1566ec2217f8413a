"""Adapters beside a net that stays, and what a run takes of memory, with them and without."""

# ruff: noqa: E402  torch may be missing

import io
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_training as fakes
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file

from model.errors import ModelDamaged
from model.interface import GPT2Config
from tools.train import checkpoint, defaults, device, loop, lora, memory, microbatches, options
from tools.train import schedule as plans
from tools.train.display import TrainDisplay
from tools.train.errors import MemoryShort
from tools.train.gpt2 import Gpt2
from tools.train.memory import MemoryEstimate
from tools.train.run_config import RunConfig, RunLength
from tools.train.schedule import LORA_LEARNING_RATES, TrainPlan
from tools.train.steps import make_optimisers

ROW, HELD_OUT = fakes.token_row(), fakes.token_row(800, seed=9)
GPT2, GPT2_LARGE = GPT2Config(50257, 1024, 768, 12, 12), GPT2Config(50257, 1024, 1280, 36, 20)
BATCH = torch.randint(300, (2, 65), generator=torch.Generator().manual_seed(1))


def tiny(rank: int = 0) -> Gpt2:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    net = Gpt2(fakes.SHAPE)
    if rank:
        lora.add_adapters(net, rank, 5)
    return net


def plan(steps: int) -> TrainPlan:
    return TrainPlan(RunLength(steps, None), 4, 3, *LORA_LEARNING_RATES, save_every_s=1e9, look_every=20)


def test_adapters_are_nothing_at_first_and_merged_the_net_is_as_it_was() -> None:
    net = tiny(4)
    assert microbatches.mean_loss(net, BATCH) == pytest.approx(microbatches.mean_loss(tiny(), BATCH), rel=1e-6)
    lora.merge_adapters(net)
    for name, value in tiny().state_dict().items():
        assert torch.equal(net.state_dict()[name], value)
    assert all(p.requires_grad for p in net.parameters())


def test_what_adapters_have_learnt_is_in_the_merged_net_and_the_rest_stays(tmp_path: Path) -> None:
    net, before = tiny(4), tiny()
    reports = list(loop.train_net(net, ROW, HELD_OUT, plan(60), tmp_path / "c.safetensors"))
    assert reports[-1].loss < reports[0].loss - 0.3
    adapted = microbatches.mean_loss(net, BATCH)
    lora.merge_adapters(net)
    assert microbatches.mean_loss(net, BATCH) == pytest.approx(adapted, rel=1e-5)
    assert set(net.state_dict()) == set(before.state_dict())
    assert torch.equal(net.wte.weight, before.wte.weight)
    assert not torch.equal(net.get_parameter("h.1.mlp.c_fc.weight"), before.get_parameter("h.1.mlp.c_fc.weight"))


def test_the_checkpoint_has_the_adapters_alone_and_the_run_goes_on_from_it(tmp_path: Path) -> None:
    saved, whole, parts = tmp_path / "c.safetensors", tiny(4), tiny(4)
    list(loop.train_net(whole, ROW, HELD_OUT, plan(20), tmp_path / "whole.safetensors"))
    for more in (7, 100):
        parts = tiny(4)
        with closing(loop.train_net(parts, ROW, HELD_OUT, plan(20), saved)) as reports:
            list(islice(reports, more))
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    kept = load_file(saved)
    assert {name.rsplit(".", 1)[1] for name in kept if name.startswith("net.")} == {"a", "b"}
    assert (
        sum(value.numel() for name, value in kept.items() if name.startswith("net."))
        == memory.count_trainable(fakes.SHAPE, 4)[0]
    )
    for other in (tiny(), tiny(2)):
        with pytest.raises(ModelDamaged, match="not a checkpoint of this run"):
            checkpoint.load_checkpoint(saved, other, make_optimisers(other, plan(20)))


@pytest.mark.parametrize("rank", [0, 4])
def test_what_learns_is_counted_before_there_is_a_net(rank: int) -> None:
    net = tiny(rank)
    moved, matrices = memory.count_trainable(fakes.SHAPE, rank)
    assert moved == sum(p.numel() for p in net.parameters() if p.requires_grad)
    muon = make_optimisers(net, plan(1)).get("muon")
    assert matrices == (sum(p.numel() for p in muon.param_groups[0]["params"]) if muon else 0)


def load(shape: GPT2Config, sequences: int = 2, rank: int = 0, threads: int = 1) -> MemoryEstimate:
    return MemoryEstimate(shape, *memory.count_trainable(shape, rank), sequences, threads)


@pytest.mark.parametrize(("layers", "sequences"), [(4, 2), (8, 1)])
def test_what_a_block_keeps_for_its_gradient_is_what_is_reckoned(layers: int, sequences: int) -> None:
    """All that autograd holds on to between forward and backward, each storage once, the weights not."""
    shape = GPT2Config(300, 128, 64, layers, 4)
    net, held = Gpt2(shape), dict[int, int]()
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}

    def pack(x: torch.Tensor) -> torch.Tensor:
        if x.untyped_storage().data_ptr() not in own:
            held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    batch = torch.randint(300, (sequences, 129))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = net.loss(batch[:, :-1], batch[:, 1:])
    reckoned = load(shape, 2 * sequences).total_bytes - load(shape, sequences).total_bytes
    assert loss.isfinite()
    assert 0.75 * reckoned < sum(held.values()) < 1.1 * reckoned


def test_the_batch_is_cut_to_fit_then_the_threads() -> None:
    whole = load(GPT2, sequences=16, threads=2)
    assert memory.fit_to_memory(whole, None) == memory.fit_to_memory(whole, 1 << 50) == whole
    assert memory.fit_to_memory(whole, 8 << 30).sequences == 2
    cut = memory.fit_to_memory(whole, 5 << 30)
    assert (cut.sequences, cut.threads) == (1, 1)


def test_what_cannot_fit_is_one_line_with_its_cure_and_adapters_fit() -> None:
    with pytest.raises(
        MemoryShort, match=r"^the run needs about 1\d\.\d GB of memory, and can have 7\.7 GB: take [^\n]*--lora 8$"
    ):
        memory.fit_to_memory(load(GPT2_LARGE), 8 << 30)
    assert memory.fit_to_memory(load(GPT2_LARGE, rank=8), 12 << 30).sequences == 2
    with pytest.raises(MemoryShort, match=r"take a smaller base$"):
        memory.fit_to_memory(load(GPT2_LARGE, rank=8), 1 << 30)


@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 64), st.booleans())
def test_what_is_cut_fits_and_what_fits_is_not_cut(sequences: int, threads: int, gigabytes: int, half: bool) -> None:
    whole, free = replace(load(GPT2, sequences, threads=threads), is_bfloat16=half), gigabytes << 30
    try:
        cut = memory.fit_to_memory(whole, free)
    except MemoryShort:
        assert replace(whole, sequences=1, threads=1).total_bytes > memory.USABLE_SHARE * free
        return
    assert cut.total_bytes <= memory.USABLE_SHARE * free
    assert (cut == whole) == (whole.total_bytes <= memory.USABLE_SHARE * free)


@pytest.mark.parametrize(("steps", "span"), [(40, 25), (200, 25), (1000, 125), (9000, 250), (None, 250)])
def test_where_a_run_is_looked_at_does_not_hang_on_its_length_and_patience_does(steps: int | None, span: int) -> None:
    made = TrainPlan(RunLength(steps, None if steps else 5.0), 4, 3, look_every=0, patience=3)
    looked = [step for step in range(1, 1501) if plans.is_evaluation_step(made, step)]
    assert looked == [*range(25, 201, 25), *range(250, 401, 50), *range(500, 1001, 100), 1250, 1500]
    assert made.patience_span == span
    often = replace(made, look_every=7)
    assert (often.patience_span, [step for step in range(1, 15) if plans.is_evaluation_step(often, step)]) == (
        7,
        [7, 14],
    )


def test_what_the_run_takes_is_said_and_what_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = options.parse_options(
        fakes.parse_train_args("t", "--name", "m", "--steps", 9, "--batch", 16, "--threads", 2, "--device", "cpu")
    )
    told = io.StringIO()
    display = TrainDisplay(Console(file=told, width=200), lambda: None)
    monkeypatch.setattr(
        device, "free_memory", lambda where: int(load(GPT2, 1, threads=2).total_bytes / memory.USABLE_SHARE) + 1
    )
    plan = defaults.make_plan(asked, RunConfig(texts=(), patience=3), GPT2, display)
    assert (plan.sequences, plan.threads, plan.batch, plan.device, plan.is_bfloat16) == (1, 2, 16, "cpu", False)
    first, cut, patience = told.getvalue().splitlines()
    assert first.startswith("on the CPU, about ")
    assert cut == "cut to fit: 1 of a step's 16 sequences at once"
    assert patience.startswith("it ends when 75 steps bring nothing better")
