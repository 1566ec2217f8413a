"""Low-rank adapters: a large net stays as it is, and two narrow matrices beside each of its own learn the difference.

After E. Hu and others, "LoRA: Low-Rank Adaptation of Large Language Models" (2021). Gradient, optimiser and checkpoint
are then those of the narrow ones alone.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.training.net import Gpt2, Linear

Kind = TypeVar("Kind", bound=nn.Module)
SCALE = 2.0  # of what the adapters add: alpha / r of the paper, whatever the rank


class Adapted(nn.Module):
    """A linear that is frozen, and beside it a [in, rank] and b [rank, out]; b is nothing at first."""

    def __init__(self, linear: Linear, rank: int, draw: torch.Generator) -> None:
        super().__init__()
        inputs, outputs = linear.weight.shape
        self.linear = linear
        self.a = nn.Parameter(torch.randn(inputs, rank, generator=draw) / math.sqrt(inputs))
        self.b = nn.Parameter(torch.zeros(rank, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x) + SCALE * F.linear(F.linear(x, self.a.t()), self.b.t())
        return y

    @torch.no_grad()
    def merged(self) -> Linear:
        """The linear, which has learnt the difference."""
        self.linear.weight.addmm_(self.a, self.b, alpha=SCALE)
        return self.linear


def adapt(net: Gpt2, rank: int, seed: int) -> None:
    """Freeze the net, and put adapters beside the linears of its blocks."""
    net.requires_grad_(False)
    draw = torch.Generator().manual_seed(seed)
    for place, name, linear in _children(net, Linear):
        setattr(place, name, Adapted(linear, rank, draw))


def merge(net: Gpt2) -> None:
    """A plain net again, with what its adapters learnt; nothing is done to one that has none."""
    for place, name, adapted in _children(net, Adapted):
        setattr(place, name, adapted.merged())
    net.requires_grad_(True)


def _children(net: Gpt2, kind: type[Kind]) -> list[tuple[nn.Module, str, Kind]]:
    return [
        (place, name, child)
        for place in net.modules()
        for name, child in place.named_children()
        if isinstance(child, kind) and not isinstance(place, Adapted)
    ]
