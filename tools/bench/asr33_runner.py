"""The runner of our own graph and session, as `asr33 run` uses them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from model.generate.prefix_cache import PREFILL_CHUNK
from model.store import store
from tools.bench import shared_weights
from tools.bench.runner import StepRunner

if TYPE_CHECKING:
    from tools.bench.runner import Logits


def write_model(weights: Path, form: str, block: int, folder: Path, cache_type: str = "float32") -> None:
    """Writes the graph as `asr33 model make` does, but rounds random weights to nearest: no text calibrates them.

    `cache_type` is the type of keys and values.
    """
    from model.build import export, formats, graph, onnx_io
    from model.build.quantise.quantise_model import measure_cache_scales, quantise_model, quantise_to_nearest

    values, shape = shared_weights.load_weights(weights)
    cache = cast(formats.CacheFormat, cache_type)
    config = export.quant_config_for(export.ExportOptions("", cast(formats.StoreFormat, form), block, cache=cache))
    packed = scales = None
    if config is not None and (windows := shared_weights.load_calibration(weights)) is not None:
        quantised = quantise_model(values, shape, config, windows)
        values, packed, scales = dict(quantised.weights), quantised.quantised, quantised.cache_scales
    elif config is not None:
        packed = quantise_to_nearest(values, shape, config)
        scales = measure_cache_scales(values, shape, shared_weights.random_windows(shape)) if config.cache else None
    precision: graph.Precision = "float32" if form == "float32" else "float16"
    onnx_io.write_graph(folder, values, shape, precision, packed, cache_scales=scales)


class Runner(StepRunner):
    def __init__(self, folder: Path, form: str, threads: int) -> None:
        from model.onnx.session import open_session

        # `model.onnx.session` has imported it; only `model.onnx.runtime` may name it in an import.
        self.version = f"onnxruntime {sys.modules['onnxruntime'].__version__}"
        self._session = open_session(folder / store.GRAPH_FILE, threads=threads, device="cpu")

    def logits(self, ids: Sequence[int]) -> Logits:
        self._session.rewind(0)
        return self._session.forward_from(ids, 0)

    def prefill(self, ids: Sequence[int]) -> int:
        """Prefills the prompt in the chunks of the generation loop."""
        self._session.rewind(0)
        for start in range(0, len(ids), PREFILL_CHUNK):
            logits = self._session.forward(ids[start : start + PREFILL_CHUNK])
        return int(logits.argmax())

    def decode_step(self, token: int) -> int:
        return int(self._session.forward([token]).argmax())
