"""The Muon optimiser for the matrices of the blocks: momentum, then the nearest orthogonal matrix as the step.

After K. Jordan and others, "Muon: an optimizer for hidden layers in neural networks" (2024). GPT-2 stores the query,
key and value matrices side by side; each of the three is orthogonalised apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, overload

import torch
from torch import Tensor

from tools.train.microbatches import ParallelMap

# The quintic of the Newton-Schulz iteration (Jordan 2024): steepest at zero, every singular value ends near 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
MATRICES_AT_ONCE = 6  # of one size, that a thread orthogonalises together
# The cost of the matrices' step depends on their size alone. Beside a small batch of a large net it would be half of
# the time, so the matrices then take a longer step after several batches; the momentum has them all.
MAX_COST_SHARE, MAX_INTERVAL = 0.25, 4  # of the products of the passes; batches


class Muon(torch.optim.Optimizer):
    """Parameters are matrices [in, out]. A matrix three times as wide as high is split into query, key and value.

    The caller may set `is_due` of a group to False: a step then adds to the momentum alone.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        decay: float = 0.05,
        steps: int = NEWTON_SCHULZ_STEPS,
        parallel_map: ParallelMap = map,
        is_bfloat16: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay, "steps": steps, "is_due": True})
        self._parallel_map = parallel_map
        # Precise enough for the iteration (Jordan 2024).
        self._dtype = torch.bfloat16 if is_bfloat16 else torch.float32

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
        by_size: dict[tuple[int, int], list[tuple[Tensor, Tensor, float]]] = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            if not group["is_due"]:
                continue
            nesterov = p.grad.lerp(state["momentum"], group["momentum"])
            p.mul_(1 - group["lr"] * group["decay"])
            parts = _count_parts(p)
            for weight, grad in zip(p.chunk(parts, dim=1), nesterov.chunk(parts, dim=1), strict=True):
                # The scale is for a matrix [out, in]; these are stored [in, out].
                scale = math.sqrt(max(1.0, weight.shape[1] / weight.shape[0]))
                if weight.shape[0] > weight.shape[1]:
                    weight, grad = weight.t(), grad.t()
                by_size.setdefault((weight.shape[0], weight.shape[1]), []).append((weight, grad, scale))
        step = MATRICES_AT_ONCE
        jobs = [same[at : at + step] for same in by_size.values() for at in range(0, len(same), step)]
        stacks = [torch.stack([grad for _, grad, _ in job]) for job in jobs]
        results = self._parallel_map(partial(orthogonalise, steps=group["steps"], dtype=self._dtype), stacks)
        for job, steps in zip(jobs, results, strict=True):
            for (weight, _, scale), direction in zip(job, steps, strict=True):
                weight.add_(direction, alpha=-group["lr"] * scale)


def choose_interval(matrices: Sequence[Tensor], parameters: int, tokens: int) -> int:
    """The number of batches of so many tokens from one step of the matrices to the next, 1 to MAX_INTERVAL."""
    flops = 0
    for matrix in matrices:
        parts = _count_parts(matrix)
        rows, columns = sorted((matrix.shape[0], matrix.shape[1] // parts))
        flops += parts * NEWTON_SCHULZ_STEPS * (4 * rows * rows * columns + 2 * rows**3)
    pass_flops = 6 * parameters * tokens  # forward and backward: three products of two operations each
    return max(1, min(MAX_INTERVAL, round(flops / (MAX_COST_SHARE * pass_flops))))


def _count_parts(matrix: Tensor) -> int:
    return 3 if matrix.shape[1] == 3 * matrix.shape[0] else 1


@torch.no_grad()
def orthogonalise(x: Tensor, steps: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """x [N, rows, columns], rows <= columns -> matrices of the same shape whose singular values are near 1.

    The products are in `dtype`; so is the result.
    """
    a, b, c = NEWTON_SCHULZ
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
