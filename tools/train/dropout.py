"""Dropout whose draw depends on seed, step and share alone, so that a run continued is the run it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tools.train.gpt2 import DropoutFunction, no_dropout


def make_dropout(probability: float, seeds: Sequence[int], device: torch.device) -> DropoutFunction:
    """A function that sets this share of numbers to zero, others at each call, and makes up for it in the rest."""
    if not probability:
        return no_dropout
    seed = int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0])
    draw = torch.Generator(device).manual_seed(seed >> 1)  # torch takes 63 bits

    def drop(x: Tensor) -> Tensor:
        return x * torch.empty_like(x).bernoulli_(1 - probability, generator=draw).div_(1 - probability)

    return drop
