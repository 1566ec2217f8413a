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

from tools.train.gpt2 import Gpt2, Linear

ModuleT = TypeVar("ModuleT", bound=nn.Module)
LORA_SCALE = 2.0  # of what the adapters add: alpha / r of the paper, whatever the rank


class LoraLinear(nn.Module):
    """A linear that is frozen, and beside it a [in, rank] and b [rank, out]; b is nothing at first."""

    def __init__(self, linear: Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        inputs, outputs = linear.weight.shape
        self.linear = linear
        self.a = nn.Parameter(torch.randn(inputs, rank, generator=generator) / math.sqrt(inputs))
        self.b = nn.Parameter(torch.zeros(rank, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x) + LORA_SCALE * F.linear(F.linear(x, self.a.t()), self.b.t())
        return y

    @torch.no_grad()
    def merge(self) -> Linear:
        """The linear, which has learnt the difference."""
        self.linear.weight.addmm_(self.a, self.b, alpha=LORA_SCALE)
        return self.linear


def add_adapters(net: Gpt2, rank: int, seed: int) -> None:
    """Freeze the net, and put adapters beside the linears of its blocks."""
    net.requires_grad_(False)
    draw = torch.Generator().manual_seed(seed)
    for place, name, linear in _find_children(net, Linear):
        setattr(place, name, LoraLinear(linear, rank, draw))


def merge_adapters(net: Gpt2) -> None:
    """A plain net again, with what its adapters learnt; nothing is done to one that has none."""
    for place, name, adapted in _find_children(net, LoraLinear):
        setattr(place, name, adapted.merge())
    net.requires_grad_(True)


def _find_children(net: Gpt2, kind: type[ModuleT]) -> list[tuple[nn.Module, str, ModuleT]]:
    return [
        (place, name, child)
        for place in net.modules()
        for name, child in place.named_children()
        if isinstance(child, kind) and not isinstance(place, LoraLinear)
    ]
