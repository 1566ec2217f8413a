"""Describes a finished run: the record in the manifest, the model card, and the summary for the user. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from model.build.bits_per_byte import TextScore
from model.build.memorisation import RUN_LENGTH, Memorisation
from model.interface import GPT2Config
from tools.train.checkpoint import TrainState
from tools.train.run_config import RunConfig, RunLength, hold_out_of, score_command, train_command
from tools.train.schedule import LearningRates

MAX_SPEAKERS = 50  # listed by name
MAX_DOCUMENTS_LISTED = 100  # held-out documents listed by number


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished run. `rates` are those of the flat part.

    `personas` are the speakers of its texts, with their number of lines, and `persona` is the one whom the `--person`
    of a corpus kept, or "". `base_licence` is empty without a base.
    `bits_per_nat` converts nats per token of the held-out text to bits per byte. `last_nats` is the loss of the final
    weights at a quick look, as `state.first` is that of the base. These two can be compared, but not the full score.
    """

    name: str
    config: RunConfig
    length: RunLength
    rates: LearningRates
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
    persona: str = ""
    device: str = ""
    base_licence: str = ""
    bits_per_nat: float = 0.0
    last_nats: float | None = None

    @property
    def taken_step(self) -> int:
        """The step whose weights the model has. A held-out text that is too short chooses none."""
        has_best = self.config.patience and self.state.best is not None
        return self.state.best_step if has_best else self.state.step

    @property
    def is_unchanged(self) -> bool:
        """Whether the model has the weights that the run began with: no step was better."""
        return self.taken_step == 0

    @property
    def is_worse(self) -> bool:
        """Whether the model is worse on the held-out text than its base."""
        before, after = self.bits_per_byte_before, self.bits_per_byte_after
        return not self.is_unchanged and before is not None and after is not None and after > before

    @property
    def bits_per_byte_before(self) -> float | None:
        """The score of the base at a quick look at the held-out text, if the run has both."""
        if self.state.first is None or self.config.base is None:
            return None
        return self.state.first * self.bits_per_nat

    @property
    def bits_per_byte_after(self) -> float | None:
        """The score of the model at the same quick look."""
        return None if self.last_nats is None else self.last_nats * self.bits_per_nat


def training_record(result: TrainResult) -> dict[str, Any]:
    """The `training` of a manifest: plain JSON."""
    config, numbers = result.config, result.held_out_numbers
    return {
        "command": train_command(result.name, config, result.length),
        "texts": [asdict(text) for text in config.texts],
        "documents": result.documents,
        "held_out_documents": list(numbers) if len(numbers) <= MAX_DOCUMENTS_LISTED else str(hold_out_of(config)),
        "base": None if config.base is None else asdict(config.base),
        "hold_out": str(hold_out_of(config)),
        "seed": config.seed,
        "batch": config.batch,
        "steps": result.state.step,
        "tokens_seen": result.state.tokens,
        "minutes": round(result.state.elapsed_s / 60, 1),
        "bits_per_byte": None if result.held_out_score is None else round(result.held_out_score.bits_per_byte, 4),
        **_optional_facts(result),
        "licence": result.licence,
    }


def _optional_facts(result: TrainResult) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if result.base_licence:
        facts["base_licence"] = result.base_licence
    if result.config.patience:
        facts["step_taken"] = result.taken_step
    if result.bits_per_byte_before is not None:
        facts["bits_per_byte_before"] = round(result.bits_per_byte_before, 4)
    if result.bits_per_byte_after is not None:
        facts["bits_per_byte_after"] = round(result.bits_per_byte_after, 4)
    if result.memorisation is not None:
        facts["copied_percent"] = round(result.memorisation.model.percent, 2)
        facts["copied_words"] = result.memorisation.model.words
        if result.memorisation.held_out is not None:
            facts["copied_percent_of_held_out"] = round(result.memorisation.held_out.percent, 2)
    if result.personas:
        facts["personas"] = result.personas
    if result.persona:
        facts["persona"] = result.persona
    return facts


def summary_lines(result: TrainResult) -> list[str]:
    """The results that the command prints at the end."""
    lines = []
    if result.config.patience:
        lines.append(f"the weights are {_weights_text(result)}")
    if result.held_out_score is not None:
        lines.append(
            f"{result.held_out_score.bits_per_byte:.4f} bits per byte on the held-out text{_change_text(result)}"
        )
    if result.is_unchanged or result.is_worse:
        lines.append(f"{_verdict(result)}; {_cure(result)}")
    if (copied := result.memorisation) is not None:
        held_out = "" if copied.held_out is None else f"; of the held-out text {copied.held_out.percent:.1f} %"
        lines.append(f"{copied.model.percent:.1f} % of {copied.model.words:,} words it wrote are copied{held_out}")
    return lines


def model_card(result: TrainResult) -> str:
    """The README.md of a model."""
    sections = (_head_section, _data_section, _training_section, _quality_section, _use_section)
    return "\n\n".join("\n".join(section(result)) for section in sections) + "\n"


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
    numbers = result.held_out_numbers
    listed = ", ".join(map(str, numbers)) if len(numbers) <= MAX_DOCUMENTS_LISTED else f"{len(numbers)} drawn by seed"
    return [
        "## Data",
        "",
        "| text | SHA-256 |",
        "|---|---|",
        *(f"| {text.name} | `{text.sha256}` |" for text in result.config.texts),
        "",
        f"{result.documents} documents, counted from 1 through all the texts; "
        + (f"held out: {listed}." if listed else "none held out."),
        f"Licence: {result.licence}",
        *_base_licence_lines(result),
        *_speaker_lines(result),
    ]


