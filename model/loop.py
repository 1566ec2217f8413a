"""The generation loop: prompt ids -> text, a step at a time. Pure: no thread, no clock; the session is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.base import Finish, Sampling
from model.detokenizer import Detokenizer
from model.errors import PromptTooLong
from model.sampling import choose

CHUNK = 128  # tokens of a prompt in one step: costs nothing in all, and BREAK need not wait for a long prompt
ROOM = 16  # tokens that a prompt must leave for its answer
REMEMBERED = 128  # tokens back that the repetition penalty looks; further back, a word may well come again


class Forward(Protocol):
    """What is asked of the session."""

    context: int

    def forward(self, ids: Sequence[int]) -> NDArray[np.float32]: ...

    def rewind(self, length: int) -> None: ...


class Vocabulary(Protocol):
    """What is asked of the tokenizer."""

    end_of_text: int

    def bytes_of(self, token: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Step:
    """What one step gave: nothing while the prompt is read or characters are held back."""

    text: str = ""
    tokens: tuple[int, ...] = ()
    finish: Finish | None = None


def check(prompt: Sequence[int], context: int) -> None:
    """Raise PromptTooLong where a prompt leaves less than ROOM."""
    if len(prompt) > context - ROOM:
        raise PromptTooLong(
            f"the prompt is {len(prompt)} tokens, the model takes {context - ROOM} "
            f"({context} less {ROOM} for the answer): shorten it by {len(prompt) - context + ROOM}"
        )


def generate(session: Forward, prompt: Sequence[int], sampling: Sampling, vocabulary: Vocabulary) -> Iterator[Step]:
    """Steps of one forward pass each, until one has a finish. Raises PromptTooLong before the first.

    The prompt is not empty; it begins with the end of text, as every document did in training.
    """
    check(prompt, session.context)
    session.rewind(0)
    logits = None
    for start in range(0, len(prompt), CHUNK):
        if start:
            yield Step()
        logits = session.forward(prompt[start : start + CHUNK])
    assert logits is not None, "an empty prompt"
    ids, detokenizer = list(prompt), Detokenizer(sampling.stop, sampling.length)
    while True:
        token = choose(logits, sampling, len(ids), _recent(ids, vocabulary.end_of_text))
        ids.append(token)
        step = _step(token, len(ids) - len(prompt), session.context - len(ids), sampling, vocabulary, detokenizer)
        yield step
        if step.finish:
            return
        logits = session.forward([token])


def _step(
    token: int, made: int, room: int, sampling: Sampling, vocabulary: Vocabulary, detokenizer: Detokenizer
) -> Step:
    if token == vocabulary.end_of_text:
        finish: Finish | None = "end"
        text = ""
    else:
        text = detokenizer.push(vocabulary.bytes_of(token))
        finish = detokenizer.finish or ("length" if made >= sampling.max_tokens else "context" if room <= 0 else None)
    if finish and not detokenizer.finish:
        text += detokenizer.flush()
    return Step(text, (token,), detokenizer.finish or finish)


def _recent(ids: Sequence[int], end_of_text: int) -> list[int]:
    # The end of text stands before every prompt; that is no reason to make it less likely now.
    return [token for token in ids[-REMEMBERED:] if token != end_of_text]
