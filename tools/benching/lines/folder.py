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

from model import store
from model.base import Shape
from tools.benching.candidates import SIZES
from tools.benching.lines import vocabulary
from tools.benching.progress import Tell

FORM = CACHED = "int8"
TITLE = "random weights of GPT-2's size {size}, 8 bit, cache of 8 bit"
UNUSED_S = 86_400.0  # after which a folder is nobody's
SHAPES = SIZES | {"tiny": Shape(18_432, 256, 64, 2, 2)}  # so many words that those which are typed are among them


def kept(size: str) -> Path:
    """Where it lies, once it is made: until the machine clears its temporary files, or asr33 makes models otherwise."""
    code = hashlib.sha256()
    for path in sorted([*Path(store.__file__).parent.glob("*.py"), *Path(__file__).parent.glob("*.py")]):
        code.update(path.read_bytes())
    return Path(tempfile.gettempdir()) / f"asr33-lines-{size}-{code.hexdigest()[:8]}"


def made(size: str, seed: int, tell: Tell) -> Path:
    """The folder of the whole model; beside it are the weights that others get theirs from."""
    place = kept(f"{size}-{seed}")
    if not _complete(place):
        _sweep(place)
        # Apart, and moved in one go: another may be making the same.
        draft = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
        try:
            tell(f"making random weights of GPT-2's size {size}")
            make_weights(SHAPES[size], seed, draft / "weights")
            tell("rounding them to 8 bit, once")
            _write(draft / "model", draft / "weights", SHAPES[size], size)
            _settle(draft, place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    os.utime(place)  # somebody uses it
    return place / "model"


def _complete(place: Path) -> bool:
    return (place / "model" / store.MANIFEST).exists()


def _sweep(place: Path) -> None:
    """What an earlier asr33 made, and what was never finished, unless somebody may still be at it."""
    for old in place.parent.glob(f"{place.name.rpartition('-')[0]}-*"):
        with contextlib.suppress(FileNotFoundError):  # another sweeps too
            if time.time() - old.stat().st_mtime > UNUSED_S:
                shutil.rmtree(old, ignore_errors=True)


def _settle(draft: Path, place: Path) -> None:
    """Whoever comes second takes what is there."""
    if place.exists() and not _complete(place):
        shutil.rmtree(place, ignore_errors=True)
    try:
        draft.rename(place)
    except OSError:
        if not _complete(place):
            raise


def weights(model: Path) -> Path:
    """Where the weights of a model lie that was made here."""
    return model.parent / "weights"


def make_weights(shape: Shape, seed: int, to: Path) -> None:
    """As `asr33 bench --size` has them, but that what is no word is never the likeliest."""
    import numpy as np

    from tools.benching import tensors

    to.mkdir(exist_ok=True)
    tensors.make_random(shape, seed, to)
    table = np.load(to / "wte.weight.npy")
    table[: vocabulary.unsampled(shape.vocab_size)] *= UNLIKELY
    table[-1] *= UNLIKELY
    np.save(to / "wte.weight.npy", table)


UNLIKELY = 0.02  # of the others' length: a logit near 0, where the forty likeliest of so many are three deviations up


def _write(model: Path, of: Path, shape: Shape, size: str) -> None:
    from tools.benching import ours

    with store.draft(model) as draft:
        ours.prepare(of, FORM, 0, draft, CACHED)
        text = f"# {size}\n\nRandom weights for `asr33 bench --lines`; its words mean nothing.\n"
        store.settle(
            draft,
            model,
            name=f"random-{size}",
            shape=shape,
            tokenizer_json=vocabulary.tokenizer_json(shape.vocab_size),
            training={"as": FORM, "rounding": {"bits": 8, "cache": True}},
            card=text,
        )
