"""The generation loop: prompt ids -> text, a step at a time. Pure: no thread, no clock; the session is given."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.base import Finish, Sampling
from model.context import Text, Vocabulary, check
from model.detokenizer import Detokenizer
from model.mask import Mask
from model.prefix import CHUNK, Cache, Forward
from model.sampling import choose, logprob

REMEMBERED = 128  # tokens back that the repetition penalty looks; further back, a word may well come again


@dataclass(frozen=True, slots=True)
class Step:
    """What one step gave: nothing while the prompt is read or characters are held back.

    `forgotten`: so many characters, the oldest of prompt and answer, have gone because the context was full.
    """

    text: str = ""
    tokens: tuple[int, ...] = ()
    finish: Finish | None = None
    logprobs: tuple[float, ...] = ()
    forgotten: int = 0


def generate(
    session: Cache | Forward,
    prompt: Sequence[int],
    sampling: Sampling,
    vocabulary: Vocabulary,
    *,
    said: Sequence[int] = (),
    mask: Mask | None = None,
) -> Iterator[Step]:
    """Steps of one forward pass each, until one has a finish. Raises PromptTooLong before the first.

    The prompt is not empty; it begins with the end of text, as every document did in training. `said` are the tokens
    of an answer that was cut: it goes on behind them as it would have. What a Cache holds of the prompt is not
    computed again; a bare session starts from nothing. The `mask` says what may come.
    """
    check(prompt, session.context)
    cache = session if isinstance(session, Cache) else Cache(session)
    answer = Answer(Text(prompt, cache.context, vocabulary), sampling, vocabulary, mask)
    for token in said:
        answer.text.roll()
        answer.take(token)
    while answer.finish is None:
        if forgotten := answer.text.roll():
            yield Step(forgotten=forgotten)
        logits = yield from _read(cache, answer.text.window)
        token, told = answer.draw(logits)
        yield Step(answer.take(token), (token,), answer.finish, told)


def _read(cache: Cache, ids: Sequence[int]) -> Generator[Step, None, NDArray[np.float32]]:
    """The logits after these ids; a step for each CHUNK but the last. What was read while it was typed is known."""
    at = cache.turn_to(ids)
    if at == len(ids):
        if cache.logits is not None:
            return cache.logits
        at = cache.turn_to(ids[:-1])
    while at + CHUNK < len(ids):
        cache.forward(ids[at : at + CHUNK])
        at += CHUNK
        yield Step()
    return cache.forward(ids[at:])


class Answer:
    """One answer as far as it has come: what may follow, and whether it is over."""

    def __init__(self, text: Text, sampling: Sampling, vocabulary: Vocabulary, mask: Mask | None) -> None:
        self.text = text
        self.finish: Finish | None = None
        self._sampling, self._vocabulary, self._mask = sampling, vocabulary, mask
        self._detokenizer = Detokenizer(sampling.stop, sampling.length)
        self._last = len(text.ids) + sampling.max_tokens
        self._open = b""  # the bytes of half a character

    def draw(self, logits: NDArray[np.float32]) -> tuple[int, tuple[float, ...]]:
        """The next token, and what the model thought of it if that was asked."""
        barred = self._mask.barred(self._open) if self._mask else None
        # Half a character is no word that comes again: a penalty there would turn a quote into a dagger.
        recent = [] if self._open else _recent(self.text.ids, self._vocabulary.end_of_text)
        # The position counts what is forgotten too, so that the draw does not know where the context ended.
        token = choose(logits, self._sampling, len(self.text.ids), recent, barred)
        return token, (logprob(logits, token, barred),) if self._sampling.logprobs else ()

    def take(self, token: int) -> str:
        """The characters that are certain with this token; `finish` is set if they are the last."""
        self.text.ids.append(token)
        self._open = self._mask.after(self._open, token) if self._mask else b""
        text = ""
        if token == self._vocabulary.end_of_text:
            self.finish = "end"
        else:
            text = self._detokenizer.push(self._vocabulary.bytes_of(token))
            self.finish = "length" if len(self.text.ids) >= self._last else None
        if self.finish and not self._detokenizer.finish:
            text += self._detokenizer.flush()
        self.finish = self._detokenizer.finish or self.finish
        return text


def _recent(ids: Sequence[int], end_of_text: int) -> list[int]:
    # The end of text stands before every prompt; that is no reason to make it less likely now.
    return [token for token in ids[-REMEMBERED:] if token != end_of_text]
