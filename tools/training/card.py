"""What is known of a finished run, as the manifest's record and as the model card. Data in, text out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from model.base import Shape
from model.score import Score
from tools.training.checkpoint import Progress
from tools.training.recipe import Length, Recipe, command


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run. `rates` are those of matrices and vectors in the flat part."""

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


def record(result: Result) -> dict[str, Any]:
    """The `training` of a manifest: plain JSON."""
    return {
        "command": command(result.name, result.recipe, result.length),
        "texts": [asdict(text) for text in result.recipe.texts],
        "documents": result.documents,
        "held_out_documents": list(result.recipe.hold_out),
        "base": None if result.recipe.base is None else asdict(result.recipe.base),
        "seed": result.recipe.seed,
        "batch": result.recipe.batch,
        "steps": result.progress.step,
        "tokens_seen": result.progress.tokens,
        "minutes": round(result.progress.elapsed_s / 60, 1),
        "bits_per_byte": None if result.held_out is None else round(result.held_out.bits_per_byte, 4),
        "licence": result.licence,
    }


def card(result: Result) -> str:
    """The README.md of a model."""
    sections = (_head(result), _data(result), _training(result), _quality(result), _use(result))
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


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
    out = ", ".join(map(str, recipe.hold_out))
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
        f"| rates | Muon {matrix:g} for matrices, AdamW {vector:g} for the rest; flat, then "
        f"falling over the last {100 * result.length.fall:g} % of the run |",
    ]


def _quality(result: Result) -> list[str]:
    if result.held_out is None:
        return ["## Quality", "", "Nothing was held out, so nothing is known of its quality on text it has not seen."]
    return [
        "## Quality",
        "",
        f"**{result.held_out.bits_per_byte:.4f} bits per byte** on the documents held out ({result.held_out.bytes:,} "
        f"bytes, {result.held_out.tokens:,} tokens), of the ONNX file as it is stored, in windows of the whole "
        "context, half of it overlapping.",
    ]


def _use(result: Result) -> list[str]:
    return [
        "## Use and limits",
        "",
        "It continues text, in the manner of what it was trained on, for a Teletype or any other patient reader. It "
        "does not answer questions, follows no instructions and knows no facts: what it says is made up, and it "
        f"carries the views of its texts. It forgets what is more than {result.shape.n_positions} tokens back.",
    ]
