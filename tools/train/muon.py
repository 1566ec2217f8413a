"""Muon for the matrices of the blocks: momentum, then the nearest orthogonal matrix as the step.

After K. Jordan and others, "Muon: an optimizer for hidden layers in neural networks" (2024). A query, a
key and a value matrix are three matrices, not one: they are made orthogonal apart, though GPT-2 stores
them side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, overload

import torch
from torch import Tensor

from tools.train.microbatches import ParallelMap

# The quintic of the Newton-Schulz iteration (Jordan 2024): steepest at zero, every singular value ends near 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
MATRICES_AT_ONCE = 6  # matrices of one size that a thread makes orthogonal together


class Muon(torch.optim.Optimizer):
    """Parameters are matrices [in, out]; one wider than it is high by 3 is taken as q, k and v."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        decay: float = 0.05,
        steps: int = 5,
        parallel_map: ParallelMap = map,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay, "steps": steps})
        self._parallel_map = parallel_map

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        pieces: dict[tuple[int, int], list[tuple[Tensor, Tensor, float]]] = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            nesterov = p.grad.lerp(state["momentum"], group["momentum"])
            p.mul_(1 - group["lr"] * group["decay"])
            parts = 3 if p.shape[1] == 3 * p.shape[0] else 1
            for weight, grad in zip(p.chunk(parts, dim=1), nesterov.chunk(parts, dim=1), strict=True):
                # A matrix that is stored [in, out] has "rows" for its outputs only after turning it.
                scale = math.sqrt(max(1.0, weight.shape[1] / weight.shape[0]))
                if weight.shape[0] > weight.shape[1]:
                    weight, grad = weight.t(), grad.t()
                pieces.setdefault((weight.shape[0], weight.shape[1]), []).append((weight, grad, scale))
        some = [
            same[at : at + MATRICES_AT_ONCE] for same in pieces.values() for at in range(0, len(same), MATRICES_AT_ONCE)
        ]
        stacks = [torch.stack([grad for _, grad, _ in same_size]) for same_size in some]
        turned = self._parallel_map(partial(orthogonalise, steps=group["steps"]), stacks)
        for same_size, steps in zip(some, turned, strict=True):
            for (weight, _, scale), step in zip(same_size, steps, strict=True):
                weight.add_(step, alpha=-group["lr"] * scale)


@torch.no_grad()
def orthogonalise(x: Tensor, steps: int) -> Tensor:
    """x [N, rows, columns], rows <= columns -> matrices of the same shape whose singular values are near 1."""
    a, b, c = NEWTON_SCHULZ
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    if x.is_cuda:
        x = x.bfloat16()  # is all that the iteration needs (Jordan 2024), and many times as fast there
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
