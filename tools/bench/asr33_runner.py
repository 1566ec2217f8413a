"""Our own graph and session, as `asr33 run` uses them, to be measured beside others."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from model.generate.prefix_cache import PREFILL_CHUNK
from model.store import store
from tools.bench import shared_weights

if TYPE_CHECKING:
    from tools.bench.engine import Logits


def write_model(weights: Path, form: str, block: int, folder: Path, cache_type: str = "float32") -> None:
    """As `asr33 model make` would, but that what is random is rounded to the nearest: no text moves it.

    `cached` is how keys and values are kept.
    """
    from model.build import export, graph, onnx_io
    from model.build.quantise.quantise_model import measure_cache_scales, quantise_model, quantise_to_nearest

    values, shape = shared_weights.load_weights(weights)
    how = export.quant_config_for(
        export.ExportOptions("", cast(export.StoreFormat, form), block, cache=cast(export.CacheFormat, cache_type))
    )
    packed, cache = None, None
    if how is None:
        pass
    elif (windows := shared_weights.load_calibration(weights)) is not None:
        near = quantise_model(values, shape, how, windows)
        values, packed, cache = dict(near.weights), near.quantised, near.cache_scales
    else:
        packed = quantise_to_nearest(values, shape, how)
        cache = measure_cache_scales(values, shape, shared_weights.random_windows(shape)) if how.cache else None
    kind: graph.Precision = "float32" if form == "float32" else "float16"
    onnx_io.write_graph(folder, values, shape, kind, packed, cache_scales=cache)


class Runner:
    def __init__(self, folder: Path, form: str, threads: int) -> None:
        from model.onnx.session import open_session

        # It has one door, and that is not here.
        self.version = f"onnxruntime {sys.modules['onnxruntime'].__version__}"
        self._session = open_session(folder / store.GRAPH_FILE, threads=threads, device="cpu")

    def time_first_token(self, ids: Sequence[int]) -> float:
        begun = time.perf_counter()
        self._prefill(ids)
        return time.perf_counter() - begun

    def time_decode(self, ids: Sequence[int], tokens: int) -> float:
        token = self._prefill(ids)
        begun = time.perf_counter()
        for _ in range(tokens):
            token = int(self._session.forward([token]).argmax())
        return time.perf_counter() - begun

    def logits(self, ids: Sequence[int]) -> Logits:
        self._session.rewind(0)
        return self._session.forward_from(ids, 0)

    def _prefill(self, ids: Sequence[int]) -> int:
        """The prompt in the pieces of the generation loop; gives the likeliest token after it."""
        self._session.rewind(0)
        for start in range(0, len(ids), PREFILL_CHUNK):
            logits = self._session.forward(ids[start : start + PREFILL_CHUNK])
        return int(logits.argmax())
