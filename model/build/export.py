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

from model.build import graph, onnx_io, fidelity
from model.store import store
from model.onnx import tokenizer
from model.errors import ExportRefused
from model.build.import_weights import SourceModel
from model.build.fidelity import ModelFidelity
from model.build.quantise.quantise_model import QuantConfig, quantise_model
from model.onnx.session import OnnxSession
from model.store.store import Manifest
from model.store.documents import read_documents

StoreFormat = Literal["int8", "int4", "float16", "float32", "half"]
CacheFormat = Literal["int8", "float32"]
STORE_FORMATS: tuple[StoreFormat, ...] = get_args(StoreFormat)
TEXT_FOLDER = Path(__file__).parents[1] / "texts"
WINDOW_TOKENS = 512  # tokens of a window to round or judge by, where the context has so many
CALIBRATION_TOKENS, EVALUATION_TOKENS = 16_384, 8_192  # tokens at most
# The perplexity over float32's that is still well enough; a float32 graph has no excuse but the order of its sums.
MAX_PERPLEXITY_RATIO: dict[StoreFormat, float] = {
    "int8": 1.01,
    "int4": 1.06,
    "float16": 1.001,
    "float32": 1.0001,
    "half": 1.002,
}
# Nats a token. A perplexity may come out well by chance, on a text that the model has not seen the like of.
MAX_KL: dict[StoreFormat, float] = {"int8": 0.03, "int4": 0.2, "float16": 0.003, "float32": 0.0003, "half": 0.003}
MAX_LOGIT_ERROR = 1e-3  # of float32, for each unit of the largest logit above one
RECORDED_DIGITS = 6

