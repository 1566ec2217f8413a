"""How fast this machine reads memory: numpy's maximum over more than any cache holds, a slice for each thread."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

BUFFER_BYTES = 256 << 20
REPEATS = 3  # and the best of them: what else ran meanwhile is no property of the memory


class BandwidthProbe:
    """Its slices are written once, so that they are memory and not promises of it."""

    def __init__(self, threads: int) -> None:
        import numpy as np

        self._numbers = np.ones(BUFFER_BYTES // 4, np.float32)
        self._slices = np.array_split(self._numbers, threads)
        self._pool = ThreadPoolExecutor(threads)
        self.measure()

    def measure(self) -> float:
        """numpy lets go of the interpreter while it reads, so the threads read at once."""
        return max(self._measure_once() for _ in range(REPEATS))

    def _measure_once(self) -> float:
        begun = time.perf_counter()
        list(self._pool.map(_read_slice, self._slices))
        return self._numbers.nbytes / (time.perf_counter() - begun)


def _read_slice(numbers: Any) -> None:
    numbers.max()
