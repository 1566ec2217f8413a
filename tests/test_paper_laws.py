"""What may reach the machine, over a hundred thousand characters: of any Unicode, and of a model that runs hot."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from fakes import TeletypeBench, run_jumping

from drivers.text.charset import fold_text
from model.generate.generate import generate
from model.interface import Sampling
from model.onnx import tokenizer
from model.onnx.session import OnnxSession
from model.store import store

SAMPLE, WHOLE = 10_000, 100_000
PRINTABLE = {*range(0x20, 0x60), 0x07, 0x0A, 0x0D}


def random_unicode(characters: int, rng: random.Random) -> str:
    """Any scalar, but blanks and letters often enough for words; and now and then a word that fits no line."""
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


def generated(characters: int, seed: int) -> Iterator[str]:
    """Pieces of the embedded model's text at a temperature at which all of its vocabulary comes up."""
    folder = store.find_model("embedded")
    words = tokenizer.from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
    session = OnnxSession(folder / store.GRAPH_FILE)
    made = 0
    while made < characters:
        seed += 1
        for step in generate(session, [words.end_of_text], Sampling(2.0, top_k=0, seed=seed, max_tokens=480), words):
            made += len(step.text)
            yield step.text


def words_of(text: str) -> list[str]:
    """The words that the paper shall have: whole, but for those that no line can hold."""
    return [word[at : at + 72] for word in fold_text(text).split() for at in range(0, len(word), 72)]


def check(pieces: list[str]) -> None:
    async def main() -> None:
        bench = TeletypeBench()
        for piece in pieces:
            await bench.tty.print(piece)
        await bench.tty.finish()
        bench.assert_clean()  # nothing in flight, piled up, forbidden or too fast; two characters below us at most
        assert {byte & 0x7F for byte in bench.line.wire} <= PRINTABLE
        lines = bench.typing_unit.paper.text().split("\n")
        assert max(map(len, lines)) <= 72
        assert " ".join(lines).split() == words_of("".join(pieces))

    run_jumping(main())


@pytest.mark.parametrize("characters", [SAMPLE, pytest.param(WHOLE, marks=pytest.mark.soak)], ids=["sample", "whole"])
def test_any_unicode_is_printed_within_the_law(characters: int) -> None:
    rng = random.Random(33)
    text = random_unicode(characters, rng)
    pieces, at = [], 0
    while at < len(text):
        size = rng.choice([1, 2, 5, 20])
        pieces.append(text[at : at + size])
        at += size
    check(pieces)


@pytest.mark.parametrize("characters", [SAMPLE, pytest.param(WHOLE, marks=pytest.mark.soak)], ids=["sample", "whole"])
def test_generated_text_is_printed_within_the_law(characters: int) -> None:
    check(list(generated(characters, seed=33)))
