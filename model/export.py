"""Weights -> a model's folder: rounded to the width asked for, judged against float32, and only then written.

It knows how well is well enough; how to round and how to judge others know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from model import graph, graph_file, judge, store, tokenizer
from model.errors import ExportRefused
from model.hub import Source
from model.judge import Quality
from model.rounding import Rounding, rounded
from model.session import Session
from model.store import Manifest
from model.text import read_documents

As = Literal["int8", "int4", "float16", "float32", "half"]
Cached = Literal["int8", "float32"]
WIDTHS: tuple[As, ...] = get_args(As)
TEXTS = Path(__file__).parent / "texts"
WINDOW = 512  # tokens of a window to round or judge by, where the context has so many
ROUND_BY, JUDGE_BY = 16_384, 8_192  # tokens at most
# The perplexity over float32's that is still well enough; a float32 graph has no excuse but the order of its sums.
RATIOS: dict[As, float] = {"int8": 1.01, "int4": 1.06, "float16": 1.001, "float32": 1.0001, "half": 1.002}
# Nats a token. A perplexity may come out well by chance, on a text that the model has not seen the like of.
DISTANCES: dict[As, float] = {"int8": 0.03, "int4": 0.2, "float16": 0.003, "float32": 0.0003, "half": 0.003}
LOGITS = 1e-3  # of float32, for each unit of the largest logit above one
DIGITS = 6

# Hears (what is being done, how much is done, of how much).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be made. `block` 0 leaves it to us; with no `documents` the texts serve that asr33 brings.

    `half` is float16 throughout, as a GPU wants it. `cache` says how keys and values are kept where the weights are
    rounded: in 8 bits, with the head by rows as well, a text has a quarter of the memory and a step of many texts half
    the time, but a long prompt takes half as much again (onnxruntime 1.31 on x86), and KL is near twice as large.
    """

    name: str
    store_as: As = "int8"
    block: int = 0
    documents: tuple[str, ...] = ()
    cache: Cached = "float32"


def export(source: Source, folder: Path, asked: Asked, progress: Progress | None = None) -> Manifest:
    """Make the model and write it to the folder. Raises ExportRefused, having written nothing, if it is not good."""
    words = tokenizer.from_json(source.tokenizer_json)
    length = min(WINDOW, source.shape.n_positions)
    judged_by = judge.windows(words, _judging(asked.documents), length, JUDGE_BY)
    how = rounding(asked)
    by = None if how is None else judge.windows(words, _calibrating(asked.documents), length, ROUND_BY)
    with store.draft(folder) as draft:
        _write(draft, source, asked, how, by, progress)
        session = Session(draft / store.GRAPH)
        quality = judge.compare(session, source.weights, source.shape, judged_by, _told(progress, "judging"))
        refuse(quality, asked)
        return store.settle(
            draft,
            folder,
            name=asked.name,
            shape=source.shape,
            tokenizer_json=source.tokenizer_json,
            training=record(source, asked, how, quality),
            card=card(source, asked, quality, sum(path.stat().st_size for path in draft.iterdir())),
        )


def _write(
    draft: Path,
    source: Source,
    asked: Asked,
    how: Rounding | None,
    by: NDArray[np.int64] | None,
    progress: Progress | None,
) -> None:
    """The graph. What it took is gone when it is there: a large model fills the memory."""
    kind: graph.Store = "float32" if asked.store_as == "float32" else "float16"
    if how is None or by is None:
        compute: graph.Store = "float16" if asked.store_as == "half" else "float32"
        graph_file.write(draft, source.weights, source.shape, kind, compute=compute)
        return
    near = rounded(source.weights, source.shape, how, by, _told(progress, "rounding"))
    graph_file.write(draft, near.weights, source.shape, kind, near.packed, cache=near.cache)


def rounding(asked: Asked) -> Rounding | None:
    """How the width asked for is rounded; None where it is not."""
    cache = asked.cache == "int8"
    match asked.store_as:
        case "int8":
            # For one text blocks are nearer to the truth; for many, rows are twice as fast.
            return Rounding(8, asked.block, head_block=asked.block or (0 if cache else 32), cache=cache)
        case "int4":
            return Rounding(4, asked.block or 128, asymmetric=True, head_bits=4, smooth=0.5, cache=cache)
        case _:
            return None


def refuse(quality: Quality, asked: Asked) -> None:
    """Raises ExportRefused where the quality is not good enough for the width."""
    most, furthest = RATIOS[asked.store_as], DISTANCES[asked.store_as]
    if not (quality.ratio <= most and quality.kl <= furthest):  # a NaN is refused too
        cure = {
            "int4": "--as int8, or a smaller --block",
            "int8": "a smaller --block, --cache float32, or --as float16",
        }
        raise ExportRefused(
            f"{asked.name}: perplexity {quality.ratio:.4f} times that of float32 and KL {quality.kl:.4f} nats where "
            f"{asked.store_as} may have {most} and {furthest}; try {cure.get(asked.store_as, '--as float32')}"
        )
    if asked.store_as == "float32" and not quality.logits <= LOGITS:
        raise ExportRefused(
            f"{asked.name}: a logit is {quality.logits:.2g} off where {LOGITS} is allowed: this onnxruntime is not "
            "to be trusted with float32; install another version"
        )


def record(source: Source, asked: Asked, how: Rounding | None, quality: Quality) -> dict[str, Any]:
    """The `training` of the manifest: that of the source, and what was done to it."""
    rounded_figures = {
        key: round(value, DIGITS) if isinstance(value, float) else value for key, value in asdict(quality).items()
    }
    return source.training | {
        "from": source.name,
        "as": asked.store_as,
        "rounding": None if how is None else asdict(how),
        "quality": rounded_figures,
    }


def card(source: Source, asked: Asked, quality: Quality, size: int) -> str:
    """The README.md of the model."""
    shape = source.shape
    lines = [
        f"# {asked.name}",
        "",
        f"{source.name}, a GPT-2 of {shape.parameters / 1e6:.1f} million parameters: {shape.n_layer} layers, width "
        f"{shape.n_embd}, {shape.n_head} heads, a context of {shape.n_positions} tokens, a vocabulary of "
        f"{shape.vocab_size}. Weights stored as {asked.store_as}, {size / 1e6:.1f} MB. Made by `asr33 model make`.",
        "",
        "## Quality",
        "",
        f"Against float32, on {quality.tokens} tokens of a text that it was not rounded by:",
        "",
        "| | |",
        "|---|---|",
        f"| perplexity | {quality.perplexity:.3f}, {quality.ratio:.5f} times float32's |",
        f"| KL divergence | {quality.kl:.6f} nats a token |",
        f"| same likeliest token | {quality.agree:.2%} |",
        f"| largest difference of a logit | {quality.logits:.4g} |",
    ]
    if licence := source.training.get("licence"):
        lines += ["", f"Licence: {licence}"]
    return "\n".join(lines) + "\n"


def _calibrating(own: Sequence[str]) -> list[str]:
    """The first half of each document of one's own; else what asr33 brings."""
    return [text[: len(text) // 2] for text in own] or read_documents([TEXTS / "calibration.txt"])


def _judging(own: Sequence[str]) -> list[str]:
    return [text[len(text) // 2 :] for text in own] or read_documents([TEXTS / "judge.txt"])


def _told(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, whole: progress(what, done, whole)
