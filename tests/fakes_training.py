"""A little text of our own that a tiny net can learn, and the tiny net."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

from model.interface import END_OF_TEXT, GPT2Config
from tools.train import command
from tools.train.data import TokenIds

SHAPE = GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=2, n_head=2)
SIZE = [
    *("--vocabulary", "300", "--context", "64", "--width", "32"),
    *("--layers", "2", "--heads", "2", "--batch", "4", "--threads", "1", "--copied", "0"),
]

WHO = ["The operator", "The machine", "A clerk", "The carriage", "My “friend”", "The night watch"]
DOES = ["waits for", "types", "answers", "remembers", "has lost", "prints"]
WHAT = ["the next line", "a short letter", "an old tape", "every word", "nothing at all", "the bell"]


def documents(count: int = 6, sentences: int = 120, seed: int = 1) -> list[str]:
    """Mixed case, curly quotes, paragraphs a line each: some six thousand characters a document."""
    draw = random.Random(seed)
    return [
        "".join(
            f"{draw.choice(WHO)} {draw.choice(DOES)} {draw.choice(WHAT)}.{draw.choice('   ' + chr(10))}"
            for _ in range(sentences)
        )
        + f"\nThis was document {number + 1}.\n"
        for number in range(count)
    ]


def write_text(path: Path, count: int = 6, seed: int = 1) -> Path:
    path.write_text(f"{END_OF_TEXT}\n".join(documents(count, seed=seed)), "utf-8")
    return path


def token_row(count: int = 4000, vocabulary: int = 20, seed: int = 1) -> TokenIds:
    """Tokens with something to learn: each is mostly the one before it and a fixed step."""
    draw = np.random.default_rng(seed)
    steps = np.where(draw.random(count) < 0.9, 7, draw.integers(vocabulary, size=count))
    return (np.cumsum(steps) % vocabulary).astype(np.int32)


def parse_train_args(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])
