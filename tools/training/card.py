"""What is known of a finished run, as the manifest's record and as the model card. Data in, text out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from model.base import Shape
from model.copied import RUN
from model.score import Score
from tools.training.checkpoint import Progress
from tools.training.copying import Copying
from tools.training.recipe import Length, Recipe, command, held, repeated

SPEAKERS = 50  # who are named one by one
NAMED = 100  # documents held out that are named one by one


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run. `rates` are those of matrices and vectors in the flat part, `out` the documents held out.

    `personas` are who speaks in its texts, and in how many lines. `base_licence` is that of the base, if it tells one.
    """

    name: str
    recipe: Recipe
    length: Length
    rates: tuple[float, float]
    shape: Shape
    progress: Progress
    documents: int
    train_tokens: int
    held_out: Score | None
    about: str
    licence: str
    out: tuple[int, ...] = ()
    copying: Copying | None = None
    personas: dict[str, int] = field(default_factory=dict)
    device: str = ""
    base_licence: str = ""
    bits_per_nat: float = 0.0  # of the text held out, from nats a token to bits a byte

    @property
    def step(self) -> int:
        """Whose weights they are."""
        return self.progress.best_step if self.recipe.patience else self.progress.step


def record(result: Result) -> dict[str, Any]:
    """The `training` of a manifest: plain JSON."""
    return {
        "command": command(result.name, result.recipe, result.length),
        "texts": [asdict(text) for text in result.recipe.texts],
        "documents": result.documents,
        "held_out_documents": list(result.out) if len(result.out) <= NAMED else str(held(result.recipe)),
        "base": None if result.recipe.base is None else asdict(result.recipe.base),
        "hold_out": str(held(result.recipe)),
        "seed": result.recipe.seed,
        "batch": result.recipe.batch,
        "steps": result.progress.step,
        "tokens_seen": result.progress.tokens,
        "minutes": round(result.progress.elapsed_s / 60, 1),
        "bits_per_byte": None if result.held_out is None else round(result.held_out.bits_per_byte, 4),
        **_later(result),
        "licence": result.licence,
    }


def _later(result: Result) -> dict[str, Any]:
    """What not every run has."""
    facts: dict[str, Any] = {}
    if result.base_licence:
        facts["base_licence"] = result.base_licence
    if result.recipe.patience:
        facts["step_taken"] = result.step
    if result.progress.first is not None and result.recipe.base is not None:
        facts["bits_per_byte_before"] = round(result.progress.first * result.bits_per_nat, 4)
    if result.copying is not None:
        facts["copied_percent"] = round(result.copying.model.percent, 2)
        facts["copied_words"] = result.copying.model.words
        if result.copying.held_out is not None:
            facts["copied_percent_of_held_out"] = round(result.copying.held_out.percent, 2)
    if result.personas:
        facts["personas"] = result.personas
    return facts


def card(result: Result) -> str:
    """The README.md of a model."""
    sections = (_head(result), _data(result), _training(result), _quality(result), _use(result))
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def figures(result: Result) -> list[str]:
    """What there is to say at the end, a line each."""
    lines = []
    if result.recipe.patience:
        lines.append(f"the weights are those after step {result.step:,} of {result.progress.step:,}, the best")
    if result.held_out is not None:
        before = (
            f", {record(result)['bits_per_byte_before']:.4f} before" if "bits_per_byte_before" in record(result) else ""
        )
        lines.append(f"{result.held_out.bits_per_byte:.4f} bits per byte on the text held out{before}")
    if result.copying is not None:
        share = result.copying
        yardstick = "" if share.held_out is None else f"; of the text held out {share.held_out.percent:.1f} %"
        lines.append(f"{share.model.percent:.1f} % of {share.model.words:,} words it wrote are copied{yardstick}")
    return lines


def _head(result: Result) -> list[str]:
    shape = result.shape
    return [
        f"# {result.name}",
        "",
        *([result.about, ""] if result.about else []),
        f"A GPT-2 of {shape.parameters / 1e6:.2f} million parameters: {shape.n_layer} layers, width {shape.n_embd}, "
        f"{shape.n_head} heads, a context of {shape.n_positions} tokens, a byte-level BPE vocabulary of "
        f"{shape.vocab_size}, the head tied to the embedding. Matrices are stored in float16 and cast when loaded.",
    ]


