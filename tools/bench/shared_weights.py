"""The weights that all candidates share: random or of a model, as numpy files in a folder that workers map."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from model.interface import GPT2Config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[np.float32]]

SHAPE_FILE = "shape.json"
CALIBRATION_FILE = "calibration/windows.npy"
# Standard deviations times the root of the width. They give a random model the entropy of a real one, about 4 nats.
EMBEDDING_DEVIATION, LINEAR_DEVIATION = 3.88, 1.66
SMALL_DEVIATION = 0.02  # of position embeddings and biases


def make_random_weights(shape: GPT2Config, seed: int, folder: Path) -> None:
    import numpy as np

    from model.build.graph import weight_shapes

    random = np.random.default_rng(seed)
    width = math.sqrt(shape.n_embd)
    for name, size in weight_shapes(shape).items():
        if name.endswith(".bias") or name == "wpe.weight":
            deviation = SMALL_DEVIATION
        else:
            deviation = (EMBEDDING_DEVIATION if name == "wte.weight" else LINEAR_DEVIATION) / width
        numbers = random.standard_normal(size, np.float32) * np.float32(deviation)
        is_gain = len(size) == 1 and name.endswith(".weight")
        np.save(folder / f"{name}.npy", np.ones(size, np.float32) if is_gain else numbers)
    _write_shape(shape, folder)


def extract_weights(model: Path, folder: Path) -> None:
    """Writes the weights of a floating-point model, and the ids of a text to quantise it with. Raises ModelError."""
    import numpy as np

    from model.build import export, fidelity
    from model.build.onnx_io import read_weights
    from model.onnx import tokenizer
    from model.store import documents, store

    weights, shape = read_weights(model / store.GRAPH_FILE)
    for name, value in weights.items():
        np.save(folder / f"{name}.npy", value)
    _write_shape(shape, folder)
    encoder = tokenizer.from_json((model / store.TOKENIZER_FILE).read_text("utf-8"))
    texts = documents.read_documents([export.TEXT_FOLDER / "calibration.txt"])
    length = min(export.WINDOW_TOKENS, shape.n_positions)
    (folder / CALIBRATION_FILE).parent.mkdir()
    np.save(folder / CALIBRATION_FILE, fidelity.cut_windows(encoder, texts, length, export.CALIBRATION_TOKENS))


def random_windows(shape: GPT2Config) -> NDArray[np.int64]:
    """Returns windows of random ids, to measure the ranges of keys and values of a random model."""
    import numpy as np

    return np.random.default_rng(0).integers(0, shape.vocab_size, (4, min(256, shape.n_positions)))


def load_weights(folder: Path) -> tuple[Weights, GPT2Config]:
    """Returns the weights, memory-mapped."""
    import numpy as np

    shape = GPT2Config(**json.loads((folder / SHAPE_FILE).read_text("utf-8")))
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}, shape


def load_calibration(folder: Path) -> NDArray[np.int64] | None:
    """Returns ids of a text to quantise with; None if the weights are random."""
    import numpy as np

    if not (folder / CALIBRATION_FILE).exists():
        return None
    windows: NDArray[np.int64] = np.load(folder / CALIBRATION_FILE)
    return windows


def _write_shape(shape: GPT2Config, folder: Path) -> None:
    (folder / SHAPE_FILE).write_text(json.dumps(asdict(shape)), "utf-8")
