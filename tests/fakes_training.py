"""A small text that a tiny net can learn, the size of that net, and helpers for the tests of `asr33 train`."""

from __future__ import annotations

import argparse
import random
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model.errors import ModelError
from model.interface import END_OF_TEXT, GPT2Config
from tools.cli.errors import ToolError
from tools.train import command
from tools.train.data import TokenIds

if TYPE_CHECKING:
    from tools.train.gpt2 import Gpt2
    from tools.train.loop import StepReport
    from tools.train.schedule import TrainPlan

SHAPE = GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=2, n_head=2)
SIZE = [
    *("--vocabulary", "300", "--context", "64", "--width", "32"),
    *("--layers", "2", "--heads", "2", "--batch", "4", "--threads", "1", "--copied", "0"),
]

SUBJECTS = ["The operator", "The machine", "A clerk", "The carriage", "My “friend”", "The night watch"]
VERBS = ["waits for", "types", "answers", "remembers", "has lost", "prints"]
OBJECTS = ["the next line", "a short letter", "an old tape", "every word", "nothing at all", "the bell"]


def make_documents(count: int = 6, sentences: int = 120, seed: int = 1) -> list[str]:
    """Returns documents of about 6,000 characters: mixed case, curly quotes, a line for each paragraph."""
    rng = random.Random(seed)

    def sentence() -> str:
        return f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}.{rng.choice('   ' + chr(10))}"

    texts = ["".join(sentence() for _ in range(sentences)) for _ in range(count)]
    return [f"{text}\nThis was document {number}.\n" for number, text in enumerate(texts, 1)]


def write_text(path: Path, count: int = 6, seed: int = 1) -> Path:
    path.write_text(f"{END_OF_TEXT}\n".join(make_documents(count, seed=seed)), "utf-8")
    return path


def make_token_row(count: int = 4000, vocabulary: int = 20, seed: int = 1) -> TokenIds:
    """Returns tokens with a pattern to learn: most tokens are the token before them plus a fixed step."""
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random(count) < 0.9, 7, rng.integers(vocabulary, size=count))
    return (np.cumsum(steps) % vocabulary).astype(np.int32)


def tiny_net() -> Gpt2:
    """A net with the same random weights each time."""
    import torch

    from tools.train.gpt2 import Gpt2

    torch.set_num_threads(1)
    torch.manual_seed(3)
    return Gpt2(SHAPE)


def run_steps(
    net: Gpt2, ids: TokenIds, held_out: TokenIds | None, plan: TrainPlan, saved: Path, steps: int | None = None
) -> list[StepReport]:
    """Trains from the checkpoint, if there is one, to the end or for so many steps."""
    from tools.train import loop

    with closing(loop.train_net(net, ids, held_out, plan, saved)) as reports:
        return list(islice(reports, steps))


def run_losses(net: Gpt2, ids: TokenIds, plan: TrainPlan, saved: Path, steps: int | None = None) -> list[float]:
    """The losses of `run_steps` without a held-out text."""
    return [report.loss for report in run_steps(net, ids, None, plan, saved, steps)]


def parse_train_args(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def raises(kind: str, match: str) -> pytest.RaisesExc[ToolError | ModelError]:
    """Expects an error of this kind."""
    return pytest.raises((ToolError, ModelError), match=match, check=lambda error: error.kind == kind)
