"""The mean of a net's weights over many steps: it lies lower than any one of them while the rate is not yet nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from tools.train import checkpoint
from tools.train.gpt2 import Gpt2


class WeightAverage:
    """`numbers` are the mean of all that was added, by the names of the net's own."""

    def __init__(self, net: Gpt2) -> None:
        self.tensors: dict[str, Tensor] = {
            name: torch.zeros_like(value) for name, value in checkpoint.trainable_tensors(net).items()
        }

    @torch.no_grad()
    def add(self, net: Gpt2, count: int) -> None:
        """The weights as they are now, to `before` others that are in the mean."""
        now = checkpoint.trainable_tensors(net)
        torch._foreach_lerp_(list(self.tensors.values()), [now[name] for name in self.tensors], 1 / (count + 1))

    @torch.no_grad()
    def copy_to(self, net: Gpt2) -> None:
        for name, value in checkpoint.trainable_tensors(net).items():
            value.copy_(self.tensors[name])
