"""Takes the steps of a run and holds their results: net, optimisers, state, best weights and weight average.

It knows no clock: the caller says how long a step took.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tools.cli.errors import ToolError
from tools.train import checkpoint, data, microbatches, muon, schedule
from tools.train.checkpoint import TrainState
from tools.train.data import TokenIds
from tools.train.gpt2 import Gpt2
from tools.train.microbatches import BatchSettings, ParallelMap
from tools.train.schedule import TrainPlan

BEST_FILE = "best.safetensors"  # beside the checkpoint
# AdamW's, found in modded-nanogpt's track 3 (2025): rows of a table get gradients seldom, the vectors at each step.
TABLE_BETAS, VECTOR_BETAS, ADAM_EPSILON = (0.8, 0.95), (0.9, 0.99), 1e-10


class WeightAverage:
    """The mean of a net's trainable weights over many steps. It has a lower loss while the rate is still high."""

    def __init__(self, net: Gpt2) -> None:
        values = checkpoint.trainable_tensors(net)
        self.tensors: dict[str, Tensor] = {name: torch.zeros_like(value) for name, value in values.items()}

    @torch.no_grad()
    def add(self, net: Gpt2, count: int) -> None:
        """Adds the present weights to the mean, which is over `count` steps so far."""
        values = checkpoint.trainable_tensors(net)
        torch._foreach_lerp_(list(self.tensors.values()), [values[name] for name in self.tensors], 1 / (count + 1))

    @torch.no_grad()
    def copy_to(self, net: Gpt2) -> None:
        for name, value in checkpoint.trainable_tensors(net).items():
            value.copy_(self.tensors[name])


def make_optimisers(net: Gpt2, plan: TrainPlan, parallel_map: ParallelMap = map) -> checkpoint.Optimisers:
    """Muon for the matrices of the blocks; AdamW for embeddings, norms, biases and adapters.

    Each group has its `full_rate`, that of the flat part. docs/training.md has the runs that chose the betas.
    """
    matrices, tables, positions, vectors = list[Tensor](), list[Tensor](), list[Tensor](), list[Tensor]()
    for name, p in net.named_parameters():
        if p.requires_grad:
            is_matrix = name.startswith("h.") and name.endswith("weight") and p.ndim == 2
            kinds = {"wte.weight": tables, "wpe.weight": positions}
            kinds.get(name, matrices if is_matrix else vectors).append(p)
    rates = plan.rates
    kinds_of_adam = [
        (tables, rates.table, TABLE_BETAS),
        (positions, rates.position, TABLE_BETAS),
        (vectors, rates.vector, VECTOR_BETAS),
    ]
    groups = [{"params": params, "full_rate": rate, "betas": betas} for params, rate, betas in kinds_of_adam if params]
    optimisers: checkpoint.Optimisers = {
        "adam": torch.optim.AdamW(groups, eps=ADAM_EPSILON, weight_decay=0.0, fused=True)
    }
    if matrices:
        by_muon = muon.Muon(
            [{"params": matrices, "full_rate": rates.matrix}],
            rates.matrix,
            decay=plan.decay,
            parallel_map=parallel_map,
            is_bfloat16=plan.is_bfloat16,
        )
        optimisers = {"muon": by_muon} | optimisers
    return optimisers


