"""What is known of a finished run, as the manifest's record and as the model card. Data in, text out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from model.build.bits_per_byte import TextScore
from model.build.memorisation import RUN_LENGTH
from model.interface import GPT2Config
from tools.train.checkpoint import TrainState
from tools.train.memorisation import Memorisation
from tools.train.run_config import RunConfig, RunLength, hold_out_of, score_command, train_command

MAX_SPEAKERS = 50  # who are named one by one
MAX_DOCUMENTS_LISTED = 100  # documents held out that are named one by one


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished run. `rates` are those of matrices and vectors in the flat part, `out` the documents held out.

    `personas` are who speaks in its texts, and in how many lines. `base_licence` is that of the base, if it tells one.
    """

    name: str
    config: RunConfig
    length: RunLength
    rates: tuple[float, float]
    shape: GPT2Config
    state: TrainState
    documents: int
    train_tokens: int
    held_out_score: TextScore | None
    about: str
    licence: str
    held_out_numbers: tuple[int, ...] = ()
    memorisation: Memorisation | None = None
    personas: dict[str, int] = field(default_factory=dict)
    device: str = ""
    base_licence: str = ""
    bits_per_nat: float = 0.0  # of the text held out, from nats a token to bits a byte

    @property
    def taken_step(self) -> int:
        """Whose weights they are."""
        return self.state.best_step if self.config.patience else self.state.step


def training_record(result: TrainResult) -> dict[str, Any]:
    """The `training` of a manifest: plain JSON."""
    return {
        "command": train_command(result.name, result.config, result.length),
        "texts": [asdict(text) for text in result.config.texts],
        "documents": result.documents,
        "held_out_documents": list(result.held_out_numbers)
        if len(result.held_out_numbers) <= MAX_DOCUMENTS_LISTED
        else str(hold_out_of(result.config)),
        "base": None if result.config.base is None else asdict(result.config.base),
        "hold_out": str(hold_out_of(result.config)),
        "seed": result.config.seed,
        "batch": result.config.batch,
        "steps": result.state.step,
        "tokens_seen": result.state.tokens,
        "minutes": round(result.state.elapsed_s / 60, 1),
        "bits_per_byte": None if result.held_out_score is None else round(result.held_out_score.bits_per_byte, 4),
        **_optional_facts(result),
        "licence": result.licence,
    }


def _optional_facts(result: TrainResult) -> dict[str, Any]:
    """What not every run has."""
    facts: dict[str, Any] = {}
    if result.base_licence:
        facts["base_licence"] = result.base_licence
    if result.config.patience:
        facts["step_taken"] = result.taken_step
    if result.state.first is not None and result.config.base is not None:
        facts["bits_per_byte_before"] = round(result.state.first * result.bits_per_nat, 4)
    if result.memorisation is not None:
        facts["copied_percent"] = round(result.memorisation.model.percent, 2)
        facts["copied_words"] = result.memorisation.model.words
        if result.memorisation.held_out is not None:
            facts["copied_percent_of_held_out"] = round(result.memorisation.held_out.percent, 2)
    if result.personas:
        facts["personas"] = result.personas
    return facts


