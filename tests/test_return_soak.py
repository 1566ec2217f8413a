"""RETURN to the first token of GPT-2 124M in 8 bit, the prompt typed at ten keys a second; told in decode steps."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from drivers.text.charset import is_printable
from model.generate.local_model import LocalEngine, LocalModel
from model.generate.token_mask import TokenMask
from model.interface import Sampling
from model.onnx import tokenizer
from model.onnx.session import open_session
from model.store import store
from tools.bench import asr33_runner, candidates
from tools.bench.run import make_weights

pytestmark = pytest.mark.soak

PUBLISHED = Path(__file__).resolve().parents[1].parent / "shared" / "gpt2-tokenizer"
ROUNDS = 7
TYPED_KEYS = 24  # keys of each prompt that are typed in real time; what stands before them was typed long ago
KEY_S = 0.1
STEPS = 24  # of an answer, for the pace that the wait is told in
MAX_WAIT_STEPS = 2.0

WORDS = [
    "the",
    "operator",
    "of",
    "a",
    "machine",
    "struck",
    "keys",
    "again",
    "and",
    "paper",
    "moved",
    "up",
    "by",
    "line",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published tokenizer of GPT-2 is not here: {PUBLISHED}")
    root = tmp_path_factory.mktemp("return")
    make_weights(candidates.SIZES["124M"], 33, root / "weights")
    (root / "model").mkdir()
    asr33_runner.write_model(root / "weights", "int8", 0, root / "model")
    return root / "model"


@pytest.fixture
async def model(folder: Path) -> AsyncIterator[LocalModel]:
    def engine() -> LocalEngine:
        session = open_session(folder / store.GRAPH_FILE, threads=2)
        words = tokenizer.from_gpt2_files(PUBLISHED / "encoder.json", PUBLISHED / "vocab.bpe")
        spelled = [words.bytes_of(token) for token in range(session.shape.vocab_size)]
        return LocalEngine(session, words, TokenMask(spelled, words.end_of_text, is_printable), session.device_label)

    local = LocalModel(engine)
    await local.wait_ready()
    yield local
    await local.close()


def typed_prefixes(text: str) -> list[str]:
    """What stands on the line after each of its last keys."""
    return [text[:end] for end in range(len(text) - TYPED_KEYS, len(text) + 1)]


def type_with_correction(text: str) -> list[str]:
    """Typed with a wrong word four words back, rubbed out key by key, and typed right."""
    right = text.rsplit(" ", 4)[0]
    wrong = f"{right} carriage return and"
    return [
        *typed_prefixes(wrong),
        *[wrong[:end] for end in range(len(wrong) - 1, len(right) - 1, -1)],
        *typed_prefixes(text)[-(len(text) - len(right)) :],
    ]


async def measure_wait_in_steps(model: LocalModel, lines: Sequence[str], seed: int) -> float:
    """Type the lines, press RETURN: how many steps' time until the first token was there."""
    model.prefill(lines[0])
    await asyncio.sleep(1.5)  # far less than it took to type
    for line in lines:
        model.prefill(line)
        await asyncio.sleep(KEY_S)
    begun = time.monotonic()
    made: list[float] = []
    async with aclosing(model.stream(lines[-1], Sampling(max_tokens=STEPS, seed=seed, length=None))) as pieces:
        async for piece in pieces:
            made += [piece.created_at] * len(piece.tokens)
    step = median(after - before for before, after in pairwise(dict.fromkeys(made)))
    return (made[0] - begun) / step


def make_prompt(model: LocalModel, tokens: int, turn: int) -> str:
    """A line of about so many tokens, another at each turn."""
    words = WORDS[turn % len(WORDS) :] + WORDS
    text = "say"
    while model.count_tokens(text) < tokens:
        text += " " + words[len(text) % len(words)]
    return text


@pytest.mark.parametrize(
    ("tokens", "by_hand"),
    [(10, typed_prefixes), (900, typed_prefixes), (10, type_with_correction), (900, type_with_correction)],
)
async def test_the_first_token_is_there_within_two_steps_of_return(
    model: LocalModel, tokens: int, by_hand: Callable[[str], list[str]]
) -> None:
    waits = [
        await measure_wait_in_steps(model, by_hand(make_prompt(model, tokens, turn)), turn) for turn in range(ROUNDS)
    ]
    told = f"{median(waits):.2f} [{min(waits):.2f}-{max(waits):.2f}] steps"
    sys.stdout.write(f"{tokens} tokens, {by_hand.__name__}: {told}\n")
    assert median(waits) <= MAX_WAIT_STEPS, waits
