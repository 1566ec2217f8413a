"""Makes a model's folder from weights: quantises them, compares the result with float32, and checks its quality.

Other modules know how to quantise and to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.build import fidelity, graph, onnx_io
from model.build.fidelity import ModelFidelity
from model.build.formats import LIMITS, MAX_LOGIT_ERROR, CacheFormat, StoreFormat
from model.build.import_weights import SourceModel
from model.build.numpy_gpt2 import Windows
from model.build.quantise.quantise_model import OnProgress, QuantConfig, quantise_model
from model.errors import ModelError
from model.onnx import tokenizer
from model.onnx.session import OnnxSession
from model.store import store
from model.store.documents import read_documents
from model.store.store import Manifest

TEXT_FOLDER = Path(__file__).parents[1] / "texts"
WINDOW_TOKENS = 512  # tokens of a calibration or evaluation window, or the context if that is shorter
CALIBRATION_TOKENS, EVALUATION_TOKENS = 16_384, 8_192  # upper limits of the texts' lengths
RECORDED_DIGITS = 6

OnStageProgress = Callable[[str, int, int], None]  # gets (stage, done, total)


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of an export. `block` 0 is the format's default; without `documents` the texts of asr33 are used.

    `half` is float16 in storage and computation, for a GPU. `cache` is the format of the KV cache of a quantised
    model. With int8 the head, too, gets one scale a row. An int8 cache takes a quarter of the memory and halves the
    time of a step of many sequences, but a long prompt takes 1.5 times as long, and KL nearly doubles (onnxruntime
    1.31 on x86).
    """

    name: str
    store_as: StoreFormat = "int8"
    block: int = 0
    documents: tuple[str, ...] = ()
    cache: CacheFormat = "float32"


def export_model(
    source: SourceModel, folder: Path, options: ExportOptions, on_progress: OnStageProgress | None = None
) -> Manifest:
    """Makes a model and writes it to the folder. Raises ModelError, with nothing written, if its quality is too low."""
    encoder = tokenizer.from_json(source.tokenizer_json)
    length = min(WINDOW_TOKENS, source.shape.n_positions)
    evaluation = fidelity.cut_windows(encoder, _evaluation_texts(options.documents), length, EVALUATION_TOKENS)
    quant_config, calibration = quant_config_for(options), None
    if quant_config is not None:
        calibration = fidelity.cut_windows(encoder, _calibration_texts(options.documents), length, CALIBRATION_TOKENS)
    with store.open_draft(folder) as draft:
        _write_graph(draft, source, options, calibration, _stage_progress(on_progress, "quantising"))
        session, on_stage = OnnxSession(draft / store.GRAPH_FILE), _stage_progress(on_progress, "comparing")
        quality = fidelity.compare_to_float32(session, source.weights, source.shape, evaluation, on_stage)
        check_quality(quality, options)
        return store.commit_draft(
            draft,
            folder,
            name=options.name,
            shape=source.shape,
            tokenizer_json=source.tokenizer_json,
            training=training_record(source, options, quant_config, quality),
            card=model_card(source, options, quality, sum(path.stat().st_size for path in draft.iterdir())),
        )


def _write_graph(
    draft: Path, source: SourceModel, options: ExportOptions, calibration: Windows | None, on_stage: OnProgress | None
) -> None:
    """Writes the graph. It may fill the memory, which is free again when this function returns."""
    precision: graph.Precision = "float32" if options.store_as == "float32" else "float16"
    if (quant_config := quant_config_for(options)) is None or calibration is None:
        compute: graph.Precision = "float16" if options.store_as == "half" else "float32"
        onnx_io.write_graph(draft, source.weights, source.shape, precision, compute=compute)
        return
    model = quantise_model(source.weights, source.shape, quant_config, calibration, on_stage)
    onnx_io.write_graph(draft, model.weights, source.shape, precision, model.quantised, cache_scales=model.cache_scales)


def quant_config_for(options: ExportOptions) -> QuantConfig | None:
    """The configuration of the quantiser for these options; None for a float format."""
    cache = options.cache == "int8"
    match options.store_as:
        case "int8":
            # Blocks are more accurate; rows are twice as fast for many sequences.
            return QuantConfig(8, options.block, head_block=options.block or (0 if cache else 32), cache=cache)
        case "int4":
            return QuantConfig(4, options.block or 128, asymmetric=True, head_bits=4, smooth=0.5, cache=cache)
        case _:
            return None


def check_quality(quality: ModelFidelity, options: ExportOptions) -> None:
    """Raises ModelError if the quality is too low for the format."""
    limits = LIMITS[options.store_as]
    if not (quality.ratio <= limits.ratio and quality.kl <= limits.kl):  # also refuses a NaN
        cures = {
            "int4": "--as int8, or a smaller --block",
            "int8": "a smaller --block, --cache float32, or --as float16",
        }
        raise ModelError(
            f"{options.name}: perplexity {quality.ratio:.4f} times that of float32 and KL {quality.kl:.4f} nats, but "
            f"{options.store_as} may have {limits.ratio} and {limits.kl}; "
            f"try {cures.get(options.store_as, '--as float32')}",
            "damaged",
        )
    if options.store_as == "float32" and not quality.logits <= MAX_LOGIT_ERROR:
        raise ModelError(
            f"{options.name}: a logit is {quality.logits:.2g} off, but {MAX_LOGIT_ERROR} is allowed: this onnxruntime "
            "computes float32 wrongly; install another version",
            "damaged",
        )


def training_record(
    source: SourceModel, options: ExportOptions, quant_config: QuantConfig | None, quality: ModelFidelity
) -> dict[str, Any]:
    """The `training` of the manifest: that of the source, plus this export."""
    numbers = {key: round(value, RECORDED_DIGITS) for key, value in asdict(quality).items()}
    return source.training | {
        "from": source.name,
        "as": options.store_as,
        "rounding": None if quant_config is None else asdict(quant_config),
        "quality": numbers,
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
        f"Against float32, on {quality.tokens} tokens of a text that it was not quantised with:",
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
    """The first half of each of the user's documents; without any, the calibration text of asr33."""
    return [text[: len(text) // 2] for text in documents] or read_documents([TEXT_FOLDER / "calibration.txt"])


def _evaluation_texts(documents: Sequence[str]) -> list[str]:
    """The second half of each of the user's documents; without any, the evaluation text of asr33."""
    return [text[len(text) // 2 :] for text in documents] or read_documents([TEXT_FOLDER / "judge.txt"])


def _stage_progress(on_progress: OnStageProgress | None, stage: str) -> OnProgress | None:
    return None if on_progress is None else lambda done, total: on_progress(stage, done, total)
