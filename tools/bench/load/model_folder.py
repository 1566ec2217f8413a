"""The test model of a load test: random weights of a size, quantised quickly, with words of four characters.

The model is as fast as a trained model of this size with an int8 cache. Its text makes no sense. The folder is kept for
later tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from model.interface import GPT2Config
from model.store import store
from tools.bench.candidates import SIZES
from tools.bench.load import vocabulary
from tools.bench.progress import BenchProgress

QUANTISATION = CACHE_TYPE = "int8"
TITLE = "random weights of GPT-2's size {size}, 8 bit, cache of 8 bit"
STALE_AFTER_S = 86_400.0  # no process uses an older folder
SHAPES = SIZES | {"tiny": GPT2Config(18_432, 256, 64, 2, 2)}  # a vocabulary with the words that the users type
UNLIKELY_SCALE = 0.02  # of an embedding's length: its logit is near 0, the best forty are three deviations above


def cache_folder(label: str, parent: Path | None = None) -> Path:
    """Returns the folder, by default in that for temporary files. Its name changes with asr33's code for models."""
    code = hashlib.sha256()
    for path in sorted([*Path(store.__file__).parents[1].rglob("*.py"), *Path(__file__).parent.glob("*.py")]):
        code.update(path.read_bytes())
    return (parent or Path(tempfile.gettempdir())) / f"asr33-lines-{label}-{code.hexdigest()[:8]}"


def make_test_model(size: str, seed: int, on_progress: BenchProgress, parent: Path | None = None) -> Path:
    """Makes the model if it is not there yet; returns its folder. The shared weights lie beside it."""
    folder = cache_folder(f"{size}-{seed}", parent)
    if not _is_complete(folder):
        _remove_stale_folders(folder)
        # A draft is moved into place at the end: another process may be making the same model.
        draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        try:
            on_progress(f"making random weights of GPT-2's size {size}")
            make_test_weights(SHAPES[size], seed, draft / "weights")
            on_progress("rounding them to 8 bit, once")
            _write_model(draft / "model", draft / "weights", SHAPES[size], size)
            _move_into_place(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    os.utime(folder)  # marks it as in use, so that it is not removed as stale
    return folder / "model"


def _is_complete(folder: Path) -> bool:
    return (folder / "model" / store.MANIFEST_FILE).exists()


def _remove_stale_folders(folder: Path) -> None:
    """Removes old models of this kind and unfinished drafts, unless a process may still use them."""
    for old in folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*"):
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            if time.time() - old.stat().st_mtime > STALE_AFTER_S:
                shutil.rmtree(old, ignore_errors=True)


def _move_into_place(draft: Path, folder: Path) -> None:
    """Renames the draft to the folder. If another process was first, its model stays."""
    if folder.exists() and not _is_complete(folder):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        draft.rename(folder)
    except OSError:
        if not _is_complete(folder):
            raise


def weights_folder(model: Path) -> Path:
    """Returns the folder of the weights that this test model was made of."""
    return model.parent / "weights"


def make_test_weights(shape: GPT2Config, seed: int, folder: Path) -> None:
    """Writes random weights as `asr33 bench --size` does, but makes every token that is not a word unlikely."""
    import numpy as np

    from tools.bench import shared_weights

    folder.mkdir(exist_ok=True)
    shared_weights.make_random_weights(shape, seed, folder)
    embeddings = np.load(folder / "wte.weight.npy")
    embeddings[: vocabulary.count_unsampled(shape.vocab_size)] *= UNLIKELY_SCALE
    embeddings[-1] *= UNLIKELY_SCALE
    np.save(folder / "wte.weight.npy", embeddings)


def _write_model(model: Path, weights: Path, shape: GPT2Config, size: str) -> None:
    from tools.bench import asr33_runner

    with store.open_draft(model) as draft:
        asr33_runner.write_model(weights, QUANTISATION, 0, draft, CACHE_TYPE)
        store.commit_draft(
            draft,
            model,
            name=f"random-{size}",
            shape=shape,
            tokenizer_json=vocabulary.tokenizer_json(shape.vocab_size),
            training={"as": QUANTISATION, "rounding": {"bits": 8, "cache": True}},
            card=f"# {size}\n\nRandom weights for `asr33 bench --clients`; the text makes no sense.\n",
        )
