"""What is measured, as the operator said: a model as it lies there, or weights that each candidate gets in its form."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from model.errors import TextDamaged
from model.interface import GPT2Config
from model.store import store
from tools.bench import candidates, run
from tools.bench.candidates import SIZES, Candidate
from tools.bench.errors import NotComparable
from tools.bench.figures import CandidateQuality
from tools.bench.progress import BenchProgress

FIDELITY_TEXT = Path(store.__file__).parents[1] / "texts" / "judge.txt"
TEXT_WINDOW = 512  # tokens of text that are judged in one pass
RANDOM_WINDOW = 256
CHARS_PER_TOKEN = 4.0  # characters, by custom, in English and GPT-2's own vocabulary


@dataclass(frozen=True, slots=True)
class BenchTarget:
    """Who is measured on what; `ids` are what prompts are taken from."""

    title: str
    shape: GPT2Config
    source: GPT2Config | Path  # of the weights that candidates share
    candidates: list[Candidate]
    stored_models: dict[Candidate, Path]  # those that need nothing written, and their folders
    documents: list[list[int]]
    is_text: bool
    chars_per_token: float = CHARS_PER_TOKEN

    @property
    def prompt_ids(self) -> list[int]:
        """As many as a context has; a short text comes again and again."""
        endless = cycle(token for document in self.documents for token in document)
        return list(islice(endless, self.shape.n_positions))

    def fidelity_windows(self, limit: int) -> list[list[int]]:
        """Evenly from all the documents, each with the id that follows it."""
        from tools.bench import quality

        length = min(self.shape.n_positions, TEXT_WINDOW if self.is_text else RANDOM_WINDOW)
        found = [window for document in self.documents for window in quality.split_windows(document, length)]
        return found[:: max(1, -(-len(found) // limit))] if self.is_text else found[:1]

    def prepare_models(
        self, folder: Path, settings: run.BenchSettings, seed: int, on_progress: BenchProgress
    ) -> run.PreparedModels:
        """Everyone's model, in the folder or where it lies."""
        prepared = run.PreparedModels()
        if self.candidates:
            on_progress("making weights")
            weights = folder / "weights"
            run.make_weights(self.source, seed, weights)
            prepared = run.prepare_models(self.candidates, self.shape, weights, settings, on_progress)
        for candidate, place in self.stored_models.items():
            manifest = store.read_manifest(place)
            prepared.add(candidate, place, self.shape, manifest.graph_bytes)
            prepared.results[-1].quality = quality_from_manifest(manifest.training.get("quality"))
        return prepared


def quality_from_manifest(quality: object) -> CandidateQuality | None:
    """What a manifest says of itself, until a judge says better."""
    if not isinstance(quality, dict):
        return None
    try:
        distance, agreement, ratio = (float(quality[key]) for key in ("kl", "agree", "ratio"))
        return CandidateQuality(distance, agreement, int(quality["tokens"]), ratio)
    except (KeyError, TypeError, ValueError):
        return None


def find_target(args: argparse.Namespace) -> BenchTarget:
    """Raises ModelError and BenchError."""
    if args.model is None and (args.size or args.peers):
        return _random_target(args, args.size or "124M")
    folder = store.find_model(args.model or store.EMBEDDED)
    shape = store.verify_model(folder).shape
    shared = [*candidates.asr33_candidates(shape), *candidates.peer_candidates(shape)] if args.peers else []
    places = [] if args.peers else [folder]
    documents, characters = _encode_text(folder, args.text or FIDELITY_TEXT)
    return BenchTarget(
        title=store.name_of_folder(folder),
        shape=shape,
        source=folder,
        candidates=candidates.filter_by_name(shared, args.only),
        stored_models=_stored_candidates([*places, *map(store.find_model, args.also)], shape),
        documents=documents,
        is_text=True,
        chars_per_token=characters,
    )


def _random_target(args: argparse.Namespace, size: str) -> BenchTarget:
    shape = SIZES[size]
    everyone = [*candidates.asr33_candidates(shape), *(candidates.peer_candidates(shape) if args.peers else [])]
    chance = random.Random(args.seed)
    ids = [chance.randrange(shape.vocab_size) for _ in range(shape.n_positions + 1)]
    return BenchTarget(
        title=f"random weights of GPT-2's size {size}" if size != "tiny" else "tiny random weights",
        shape=shape,
        source=shape,
        candidates=candidates.filter_by_name(everyone, args.only),
        stored_models=_stored_candidates(list(map(store.find_model, args.also)), shape),
        documents=[ids],
        is_text=False,
    )


def _stored_candidates(folders: Sequence[Path], shape: GPT2Config) -> dict[Candidate, Path]:
    found = {}
    for folder in folders:
        manifest = store.verify_model(folder)
        if manifest.shape != shape:
            raise NotComparable(
                f"{folder}: its shape is not that of the others; give --also a model of the same weights"
            )
        title = store.name_of_folder(folder)
        found[candidates.stored_candidate(title, shape, manifest.graph_bytes, manifest.training)] = folder
    return found


def _encode_text(folder: Path, text: Path) -> tuple[list[list[int]], float]:
    """The ids of each document, and how many characters a token has."""
    from model.onnx.tokenizer import from_json
    from model.store.documents import read_documents

    words = from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
    texts = read_documents([text])
    if not texts:
        raise TextDamaged(f"{text}: there is no text in it; name one that has words")
    documents = [[words.end_of_text, *words.encode_lines(document)] for document in texts]
    return documents, sum(map(len, texts)) / sum(len(document) - 1 for document in documents)
