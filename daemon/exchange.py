"""One exchange, read from top to bottom: a line that was typed -> pieces of an answer -> paper."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from daemon import commands
from daemon.speakers import SpeakerTagFilter
from drivers.teletype import Teletype
from model.interface import Model, Sampling, TextChunk


async def exchange(
    tty: Teletype,
    model: Model,
    prompt: str,
    sampling: Sampling,
    on_chunk: Callable[[TextChunk], None],
    persona_tag: str = "",
) -> tuple[str, str]:
    """Print the model's continuation of the prompt; returns what it said and how it ended.

    BREAK ends paper and generation alike, wherever either of them waits; what was said by then is
    returned with the ending "break". Each piece is noted when the paper takes it; the tag of whoever answers is not for
    the paper. Raises ModelError, LineLost.
    """
    said: list[str] = []
    finish, answer = "end", SpeakerTagFilter(persona_tag)
    async with tty.until_break() as scope, aclosing(model.stream(prompt, sampling)) as pieces:
        async for piece in pieces:
            on_chunk(piece)
            if piece.notice:
                await tty.fresh_line()
                await tty.print(commands.NOTICE_TEXTS[piece.notice])
                answer.restart_at_margin()
            said.append(piece.text)
            finish = piece.finish_reason or finish
            await tty.print(answer.feed(piece.text))
        await tty.print(answer.flush())
        await tty.flush()
    return "".join(said), "break" if scope.is_broken else finish
