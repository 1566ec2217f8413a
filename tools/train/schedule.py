"""How a run is done: its length, its rates, and how its rate goes. Data in, data out; it takes no step.

The rate rises for `WARM_UP` steps, stays flat until the last part of the run, its fall, and goes down there
in a straight line to `LAST_RATE` of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.train.checkpoint import TrainState
from tools.train.run_config import DEFAULT_DECAY, RunLength

LEARNING_RATES = (0.02, 3e-3)  # matrices, vectors
# From a base the rates are a fifth: a step of Muon has the same length whatever the gradient, and fifty at the full
# rate would write over what the base knows before the fall of the rate could mend it.
BASE_LEARNING_RATES = (0.004, 6e-4)
LORA_LEARNING_RATES = (0.0, 2e-3)  # adapters begin as nothing and have little to move: AdamW alone, and a higher rate
WARM_UP_STEPS = 50
FINAL_RATE_SHARE = 0.02
LOOK_EVERY = 250
EARLY_LOOK_EVERY = ((200, 25), (400, 50), (1000, 100))  # steps to which looks are nearer to one another, and how near
PATIENCE_SPANS, MIN_PATIENCE_SPAN = (
    8,
    25,
)  # patience is counted in eighths of a run, but in no fewer steps and no more than LOOK_EVERY


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """How a run is done. Rates are those of the flat part: of Muon for matrices, of AdamW for the rest.

    A checkpoint is due every `save_every_s`: 100 s leave a kill no more than two minutes to take. With `patience`
    the run ends when so many of its `span`s brought nothing better, and its weights are the best that a look has seen;
    with `average` they are the mean over this last share of it. A `look_every` of 0 is often at first, and the same for
    a run of any length. `sequences` are worked out at once, in bfloat16 if `half`.
    """

    length: RunLength
    batch: int
    seed: int
    matrix_rate: float = LEARNING_RATES[0]
    vector_rate: float = LEARNING_RATES[1]
    look_every: int = LOOK_EVERY
    save_every_s: float = 100.0
    threads: int = 1
    decay: float = DEFAULT_DECAY
    dropout: float = 0.0
    average: float = 0.0
    patience: int = 0
    sequences: int = 2
    device: str = "cpu"
    is_bfloat16: bool = False

    @property
    def patience_span(self) -> int:
        """Steps that patience counts in: from look to look, or where looks come as they come, an eighth of the run."""
        steps = self.length.steps or PATIENCE_SPANS * LOOK_EVERY
        return self.look_every or max(MIN_PATIENCE_SPAN, min(LOOK_EVERY, steps // PATIENCE_SPANS))


def is_evaluation_step(plan: TrainPlan, step: int) -> bool:
    """Whether the text held out is looked at after this step, whatever the length of the run."""
    every = next((every for most, every in EARLY_LOOK_EVERY if step <= most), LOOK_EVERY)
    return step % (plan.look_every or every) == 0


def learning_rate_share(done: float, step: int, fall: float) -> float:
    """The share of the full learning rate, 0 to 1; it falls over the last `fall` of the run."""
    falling = 1.0 if done < 1 - fall else FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * (1 - done) / fall
    return min(1.0, (step + 1) / WARM_UP_STEPS) * falling


def share_done(length: RunLength, state: TrainState) -> float:
    """How much of a run of that length is over, 0 to 1."""
    if length.steps is not None:
        return min(1.0, state.step / length.steps)
    return min(1.0, state.elapsed_s / (60.0 * (length.minutes or 1.0)))


def is_rate_flat(length: RunLength, state: TrainState) -> bool:
    """Whether the rate of a run of that length has not begun to fall."""
    return share_done(length, state) < 1 - length.fall


def is_finished(plan: TrainPlan, state: TrainState) -> bool:
    """Whether there is no further step: the length is reached, or patience is at its end."""
    if share_done(plan.length, state) >= 1.0:
        return True
    waits = plan.patience > 0 and state.best is not None and is_evaluation_step(plan, state.step)
    return waits and state.step - state.best_step >= plan.patience * plan.patience_span
