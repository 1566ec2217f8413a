"""Bytes that may reach the machine, over a hundred thousand characters of Unicode and of a hot model."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from fakes_teletype import TeletypeBench, run_jumping

from drivers.text.charset import fold_text
from model.generate.generate import generate
from model.interface import Sampling
from model.onnx import tokenizer
from model.onnx.session import OnnxSession
from model.store import store

SAMPLE, WHOLE = 10_000, 100_000
SHORT_SAMPLE = 2500  # five texts of a model, whose tokens take the time
PRINTABLE = {*range(0x20, 0x60), 0x07, 0x0A, 0x0D}


def random_unicode(characters: int, rng: random.Random) -> str:
    """Returns any scalar, with blanks and letters often enough for words, and sometimes a word longer than a line."""
    out: list[str] = []
    while len(out) < characters:
        kind = rng.random()
        if kind < 0.5:
            out += [chr(rng.randrange(0x21, 0x7F)) for _ in range(rng.choice([1, 3, 8, 40, 72, 73, 150]))]
        elif kind < 0.8:
            point = rng.choice([rng.randrange(0x110000), rng.randrange(0x3000), rng.randrange(0x20)])
            out.append("\ufffd" if 0xD800 <= point < 0xE000 else chr(point))
        out.append(rng.choice([" ", " ", " ", "  ", "\n", "\t", "\r\n"]))
    return "".join(out)


def generated_pieces(characters: int, seed: int) -> Iterator[str]:
    """Yields pieces of the embedded model's text at a temperature at which its whole vocabulary comes up."""
    folder = store.find_model("embedded")
    words = tokenizer.from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
    session = OnnxSession(folder / store.GRAPH_FILE, threads=1)
    generated = 0
    while generated < characters:
        seed += 1
        sampling = Sampling(temperature=2.0, top_k=0, seed=seed, max_tokens=480)
        for step in generate(session, [words.end_of_text], sampling, words):
            generated += len(step.text)
            yield step.text


def words_of(text: str) -> list[str]:
    """Returns the words that the paper must show: whole, except those longer than a line."""
    return [word[at : at + 72] for word in fold_text(text).split() for at in range(0, len(word), 72)]


def check(pieces: list[str]) -> None:
    async def main() -> None:
        bench = TeletypeBench()
        for piece in pieces:
            await bench.tty.print(piece)
        await bench.tty.finish()
        bench.assert_clean()  # at most two characters below the driver, too
        assert {byte & 0x7F for byte in bench.line.written} <= PRINTABLE
        lines = bench.typing_unit.paper.text().split("\n")
        assert max(map(len, lines)) <= 72
        assert " ".join(lines).split() == words_of("".join(pieces))

    run_jumping(main())


@pytest.mark.parametrize("characters", [SAMPLE, pytest.param(WHOLE, marks=pytest.mark.soak)], ids=["sample", "whole"])
def test_any_unicode_prints_only_allowed_bytes(characters: int) -> None:
    rng = random.Random(33)
    text = random_unicode(characters, rng)
    pieces, at = [], 0
    while at < len(text):
        size = rng.choice([1, 2, 5, 20])
        pieces.append(text[at : at + size])
        at += size
    check(pieces)


@pytest.mark.parametrize(
    "characters", [SHORT_SAMPLE, pytest.param(WHOLE, marks=pytest.mark.soak)], ids=["sample", "whole"]
)
def test_generated_text_prints_only_allowed_bytes(characters: int) -> None:
    check(list(generated_pieces(characters, seed=33)))
