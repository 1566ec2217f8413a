"""The steps of a run and what they leave: net, optimisers, progress, the best weights so far, their mean.

It knows no clock: whoever asks for a step says what it took.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from tools.train import checkpoint, microbatches, schedule
from tools.train.checkpoint import TrainState
from tools.train.data import TokenIds
from tools.train.errors import MemoryShort
from tools.train.gpt2 import Gpt2
from tools.train.microbatches import BatchSettings, ParallelMap
from tools.train.muon import Muon
from tools.train.schedule import TrainPlan
from tools.train.weight_average import WeightAverage

BEST_FILE = "best.safetensors"  # beside the checkpoint


def make_optimisers(net: Gpt2, plan: TrainPlan, parallel_map: ParallelMap = map) -> checkpoint.Optimisers:
    """Muon for the matrices of the blocks, AdamW for embeddings, norms and biases, and for adapters."""
    moved = {name: p for name, p in net.named_parameters() if p.requires_grad}
    matrices = [name for name, p in moved.items() if name.startswith("h.") and name.endswith("weight") and p.ndim == 2]
    others = [p for name, p in moved.items() if name not in matrices]
    adam = torch.optim.AdamW(others, lr=plan.vector_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    if not matrices:
        return {"adam": adam}
    muon = Muon([moved[name] for name in matrices], lr=plan.matrix_rate, decay=plan.decay, parallel_map=parallel_map)
    return {"muon": muon, "adam": adam}


class Trainer:
    """A run from its checkpoint, or from nothing. `windows` [N, T + 1] are what it is judged by."""

    def __init__(
        self,
        net: Gpt2,
        train_plan: TrainPlan,
        checkpoint_path: Path,
        parallel_map: ParallelMap = map,
        windows: TokenIds | None = None,
    ) -> None:
        self._net, self._plan, self._checkpoint_path = net.to(train_plan.device), train_plan, checkpoint_path
        self._settings = BatchSettings(parallel_map, train_plan.sequences, train_plan.is_bfloat16, train_plan.dropout)
        self._windows = None if windows is None else torch.from_numpy(windows).to(train_plan.device).long()
        self._optimisers = make_optimisers(net, train_plan, parallel_map)
        self._average = WeightAverage(net) if train_plan.average else None
        self.state = TrainState()
        if checkpoint_path.exists():
            self.state = checkpoint.load_checkpoint(checkpoint_path, net, self._optimisers, self._average_tensors)
        elif not schedule.is_finished(train_plan, self.state):
            self.state.first = self.evaluate()
            self.state.looks = 0

    def take_step(self, batch: TokenIds) -> float:
        """One step with a batch [B, T + 1]; returns its mean nats a token. `count` it."""
        made, progress = self._plan, self.state
        share = schedule.learning_rate_share(
            schedule.share_done(made.length, progress), progress.step, made.length.fall
        )
        loss = self._compute_gradient(torch.from_numpy(batch).to(made.device).long())
        # Muon's step has the same length whatever the gradient's; only AdamW needs the clip.
        torch.nn.utils.clip_grad_norm_(self._optimisers["adam"].param_groups[0]["params"], 1.0)
        for label, optimiser in self._optimisers.items():
            optimiser.param_groups[0]["lr"] = share * (made.matrix_rate if label == "muon" else made.vector_rate)
            optimiser.step()
            optimiser.zero_grad()
        return loss

    def count_step(self, tokens: int, took_s: float) -> None:
        """The step is good: it saw so many tokens, and took so long."""
        progress = self.state
        progress.step += 1
        progress.tokens += tokens
        progress.elapsed_s += took_s
        if self._average is not None and schedule.share_done(self._plan.length, progress) > 1 - self._plan.average:
            self._average.add(self._net, progress.averaged)
            progress.averaged += 1

    def evaluate(self) -> float | None:
        """Nats a token of the text held out; with patience, what is better than any before is kept."""
        if self._windows is None:
            return None
        progress, nats = self.state, microbatches.mean_loss(self._net, self._windows, self._settings)
        if self._plan.patience:
            progress.looks += 1
            if progress.best is None or nats < progress.best:
                progress.best, progress.best_step, progress.looks = nats, progress.step, 0
                checkpoint.save_checkpoint(self._checkpoint_path.with_name(BEST_FILE), progress, self._net, {})
        return nats

    def save_checkpoint(self) -> None:
        checkpoint.save_checkpoint(
            self._checkpoint_path, self.state, self._net, self._optimisers, self._average_tensors
        )

    def load_final_weights(self) -> None:
        """Give the net the weights that the run is to end with."""
        if self._plan.patience and self.state.best is not None and self.state.best_step != self.state.step:
            checkpoint.load_checkpoint(self._checkpoint_path.with_name(BEST_FILE), self._net, {})
        elif self._average is not None and self.state.averaged:
            self._average.copy_to(self._net)

    @property
    def _average_tensors(self) -> dict[str, torch.Tensor]:
        return {} if self._average is None else self._average.tensors

    def _compute_gradient(self, batch: torch.Tensor) -> float:
        while True:
            try:
                return microbatches.compute_gradient(
                    self._net, batch, self._settings, (self._plan.seed, self.state.step)
                )
            except torch.OutOfMemoryError:
                if self._settings.sequences == 1:
                    raise MemoryShort(
                        "a single sequence is too much for this card: take --lora 8, a smaller base, or --device cpu"
                    ) from None
            # Out here, where the exception no longer holds what it had half done.
            self._settings = replace(self._settings, sequences=self._settings.sequences // 2)
            torch.cuda.empty_cache()
