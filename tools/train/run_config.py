"""The settings that identify a run: texts, hold-out, base, seed, batch and shape. Pure.

The length is not one of them: it may change while the learning rate is flat.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from model.errors import ModelDamaged
from tools.cli.errors import ToolError
from tools.train.holdout import HoldOut

FORMAT = 1
LATER_FIELDS = ("patience", "look_every", "lora", "dropout", "decay", "average", "rate")  # old records lack them
DEFAULT_BATCH = 8
DEFAULT_SEED = 33
DEFAULT_FALL = 0.5
DEFAULT_DECAY = 0.05
# From a base the learning rates are a fifth. A step of Muon has the same length whatever the gradient, and fifty steps
# at the full rate would overwrite the base before the fall of the rate could repair it.
BASE_RATE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class HashedSource:
    """A text, a corpus or a base model: its name without a folder, and its SHA-256 in hex."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The requested shape. A short text may yield fewer tokens than `vocabulary`."""

    vocabulary: int = field(default=4096, metadata={"help": "tokens of the vocabulary"})
    context: int = field(default=512, metadata={"help": "tokens of the context"})
    width: int = field(default=256, metadata={"help": "width of the hidden state"})
    layers: int = field(default=5, metadata={"help": "number of blocks"})
    heads: int = field(default=4, metadata={"help": "attention heads of a block"})


@dataclass(frozen=True, slots=True)
class RunLength:
    """The length of a run, in steps or in minutes spent in steps; the other is None.

    `fall` is the share of the run at its end, above 0 to 1, in which the learning rate falls.
    """

    steps: int | None
    minutes: float | None
    fall: float = DEFAULT_FALL

    def __str__(self) -> str:
        length = f"--steps {self.steps}" if self.steps is not None else f"--minutes {self.minutes:g}"
        return length if self.fall == DEFAULT_FALL else f"{length} --fall {100 * self.fall:g}"


@dataclass(frozen=True, slots=True)
class RunConfig:
    """All settings that decide the result of a run, except its length and the machine's rounding.

    `hold_out` has numbers of documents; or `hold_share` per cent are drawn by the seed. `patience` 0 means no early
    end, `look_every` 0 and `rate` 0 (in per cent) the default. `times` says how often an epoch
    has each text; empty means once. `corpus` says whether one of the texts is a corpus.
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
    rate: float = 0.0
    times: tuple[int, ...] = ()
    corpus: bool = False


def hold_out_of(config: RunConfig) -> HoldOut:
    return HoldOut(config.hold_out, config.hold_share)


def train_command(name: str, config: RunConfig, length: RunLength) -> str:
    """The command that repeats this run on any machine, in a folder with the texts."""
    options, defaults = dict(_command_options(config)), dict(_command_options(RunConfig(texts=())))
    words = ["asr33", "train", options["texts"], "--name", shlex.quote(name)]
    if config.base is not None:
        words += ["--base", shlex.quote(config.base.name)]
    if hold_out_of(config):
        words.append(options["hold_out"])
    words += [str(length), options["seed"], *([options["times"]] if config.times else [])]
    size = () if config.base is not None else tuple(item.name for item in fields(ModelSize))
    words += [options[key] for key in ("batch", *size, *LATER_FIELDS) if options[key] != defaults[key]]
    return " ".join([*words, *_disabling_options(config)])


def score_command(name: str, config: RunConfig) -> str:
    """The command that scores the finished model again on the held-out text."""
    words = [*(shlex.quote(text.name) for text in config.texts), "--model", shlex.quote(name), "--held-out"]
    return " ".join(["asr33", "model", "score", *words])


def _disabling_options(config: RunConfig) -> Iterator[str]:
    """The options that switch off the defaults for bases and corpora."""
    if config.corpus and not hold_out_of(config):
        yield "--hold-out 0%"
    has_default_patience = hold_out_of(config) and not config.average and (config.corpus or config.base is not None)
    if has_default_patience and not config.patience:
        yield "--patience 0"


def require_same(name: str, previous: RunConfig, requested: RunConfig) -> None:
    """Raises ToolError with the first difference."""
    before, now = dict(_command_options(previous)), dict(_command_options(requested))
    for key, option in before.items():
        if option != now[key]:
            change = f"with {option}, not {now[key]}"
        elif getattr(previous, key, None) != getattr(requested, key, None):
            change = f"with another content of {option}"
        else:
            continue
        cure = "take that, another --name, or --fresh to begin it again"
        raise ToolError(f"the run {name} was begun {change}: {cure}", "usage")


def to_json(config: RunConfig, length: RunLength) -> str:
    return json.dumps({"format": FORMAT, "recipe": asdict(config), "length": asdict(length)}, indent=2) + "\n"


def from_json(text: str) -> tuple[RunConfig, RunLength]:
    """The config and the length in a record. Raises ModelDamaged, without a file name: the caller adds that."""
    try:
        record = json.loads(text)
        if record["format"] != FORMAT:
            raise ModelDamaged(f"format {record['format']}, and this asr33 knows {FORMAT}")
        return _config_from_json(record["recipe"]), RunLength(**record["length"])
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ModelDamaged(f"not the record of a run ({error})") from None


def _config_from_json(record: dict[str, Any]) -> RunConfig:
    base = record["base"]
    return RunConfig(
        texts=tuple(HashedSource(**text) for text in record["texts"]),
        hold_out=tuple(record["hold_out"]),
        times=tuple(record.get("times", ())),
        base=None if base is None else HashedSource(**base),
        seed=record["seed"],
        batch=record["batch"],
        size=ModelSize(**record["size"]),
        # An old run without these options had their defaults.
        **{key: record[key] for key in ("hold_share", "corpus", *LATER_FIELDS) if key in record},
    )


def _command_options(config: RunConfig) -> Iterator[tuple[str, str]]:
    yield "texts", " ".join(shlex.quote(text.name) for text in config.texts)
    yield "hold_out", f"--hold-out {hold_out_of(config)}" if hold_out_of(config) else "nothing held out"
    yield "base", "no --base" if config.base is None else f"--base {config.base.name}"
    yield "seed", f"--seed {config.seed}"
    yield "batch", f"--batch {config.batch}"
    for key, number in asdict(config.size).items():
        yield key, f"--{key} {number}"
    yield "times", f"--times {','.join(map(str, config.times))}" if config.times else "each text once"
    for key in LATER_FIELDS:
        number = getattr(config, key)
        text = str(number) if isinstance(number, int) else f"{100 * number if key == 'average' else number:g}"
        yield key, f"--{key.replace('_', '-')} {text}"
