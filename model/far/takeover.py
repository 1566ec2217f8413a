"""A local model goes on where a server broke off: the text so far is part of its prompt, as much as it has room for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from model.base import Ask, Model, Piece, Sampling
from model.far.progress import Progress, Trimmed

SHARE = 4  # of its context a quarter is left for what is to come


async def taken_over(model: Model, prompt: str, sampling: Sampling, said: Progress) -> AsyncGenerator[Piece, None]:
    """The rest of an answer that has come so far, from a model that is ready. Raises ModelError."""
    said = said.turned("")
    ask = said.ask(Ask(prompt, sampling))
    text = shortened(ask.prompt, model)
    forgotten = len(ask.prompt) - len(text)
    trimmed = Trimmed(said, sampling)
    async with aclosing(model.stream(text, ask.sampling)) as pieces:
        async for piece in pieces:
            own = piece.text if not said.text else trimmed.push(piece.text)
            finish = piece.finish
            if said.text:
                own += trimmed.flush() if finish and not trimmed.finish else ""
                finish = trimmed.finish or finish
            yield replace(piece, text=own, finish=finish, forgotten=piece.forgotten + forgotten)
            if finish:
                return
            forgotten = 0


def shortened(prompt: str, model: Model) -> str:
    """The prompt without the oldest lines for which the model has no room; without words where one line is too long."""
    most = model.context - model.context // SHARE
    while prompt and (tokens := model.count(prompt)) > most:
        gone = max(1, len(prompt) * (tokens - most) // tokens)
        at = next((found + 1 for mark in "\n " if (found := prompt.find(mark, gone - 1)) >= 0), gone)
        prompt = prompt[at:]
    return prompt
