"""Show all about one model: its shape, its origin, its fidelity, its card."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.dialogue import read_known_speakers
from model.store import default_model, store
from model.store.store import Manifest
from tools.cli.output import print_output

MAX_SPEAKERS = 20  # listed by name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME|PATH", help="the model (default: the default model)")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON (default: text)")


def main(args: argparse.Namespace) -> int:
    """Raises ModelError."""
    folder = store.find_model(args.name or default_model.get_default())
    manifest = store.read_manifest(folder)
    is_default = default_model.is_default(folder)
    if args.json:
        fields = asdict(manifest) | {"folder": str(folder), "in_use": is_default}
        print_output(json.dumps(fields, indent=2) + "\n")
        return 0
    facts = [*_facts(manifest), ("where", f"{folder}{'  (in use)' if is_default else ''}")]
    width = max(len(name) for name, _ in facts) + 2
    lines = [f"{name:<{width}}{_strip_unprintable(value)}\n" for name, value in facts]
    print_output("".join(lines) + f"\n{_read_card(folder)}")
    return 0


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yields pairs of a fact's name and its value."""
    shape, training = manifest.shape, manifest.training
    yield "name", manifest.name
    yield (
        "shape",
        f"{shape.parameters / 1e6:.1f} M parameters: {shape.n_layer} layers, width {shape.n_embd}, "
        f"{shape.n_head} heads; a context of {shape.n_positions} tokens, a vocabulary of {shape.vocab_size}",
    )
    for name, record in manifest.files.items():
        yield name, f"{record.bytes / 1e6:.1f} MB, sha256 {record.sha256[:16]}..."
    yield "from", _origin(training)
    if "as" in training:
        yield "stored as", str(training["as"])
    yield from _quality(training)
    yield from _speakers(training)
    yield "licence", str(training.get("licence") or "not stated; see the card, and the model's repository")


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


def _speakers(training: dict[str, Any]) -> Iterator[tuple[str, str]]:
    names, persona = read_known_speakers(training)
    if names:
        more = f" and {len(names) - MAX_SPEAKERS} more" if len(names) > MAX_SPEAKERS else ""
        yield "speakers", ", ".join(names[:MAX_SPEAKERS]) + more
        yield "persona", persona or "none: it continues the typed text, unless --persona names a speaker"


def _read_card(folder: Path) -> str:
    try:
        text = (folder / store.CARD_FILE).read_text("utf-8", "replace")
    except OSError as error:
        return f"It has no card ({error.strerror}).\n"
    return "\n".join(map(_strip_unprintable, text.splitlines())) + "\n"


def _strip_unprintable(line: str) -> str:
    """Drops control characters: the author of a card must not control the terminal."""
    return "".join(char for char in line if char.isprintable())
