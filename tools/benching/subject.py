"""What is measured, as the operator said: a model as it lies there, or weights that each candidate gets in its form."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from model import store
from model.base import Shape
from model.errors import TextDamaged
from tools.benching import candidates, run
from tools.benching.candidates import SIZES, Candidate
from tools.benching.errors import NotComparable
from tools.benching.figures import Quality
from tools.benching.progress import Tell

JUDGE_TEXT = Path(store.__file__).parent / "texts" / "judge.txt"
WINDOW = 512  # tokens of text that are judged in one pass
RANDOM_WINDOW = 256
A_TOKEN = 4.0  # characters, by custom, in English and GPT-2's own vocabulary


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is measured on what; `ids` are what prompts are taken from."""

    title: str
    shape: Shape
    source: Shape | Path  # of the weights that candidates share
    candidates: list[Candidate]
    stored: dict[Candidate, Path]  # those that need nothing written, and their folders
    documents: list[list[int]]
    is_text: bool
    characters: float = A_TOKEN

    @property
    def ids(self) -> list[int]:
        """As many as a context has; a short text comes again and again."""
        endless = cycle(token for document in self.documents for token in document)
        return list(islice(endless, self.shape.n_positions))

    def windows(self, most: int) -> list[list[int]]:
        """Evenly from all the documents, each with the id that follows it."""
        from tools.benching import quality

        length = min(self.shape.n_positions, WINDOW if self.is_text else RANDOM_WINDOW)
        found = [window for document in self.documents for window in quality.windows(document, length)]
        return found[:: max(1, -(-len(found) // most))] if self.is_text else found[:1]

    def prepared(self, folder: Path, setting: run.Setting, seed: int, tell: Tell) -> run.Prepared:
        """Everyone's model, in the folder or where it lies."""
        prepared = run.Prepared()
        if self.candidates:
            tell("making weights")
            weights = folder / "weights"
            run.make_weights(self.source, seed, weights)
            prepared = run.prepare(self.candidates, self.shape, weights, setting, tell)
        for candidate, place in self.stored.items():
            manifest = store.read_manifest(place)
            prepared.add(candidate, place, self.shape, manifest.graph_bytes)
            prepared.results[-1].quality = recorded(manifest.training.get("quality"))
        return prepared


def recorded(quality: object) -> Quality | None:
    """What a manifest says of itself, until a judge says better."""
    if not isinstance(quality, dict):
        return None
    try:
        distance, agreement, ratio = (float(quality[key]) for key in ("kl", "agree", "ratio"))
        return Quality(distance, agreement, int(quality["tokens"]), ratio)
    except (KeyError, TypeError, ValueError):
        return None


def find(args: argparse.Namespace) -> Subject:
    """Raises ModelError and BenchError."""
    if args.model is None and (args.size or args.peers):
        return _random(args, args.size or "124M")
    folder = store.find(args.model or store.EMBEDDED)
    shape = store.verify(folder).shape
    shared = [*candidates.ours(shape), *candidates.peers(shape)] if args.peers else []
    places = [] if args.peers else [folder]
    documents, characters = _text(folder, args.text or JUDGE_TEXT)
    return Subject(
        title=store.name_of(folder),
        shape=shape,
        source=folder,
        candidates=candidates.named(shared, args.only),
        stored=_stored([*places, *map(store.find, args.also)], shape),
        documents=documents,
        is_text=True,
        characters=characters,
    )


def _random(args: argparse.Namespace, size: str) -> Subject:
    shape = SIZES[size]
    everyone = [*candidates.ours(shape), *(candidates.peers(shape) if args.peers else [])]
    chance = random.Random(args.seed)
    ids = [chance.randrange(shape.vocab_size) for _ in range(shape.n_positions + 1)]
    return Subject(
        title=f"random weights of GPT-2's size {size}" if size != "tiny" else "tiny random weights",
        shape=shape,
        source=shape,
        candidates=candidates.named(everyone, args.only),
        stored=_stored(list(map(store.find, args.also)), shape),
        documents=[ids],
        is_text=False,
    )


def _stored(folders: Sequence[Path], shape: Shape) -> dict[Candidate, Path]:
    found = {}
    for folder in folders:
        manifest = store.verify(folder)
        if manifest.shape != shape:
            raise NotComparable(
                f"{folder}: its shape is not that of the others; give --also a model of the same weights"
            )
        title = store.name_of(folder)
        found[candidates.stored(title, shape, manifest.graph_bytes, manifest.training)] = folder
    return found


def _text(folder: Path, text: Path) -> tuple[list[list[int]], float]:
    """The ids of each document, and how many characters a token has."""
    from model.text import read_documents
    from model.tokenizer import from_json

    words = from_json((folder / store.TOKENIZER).read_text("utf-8"))
    texts = read_documents([text])
    if not texts:
        raise TextDamaged(f"{text}: there is no text in it; name one that has words")
    documents = [[words.end_of_text, *words.encode_lines(document)] for document in texts]
    return documents, sum(map(len, texts)) / sum(len(document) - 1 for document in documents)
