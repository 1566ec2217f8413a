"""A batch in shares of a few sequences, worked out side by side: each thread takes the next share that is left.

One thread does one share alone, so a core that other work holds up delays its own share and no other; and
what comes out is the same to the last bit for any number of threads. It knows nothing of steps and rates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tools.train.dropout import make_dropout
from tools.train.gpt2 import Gpt2
from tools.train.memory import MICROBATCH_SEQUENCES


class ParallelMap(Protocol):
    """`map`, or a map over several threads: results in the order of what went in."""

    def __call__(self, do: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How a batch is worked out: `sequences` to a share, products in bfloat16 where `half`, so much dropout."""

    parallel_map: ParallelMap = map
    sequences: int = MICROBATCH_SEQUENCES
    is_bfloat16: bool = False
    dropout: float = 0.0

    def autocast(self, device: torch.device) -> Any:
        return torch.autocast(device.type, torch.bfloat16) if self.is_bfloat16 else nullcontext()


@contextmanager
def open_thread_map(threads: int) -> Generator[ParallelMap, None, None]:
    """A map over so many threads, of which each works alone."""
    with ThreadPoolExecutor(threads, "share", torch.set_num_threads, (1,)) as pool:
        yield pool.map


def compute_gradient(
    net: Gpt2, batch: Tensor, settings: BatchSettings = BatchSettings(), seeds: Sequence[int] = ()
) -> float:
    """Leave the gradient of a batch [B, context + 1] in the net; returns the mean nats a token.

    The draw of dropout depends on the seeds.
    """
    params = [p for p in net.parameters() if p.requires_grad]

    def share(numbered: tuple[int, Tensor]) -> tuple[float, tuple[Tensor, ...]]:
        number, rows = numbered
        drop = make_dropout(settings.dropout, (*seeds, number), rows.device)
        with settings.autocast(rows.device):
            loss = net.loss(rows[:, :-1], rows[:, 1:], drop) * (len(rows) / len(batch))
        return float(loss.detach()), torch.autograd.grad(loss, params)

    whole, total = 0.0, None
    for loss, grads in settings.parallel_map(share, enumerate(torch.split(batch, settings.sequences))):
        whole += loss
        if total is None:
            total = list(grads)
        else:
            torch._foreach_add_(total, grads)
    for p, grad in zip(params, total or (), strict=True):
        p.grad = grad
    return whole


def mean_loss(net: Gpt2, windows: Tensor, settings: BatchSettings = BatchSettings()) -> float:
    """Mean nats a token over windows [N, context + 1]; nothing is dropped."""

    def share(rows: Tensor) -> float:
        with torch.no_grad(), settings.autocast(rows.device):
            return float(net.loss(rows[:, :-1], rows[:, 1:])) * len(rows)

    whole: float = sum(settings.parallel_map(share, torch.split(windows, settings.sequences)))
    return whole / len(windows)