def _base_licence_lines(result: TrainResult) -> list[str]:
    if result.config.base is None:
        return []
    licence = result.base_licence or "not in its manifest; see its source"
    return ["", f"It contains the weights of {result.config.base.name}, whose licence applies too: {licence}"]


def _speaker_lines(result: TrainResult) -> list[str]:
    if not result.personas:
        return []
    names = list(result.personas)
    listed = ", ".join(f"{name} ({result.personas[name]:,})" for name in names[:MAX_SPEAKERS])
    more = f" and {len(names) - MAX_SPEAKERS} more" if len(names) > MAX_SPEAKERS else ""
    persona = result.persona or names[0]
    you = next((name for name in names if name != persona), "You")
    default = f"as {persona}" if result.persona else "as none of them: it continues the typed text"
    return [
        "",
        f"Speakers, with their number of lines: {listed}{more}. `asr33 run` answers {default}. `--persona` names the "
        "speaker who answers, and `--you` the speaker as whom you type. In the settings they are:",
        "",
        "    [conversation]",
        f"    persona = {json.dumps(persona, ensure_ascii=False)}",
        f"    you = {json.dumps(you, ensure_ascii=False)}",
    ]


def _training_section(result: TrainResult) -> list[str]:
    config, state = result.config, result.state
    epochs = state.tokens / max(1, result.train_tokens)
    start = "random weights" if config.base is None else f"{config.base.name} (SHA-256 `{config.base.sha256}`)"
    return [
        "## Training",
        "",
        f"    {train_command(result.name, config, result.length)}",
        "",
        "| | |",
        "|---|---|",
        f"| from | {start} |",
        f"| seed | {config.seed} |",
        f"| steps | {state.step:,} of {config.batch} x {result.shape.n_positions} tokens |",
        f"| tokens seen | {state.tokens:,}: {epochs:.2f} times the {result.train_tokens:,} tokens of the texts |",
        f"| time in steps | {state.elapsed_s / 60:.1f} minutes |",
        f"| rates | {_rates_text(config, result.rates)}; flat, then "
        f"falling over the last {100 * result.length.fall:g} % of the run |",
        *([f"| on | {result.device} |"] if result.device else []),
        *([f"| weights | {_weights_text(result)} |"] if config.patience or config.average else []),
    ]


def _rates_text(config: RunConfig, rates: LearningRates) -> str:
    if config.lora:
        return f"AdamW {rates.vector:g} for adapters of rank {config.lora}, merged"
    by_adam = f"AdamW {rates.table:g} for tokens, {rates.position:g} for positions, {rates.vector:g} for the rest"
    return f"Muon {rates.matrix:g} for matrices; {by_adam}"


def _weights_text(result: TrainResult) -> str:
    if result.config.average:
        return f"the mean over the last {100 * result.config.average:g} % of the run"
    taken = f"those after step {result.taken_step:,} of {result.state.step:,}"
    if result.state.best is None:
        return f"{taken}, the last: too little is held out to choose the best"
    if result.is_unchanged:
        return f"{taken}: no later step was better on the held-out text"
    return taken if result.is_worse else f"{taken}, the best on the held-out text"


def _change_text(result: TrainResult) -> str:
    """The quick looks before and after: the full score reads the text in other windows, so it is no comparison."""
    before, after = result.bits_per_byte_before, result.bits_per_byte_after
    if before is None:
        return ""
    return f"; at a quick look {before:.4f} before" + ("" if after is None else f", {after:.4f} after")


def _verdict(result: TrainResult) -> str:
    start = "its first random weights" if result.config.base is None else result.config.base.name
    return f"it is {start}, unchanged" if result.is_unchanged else f"on the held-out text it is worse than {start}"


def _cure(result: TrainResult) -> str:
    if result.is_unchanged:
        return "add texts, or keep the last weights all the same: --patience 0 --fresh"
    return "add texts, or take fewer steps: --patience 3 --fresh keeps the best weights"


def _quality_section(result: TrainResult) -> list[str]:
    if result.held_out_score is None:
        note = "Nothing was held out, so its quality on new text is unknown."
        return ["## Quality", "", note, *_memorisation_lines(result.memorisation)]
    score = result.held_out_score
    return [
        "## Quality",
        "",
        f"**{score.bits_per_byte:.4f} bits per byte** on the held-out documents ({score.bytes:,} bytes, "
        f"{score.tokens:,} tokens), of the ONNX file as it is stored, in windows of the whole context that overlap by "
        f"half{_change_text(result)}." + (f" So {_verdict(result)}." if result.is_unchanged or result.is_worse else ""),
        "",
        f"    {score_command(result.name, result.config)}",
        *_memorisation_lines(result.memorisation),
    ]


def _memorisation_lines(memorisation: Memorisation | None) -> list[str]:
    if memorisation is None:
        return []
    model, held_out = memorisation.model, memorisation.held_out
    comparison = "" if held_out is None else f"; of the held-out documents, {held_out.percent:.1f} %"
    return [
        "",
        f"**{model.percent:.1f} %** of {model.words:,} words that it wrote stand in runs of {RUN_LENGTH} words or more "
        f"that its texts have too{comparison}.",
    ]


def _use_section(result: TrainResult) -> list[str]:
    return [
        "## Use and limits",
        "",
        "It continues text in the manner of its training texts, for a Teletype or any other slow printer. It does "
        "not answer questions, follows no instructions and knows no facts: its statements are made up, and it "
        f"carries the views of its texts. It forgets text more than {result.shape.n_positions} tokens back.",
    ]
