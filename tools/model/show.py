"""`asr33 model show`: all that is known of one model: its shape, where it is from, how good it is, its card."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.store import default_model, store
from model.store.store import Manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME|PATH", help="the model (the one in use)")
    parser.add_argument("--json", action="store_true", help="the manifest, as JSON")


def main(args: argparse.Namespace) -> int:
    """Raises ModelError."""
    name = args.name or default_model.get_default()
    folder = store.find_model(name)
    manifest = store.read_manifest(folder)
    used = default_model.is_default(folder)
    if args.json:
        told = asdict(manifest) | {"folder": str(folder), "in_use": used}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return 0
    facts = [*_facts(manifest), ("where", f"{folder}{'  (in use)' if used else ''}")]
    width = max(len(what) for what, _ in facts) + 2
    sys.stdout.write(
        "".join(f"{what:<{width}}{_strip_unprintable(is_so)}\n" for what, is_so in facts) + f"\n{_read_card(folder)}"
    )
    return 0


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    shape, training = manifest.shape, manifest.training
    yield "name", manifest.name
    yield (
        "shape",
        f"{shape.parameters / 1e6:.1f} M parameters: {shape.n_layer} layers, width {shape.n_embd}, "
        f"{shape.n_head} heads; a context of {shape.n_positions} tokens, a vocabulary of {shape.vocab_size}",
    )
    for what, record in manifest.files.items():
        yield what, f"{record.bytes / 1e6:.1f} MB, sha256 {record.sha256[:16]}..."
    yield "from", _origin(training)
    if "as" in training:
        yield "stored as", str(training["as"])
    yield from _quality(training)
    yield "licence", str(training.get("licence") or "none is told; see the card, and its repository")


def _origin(training: dict[str, Any]) -> str:
    if repository := training.get("repository"):
        return f"{repository}, commit {training.get('revision')}"
    match training.get("base"):
        case {"name": str(base)}:
            return f"this asr33: it was trained here, from {base}"
    return str(training.get("from") or "this asr33: it was trained here")


def _quality(training: dict[str, Any]) -> Iterator[tuple[str, str]]:
    match training.get("quality"):
        case {"ratio": float(ratio), "perplexity": float(perplexity), "kl": float(kl), "agree": float(agree)}:
            yield (
                "quality",
                f"perplexity {perplexity:.2f}, {ratio:.4f} times that of float32; KL {kl:.5f} nats a token; "
                f"the same likeliest token in {agree:.1%}",
            )
    match training.get("bits_per_byte"):
        case float() | int() as bits:
            yield "bits/byte", f"{bits:.3f}, on the texts held out"


def _read_card(folder: Path) -> str:
    try:
        text = (folder / store.CARD_FILE).read_text("utf-8", "replace")
    except OSError as error:
        return f"It has no card ({error.strerror}).\n"
    return "\n".join(map(_strip_unprintable, text.splitlines())) + "\n"


def _strip_unprintable(line: str) -> str:
    """A line that a stranger may have written does nothing to the terminal."""
    return "".join(char for char in line if char.isprintable())
