"""What a person must hear of a corpus before he trains on it: a line each, with the cure. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tools.corpus.cleaning import CleaningOptions
from tools.corpus.statistics import CorpusStatistics

TOO_FEW_TOKENS = 100_000  # tokens: less is learnt by heart in minutes
ENOUGH_TOKENS = 1_000_000
MIN_COMMA_RATE = 1 / 2000  # of letters: English has a comma in every hundred characters
MAX_CAPITALS = 0.8  # of letters that have a case


def find_warnings(statistics: CorpusStatistics, options: CleaningOptions, tokens: int, window: int) -> Iterator[str]:
    """Loud ones first. `window` is how many tokens a step of training needs at least."""
    if not statistics.texts:
        yield "nothing is left to learn from: see below what was dropped and why"
        return
    yield from _size_warnings(tokens, window)
    yield from _character_warnings(statistics)
    yield from _balance_warnings(statistics, options)


def _size_warnings(tokens: int, window: int) -> Iterator[str]:
    if tokens < window:
        yield f"{tokens:,} tokens are too few for a single step of {window:,}: add texts, or lower --batch or --context"
    elif tokens < TOO_FEW_TOKENS:
        yield f"{tokens:,} tokens are learnt by heart within minutes: add texts, or train with --base and few steps"
    elif tokens < ENOUGH_TOKENS:
        yield f"{tokens:,} tokens are little: train with --base, and hold some out"


def _character_warnings(statistics: CorpusStatistics) -> Iterator[str]:
    if statistics.latin > 20_000 and statistics.commas < MIN_COMMA_RATE * statistics.latin:
        number = "not one comma" if not statistics.commas else f"only {statistics.commas:,} commas"
        yield f"{number} in {_format_texts(statistics.texts)}: the export dropped them, and no model can learn them; export anew"
    if statistics.capitals > MAX_CAPITALS:
        yield (
            f"{100 * statistics.capitals:.0f} % of the letters are capitals: half as many tokens again, and no base knows "
            "such text; give it in mixed case, the paper has capitals anyway"
        )
    if statistics.mojibake:
        yield f"{_format_texts(statistics.mojibake)} with letters spoilt on the way (Ã©, â€™, \ufffd): export as UTF-8"
    if statistics.entities:
        yield f"{_format_texts(statistics.entities)} still with entities (&amp;): they were there twice, or a step was left out"


def _balance_warnings(statistics: CorpusStatistics, options: CleaningOptions) -> Iterator[str]:
    if statistics.long:
        yield (
            f"{_format_texts(statistics.long)} of up to {statistics.longest:,} characters among others of {statistics.median:,}: "
            "rows run together by an unbalanced quote? look at its file"
        )
    who, _, share = statistics.people[0] if statistics.people else ("", 0, 0.0)
    if share > 0.5 and statistics.people_count > 1 and not options.person:
        yield f"{100 * share:.0f} % is from {who}: the model will speak like that; --person makes it meant"
    thread, share = statistics.thread
    if share > 0.5 and statistics.threads > 1:
        yield f"{100 * share:.0f} % is from {thread}: the model will mostly talk as there; add more of others?"


def _format_texts(number: int) -> str:
    return "1 text" if number == 1 else f"{number:,} texts"