def model_card(result: TrainResult) -> str:
    """The README.md of a model."""
    sections = (
        _head_section(result),
        _data_section(result),
        _training_section(result),
        _quality_section(result),
        _use_section(result),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def summary_lines(result: TrainResult) -> list[str]:
    """What there is to say at the end, a line each."""
    lines = []
    if result.config.patience:
        lines.append(f"the weights are those after step {result.taken_step:,} of {result.state.step:,}, the best")
    if result.held_out_score is not None:
        before = (
            f", {training_record(result)['bits_per_byte_before']:.4f} before"
            if "bits_per_byte_before" in training_record(result)
            else ""
        )
        lines.append(f"{result.held_out_score.bits_per_byte:.4f} bits per byte on the text held out{before}")
    if result.memorisation is not None:
        share = result.memorisation
        yardstick = "" if share.held_out is None else f"; of the text held out {share.held_out.percent:.1f} %"
        lines.append(f"{share.model.percent:.1f} % of {share.model.words:,} words it wrote are copied{yardstick}")
    return lines


def _head_section(result: TrainResult) -> list[str]:
    shape = result.shape
    return [
        f"# {result.name}",
        "",
        *([result.about, ""] if result.about else []),
        f"A GPT-2 of {shape.parameters / 1e6:.2f} million parameters: {shape.n_layer} layers, width {shape.n_embd}, "
        f"{shape.n_head} heads, a context of {shape.n_positions} tokens, a byte-level BPE vocabulary of "
        f"{shape.vocab_size}, the head tied to the embedding. Matrices are stored in float16 and cast when loaded.",
    ]


def _data_section(result: TrainResult) -> list[str]:
    recipe = result.config
    out = (
        ", ".join(map(str, result.held_out_numbers))
        if len(result.held_out_numbers) <= MAX_DOCUMENTS_LISTED
        else f"{len(result.held_out_numbers)}, drawn by the seed"
    )
    return [
        "## Data",
        "",
        "| text | SHA-256 |",
        "|---|---|",
        *(f"| {text.name} | `{text.sha256}` |" for text in recipe.texts),
        "",
        f"{result.documents} documents, counted from 1 through all the texts; "
        + (f"held out: {out}." if out else "none held out."),
        f"Licence: {result.licence}",
        *_base_licence_lines(result),
        *_speaker_lines(result),
    ]


def _base_licence_lines(result: TrainResult) -> list[str]:
    if result.config.base is None:
        return []
    told = result.base_licence or "it tells none; see where it is from"
    return ["", f"It has the weights of {result.config.base.name} in it, and its licence holds too: {told}"]


def _speaker_lines(result: TrainResult) -> list[str]:
    if not result.personas:
        return []
    names = list(result.personas)
    listed = ", ".join(f"{name} ({result.personas[name]:,})" for name in names[:MAX_SPEAKERS])
    more = f" and {len(names) - MAX_SPEAKERS} more" if len(names) > MAX_SPEAKERS else ""
    answers, types = names[0], names[1] if len(names) > 1 else "You"
    return [
        "",
        f"Who speaks in it, in so many lines: {listed}{more}. In the settings `persona` makes one of them answer, and "
        "`you` says as whom you type; without it that is `You`, to whom nobody here has ever answered:",
        "",
        "    [conversation]",
        f"    persona = {json.dumps(answers, ensure_ascii=False)}",
        f"    you = {json.dumps(types, ensure_ascii=False)}",
    ]


def _training_section(result: TrainResult) -> list[str]:
    recipe, progress = result.config, result.state
    epochs = progress.tokens / max(1, result.train_tokens)
    matrix, vector = result.rates
    start = "random weights" if recipe.base is None else f"{recipe.base.name} (SHA-256 `{recipe.base.sha256}`)"
    return [
        "## Training",
        "",
        f"    {train_command(result.name, recipe, result.length)}",
        "",
        "| | |",
        "|---|---|",
        f"| from | {start} |",
        f"| seed | {recipe.seed} |",
        f"| steps | {progress.step:,} of {recipe.batch} x {result.shape.n_positions} tokens |",
        f"| tokens seen | {progress.tokens:,}: {epochs:.2f} times the {result.train_tokens:,} there were |",
        f"| time in steps | {progress.elapsed_s / 60:.1f} minutes |",
        f"| rates | {_rates_text(recipe, matrix, vector)}; flat, then "
        f"falling over the last {100 * result.length.fall:g} % of the run |",
        *([f"| on | {result.device} |"] if result.device else []),
        *([f"| weights | {_weights_text(result)} |"] if recipe.patience or recipe.average else []),
    ]


def _rates_text(config: RunConfig, matrix: float, vector: float) -> str:
    if config.lora:
        return f"AdamW {vector:g} for adapters of rank {config.lora}, merged"
    return f"Muon {matrix:g} for matrices, AdamW {vector:g} for the rest"


def _weights_text(result: TrainResult) -> str:
    if result.config.average:
        return f"the mean over the last {100 * result.config.average:g} % of the run"
    return f"those after step {result.taken_step:,}, the best on the text held out"


def _quality_section(result: TrainResult) -> list[str]:
    if result.held_out_score is None:
        nothing = "Nothing was held out, so nothing is known of its quality on text it has not seen."
        return ["## Quality", "", nothing, *_memorisation_lines(result.memorisation)]
    recipe = result.config
    return [
        "## Quality",
        "",
        f"**{result.held_out_score.bits_per_byte:.4f} bits per byte** on the documents held out ({result.held_out_score.bytes:,} "
        f"bytes, {result.held_out_score.tokens:,} tokens), of the ONNX file as it is stored, in windows of the whole "
        "context, half of it overlapping."
        + (
            f" Before the first step: {result.state.first * result.bits_per_nat:.3f}, at a quick look."
            if result.state.first is not None and result.config.base is not None
            else ""
        ),
        "",
        f"    {score_command(result.name, recipe)}",
        *_memorisation_lines(result.memorisation),
    ]


def _memorisation_lines(memorisation: Memorisation | None) -> list[str]:
    if memorisation is None:
        return []
    yardstick = (
        "" if memorisation.held_out is None else f"; of the documents held out, {memorisation.held_out.percent:.1f} %"
    )
    return [
        "",
        f"**{memorisation.model.percent:.1f} %** of {memorisation.model.words:,} words that it wrote of itself stand in runs of "
        f"{RUN_LENGTH} words or more that its texts have too{yardstick}.",
    ]


def _use_section(result: TrainResult) -> list[str]:
    return [
        "## Use and limits",
        "",
        "It continues text, in the manner of what it was trained on, for a Teletype or any other patient reader. It "
        "does not answer questions, follows no instructions and knows no facts: what it says is made up, and it "
        f"carries the views of its texts. It forgets what is more than {result.shape.n_positions} tokens back.",
    ]
