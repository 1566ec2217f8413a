"""A model for virtual lines: random weights of a size, rounded quickly, and words of four characters. Made once.

Speed is that of a trained model of the size, as `asr33 model make --cache int8` lays it out; sense there is none.
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
STALE_AFTER_S = 86_400.0  # after which a folder is nobody's
SHAPES = SIZES | {"tiny": GPT2Config(18_432, 256, 64, 2, 2)}  # so many words that those which are typed are among them


def cache_folder(label: str) -> Path:
    """Where it lies, once it is made: until the machine clears its temporary files, or asr33 makes models otherwise."""
    code = hashlib.sha256()
    for path in sorted([*Path(store.__file__).parents[1].rglob("*.py"), *Path(__file__).parent.glob("*.py")]):
        code.update(path.read_bytes())
    return Path(tempfile.gettempdir()) / f"asr33-lines-{label}-{code.hexdigest()[:8]}"


def make_test_model(size: str, seed: int, on_progress: BenchProgress) -> Path:
    """The folder of the whole model; beside it are the weights that others get theirs from."""
    place = cache_folder(f"{size}-{seed}")
    if not _is_complete(place):
        _remove_stale_folders(place)
        # Apart, and moved in one go: another may be making the same.
        draft = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
        try:
            on_progress(f"making random weights of GPT-2's size {size}")
            make_test_weights(SHAPES[size], seed, draft / "weights")
            on_progress("rounding them to 8 bit, once")
            _write_model(draft / "model", draft / "weights", SHAPES[size], size)
            _move_into_place(draft, place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    os.utime(place)  # somebody uses it
    return place / "model"


def _is_complete(folder: Path) -> bool:
    return (folder / "model" / store.MANIFEST_FILE).exists()


def _remove_stale_folders(folder: Path) -> None:
    """What an earlier asr33 made, and what was never finished, unless somebody may still be at it."""
    for old in folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*"):
        with contextlib.suppress(FileNotFoundError):  # another sweeps too
            if time.time() - old.stat().st_mtime > STALE_AFTER_S:
                shutil.rmtree(old, ignore_errors=True)


def _move_into_place(draft: Path, folder: Path) -> None:
    """Whoever comes second takes what is there."""
    if folder.exists() and not _is_complete(folder):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        draft.rename(folder)
    except OSError:
        if not _is_complete(folder):
            raise


def weights_folder(model: Path) -> Path:
    """Where the weights of a model lie that was made here."""
    return model.parent / "weights"


def make_test_weights(shape: GPT2Config, seed: int, folder: Path) -> None:
    """As `asr33 bench --size` has them, but that what is no word is never the likeliest."""
    import numpy as np

    from tools.bench import shared_weights

    folder.mkdir(exist_ok=True)
    shared_weights.make_random_weights(shape, seed, folder)
    table = np.load(folder / "wte.weight.npy")
    table[: vocabulary.count_unsampled(shape.vocab_size)] *= UNLIKELY_SCALE
    table[-1] *= UNLIKELY_SCALE
    np.save(folder / "wte.weight.npy", table)


UNLIKELY_SCALE = (
    0.02  # of the others' length: a logit near 0, where the forty likeliest of so many are three deviations up
)


def _write_model(model: Path, weights: Path, shape: GPT2Config, size: str) -> None:
    from tools.bench import asr33_runner

    with store.open_draft(model) as draft:
        asr33_runner.write_model(weights, QUANTISATION, 0, draft, CACHE_TYPE)
        text = f"# {size}\n\nRandom weights for `asr33 bench --lines`; its words mean nothing.\n"
        store.commit_draft(
            draft,
            model,
            name=f"random-{size}",
            shape=shape,
            tokenizer_json=vocabulary.tokenizer_json(shape.vocab_size),
            training={"as": QUANTISATION, "rounding": {"bits": 8, "cache": True}},
            card=text,
        )
