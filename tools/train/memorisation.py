"""How much a finished model copies: what it writes of itself, compared with what it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.build.memorisation import NgramOverlap, measure_overlap
from model.generate.context_window import Vocabulary
from model.generate.prefix_cache import DecoderSession
from model.generate.sample_text import write_sample_texts
from model.interface import Sampling


@dataclass(frozen=True, slots=True)
class Memorisation:
    """`model` is of what it wrote; `held_out`, the yardstick, of what people wrote that it has not seen."""

    model: NgramOverlap
    held_out: NgramOverlap | None


def measure_memorisation(
    session: DecoderSession,
    vocabulary: Vocabulary,
    word_count: int,
    train: Sequence[str],
    held_out: Sequence[str],
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Memorisation:
    """Let the model write so many words, as it does by default, and look for them in the text it was trained on."""
    wrote = write_sample_texts(session, vocabulary, word_count, Sampling(seed=seed), on_progress)
    model, yardstick = measure_overlap([wrote, held_out], train)
    return Memorisation(model, yardstick if held_out else None)
