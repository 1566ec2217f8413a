"""Computes a batch in microbatches of a few sequences, in parallel: a thread that is free computes the next one.

Each microbatch has a single thread, so a busy core delays only its own microbatch. The result is the same to the last
bit for any number of threads. The module knows nothing of steps and learning rates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tools.train.gpt2 import DropoutFunction, Gpt2, no_dropout
from tools.train.memory import MICROBATCH_SEQUENCES


class ParallelMap(Protocol):
    """`map`, or a map over several threads that returns results in the order of the items."""

    def __call__(self, do: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How to compute a batch: `sequences` in a microbatch, products in bfloat16 or not, the dropout probability."""

    parallel_map: ParallelMap = map
    sequences: int = MICROBATCH_SEQUENCES
    is_bfloat16: bool = False
    dropout: float = 0.0

    def autocast(self, device: torch.device) -> Any:
        return torch.autocast(device.type, torch.bfloat16) if self.is_bfloat16 else nullcontext()


@contextmanager
def open_thread_map(threads: int) -> Generator[ParallelMap, None, None]:
    """A map over threads; torch uses one thread inside each of them."""
    with ThreadPoolExecutor(threads, "microbatch", torch.set_num_threads, (1,)) as pool:
        yield pool.map


def compute_gradient(
    net: Gpt2, batch: Tensor, settings: BatchSettings = BatchSettings(), seeds: Sequence[int] = ()
) -> float:
    """Stores the gradient of a batch [B, context + 1] in the net; returns the mean loss in nats per token.

    The dropout depends on the seeds.
    """
    params = [p for p in net.parameters() if p.requires_grad]

    def compute_microbatch(numbered: tuple[int, Tensor]) -> tuple[float, tuple[Tensor, ...]]:
        number, rows = numbered
        drop = make_dropout(settings.dropout, (*seeds, number), rows.device)
        with settings.autocast(rows.device):
            loss = net.loss(rows[:, :-1], rows[:, 1:], drop) * (len(rows) / len(batch))
        return float(loss.detach()), torch.autograd.grad(loss, params)

    total_loss, total = 0.0, None
    for loss, grads in settings.parallel_map(compute_microbatch, enumerate(torch.split(batch, settings.sequences))):
        total_loss += loss
        if total is None:
            total = list(grads)
        else:
            torch._foreach_add_(total, grads)
    for p, grad in zip(params, total or (), strict=True):
        p.grad = grad
    return total_loss


def mean_loss(net: Gpt2, windows: Tensor, settings: BatchSettings = BatchSettings()) -> float:
    """The mean loss in nats per token over windows [N, context + 1], without dropout."""

    def compute_microbatch(rows: Tensor) -> float:
        with torch.no_grad(), settings.autocast(rows.device):
            return float(net.loss(rows[:, :-1], rows[:, 1:])) * len(rows)

    total: float = sum(settings.parallel_map(compute_microbatch, torch.split(windows, settings.sequences)))
    return total / len(windows)


def make_dropout(probability: float, seeds: Sequence[int], device: torch.device) -> DropoutFunction:
    """A dropout whose draws depend only on the seeds, so a resumed run is the same run."""
    if not probability:
        return no_dropout
    seed = int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0])
    generator = torch.Generator(device).manual_seed(seed >> 1)  # torch takes 63 bits

    def drop(x: Tensor) -> Tensor:
        return x * torch.empty_like(x).bernoulli_(1 - probability, generator=generator).div_(1 - probability)

    return drop
