"""The weights that all candidates share: random ones or a model's, in a folder that any numpy can map."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from model.base import Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[np.float32]]

SHAPE = "shape.json"
CALIBRATION = "calibration/windows.npy"
# Deviations times the root of the width: so a random model's next token is as open as a real one's, about 4 nats.
EMBEDDING, LINEAR = 3.88, 1.66
SMALL = 0.02  # of positions and biases


def make_random(shape: Shape, seed: int, folder: Path) -> None:
    import numpy as np

    from model.graph import weight_shapes

    random = np.random.default_rng(seed)
    width = math.sqrt(shape.n_embd)
    for name, size in weight_shapes(shape).items():
        if name.endswith(".bias") or name == "wpe.weight":
            deviation = SMALL
        else:
            deviation = (EMBEDDING if name == "wte.weight" else LINEAR) / width
        numbers = random.standard_normal(size, np.float32) * np.float32(deviation)
        is_gain = len(size) == 1 and name.endswith(".weight")
        np.save(folder / f"{name}.npy", np.ones(size, np.float32) if is_gain else numbers)
    _write_shape(shape, folder)


def take_from(model: Path, folder: Path) -> None:
    """The weights of a model of ours in floating point, and the text to round it by. Raises ModelError."""
    import numpy as np

    from model import export, judge, store, text, tokenizer
    from model.graph_file import read_weights

    weights, shape = read_weights(model / store.GRAPH)
    for name, value in weights.items():
        np.save(folder / f"{name}.npy", value)
    _write_shape(shape, folder)
    words = tokenizer.from_json((model / store.TOKENIZER).read_text("utf-8"))
    documents = text.read_documents([export.TEXTS / "calibration.txt"])
    length = min(export.WINDOW, shape.n_positions)
    (folder / CALIBRATION).parent.mkdir()
    np.save(folder / CALIBRATION, judge.windows(words, documents, length, export.ROUND_BY))


def noise(shape: Shape) -> NDArray[np.int64]:
    """Windows of any tokens: what a random model knows of its keys and values, these tell."""
    import numpy as np

    return np.random.default_rng(0).integers(0, shape.vocab_size, (4, min(256, shape.n_positions)))


def read(folder: Path) -> tuple[Weights, Shape]:
    """The weights, mapped and not read."""
    import numpy as np

    shape = Shape(**json.loads((folder / SHAPE).read_text("utf-8")))
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}, shape


def calibration(folder: Path) -> NDArray[np.int64] | None:
    """Ids of a text to round by; None where the weights are random."""
    import numpy as np

    if not (folder / CALIBRATION).exists():
        return None
    windows: NDArray[np.int64] = np.load(folder / CALIBRATION)
    return windows


def _write_shape(shape: Shape, folder: Path) -> None:
    (folder / SHAPE).write_text(json.dumps(asdict(shape)), "utf-8")