# Hears (what is being done, how much is done, of how much).
OnStageProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is to be made. `block` 0 leaves it to us; with no `documents` the texts serve that asr33 brings.

    `half` is float16 throughout, as a GPU wants it. `cache` says how keys and values are kept where the weights are
    rounded: in 8 bits, with the head by rows as well, a text has a quarter of the memory and a step of many texts half
    the time, but a long prompt takes half as much again (onnxruntime 1.31 on x86), and KL is near twice as large.
    """

    name: str
    store_as: StoreFormat = "int8"
    block: int = 0
    documents: tuple[str, ...] = ()
    cache: CacheFormat = "float32"


def export_model(
    source: SourceModel, folder: Path, options: ExportOptions, on_progress: OnStageProgress | None = None
) -> Manifest:
    """Make the model and write it to the folder. Raises ExportRefused, having written nothing, if it is not good."""
    words = tokenizer.from_json(source.tokenizer_json)
    length = min(WINDOW_TOKENS, source.shape.n_positions)
    judged_by = fidelity.cut_windows(words, _evaluation_texts(options.documents), length, EVALUATION_TOKENS)
    how = quant_config_for(options)
    by = (
        None
        if how is None
        else fidelity.cut_windows(words, _calibration_texts(options.documents), length, CALIBRATION_TOKENS)
    )
    with store.open_draft(folder) as draft:
        _write_graph(draft, source, options, how, by, on_progress)
        session = OnnxSession(draft / store.GRAPH_FILE)
        quality = fidelity.compare_to_float32(
            session, source.weights, source.shape, judged_by, _stage_progress(on_progress, "judging")
        )
        check_quality(quality, options)
        return store.commit_draft(
            draft,
            folder,
            name=options.name,
            shape=source.shape,
            tokenizer_json=source.tokenizer_json,
            training=training_record(source, options, how, quality),
            card=model_card(source, options, quality, sum(path.stat().st_size for path in draft.iterdir())),
        )


def _write_graph(
    draft: Path,
    source: SourceModel,
    options: ExportOptions,
    quant_config: QuantConfig | None,
    calibration: NDArray[np.int64] | None,
    on_progress: OnStageProgress | None,
) -> None:
    """The graph. What it took is gone when it is there: a large model fills the memory."""
    kind: graph.Precision = "float32" if options.store_as == "float32" else "float16"
    if quant_config is None or calibration is None:
        compute: graph.Precision = "float16" if options.store_as == "half" else "float32"
        onnx_io.write_graph(draft, source.weights, source.shape, kind, compute=compute)
        return
    near = quantise_model(
        source.weights, source.shape, quant_config, calibration, _stage_progress(on_progress, "rounding")
    )
    onnx_io.write_graph(draft, near.weights, source.shape, kind, near.quantised, cache_scales=near.cache_scales)


def quant_config_for(options: ExportOptions) -> QuantConfig | None:
    """How the width asked for is rounded; None where it is not."""
    cache = options.cache == "int8"
    match options.store_as:
        case "int8":
            # For one text blocks are nearer to the truth; for many, rows are twice as fast.
            return QuantConfig(8, options.block, head_block=options.block or (0 if cache else 32), cache=cache)
        case "int4":
            return QuantConfig(4, options.block or 128, asymmetric=True, head_bits=4, smooth=0.5, cache=cache)
        case _:
            return None


def check_quality(quality: ModelFidelity, options: ExportOptions) -> None:
    """Raises ExportRefused where the quality is not good enough for the width."""
    most, furthest = MAX_PERPLEXITY_RATIO[options.store_as], MAX_KL[options.store_as]
    if not (quality.ratio <= most and quality.kl <= furthest):  # a NaN is refused too
        cure = {
            "int4": "--as int8, or a smaller --block",
            "int8": "a smaller --block, --cache float32, or --as float16",
        }
        raise ExportRefused(
            f"{options.name}: perplexity {quality.ratio:.4f} times that of float32 and KL {quality.kl:.4f} nats where "
            f"{options.store_as} may have {most} and {furthest}; try {cure.get(options.store_as, '--as float32')}"
        )
    if options.store_as == "float32" and not quality.logits <= MAX_LOGIT_ERROR:
        raise ExportRefused(
            f"{options.name}: a logit is {quality.logits:.2g} off where {MAX_LOGIT_ERROR} is allowed: this onnxruntime is not "
            "to be trusted with float32; install another version"
        )


def training_record(
    source: SourceModel, options: ExportOptions, quant_config: QuantConfig | None, quality: ModelFidelity
) -> dict[str, Any]:
    """The `training` of the manifest: that of the source, and what was done to it."""
    rounded_figures = {
        key: round(value, RECORDED_DIGITS) if isinstance(value, float) else value
        for key, value in asdict(quality).items()
    }
    return source.training | {
        "from": source.name,
        "as": options.store_as,
        "rounding": None if quant_config is None else asdict(quant_config),
        "quality": rounded_figures,
    }


def model_card(source: SourceModel, options: ExportOptions, quality: ModelFidelity, size: int) -> str:
    """The README.md of the model."""
    shape = source.shape
    lines = [
        f"# {options.name}",
        "",
        f"{source.name}, a GPT-2 of {shape.parameters / 1e6:.1f} million parameters: {shape.n_layer} layers, width "
        f"{shape.n_embd}, {shape.n_head} heads, a context of {shape.n_positions} tokens, a vocabulary of "
        f"{shape.vocab_size}. Weights stored as {options.store_as}, {size / 1e6:.1f} MB. Made by `asr33 model make`.",
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


def _calibration_texts(documents: Sequence[str]) -> list[str]:
    """The first half of each document of one's own; else what asr33 brings."""
    return [text[: len(text) // 2] for text in documents] or read_documents([TEXT_FOLDER / "calibration.txt"])


def _evaluation_texts(documents: Sequence[str]) -> list[str]:
    return [text[len(text) // 2 :] for text in documents] or read_documents([TEXT_FOLDER / "judge.txt"])


def _stage_progress(on_progress: OnStageProgress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if on_progress is None else lambda done, whole: on_progress(stage, done, whole)