class Trainer:
    """A run from its checkpoint, or from the beginning. `windows` [N, T + 1] are for the evaluations."""

    def __init__(
        self,
        net: Gpt2,
        plan: TrainPlan,
        checkpoint_path: Path,
        parallel_map: ParallelMap = map,
        windows: TokenIds | None = None,
    ) -> None:
        self._net, self._plan, self._checkpoint_path = net.to(plan.device), plan, checkpoint_path
        self._settings = BatchSettings(parallel_map, plan.sequences, plan.is_bfloat16, plan.dropout)
        self._windows = None if windows is None else torch.from_numpy(windows).to(plan.device).long()
        self._optimisers = make_optimisers(net, plan, parallel_map)
        self._average = WeightAverage(net) if plan.average else None
        self.state = TrainState()
        if self.has_checkpoint:
            self.state = checkpoint.load_checkpoint(checkpoint_path, net, self._optimisers, self._average_tensors)
        elif not schedule.is_finished(plan, self.state):
            self.state.first = self.evaluate()
            self.state.looks = 0

    def take_step(self, batch: TokenIds) -> float:
        """Takes one step with a batch [B, T + 1]; returns its mean loss in nats per token. Then call `count_step`."""
        plan, state = self._plan, self.state
        done = schedule.share_done(plan.length, state)
        share = schedule.learning_rate_share(done, state.step, plan.length.fall)
        cuts = schedule.count_cuts(plan, done, batch.shape[1] - 1)
        windows = data.cut_windows(batch, (batch.shape[1] - 1) // cuts)
        loss = self._compute_gradient(torch.from_numpy(windows).to(plan.device).long(), cuts)
        # Muon's step has the same length whatever the gradient's; only AdamW needs the clip.
        groups = self._optimisers["adam"].param_groups
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        for optimiser in self._optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = share * group["full_rate"]
        if "muon" in self._optimisers:
            self._set_matrix_step(batch.shape[0] * (batch.shape[1] - 1))
        for optimiser in self._optimisers.values():
            optimiser.step()
            optimiser.zero_grad()
        return loss

    def _set_matrix_step(self, tokens: int) -> None:
        """Lets the matrices step after some batches only, and longer, if their step costs much beside one."""
        group = self._optimisers["muon"].param_groups[0]
        interval = muon.choose_interval(group["params"], sum(p.numel() for p in self._net.parameters()), tokens)
        group["is_due"] = (self.state.step + 1) % interval == 0
        group["lr"] *= interval

    def count_step(self, tokens: int, took_s: float) -> None:
        """Records a step whose loss is a number, with its tokens and seconds."""
        state = self.state
        state.step += 1
        state.tokens += tokens
        state.elapsed_s += took_s
        if self._average is not None and schedule.share_done(self._plan.length, state) > 1 - self._plan.average:
            self._average.add(self._net, state.averaged)
            state.averaged += 1

    def evaluate(self) -> float | None:
        """The loss of the held-out text in nats per token. With patience, the best weights are saved."""
        if self._windows is None:
            return None
        state, nats = self.state, microbatches.mean_loss(self._net, self._windows, self._settings)
        if self._plan.patience:
            state.looks += 1
            if state.best is None or nats < state.best:
                state.best, state.best_step, state.looks = nats, state.step, 0
                checkpoint.save_checkpoint(self._checkpoint_path.with_name(BEST_FILE), state, self._net, {})
        return nats

    def save_checkpoint(self) -> None:
        path, average = self._checkpoint_path, self._average_tensors
        checkpoint.save_checkpoint(path, self.state, self._net, self._optimisers, average)

    def load_final_weights(self) -> None:
        """Loads the weights that the run ends with: the last, the best, or the mean."""
        if self._plan.patience and self.state.best is not None and self.state.best_step != self.state.step:
            checkpoint.load_checkpoint(self._checkpoint_path.with_name(BEST_FILE), self._net, {})
        elif self._average is not None and self.state.averaged:
            self._average.copy_to(self._net)

    @property
    def has_checkpoint(self) -> bool:
        return self._checkpoint_path.exists()

    @property
    def _average_tensors(self) -> dict[str, Tensor]:
        return {} if self._average is None else self._average.tensors

    def _compute_gradient(self, batch: Tensor, cuts: int) -> float:
        """Stores the gradient in the net; returns the loss. Halves the microbatches until they fit the GPU.

        A microbatch has `cuts` times as many sequences, since each is a part of one.
        """
        while True:
            try:
                seeds = (self._plan.seed, self.state.step)
                settings = replace(self._settings, sequences=self._settings.sequences * cuts)
                return microbatches.compute_gradient(self._net, batch, settings, seeds)
            except torch.OutOfMemoryError:
                if self._settings.sequences == 1:
                    cure = "take --lora 8, a smaller base, or --device cpu"
                    raise ToolError(f"a single sequence is too much for this card: {cure}", "system") from None
            # Outside the handler, so that the exception no longer holds the failed microbatch's memory.
            self._settings = replace(self._settings, sequences=self._settings.sequences // 2)
            torch.cuda.empty_cache()
