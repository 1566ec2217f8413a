"""What makes a run the run it is: texts, what is held out, base, seed, batch and shape. Data only, no files.

The length is apart: while the rate is flat it may still be changed, and the run stays the same run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from model.errors import ModelDamaged
from tools.training.errors import OtherRun
from tools.training.holding import HoldOut

FORMAT = 1
LATER = ("patience", "look_every", "lora", "dropout", "decay", "average")
BATCH = 8
SEED = 33
FALL = 0.5
DECAY = 0.05


@dataclass(frozen=True, slots=True)
class Source:
    """A file by its name, without its place, and its SHA-256 in hex."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Size:
    """The shape as asked for; a short text may yield fewer tokens than `vocabulary`."""

    vocabulary: int = 4096
    context: int = 512
    width: int = 256
    layers: int = 5
    heads: int = 4


@dataclass(frozen=True, slots=True)
class Length:
    """A run ends after so many steps, or after so many minutes spent in steps; one of the two is None.

    `fall` is the share of it at its end, above 0 to 1, over which the rate falls.
    """

    steps: int | None
    minutes: float | None
    fall: float = FALL

    def __str__(self) -> str:
        length = f"--steps {self.steps}" if self.steps is not None else f"--minutes {self.minutes:g}"
        return length if self.fall == FALL else f"{length} --fall {100 * self.fall:g}"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that the numbers of a run depend on, but for its length and the machine's rounding.

    `hold_out` are numbers of documents; or `hold_share` per cent of them are held out by the seed. `patience` and
    `look_every` of 0 are not asked for, and no patience. `corpus` says whether one of the texts is a corpus.
    """

    texts: tuple[Source, ...]
    hold_out: tuple[int, ...] = ()
    base: Source | None = None
    seed: int = SEED
    batch: int = BATCH
    size: Size = field(default_factory=Size)
    hold_share: float = 0.0
    patience: int = 0
    look_every: int = 0
    lora: int = 0
    dropout: float = 0.0
    decay: float = DECAY
    average: float = 0.0
    corpus: bool = False


def held(recipe: Recipe) -> HoldOut:
    return HoldOut(recipe.hold_out, recipe.hold_share)


def command(name: str, recipe: Recipe, length: Length) -> str:
    """The command that makes this run on any machine, in a folder that has the texts."""
    words = ["asr33", "train", *(shlex.quote(text.name) for text in recipe.texts), "--name", shlex.quote(name)]
    if recipe.base is not None:
        words += ["--base", shlex.quote(recipe.base.name)]
    words += [option for key, option in _options(recipe) if key == "hold_out" and held(recipe)]
    words += [str(length), f"--seed {recipe.seed}"]
    plain = dict(_options(Recipe(texts=())))
    left = ("batch", *LATER) if recipe.base is not None else ("batch", *(item.name for item in fields(Size)), *LATER)
    words += [option for key, option in _options(recipe) if key in left and option != plain[key]]
    words += _without(recipe)
    return " ".join(words)


def repeated(name: str, recipe: Recipe) -> str:
    """The command that scores the finished model again on what was held out."""
    words = [*(shlex.quote(text.name) for text in recipe.texts), "--model", shlex.quote(name), "--held-out"]
    return " ".join(["asr33", "model", "score", *words])


def _without(recipe: Recipe) -> Iterator[str]:
    """What a base or a corpus brings of itself, and this run was told to leave."""
    if recipe.corpus and not held(recipe):
        yield "--hold-out 0%"
    told = recipe.patience or recipe.average or not held(recipe)
    if not told and (recipe.corpus or recipe.base is not None):
        yield "--patience 0"


def require_same(name: str, begun: Recipe, asked: Recipe) -> None:
    """Raises OtherRun with the first thing that differs."""
    was, wanted = dict(_options(begun)), dict(_options(asked))
    for key, option in was.items():
        if option != wanted[key]:
            change = f"with {option}, not {wanted[key]}"
        elif getattr(begun, key, None) != getattr(asked, key, None):
            change = f"with another content of {option}"
        else:
            continue
        raise OtherRun(f"the run {name} was begun {change}: take that, another --name, or --fresh to begin it again")


def to_json(recipe: Recipe, length: Length) -> str:
    return json.dumps({"format": FORMAT, "recipe": asdict(recipe), "length": asdict(length)}, indent=2) + "\n"


def from_json(text: str) -> tuple[Recipe, Length]:
    """Raises ModelDamaged; whoever knows the file's name says it."""
    try:
        record = json.loads(text)
        if record["format"] != FORMAT:
            raise ModelDamaged(f"format {record['format']}, and this asr33 knows {FORMAT}")
        return _recipe(record["recipe"]), Length(**record["length"])
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ModelDamaged(f"not the record of a run ({error})") from None


def _recipe(found: dict[str, Any]) -> Recipe:
    base = found["base"]
    return Recipe(
        texts=tuple(Source(**text) for text in found["texts"]),
        hold_out=tuple(found["hold_out"]),
        base=None if base is None else Source(**base),
        seed=found["seed"],
        batch=found["batch"],
        size=Size(**found["size"]),
        # What runs of the past could not be asked for, they had by default.
        **{key: found[key] for key in ("hold_share", "corpus", *LATER) if key in found},
    )


def _options(recipe: Recipe) -> Iterator[tuple[str, str]]:
    yield "texts", " ".join(shlex.quote(text.name) for text in recipe.texts)
    yield "hold_out", f"--hold-out {held(recipe)}" if held(recipe) else "nothing held out"
    yield "base", "no --base" if recipe.base is None else f"--base {recipe.base.name}"
    yield "seed", f"--seed {recipe.seed}"
    yield "batch", f"--batch {recipe.batch}"
    for key, number in asdict(recipe.size).items():
        yield key, f"--{key} {number}"
    for key in LATER:
        number = getattr(recipe, key)
        words = str(number) if isinstance(number, int) else f"{100 * number if key == 'average' else number:g}"
        yield key, f"--{key.replace('_', '-')} {words}"
