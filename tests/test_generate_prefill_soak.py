"""The wait from RETURN to the first token of GPT-2 124M in 8 bit, typed at ten keys per second, in decode steps."""

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
from tools.bench.measure import make_weights

pytestmark = pytest.mark.soak

PUBLISHED = Path(__file__).resolve().parents[1].parent / "shared" / "gpt2-tokenizer"
ROUNDS = 7
TYPED_KEYS = 24  # typed in real time; the text before them is prefilled already
KEY_S = 0.1
STEPS = 24  # of an answer, to measure the duration of one
MAX_WAIT_STEPS = 2.0

WORDS = ["the", "operator", "of", "a", "machine", "struck", "keys", "again"]
WORDS += ["and", "paper", "moved", "up", "by", "line"]


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
    def open_engine() -> LocalEngine:
        session = open_session(folder / store.GRAPH_FILE, threads=2)
        encoder = tokenizer.from_gpt2_files(PUBLISHED / "encoder.json", PUBLISHED / "vocab.bpe")
        vocabulary = [encoder.bytes_of(token) for token in range(session.shape.vocab_size)]
        mask = TokenMask(vocabulary, encoder.end_of_text, is_printable)
        return LocalEngine(session, encoder, mask, session.device_label)

    local = LocalModel(open_engine)
    await local.wait_ready()
    yield local
    await local.close()


def typed_prefixes(text: str) -> list[str]:
    """Returns the line after each of its last keys."""
    return [text[:end] for end in range(len(text) - TYPED_KEYS, len(text) + 1)]


def type_with_correction(text: str) -> list[str]:
    """Returns the line after each key: three wrong words, RUBOUTs, and the right words."""
    right = text.rsplit(" ", 4)[0]
    wrong = f"{right} carriage return and"
    erased = [wrong[:end] for end in range(len(wrong) - 1, len(right) - 1, -1)]
    return [*typed_prefixes(wrong), *erased, *typed_prefixes(text)[-(len(text) - len(right)) :]]


async def measure_wait_in_steps(model: LocalModel, lines: Sequence[str], seed: int) -> float:
    """Types the lines and presses RETURN; returns the wait for the first token, in decode steps."""
    model.prefill(lines[0])
    await asyncio.sleep(1.5)  # far less than it takes to type the line
    for line in lines:
        model.prefill(line)
        await asyncio.sleep(KEY_S)
    started_at = time.monotonic()
    times: list[float] = []
    async with aclosing(model.stream(lines[-1], Sampling(max_tokens=STEPS, seed=seed, length=None))) as chunks:
        async for chunk in chunks:
            times += [chunk.created_at] * len(chunk.tokens)
    step = median(after - before for before, after in pairwise(dict.fromkeys(times)))
    return (times[0] - started_at) / step


def make_prompt(model: LocalModel, tokens: int, turn: int) -> str:
    """Returns a line of about so many tokens, different in each turn."""
    words = WORDS[turn % len(WORDS) :] + WORDS
    text = "say"
    while model.count_tokens(text) < tokens:
        text += " " + words[len(text) % len(words)]
    return text


@pytest.mark.parametrize(
    ("tokens", "type_line"),
    [(10, typed_prefixes), (900, typed_prefixes), (10, type_with_correction), (900, type_with_correction)],
)
async def test_first_token_comes_within_two_steps_of_return(
    model: LocalModel, tokens: int, type_line: Callable[[str], list[str]]
) -> None:
    lines = [type_line(make_prompt(model, tokens, turn)) for turn in range(ROUNDS)]
    waits = [await measure_wait_in_steps(model, lines[turn], turn) for turn in range(ROUNDS)]
    result = f"{median(waits):.2f} [{min(waits):.2f}-{max(waits):.2f}] steps"
    sys.stdout.write(f"{tokens} tokens, {type_line.__name__}: {result}\n")
    assert median(waits) <= MAX_WAIT_STEPS, waits
