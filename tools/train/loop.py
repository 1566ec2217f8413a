"""The training loop: a generator of step reports. It knows no terminal, and no file but its checkpoint.

While its learning rate is flat a run may be made longer or shorter, and is then the same run: the steps of its
evaluations do not depend on its length. Only the end of patience does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tools.cli.errors import ToolError
from tools.train import microbatches, schedule
from tools.train.checkpoint import TrainState
from tools.train.data import TokenIds, iter_batches, sample_windows
from tools.train.gpt2 import Gpt2
from tools.train.microbatches import BatchSettings, ParallelMap
from tools.train.schedule import TrainPlan
from tools.train.trainer import Trainer

SUSPEND_FACTOR = 10  # a step ten times as long as usual means that the machine was asleep
EVALUATION_WINDOWS = 64  # held-out windows of an evaluation: 32,768 tokens at context 512, a second or two


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step. `held_out_nats` is the loss in nats per token; None without a held-out text or an evaluation."""

    state: TrainState
    done: float
    remaining_s: float
    loss: float
    tokens_per_s: float
    is_evaluated: bool
    held_out_nats: float | None


def train_net(
    net: Gpt2,
    ids: TokenIds,
    held_out: TokenIds | None,
    plan: TrainPlan,
    checkpoint_path: Path,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[StepReport, None, None]:
    """Trains from the checkpoint, if there is one. Closing the generator saves a checkpoint.

    At the end the net has the weights of the plan: the last, the best, or the mean. Raises ToolError if the loss is
    not a number; the checkpoint is then the last good one.
    """
    context = net.shape.n_positions
    windows = None if held_out is None else sample_windows(held_out, context, EVALUATION_WINDOWS)
    with microbatches.open_thread_map(plan.threads) as thread_map:
        # CUDA is one device with its own threads.
        parallel_map: ParallelMap = map if plan.device == "cuda" else thread_map
        trainer = Trainer(net, plan, checkpoint_path, parallel_map, windows)
        batches = iter_batches(ids, context, plan.batch, plan.seed, start=trainer.state.step)
        yield from _train_steps(trainer, batches, plan, plan.batch * context, clock)


def evaluate_net(net: Gpt2, held_out: TokenIds, plan: TrainPlan) -> float | None:
    """The loss of a net in nats per token, as at an evaluation of its run; None if too little is held out."""
    windows = sample_windows(held_out, net.shape.n_positions, EVALUATION_WINDOWS)
    if windows is None:
        return None
    with microbatches.open_thread_map(plan.threads) as thread_map:
        settings = BatchSettings(map if plan.device == "cuda" else thread_map, plan.sequences, plan.is_bfloat16)
        net.to(plan.device)
        return microbatches.mean_loss(net, torch.from_numpy(windows).to(plan.device).long(), settings)


def _train_steps(
    trainer: Trainer, batches: Iterator[TokenIds], plan: TrainPlan, step_tokens: int, clock: Callable[[], float]
) -> Generator[StepReport, None, None]:
    state = trainer.state
    usual_s, saved_at, saved_step = math.inf, clock(), state.step if trainer.has_checkpoint else -1
    while not schedule.is_finished(plan, state):
        started_at = clock()
        loss = trainer.take_step(next(batches))
        took_s = clock() - started_at
        if not math.isfinite(loss):
            cure = "begin with --fresh and another --seed"
            raise ToolError(f"step {state.step + 1}: the loss is {loss}; {cure}", "failed")
        awake_s = min(took_s, SUSPEND_FACTOR * usual_s)
        usual_s = took_s if math.isinf(usual_s) else 0.9 * usual_s + 0.1 * awake_s
        trainer.count_step(step_tokens, min(took_s, SUSPEND_FACTOR * usual_s))
        report = _make_report(plan, state, loss, step_tokens, usual_s)
        if report.is_evaluated:
            report = replace(report, held_out_nats=trainer.evaluate(), state=replace(state))
        try:
            yield report
        except GeneratorExit:
            # Only here do net, optimisers and state belong to the same step: an error inside a step saves nothing.
            trainer.save_checkpoint()
            raise
        if clock() - saved_at > plan.save_every_s:
            trainer.save_checkpoint()
            saved_at, saved_step = clock(), state.step
    if saved_step != state.step:
        trainer.save_checkpoint()
    trainer.load_final_weights()


def _make_report(plan: TrainPlan, state: TrainState, loss: float, step_tokens: int, step_s: float) -> StepReport:
    done = schedule.share_done(plan.length, state)
    if plan.length.steps is not None:
        remaining_s = (plan.length.steps - state.step) * step_s
    else:
        remaining_s = 60.0 * (plan.length.minutes or 1.0) - state.elapsed_s
    return StepReport(
        state=replace(state),
        done=done,
        remaining_s=max(0.0, remaining_s),
        loss=loss,
        tokens_per_s=step_tokens / max(step_s, 1e-9),
        is_evaluated=schedule.is_evaluation_step(plan, state.step) or done >= 1.0,
        held_out_nats=None,
    )