def _data(result: Result) -> list[str]:
    recipe = result.recipe
    out = ", ".join(map(str, result.out)) if len(result.out) <= NAMED else f"{len(result.out)}, drawn by the seed"
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
        *_of_base(result),
        *_speakers(result),
    ]


def _of_base(result: Result) -> list[str]:
    if result.recipe.base is None:
        return []
    told = result.base_licence or "it tells none; see where it is from"
    return ["", f"It has the weights of {result.recipe.base.name} in it, and its licence holds too: {told}"]


def _speakers(result: Result) -> list[str]:
    if not result.personas:
        return []
    names = list(result.personas)
    listed = ", ".join(f"{name} ({result.personas[name]:,})" for name in names[:SPEAKERS])
    more = f" and {len(names) - SPEAKERS} more" if len(names) > SPEAKERS else ""
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


def _training(result: Result) -> list[str]:
    recipe, progress = result.recipe, result.progress
    epochs = progress.tokens / max(1, result.train_tokens)
    matrix, vector = result.rates
    start = "random weights" if recipe.base is None else f"{recipe.base.name} (SHA-256 `{recipe.base.sha256}`)"
    return [
        "## Training",
        "",
        f"    {command(result.name, recipe, result.length)}",
        "",
        "| | |",
        "|---|---|",
        f"| from | {start} |",
        f"| seed | {recipe.seed} |",
        f"| steps | {progress.step:,} of {recipe.batch} x {result.shape.n_positions} tokens |",
        f"| tokens seen | {progress.tokens:,}: {epochs:.2f} times the {result.train_tokens:,} there were |",
        f"| time in steps | {progress.elapsed_s / 60:.1f} minutes |",
        f"| rates | {_rates(recipe, matrix, vector)}; flat, then "
        f"falling over the last {100 * result.length.fall:g} % of the run |",
        *([f"| on | {result.device} |"] if result.device else []),
        *([f"| weights | {_weights(result)} |"] if recipe.patience or recipe.average else []),
    ]


def _rates(recipe: Recipe, matrix: float, vector: float) -> str:
    if recipe.lora:
        return f"AdamW {vector:g} for adapters of rank {recipe.lora}, merged"
    return f"Muon {matrix:g} for matrices, AdamW {vector:g} for the rest"


def _weights(result: Result) -> str:
    if result.recipe.average:
        return f"the mean over the last {100 * result.recipe.average:g} % of the run"
    return f"those after step {result.step:,}, the best on the text held out"


def _quality(result: Result) -> list[str]:
    if result.held_out is None:
        nothing = "Nothing was held out, so nothing is known of its quality on text it has not seen."
        return ["## Quality", "", nothing, *_copying(result.copying)]
    recipe = result.recipe
    return [
        "## Quality",
        "",
        f"**{result.held_out.bits_per_byte:.4f} bits per byte** on the documents held out ({result.held_out.bytes:,} "
        f"bytes, {result.held_out.tokens:,} tokens), of the ONNX file as it is stored, in windows of the whole "
        "context, half of it overlapping."
        + (
            f" Before the first step: {result.progress.first * result.bits_per_nat:.3f}, at a quick look."
            if result.progress.first is not None and result.recipe.base is not None
            else ""
        ),
        "",
        f"    {repeated(result.name, recipe)}",
        *_copying(result.copying),
    ]


def _copying(copying: Copying | None) -> list[str]:
    if copying is None:
        return []
    yardstick = "" if copying.held_out is None else f"; of the documents held out, {copying.held_out.percent:.1f} %"
    return [
        "",
        f"**{copying.model.percent:.1f} %** of {copying.model.words:,} words that it wrote of itself stand in runs of "
        f"{RUN} words or more that its texts have too{yardstick}.",
    ]


def _use(result: Result) -> list[str]:
    return [
        "## Use and limits",
        "",
        "It continues text, in the manner of what it was trained on, for a Teletype or any other patient reader. It "
        "does not answer questions, follows no instructions and knows no facts: what it says is made up, and it "
        f"carries the views of its texts. It forgets what is more than {result.shape.n_positions} tokens back.",
    ]
