"""The loop and its checkpoint: what a run learns, and that no stop changes what it comes to."""

# ruff: noqa: E402  torch may be missing

import json
import math
import shutil
from collections.abc import Callable
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

from model.errors import ModelDamaged
from tools.train import checkpoint, loop
from tools.train import schedule as plans
from tools.train.checkpoint import TrainState
from tools.train.errors import RunHalted, RunUnwritten
from tools.train.gpt2 import DropoutFunction, Gpt2, no_dropout
from tools.train.run_config import RunLength
from tools.train.run_folder import CHECKPOINT_FILE
from tools.train.schedule import TrainPlan
from tools.train.steps import make_optimisers

ROW, HELD_OUT = fakes.token_row(), fakes.token_row(800, seed=9)


def tiny() -> Gpt2:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    return Gpt2(fakes.SHAPE)


def plan(steps: int = 12, save_every_s: float = 1e9, look_every: int = 5) -> TrainPlan:
    return TrainPlan(RunLength(steps, None), batch=4, seed=3, save_every_s=save_every_s, look_every=look_every)


def ticking(step_s: float) -> Callable[[], float]:
    """A clock that moves on by this much each time it is looked at."""
    now = -step_s

    def clock() -> float:
        nonlocal now
        now += step_s
        return now

    return clock


def test_the_loss_falls_on_the_text_and_on_text_held_out(tmp_path: Path) -> None:
    reports = list(loop.train_net(tiny(), ROW, HELD_OUT, plan(120, look_every=40), tmp_path / "c.safetensors"))
    looks = [report.held_out_nats for report in reports if report.held_out_nats is not None]
    assert [report.state.step for report in reports if report.is_evaluated] == [40, 80, 120]
    assert reports[0].loss == pytest.approx(math.log(300), abs=0.3)
    assert reports[-1].loss < 2.3
    assert looks[0] > looks[-1]
    assert looks[-1] < 2.3


def test_a_run_stopped_anywhere_comes_to_the_very_same_weights(tmp_path: Path) -> None:
    whole, parts = tiny(), tiny()
    losses = [report.loss for report in loop.train_net(whole, ROW, None, plan(), tmp_path / "whole.safetensors")]
    again: list[float] = []
    for more in (1, 4, 100):
        parts = tiny()
        with closing(loop.train_net(parts, ROW, None, plan(), tmp_path / "parts.safetensors")) as reports:
            again += [report.loss for report in islice(reports, more)]
    assert again == losses
    assert all(torch.equal(whole.state_dict()[name], value) for name, value in parts.state_dict().items())


def test_what_a_kill_takes_is_done_over_to_the_same_numbers(tmp_path: Path) -> None:
    saved, kept = tmp_path / "c.safetensors", tmp_path / "kept.safetensors"
    losses: list[float] = []
    for report in loop.train_net(tiny(), ROW, None, plan(save_every_s=0.0), saved):
        losses.append(report.loss)
        if report.state.step == 6:
            shutil.copy(saved, kept)  # what a kill in the middle of step 6 leaves: the checkpoint after step 5
    assert checkpoint.read_state(kept).step == 5
    assert [report.loss for report in loop.train_net(tiny(), ROW, None, plan(), kept)] == losses[5:]


def test_a_run_that_is_over_takes_no_step_and_keeps_its_weights(tmp_path: Path) -> None:
    saved = tmp_path / "c.safetensors"
    done = tiny()
    list(loop.train_net(done, ROW, None, plan(3), saved))
    before, again = saved.read_bytes(), tiny()
    assert list(loop.train_net(again, ROW, None, plan(3), saved)) == []
    assert torch.equal(done.wte.weight, again.wte.weight)
    assert saved.read_bytes() == before


def test_while_the_rate_is_flat_the_length_may_change_and_the_run_stays_the_same(tmp_path: Path) -> None:
    straight = [report.loss for report in loop.train_net(tiny(), ROW, None, plan(20), tmp_path / "a.safetensors")]
    with closing(loop.train_net(tiny(), ROW, None, plan(100), tmp_path / "b.safetensors")) as reports:
        first = [report.loss for report in islice(reports, 8)]
    then = [report.loss for report in loop.train_net(tiny(), ROW, None, plan(20), tmp_path / "b.safetensors")]
    assert first + then == straight


def test_while_the_rate_is_flat_its_fall_may_be_set_and_the_run_ends_soon(tmp_path: Path) -> None:
    ended = replace(plan(), length=RunLength(10, None, fall=0.2))
    straight = [report.loss for report in loop.train_net(tiny(), ROW, None, ended, tmp_path / "a.safetensors")]
    with closing(loop.train_net(tiny(), ROW, None, plan(1_000_000), tmp_path / "b.safetensors")) as reports:
        first = [report.loss for report in islice(reports, 7)]
    then = [report.loss for report in loop.train_net(tiny(), ROW, None, ended, tmp_path / "b.safetensors")]
    assert first + then == straight


class Faulty(Gpt2):
    """A net whose loss is no number from the third step on."""

    shares = 0  # two a step

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, drop: DropoutFunction = no_dropout) -> torch.Tensor:
        self.shares += 1
        return super().loss(ids, targets, drop) * (math.nan if self.shares > 4 else 1.0)


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    saved, other = tmp_path / "c.safetensors", tiny()
    with pytest.raises(RunHalted, match=r"step 3: the loss is nan; begin with --fresh and another --seed"):
        list(loop.train_net(Faulty(fakes.SHAPE), ROW, None, plan(save_every_s=0.0), saved))
    assert checkpoint.load_checkpoint(saved, other, make_optimisers(other, plan())).step == 2
    assert all(torch.isfinite(value).all() for value in other.parameters())


