"""What a model writes of itself, from nothing and by seed: text enough to be measured. Pure; the session is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from model.build.memorisation import split_words
from model.generate.context_window import Vocabulary
from model.generate.generate import generate
from model.generate.prefix_cache import DecoderSession
from model.interface import Sampling

MAX_BLANK_TEXTS = 20  # texts in turn that may be blank, before a model is taken to have nothing to say


def write_sample_texts(
    session: DecoderSession,
    vocabulary: Vocabulary,
    word_count: int,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Texts of so many words together, each from the beginning of a document; fewer from a model that is silent.

    `progress` hears (words written, words in all).
    """
    texts: list[str] = []
    done = number = blank = 0
    while done < word_count and blank < MAX_BLANK_TEXTS:
        asked = replace(sampling, seed=sampling.seed + number)
        text, number = "", number + 1
        for step in generate(session, [vocabulary.end_of_text], asked, vocabulary):
            text += step.text
            if len(step.text) > 0 and step.text[-1:].isspace() and done + len(split_words(text)) >= word_count:
                break
            if on_progress is not None:
                on_progress(min(word_count, done + text.count(" ")), word_count)
        done += len(split_words(text))
        blank = 0 if text.strip() else blank + 1
        texts.append(text)
    return texts
