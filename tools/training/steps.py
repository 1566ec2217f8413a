"""The steps of a run and what they leave: net, optimisers, progress, the best weights so far, their mean.

It knows no clock: whoever asks for a step says what it took.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from tools.training import checkpoint, plan, shares
from tools.training.average import Mean
from tools.training.checkpoint import Progress
from tools.training.data import Ids
from tools.training.errors import MemoryShort
from tools.training.muon import Muon
from tools.training.net import Gpt2
from tools.training.plan import Plan
from tools.training.shares import Spread, Way

BEST = "best.safetensors"  # beside the checkpoint


def optimisers_for(net: Gpt2, plan: Plan, spread: Spread = map) -> checkpoint.Optimisers:
    """Muon for the matrices of the blocks, AdamW for embeddings, norms and biases, and for adapters."""
    moved = {name: p for name, p in net.named_parameters() if p.requires_grad}
    matrices = [name for name, p in moved.items() if name.startswith("h.") and name.endswith("weight") and p.ndim == 2]
    others = [p for name, p in moved.items() if name not in matrices]
    adam = torch.optim.AdamW(others, lr=plan.vector_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    if not matrices:
        return {"adam": adam}
    muon = Muon([moved[name] for name in matrices], lr=plan.matrix_rate, decay=plan.decay, spread=spread)
    return {"muon": muon, "adam": adam}


class Steps:
    """A run from its checkpoint, or from nothing. `windows` [N, T + 1] are what it is judged by."""

    def __init__(self, net: Gpt2, made: Plan, saved: Path, spread: Spread = map, windows: Ids | None = None) -> None:
        self._net, self._plan, self._saved = net.to(made.device), made, saved
        self._way = Way(spread, made.sequences, made.half, made.dropout)
        self._windows = None if windows is None else torch.from_numpy(windows).to(made.device).long()
        self._optimisers = optimisers_for(net, made, spread)
        self._mean = Mean(net) if made.average else None
        self.progress = Progress()
        if saved.exists():
            self.progress = checkpoint.load(saved, net, self._optimisers, self._means)
        elif not plan.over(made, self.progress):
            self.progress.first = self.look()
            self.progress.looks = 0

    def step(self, batch: Ids) -> float:
        """One step with a batch [B, T + 1]; returns its mean nats a token. `count` it."""
        made, progress = self._plan, self.progress
        share = plan.rate(plan.done(made.length, progress), progress.step, made.length.fall)
        loss = self._backward(torch.from_numpy(batch).to(made.device).long())
        # Muon's step has the same length whatever the gradient's; only AdamW needs the clip.
        torch.nn.utils.clip_grad_norm_(self._optimisers["adam"].param_groups[0]["params"], 1.0)
        for label, optimiser in self._optimisers.items():
            optimiser.param_groups[0]["lr"] = share * (made.matrix_rate if label == "muon" else made.vector_rate)
            optimiser.step()
            optimiser.zero_grad()
        return loss

    def count(self, tokens: int, took_s: float) -> None:
        """The step is good: it saw so many tokens, and took so long."""
        progress = self.progress
        progress.step += 1
        progress.tokens += tokens
        progress.elapsed_s += took_s
        if self._mean is not None and plan.done(self._plan.length, progress) > 1 - self._plan.average:
            self._mean.add(self._net, progress.averaged)
            progress.averaged += 1

    def look(self) -> float | None:
        """Nats a token of the text held out; with patience, what is better than any before is kept."""
        if self._windows is None:
            return None
        progress, nats = self.progress, shares.loss(self._net, self._windows, self._way)
        if self._plan.patience:
            progress.looks += 1
            if progress.best is None or nats < progress.best:
                progress.best, progress.best_step, progress.looks = nats, progress.step, 0
                checkpoint.save(self._saved.with_name(BEST), progress, self._net, {})
        return nats

    def save(self) -> None:
        checkpoint.save(self._saved, self.progress, self._net, self._optimisers, self._means)

    def settle(self) -> None:
        """Give the net the weights that the run is to end with."""
        if self._plan.patience and self.progress.best is not None and self.progress.best_step != self.progress.step:
            checkpoint.load(self._saved.with_name(BEST), self._net, {})
        elif self._mean is not None and self.progress.averaged:
            self._mean.into(self._net)

    @property
    def _means(self) -> dict[str, torch.Tensor]:
        return {} if self._mean is None else self._mean.numbers

    def _backward(self, batch: torch.Tensor) -> float:
        while True:
            try:
                return shares.backward(self._net, batch, self._way, (self._plan.seed, self.progress.step))
            except torch.OutOfMemoryError:
                if self._way.sequences == 1:
                    raise MemoryShort(
                        "a single sequence is too much for this card: take --lora 8, a smaller base, or --device cpu"
                    ) from None
            # Out here, where the exception no longer holds what it had half done.
            self._way = replace(self._way, sequences=self._way.sequences // 2)
            torch.cuda.empty_cache()
