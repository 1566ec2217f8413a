"""How a run is done: its length, its rates, and how its rate goes. Data in, data out; it takes no step.

The rate rises for `WARM_UP` steps, stays flat until the last part of the run, its fall, and goes down there
in a straight line to `LAST_RATE` of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.training.checkpoint import Progress
from tools.training.recipe import DECAY, Length

RATES = (0.02, 3e-3)  # matrices, vectors
# From a base the rates are a fifth: a step of Muon has the same length whatever the gradient, and fifty at the full
# rate would write over what the base knows before the fall of the rate could mend it.
BASE_RATES = (0.004, 6e-4)
LORA_RATES = (0.0, 2e-3)  # adapters begin as nothing and have little to move: AdamW alone, and a higher rate
WARM_UP = 50
LAST_RATE = 0.02
LOOK_EVERY = 250
OFTENER = ((200, 25), (400, 50), (1000, 100))  # steps to which looks are nearer to one another, and how near
LOOKS, SOONEST = 8, 25  # patience is counted in eighths of a run, but in no fewer steps and no more than LOOK_EVERY


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is done. Rates are those of the flat part: of Muon for matrices, of AdamW for the rest.

    A checkpoint is due every `save_every_s`: 100 s leave a kill no more than two minutes to take. With `patience`
    the run ends when so many of its `span`s brought nothing better, and its weights are the best that a look has seen;
    with `average` they are the mean over this last share of it. A `look_every` of 0 is often at first, and the same for
    a run of any length. `sequences` are worked out at once, in bfloat16 if `half`.
    """

    length: Length
    batch: int
    seed: int
    matrix_rate: float = RATES[0]
    vector_rate: float = RATES[1]
    look_every: int = LOOK_EVERY
    save_every_s: float = 100.0
    threads: int = 1
    decay: float = DECAY
    dropout: float = 0.0
    average: float = 0.0
    patience: int = 0
    sequences: int = 2
    device: str = "cpu"
    half: bool = False

    @property
    def span(self) -> int:
        """Steps that patience counts in: from look to look, or where looks come as they come, an eighth of the run."""
        steps = self.length.steps or LOOKS * LOOK_EVERY
        return self.look_every or max(SOONEST, min(LOOK_EVERY, steps // LOOKS))


def looks(plan: Plan, step: int) -> bool:
    """Whether the text held out is looked at after this step, whatever the length of the run."""
    every = next((every for most, every in OFTENER if step <= most), LOOK_EVERY)
    return step % (plan.look_every or every) == 0


def rate(done: float, step: int, fall: float) -> float:
    """The share of the full learning rate, 0 to 1; it falls over the last `fall` of the run."""
    falling = 1.0 if done < 1 - fall else LAST_RATE + (1 - LAST_RATE) * (1 - done) / fall
    return min(1.0, (step + 1) / WARM_UP) * falling


def done(length: Length, progress: Progress) -> float:
    """How much of a run of that length is over, 0 to 1."""
    if length.steps is not None:
        return min(1.0, progress.step / length.steps)
    return min(1.0, progress.elapsed_s / (60.0 * (length.minutes or 1.0)))


def flat(length: Length, progress: Progress) -> bool:
    """Whether the rate of a run of that length has not begun to fall."""
    return done(length, progress) < 1 - length.fall


def over(plan: Plan, progress: Progress) -> bool:
    """Whether there is no further step: the length is reached, or patience is at its end."""
    if done(plan.length, progress) >= 1.0:
        return True
    waits = plan.patience > 0 and progress.best is not None and looks(plan, progress.step)
    return waits and progress.step - progress.best_step >= plan.patience * plan.span
