"""One exchange, read from top to bottom: a line that was typed -> pieces of an answer -> paper."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from daemon import words
from daemon.cast import Untagged
from drivers.teletype import Teletype
from model.base import Model, Piece, Sampling


async def exchange(
    tty: Teletype, model: Model, prompt: str, sampling: Sampling, note: Callable[[Piece], None], tag: str = ""
) -> tuple[str, str]:
    """Print the model's continuation of the prompt; returns what it said and how it ended.

    BREAK ends paper and generation alike, wherever either of them waits; what was said by then is
    returned with the ending "break". Each piece is noted when the paper takes it; the tag of whoever answers is not for
    the paper. Raises ModelError, LineLost.
    """
    said: list[str] = []
    finish, answer = "end", Untagged(tag)
    async with tty.until_break() as scope, aclosing(model.stream(prompt, sampling)) as pieces:
        async for piece in pieces:
            note(piece)
            if piece.notice:
                await tty.fresh_line()
                await tty.print(words.NOTICES[piece.notice])
                answer.interrupted()
            said.append(piece.text)
            finish = piece.finish or finish
            await tty.print(answer.shown(piece.text))
        await tty.print(answer.rest())
        await tty.flush()
    return "".join(said), "break" if scope.broken else finish
