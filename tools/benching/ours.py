"""Our own graph and session, as `asr33 run` uses them, to be measured beside others."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from model import store
from model.prefix import CHUNK
from tools.benching import tensors

if TYPE_CHECKING:
    from tools.benching.engine import Logits


def prepare(weights: Path, form: str, block: int, to: Path, cached: str = "float32") -> None:
    """As `asr33 model make` would, but that what is random is rounded to the nearest: no text moves it.

    `cached` is how keys and values are kept.
    """
    from model import export, graph, graph_file
    from model.rounding import cache_scales, nearest, rounded

    values, shape = tensors.read(weights)
    how = export.rounding(export.Asked("", cast(export.As, form), block, cache=cast(export.Cached, cached)))
    packed, cache = None, None
    if how is None:
        pass
    elif (windows := tensors.calibration(weights)) is not None:
        near = rounded(values, shape, how, windows)
        values, packed, cache = dict(near.weights), near.packed, near.cache
    else:
        packed = nearest(values, shape, how)
        cache = cache_scales(values, shape, tensors.noise(shape)) if how.cache else None
    kind: graph.Store = "float32" if form == "float32" else "float16"
    graph_file.write(to, values, shape, kind, packed, cache=cache)


class Runner:
    def __init__(self, folder: Path, form: str, threads: int) -> None:
        from model.session import open_session

        # It has one door, and that is not here.
        self.version = f"onnxruntime {sys.modules['onnxruntime'].__version__}"
        self._session = open_session(folder / store.GRAPH, threads=threads, provider="cpu")

    def first(self, ids: Sequence[int]) -> float:
        begun = time.perf_counter()
        self._read(ids)
        return time.perf_counter() - begun

    def decode(self, ids: Sequence[int], tokens: int) -> float:
        token = self._read(ids)
        begun = time.perf_counter()
        for _ in range(tokens):
            token = int(self._session.forward([token]).argmax())
        return time.perf_counter() - begun

    def logits(self, ids: Sequence[int]) -> Logits:
        self._session.rewind(0)
        return self._session.forward_from(ids, 0)

    def _read(self, ids: Sequence[int]) -> int:
        """The prompt in the pieces of the generation loop; gives the likeliest token after it."""
        self._session.rewind(0)
        for start in range(0, len(ids), CHUNK):
            logits = self._session.forward(ids[start : start + CHUNK])
        return int(logits.argmax())