def test_a_machine_asleep_does_not_age_the_run(tmp_path: Path) -> None:
    times = iter([0.0, *(at for n in range(99) for at in (0.0, 3600.0 if n == 3 else 1.0, 0.0))])
    made = TrainPlan(RunLength(None, 1.0), batch=4, seed=3)
    with closing(
        loop.train_net(tiny(), ROW, None, made, tmp_path / "c.safetensors", clock=lambda: next(times))
    ) as reports:
        elapsed = [report.state.elapsed_s for report in islice(reports, 6)]
    assert elapsed[:3] == [1.0, 2.0, 3.0]
    assert elapsed[-1] < 30


@pytest.mark.parametrize(("length", "left_s"), [(RunLength(10, None), 4.5), (RunLength(None, 1.0), 59.5)])
def test_the_time_left_is_known(tmp_path: Path, length: RunLength, left_s: float) -> None:
    made = TrainPlan(length, batch=4, seed=3)
    with closing(loop.train_net(tiny(), ROW, None, made, tmp_path / "c.safetensors", clock=ticking(0.5))) as reports:
        report = next(reports)
    assert report.remaining_s == pytest.approx(left_s)
    assert report.tokens_per_s == pytest.approx(4 * 64 / 0.5)


@given(st.floats(0, 1), st.integers(0, 10_000), st.floats(0.01, 1))
def test_the_rate_rises_stays_and_falls(done: float, step: int, fall: float) -> None:
    share = plans.learning_rate_share(done, step, fall)
    assert 0 < share <= 1
    assert share == 1 or step + 1 < plans.WARM_UP_STEPS or done >= 1 - fall
    assert share < 1 or done <= 1 - fall + 1e-9
    assert plans.learning_rate_share(1.0, 10_000, fall) == pytest.approx(plans.FINAL_RATE_SHARE)


@pytest.mark.parametrize(("fall", "flat"), [(0.5, False), (0.25, True), (1.0, False)])
def test_a_run_is_flat_until_its_fall(fall: float, flat: bool) -> None:
    assert plans.is_rate_flat(RunLength(100, None, fall), TrainState(step=60)) is flat


def test_a_checkpoint_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    saved = tmp_path / "c.safetensors"
    list(loop.train_net(tiny(), ROW, None, plan(2), saved))
    whole = saved.read_bytes()
    for bytes_left in (b"", whole[:5], whole[:2000], whole[:-100], b"\xff" * 64, b"\x02" + bytes(7) + b"[]"):
        saved.write_bytes(bytes_left)
        net = tiny()
        with pytest.raises(ModelDamaged, match=r"^[^\n]*not a checkpoint of this run[^\n]*--fresh[^\n]*$"):
            checkpoint.load_checkpoint(saved, net, make_optimisers(net, plan()))


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    saved = tmp_path / "c.safetensors"
    list(loop.train_net(tiny(), ROW, None, plan(2), saved))
    net = Gpt2(fakes.GPT2Config(300, 64, 48, 2, 2))
    with pytest.raises(ModelDamaged, match=r"^[^\n]*size mismatch[^\n]*$"):
        checkpoint.load_checkpoint(saved, net, make_optimisers(net, plan()))


def test_a_checkpoint_that_cannot_be_written_says_so_and_leaves_the_old_one(tmp_path: Path) -> None:
    saved, net = tmp_path / CHECKPOINT_FILE, tiny()
    checkpoint.save_checkpoint(saved, TrainState(step=7), net, {})
    saved.with_suffix(".part").mkdir()  # where the new one would be written
    with pytest.raises(RunUnwritten, match=r"^[^\n]*cannot be written[^\n]*, without --fresh, goes on from step 7$"):
        checkpoint.save_checkpoint(saved, TrainState(step=8), net, {})
    assert checkpoint.read_state(saved).step == 7


def test_made_longer_a_run_with_patience_is_the_same_too(tmp_path: Path) -> None:
    made = replace(plan(60), look_every=0, patience=2, matrix_rate=0.002, vector_rate=3e-4)
    short = replace(made, length=RunLength(30, None))
    whole = [
        (one.loss, one.held_out_nats) for one in loop.train_net(tiny(), ROW, HELD_OUT, made, tmp_path / "a.safetensors")
    ]
    with closing(loop.train_net(tiny(), ROW, HELD_OUT, short, tmp_path / "b.safetensors")) as reports:
        first = [(one.loss, one.held_out_nats) for one in islice(reports, 14)]
    then = [
        (one.loss, one.held_out_nats) for one in loop.train_net(tiny(), ROW, HELD_OUT, made, tmp_path / "b.safetensors")
    ]
    assert first + then == whole
    assert [number for number, (_, held_out) in enumerate(whole, 1) if held_out is not None] == [25, 50, 60]


def test_the_format_is_the_one_that_runs_of_the_past_have(tmp_path: Path) -> None:
    saved = tmp_path / "c.safetensors"
    list(loop.train_net(tiny(), ROW, None, plan(1), saved))
    raw = saved.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert set(json.loads(header["__metadata__"]["progress"])) >= {"step", "tokens", "elapsed_s"}
    assert {"net.wte.weight", "net.h.1.attn.c_attn.weight", "muon.0.momentum", "adam.0.exp_avg"} <= set(header)
