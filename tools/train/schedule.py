"""The plan of a run: its length, its learning rates, its context, and the steps of its evaluations. Pure.

The learning rate rises for WARM_UP_STEPS, stays flat until the last part of the run, its fall, and goes down there
in a straight line to FINAL_RATE_SHARE of itself. The context grows: at first the windows are cut.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from tools.train.checkpoint import TrainState
from tools.train.run_config import BASE_RATE_SHARE, DEFAULT_DECAY, RunLength

WARM_UP_STEPS = 50
FINAL_RATE_SHARE = 0.02
LOOK_EVERY = 250  # steps between two evaluations
EARLY_LOOK_EVERY = ((200, 25), (400, 50), (1000, 100))  # up to this step, the interval is shorter
# Until this share of a run from random weights, its windows are cut into so many: attention costs less, and a young net
# learns little from what is far back (Li et al. 2022, "The stability-efficiency dilemma").
CONTEXT_GROWTH = ((0.2, 4), (0.4, 2))
MIN_CUT_CONTEXT = 128  # tokens
PATIENCE_SPANS, MIN_PATIENCE_SPAN = 8, 25  # patience counts eighths of a run, of 25 to LOOK_EVERY steps


@dataclass(frozen=True, slots=True)
class LearningRates:
    """The rates of the flat part: Muon's for the matrices of the blocks, AdamW's for the rest.

    `table` is that of the token embedding, which is the head too. `vector` is that of norms, biases and adapters.
    """

    matrix: float = 0.02
    table: float = 9e-3
    position: float = 3e-3
    vector: float = 1e-2

    def scale(self, share: float) -> LearningRates:
        return LearningRates(*(share * rate for rate in astuple(self)))


LEARNING_RATES = LearningRates()
# Adapters begin at zero and are small: AdamW alone. The other rates are not used.
LORA_LEARNING_RATES = LearningRates(0.0, 0.0, 0.0, 2e-3)


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """How a run is done.

    A checkpoint is due every `save_every_s`: with 100 s a kill costs at most two minutes. With `patience` the run ends
    after this number of `patience_span`s without an improvement, and keeps the best weights of all evaluations. With
    `average` it keeps the mean weights over this last share of the run. `look_every` 0 means EARLY_LOOK_EVERY, then
    LOOK_EVERY. A microbatch has `sequences`. With `grows_context` the windows are short at first. `place` says the
    device and the precision to a reader.
    """

    length: RunLength
    batch: int
    seed: int
    rates: LearningRates = LEARNING_RATES
    look_every: int = LOOK_EVERY
    save_every_s: float = 100.0
    threads: int = 1
    decay: float = DEFAULT_DECAY
    dropout: float = 0.0
    average: float = 0.0
    patience: int = 0
    sequences: int = 2
    grows_context: bool = False
    device: str = "cpu"
    is_bfloat16: bool = False
    place: str = ""

    @property
    def patience_span(self) -> int:
        """The unit of patience in steps: the given interval of evaluations, or an eighth of the run."""
        steps = self.length.steps or PATIENCE_SPANS * LOOK_EVERY
        return self.look_every or max(MIN_PATIENCE_SPAN, min(LOOK_EVERY, steps // PATIENCE_SPANS))


def choose_rates(has_base: bool, has_adapters: bool, percent: float) -> LearningRates:
    """The rates of a run. `percent` 0 means the default."""
    rates = LORA_LEARNING_RATES if has_adapters else LEARNING_RATES
    share = percent / 100 if percent else BASE_RATE_SHARE if has_base and not has_adapters else 1.0
    return rates.scale(share)


def is_evaluation_step(plan: TrainPlan, step: int) -> bool:
    """Whether the held-out text is scored after this step. It does not depend on the length of the run."""
    interval = next((interval for last, interval in EARLY_LOOK_EVERY if step <= last), LOOK_EVERY)
    return step % (plan.look_every or interval) == 0


def learning_rate_share(done: float, step: int, fall: float) -> float:
    """The share of the full learning rate, 0 to 1. It falls in the last `fall` of the run."""
    share = 1.0 if done < 1 - fall else FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * (1 - done) / fall
    return min(1.0, (step + 1) / WARM_UP_STEPS) * share


def count_cuts(plan: TrainPlan, done: float, context: int) -> int:
    """Into how many the windows of a step are cut, at this share of the run."""
    cuts = next((cuts for until, cuts in CONTEXT_GROWTH if done < until), 1) if plan.grows_context else 1
    return cuts if context % cuts == 0 and context // cuts >= MIN_CUT_CONTEXT else 1


def share_done(length: RunLength, state: TrainState) -> float:
    """The share of a run of that length that is done, 0 to 1."""
    if length.steps is not None:
        return min(1.0, state.step / length.steps)
    return min(1.0, state.elapsed_s / (60.0 * (length.minutes or 1.0)))


def is_rate_flat(length: RunLength, state: TrainState) -> bool:
    """Whether the learning rate of a run of that length has not begun to fall."""
    return share_done(length, state) < 1 - length.fall


def is_finished(plan: TrainPlan, state: TrainState) -> bool:
    """Whether the run ends here: its length is reached, or its patience is exhausted."""
    if share_done(plan.length, state) >= 1.0:
        return True
    may_end = plan.patience > 0 and state.best is not None and is_evaluation_step(plan, state.step)
    return may_end and state.step - state.best_step >= plan.patience * plan.patience_span
