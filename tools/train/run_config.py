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
from tools.train.errors import OtherRun
from tools.train.holdout import HoldOut

FORMAT = 1
LATER_FIELDS = ("patience", "look_every", "lora", "dropout", "decay", "average")
DEFAULT_BATCH = 8
DEFAULT_SEED = 33
DEFAULT_FALL = 0.5
DEFAULT_DECAY = 0.05


@dataclass(frozen=True, slots=True)
class HashedSource:
    """A file by its name, without its place, and its SHA-256 in hex."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The shape as asked for; a short text may yield fewer tokens than `vocabulary`."""

    vocabulary: int = 4096
    context: int = 512
    width: int = 256
    layers: int = 5
    heads: int = 4


@dataclass(frozen=True, slots=True)
class RunLength:
    """A run ends after so many steps, or after so many minutes spent in steps; one of the two is None.

    `fall` is the share of it at its end, above 0 to 1, over which the rate falls.
    """

    steps: int | None
    minutes: float | None
    fall: float = DEFAULT_FALL

    def __str__(self) -> str:
        length = f"--steps {self.steps}" if self.steps is not None else f"--minutes {self.minutes:g}"
        return length if self.fall == DEFAULT_FALL else f"{length} --fall {100 * self.fall:g}"


@dataclass(frozen=True, slots=True)
class RunConfig:
    """All that the numbers of a run depend on, but for its length and the machine's rounding.

    `hold_out` are numbers of documents; or `hold_share` per cent of them are held out by the seed. `patience` and
    `look_every` of 0 are not asked for, and no patience. `corpus` says whether one of the texts is a corpus.
    """

    texts: tuple[HashedSource, ...]
    hold_out: tuple[int, ...] = ()
    base: HashedSource | None = None
    seed: int = DEFAULT_SEED
    batch: int = DEFAULT_BATCH
    size: ModelSize = field(default_factory=ModelSize)
    hold_share: float = 0.0
    patience: int = 0
    look_every: int = 0
    lora: int = 0
    dropout: float = 0.0
    decay: float = DEFAULT_DECAY
    average: float = 0.0
    corpus: bool = False


def hold_out_of(config: RunConfig) -> HoldOut:
    return HoldOut(config.hold_out, config.hold_share)


def train_command(name: str, config: RunConfig, length: RunLength) -> str:
    """The command that makes this run on any machine, in a folder that has the texts."""
    words = ["asr33", "train", *(shlex.quote(text.name) for text in config.texts), "--name", shlex.quote(name)]
    if config.base is not None:
        words += ["--base", shlex.quote(config.base.name)]
    words += [option for key, option in _command_options(config) if key == "hold_out" and hold_out_of(config)]
    words += [str(length), f"--seed {config.seed}"]
    plain = dict(_command_options(RunConfig(texts=())))
    left = (
        ("batch", *LATER_FIELDS)
        if config.base is not None
        else ("batch", *(item.name for item in fields(ModelSize)), *LATER_FIELDS)
    )
    words += [option for key, option in _command_options(config) if key in left and option != plain[key]]
    words += _disabling_options(config)
    return " ".join(words)


def score_command(name: str, config: RunConfig) -> str:
    """The command that scores the finished model again on what was held out."""
    words = [*(shlex.quote(text.name) for text in config.texts), "--model", shlex.quote(name), "--held-out"]
    return " ".join(["asr33", "model", "score", *words])


def _disabling_options(config: RunConfig) -> Iterator[str]:
    """What a base or a corpus brings of itself, and this run was told to leave."""
    if config.corpus and not hold_out_of(config):
        yield "--hold-out 0%"
    told = config.patience or config.average or not hold_out_of(config)
    if not told and (config.corpus or config.base is not None):
        yield "--patience 0"


def require_same(name: str, previous: RunConfig, requested: RunConfig) -> None:
    """Raises OtherRun with the first thing that differs."""
    was, wanted = dict(_command_options(previous)), dict(_command_options(requested))
    for key, option in was.items():
        if option != wanted[key]:
            change = f"with {option}, not {wanted[key]}"
        elif getattr(previous, key, None) != getattr(requested, key, None):
            change = f"with another content of {option}"
        else:
            continue
        raise OtherRun(f"the run {name} was begun {change}: take that, another --name, or --fresh to begin it again")


def to_json(config: RunConfig, length: RunLength) -> str:
    return json.dumps({"format": FORMAT, "recipe": asdict(config), "length": asdict(length)}, indent=2) + "\n"


def from_json(text: str) -> tuple[RunConfig, RunLength]:
    """Raises ModelDamaged; whoever knows the file's name says it."""
    try:
        record = json.loads(text)
        if record["format"] != FORMAT:
            raise ModelDamaged(f"format {record['format']}, and this asr33 knows {FORMAT}")
        return _config_from_json(record["recipe"]), RunLength(**record["length"])
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ModelDamaged(f"not the record of a run ({error})") from None


def _config_from_json(fields_by_name: dict[str, Any]) -> RunConfig:
    base = fields_by_name["base"]
    return RunConfig(
        texts=tuple(HashedSource(**text) for text in fields_by_name["texts"]),
        hold_out=tuple(fields_by_name["hold_out"]),
        base=None if base is None else HashedSource(**base),
        seed=fields_by_name["seed"],
        batch=fields_by_name["batch"],
        size=ModelSize(**fields_by_name["size"]),
        # What runs of the past could not be asked for, they had by default.
        **{key: fields_by_name[key] for key in ("hold_share", "corpus", *LATER_FIELDS) if key in fields_by_name},
    )


def _command_options(config: RunConfig) -> Iterator[tuple[str, str]]:
    yield "texts", " ".join(shlex.quote(text.name) for text in config.texts)
    yield "hold_out", f"--hold-out {hold_out_of(config)}" if hold_out_of(config) else "nothing held out"
    yield "base", "no --base" if config.base is None else f"--base {config.base.name}"
    yield "seed", f"--seed {config.seed}"
    yield "batch", f"--batch {config.batch}"
    for key, number in asdict(config.size).items():
        yield key, f"--{key} {number}"
    for key in LATER_FIELDS:
        number = getattr(config, key)
        words = str(number) if isinstance(number, int) else f"{100 * number if key == 'average' else number:g}"
        yield key, f"--{key.replace('_', '-')} {words}"
