"""The training loop and its checkpoint: a run learns, and a stop does not change its result."""

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
from tools.train import checkpoint, loop, schedule
from tools.train.checkpoint import TrainState
from tools.train.gpt2 import DropoutFunction, Gpt2, no_dropout
from tools.train.run_config import RunLength
from tools.train.run_folder import CHECKPOINT_FILE
from tools.train.schedule import LEARNING_RATES, TrainPlan
from tools.train.trainer import make_optimisers

ROW, HELD_OUT = fakes.make_token_row(), fakes.make_token_row(800, seed=9)


tiny = fakes.tiny_net


def plan(steps: int = 12, save_every_s: float = 1e9, look_every: int = 5) -> TrainPlan:
    return TrainPlan(RunLength(steps, None), batch=4, seed=3, save_every_s=save_every_s, look_every=look_every)


def ticking(step_s: float) -> Callable[[], float]:
    """A clock that advances by `step_s` at each call."""
    now = -step_s

    def clock() -> float:
        nonlocal now
        now += step_s
        return now

    return clock


def test_the_loss_falls_on_training_and_held_out_text(tmp_path: Path) -> None:
    reports = fakes.run_steps(tiny(), ROW, HELD_OUT, plan(120, look_every=40), tmp_path / "c.safetensors")
    scores = [report.held_out_nats for report in reports if report.held_out_nats is not None]
    assert [report.state.step for report in reports if report.is_evaluated] == [40, 80, 120]
    assert reports[0].loss == pytest.approx(math.log(300), abs=0.3)
    assert reports[-1].loss < 2.3
    assert scores[0] > scores[-1]
    assert scores[-1] < 2.3


def test_a_stopped_and_resumed_run_gives_the_same_weights(tmp_path: Path) -> None:
    whole, parts = tiny(), tiny()
    losses = fakes.run_losses(whole, ROW, plan(), tmp_path / "whole.safetensors")
    resumed: list[float] = []
    for steps in (1, 4, 100):
        parts = tiny()
        resumed += fakes.run_losses(parts, ROW, plan(), tmp_path / "parts.safetensors", steps)
    assert resumed == losses
    assert all(torch.equal(whole.state_dict()[name], value) for name, value in parts.state_dict().items())


def test_steps_lost_in_a_kill_are_repeated_exactly(tmp_path: Path) -> None:
    saved, copied = tmp_path / "c.safetensors", tmp_path / "copied.safetensors"
    losses: list[float] = []
    for report in loop.train_net(tiny(), ROW, None, plan(save_every_s=0.0), saved):
        losses.append(report.loss)
        if report.state.step == 6:
            shutil.copy(saved, copied)  # a kill in step 6 leaves the checkpoint after step 5
    assert checkpoint.read_state(copied).step == 5
    assert fakes.run_losses(tiny(), ROW, plan(), copied) == losses[5:]


def test_a_finished_run_takes_no_step(tmp_path: Path) -> None:
    saved, done = tmp_path / "c.safetensors", tiny()
    fakes.run_steps(done, ROW, None, plan(3), saved)
    before, again = saved.read_bytes(), tiny()
    assert fakes.run_steps(again, ROW, None, plan(3), saved) == []
    assert torch.equal(done.wte.weight, again.wte.weight)
    assert saved.read_bytes() == before


def test_the_length_may_change_while_the_rate_is_flat(tmp_path: Path) -> None:
    straight = fakes.run_losses(tiny(), ROW, plan(20), tmp_path / "a.safetensors")
    first = fakes.run_losses(tiny(), ROW, plan(100), tmp_path / "b.safetensors", 8)
    later = fakes.run_losses(tiny(), ROW, plan(20), tmp_path / "b.safetensors")
    assert first + later == straight


def test_the_fall_may_be_set_while_the_rate_is_flat(tmp_path: Path) -> None:
    ended = replace(plan(), length=RunLength(10, None, fall=0.2))
    straight = fakes.run_losses(tiny(), ROW, ended, tmp_path / "a.safetensors")
    first = fakes.run_losses(tiny(), ROW, plan(1_000_000), tmp_path / "b.safetensors", 7)
    later = fakes.run_losses(tiny(), ROW, ended, tmp_path / "b.safetensors")
    assert first + later == straight


class Faulty(Gpt2):
    """A net whose loss is NaN from the third step on."""

    microbatches = 0  # two in each step

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, drop: DropoutFunction = no_dropout) -> torch.Tensor:
        self.microbatches += 1
        return super().loss(ids, targets, drop) * (math.nan if self.microbatches > 4 else 1.0)


def test_a_nan_loss_ends_the_run_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    saved, net = tmp_path / "c.safetensors", tiny()
    with fakes.raises("failed", match=r"step 3: the loss is nan; begin with --fresh and another --seed"):
        fakes.run_steps(Faulty(fakes.SHAPE), ROW, None, plan(save_every_s=0.0), saved)
    assert checkpoint.load_checkpoint(saved, net, make_optimisers(net, plan())).step == 2
    assert all(torch.isfinite(value).all() for value in net.parameters())


