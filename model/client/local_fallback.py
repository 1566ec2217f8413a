"""A local model goes on where a server broke off: the text so far is part of its prompt, as much as it has room for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from model.client.partial_answer import PartialAnswer, ResumeTrimmer
from model.interface import CompletionRequest, Model, Sampling, TextChunk

RESERVED_PART = 4  # of its context a quarter is left for what is to come


async def stream_from_local(
    model: Model, prompt: str, sampling: Sampling, partial: PartialAnswer
) -> AsyncGenerator[TextChunk, None]:
    """The rest of an answer that has come so far, from a model that is ready. Raises ModelError."""
    partial = partial.for_vocabulary("")
    ask = partial.remaining_request(CompletionRequest(prompt, sampling))
    text = shorten_prompt(ask.prompt, model)
    forgotten = len(ask.prompt) - len(text)
    trimmed = ResumeTrimmer(partial, sampling)
    async with aclosing(model.stream(text, ask.sampling)) as pieces:
        async for piece in pieces:
            own = piece.text if not partial.text else trimmed.push(piece.text)
            finish = piece.finish_reason
            if partial.text:
                own += trimmed.flush() if finish and not trimmed.finish else ""
                finish = trimmed.finish or finish
            yield replace(piece, text=own, finish_reason=finish, dropped_chars=piece.dropped_chars + forgotten)
            if finish:
                return
            forgotten = 0


def shorten_prompt(prompt: str, model: Model) -> str:
    """The prompt without the oldest lines for which the model has no room; without words where one line is too long."""
    most = model.context - model.context // RESERVED_PART
    while prompt and (tokens := model.count_tokens(prompt)) > most:
        gone = max(1, len(prompt) * (tokens - most) // tokens)
        at = next((found + 1 for mark in "\n " if (found := prompt.find(mark, gone - 1)) >= 0), gone)
        prompt = prompt[at:]
    return prompt
