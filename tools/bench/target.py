"""The target of a benchmark: a model folder, or shared weights that each candidate gets in its own format."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from model.errors import ModelError
from model.interface import GPT2Config
from model.store import store
from tools.bench import candidates, measure
from tools.bench.candidates import SIZES, Candidate
from tools.bench.progress import BenchProgress
from tools.bench.results import CandidateQuality
from tools.cli.errors import ToolError

FIDELITY_TEXT = Path(store.__file__).parents[1] / "texts" / "judge.txt"
TEXT_WINDOW = 512  # tokens of text in one pass
RANDOM_WINDOW = 256
CHARS_PER_TOKEN = 4.0  # the usual figure for English in GPT-2's vocabulary


@dataclass(frozen=True, slots=True)
class BenchTarget:
    """The candidates, and the documents whose ids are prompts and fidelity windows."""

    title: str
    shape: GPT2Config
    source: GPT2Config | Path  # of the weights that the candidates share
    candidates: list[Candidate]
    stored_models: dict[Candidate, Path]  # existing model folders, measured as they are
    documents: list[list[int]]
    is_text: bool
    chars_per_token: float = CHARS_PER_TOKEN

    @property
    def prompt_ids(self) -> list[int]:
        """As many ids as the context has; short documents are repeated."""
        ids = cycle(token for document in self.documents for token in document)
        return list(islice(ids, self.shape.n_positions))

    def fidelity_windows(self, limit: int) -> list[list[int]]:
        """Returns windows spread evenly over all documents, each with the id that follows it."""
        from tools.bench import fidelity

        length = min(self.shape.n_positions, TEXT_WINDOW if self.is_text else RANDOM_WINDOW)
        windows = [window for document in self.documents for window in fidelity.split_windows(document, length)]
        return windows[:: max(1, -(-len(windows) // limit))] if self.is_text else windows[:1]

    def prepare_models(
        self, folder: Path, settings: measure.BenchSettings, seed: int, on_progress: BenchProgress
    ) -> measure.PreparedModels:
        """Writes the candidates' models to the folder, and adds the stored models."""
        prepared = measure.PreparedModels()
        if self.candidates:
            on_progress("making weights")
            weights = folder / "weights"
            measure.make_weights(self.source, seed, weights)
            prepared = measure.prepare_models(self.candidates, self.shape, weights, settings, on_progress)
        for candidate, model in self.stored_models.items():
            manifest = store.read_manifest(model)
            prepared.add(candidate, model, self.shape, manifest.graph_bytes)
            prepared.results[-1].quality = quality_from_manifest(manifest.training.get("quality"))
        return prepared


def quality_from_manifest(quality: object) -> CandidateQuality | None:
    """Returns the quality recorded in a manifest, a default until it is measured; None if it is incomplete."""
    if not isinstance(quality, dict):
        return None
    try:
        divergence, agreement, ratio = (float(quality[key]) for key in ("kl", "agree", "ratio"))
        return CandidateQuality(divergence, agreement, int(quality["tokens"]), ratio)
    except (KeyError, TypeError, ValueError):
        return None


def find_target(args: argparse.Namespace) -> BenchTarget:
    """Returns the target of the command line. Raises ModelError and ToolError."""
    if args.model is None and (args.size or args.peers):
        return _random_target(args, args.size or "124M")
    folder = store.find_model(args.model or store.EMBEDDED)
    shape = store.verify_model(folder).shape
    models = [] if args.peers else [folder]
    documents, chars_per_token = _encode_text(folder, args.text or FIDELITY_TEXT)
    return BenchTarget(
        title=store.name_of_folder(folder),
        shape=shape,
        source=folder,
        candidates=_shared_candidates(args, shape) if args.peers else [],
        stored_models=_stored_candidates([*models, *map(store.find_model, args.also)], shape),
        documents=documents,
        is_text=True,
        chars_per_token=chars_per_token,
    )


def _random_target(args: argparse.Namespace, size: str) -> BenchTarget:
    shape, rng = SIZES[size], random.Random(args.seed)
    ids = [rng.randrange(shape.vocab_size) for _ in range(shape.n_positions + 1)]
    return BenchTarget(
        title=f"random weights of GPT-2's size {size}" if size != "tiny" else "tiny random weights",
        shape=shape,
        source=shape,
        candidates=_shared_candidates(args, shape),
        stored_models=_stored_candidates(list(map(store.find_model, args.also)), shape),
        documents=[ids],
        is_text=False,
    )


def _shared_candidates(args: argparse.Namespace, shape: GPT2Config) -> list[Candidate]:
    """Returns the requested candidates that are made of shared weights."""
    peers = candidates.peer_candidates(shape) if args.peers else []
    return candidates.filter_by_name([*candidates.asr33_candidates(shape), *peers], args.only)


def _stored_candidates(folders: Sequence[Path], shape: GPT2Config) -> dict[Candidate, Path]:
    models = {}
    for folder in folders:
        manifest = store.verify_model(folder)
        if manifest.shape != shape:
            fault = "its shape is not that of the others; give --also a model of the same weights"
            raise ToolError(f"{folder}: {fault}", "damaged")
        name = store.name_of_folder(folder)
        models[candidates.stored_candidate(name, shape, manifest.graph_bytes, manifest.training)] = folder
    return models


def _encode_text(folder: Path, text: Path) -> tuple[list[list[int]], float]:
    """Returns the ids of each document, and the characters per token."""
    from model.onnx.tokenizer import from_json
    from model.store.documents import read_documents

    tokenizer = from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
    texts = read_documents([text])
    if not texts:
        raise ModelError(f"{text}: there is no text in it; name one that has words", "damaged")
    documents = [[tokenizer.end_of_text, *tokenizer.encode_lines(document)] for document in texts]
    return documents, sum(map(len, texts)) / sum(len(document) - 1 for document in documents)