def test_a_sleeping_machine_does_not_age_the_run(tmp_path: Path) -> None:
    times = iter([0.0, *(at for n in range(99) for at in (0.0, 3600.0 if n == 3 else 1.0, 0.0))])
    train_plan, saved = TrainPlan(RunLength(None, 1.0), batch=4, seed=3), tmp_path / "c.safetensors"
    with closing(loop.train_net(tiny(), ROW, None, train_plan, saved, clock=lambda: next(times))) as reports:
        elapsed = [report.state.elapsed_s for report in islice(reports, 6)]
    assert elapsed[:3] == [1.0, 2.0, 3.0]
    assert elapsed[-1] < 30


@pytest.mark.parametrize(("length", "remaining_s"), [(RunLength(10, None), 4.5), (RunLength(None, 1.0), 59.5)])
def test_a_report_has_the_remaining_time(tmp_path: Path, length: RunLength, remaining_s: float) -> None:
    train_plan, saved = TrainPlan(length, batch=4, seed=3), tmp_path / "c.safetensors"
    with closing(loop.train_net(tiny(), ROW, None, train_plan, saved, clock=ticking(0.5))) as reports:
        report = next(reports)
    assert report.remaining_s == pytest.approx(remaining_s)
    assert report.tokens_per_s == pytest.approx(4 * 64 / 0.5)


@given(st.floats(0, 1), st.integers(0, 10_000), st.floats(0.01, 1))
def test_the_learning_rate_rises_stays_and_falls(done: float, step: int, fall: float) -> None:
    share = schedule.learning_rate_share(done, step, fall)
    assert 0 < share <= 1
    assert share == 1 or step + 1 < schedule.WARM_UP_STEPS or done >= 1 - fall
    assert share < 1 or done <= 1 - fall + 1e-9
    assert schedule.learning_rate_share(1.0, 10_000, fall) == pytest.approx(schedule.FINAL_RATE_SHARE)


@pytest.mark.parametrize(("fall", "flat"), [(0.5, False), (0.25, True), (1.0, False)])
def test_the_rate_is_flat_until_the_fall(fall: float, flat: bool) -> None:
    assert schedule.is_rate_flat(RunLength(100, None, fall), TrainState(step=60)) is flat


def test_a_damaged_checkpoint_gives_a_one_line_error(tmp_path: Path) -> None:
    saved = tmp_path / "c.safetensors"
    fakes.run_steps(tiny(), ROW, None, plan(2), saved)
    whole = saved.read_bytes()
    for bytes_left in (b"", whole[:5], whole[:2000], whole[:-100], b"\xff" * 64, b"\x02" + bytes(7) + b"[]"):
        saved.write_bytes(bytes_left)
        net = tiny()
        with pytest.raises(ModelDamaged, match=r"^[^\n]*not a checkpoint of this run[^\n]*--fresh[^\n]*$"):
            checkpoint.load_checkpoint(saved, net, make_optimisers(net, plan()))


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    saved = tmp_path / "c.safetensors"
    fakes.run_steps(tiny(), ROW, None, plan(2), saved)
    net = Gpt2(fakes.GPT2Config(300, 64, 48, 2, 2))
    with pytest.raises(ModelDamaged, match=r"^[^\n]*size mismatch[^\n]*$"):
        checkpoint.load_checkpoint(saved, net, make_optimisers(net, plan()))


def test_a_failed_save_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    saved, net = tmp_path / CHECKPOINT_FILE, tiny()
    checkpoint.save_checkpoint(saved, TrainState(step=7), net, {})
    saved.with_suffix(".part").mkdir()  # in place of the temporary file
    with fakes.raises("output", match=r"^[^\n]*cannot be written[^\n]*, without --fresh, goes on from step 7$"):
        checkpoint.save_checkpoint(saved, TrainState(step=8), net, {})
    assert checkpoint.read_state(saved).step == 7


def test_a_run_with_patience_may_be_made_longer(tmp_path: Path) -> None:
    train_plan = replace(plan(60), look_every=0, patience=2, rates=LEARNING_RATES.scale(0.1))
    short = replace(train_plan, length=RunLength(30, None))
    whole = fakes.run_steps(tiny(), ROW, HELD_OUT, train_plan, tmp_path / "a.safetensors")
    parts = fakes.run_steps(tiny(), ROW, HELD_OUT, short, tmp_path / "b.safetensors", 14)
    parts += fakes.run_steps(tiny(), ROW, HELD_OUT, train_plan, tmp_path / "b.safetensors")
    losses = [[(report.loss, report.held_out_nats) for report in reports] for reports in (whole, parts)]
    assert losses[0] == losses[1]
    assert [report.state.step for report in whole if report.held_out_nats is not None] == [25, 50, 60]


def test_the_checkpoint_format_is_unchanged(tmp_path: Path) -> None:
    saved = tmp_path / "c.safetensors"
    fakes.run_steps(tiny(), ROW, None, plan(1), saved)
    raw = saved.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert set(json.loads(header["__metadata__"]["progress"])) >= {"step", "tokens", "elapsed_s"}
    assert {"net.wte.weight", "net.h.1.attn.c_attn.weight", "muon.0.momentum", "adam.0.exp_avg"} <= set(header)
