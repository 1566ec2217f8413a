"""What a person must hear of a corpus before he trains on it: a line each, with the cure. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tools.corpora.cleaning import CleaningOptions
from tools.corpora.figures import Figures

FEW = 100_000  # tokens: less is learnt by heart in minutes
ENOUGH = 1_000_000
COMMONLY = 1 / 2000  # of letters: English has a comma in every hundred characters
SHOUTED = 0.8  # of letters that have a case


def faults(figures: Figures, options: CleaningOptions, tokens: int, window: int) -> Iterator[str]:
    """Loud ones first. `window` is how many tokens a step of training needs at least."""
    if not figures.texts:
        yield "nothing is left to learn from: see below what was dropped and why"
        return
    yield from _size(tokens, window)
    yield from _characters(figures)
    yield from _shape(figures, options)


def _size(tokens: int, window: int) -> Iterator[str]:
    if tokens < window:
        yield f"{tokens:,} tokens are too few for a single step of {window:,}: add texts, or lower --batch or --context"
    elif tokens < FEW:
        yield f"{tokens:,} tokens are learnt by heart within minutes: add texts, or train with --base and few steps"
    elif tokens < ENOUGH:
        yield f"{tokens:,} tokens are little: train with --base, and hold some out"


def _characters(figures: Figures) -> Iterator[str]:
    if figures.latin > 20_000 and figures.commas < COMMONLY * figures.latin:
        number = "not one comma" if not figures.commas else f"only {figures.commas:,} commas"
        yield f"{number} in {_texts(figures.texts)}: the export dropped them, and no model can learn them; export anew"
    if figures.capitals > SHOUTED:
        yield (
            f"{100 * figures.capitals:.0f} % of the letters are capitals: half as many tokens again, and no base knows "
            "such text; give it in mixed case, the paper has capitals anyway"
        )
    if figures.mojibake:
        yield f"{_texts(figures.mojibake)} with letters spoilt on the way (Ã©, â€™, \ufffd): export as UTF-8"
    if figures.entities:
        yield f"{_texts(figures.entities)} still with entities (&amp;): they were there twice, or a step was left out"


def _shape(figures: Figures, options: CleaningOptions) -> Iterator[str]:
    if figures.long:
        yield (
            f"{_texts(figures.long)} of up to {figures.longest:,} characters among others of {figures.median:,}: "
            "rows run together by an unbalanced quote? look at its file"
        )
    who, _, share = figures.people[0] if figures.people else ("", 0, 0.0)
    if share > 0.5 and figures.people_count > 1 and not options.person:
        yield f"{100 * share:.0f} % is from {who}: the model will speak like that; --person makes it meant"
    thread, share = figures.thread
    if share > 0.5 and figures.threads > 1:
        yield f"{100 * share:.0f} % is from {thread}: the model will mostly talk as there; add more of others?"


def _texts(number: int) -> str:
    return "1 text" if number == 1 else f"{number:,} texts"
