"""One exchange: the model gets a prompt, and its answer is printed while it is generated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from daemon import commands
from drivers.teletype import Teletype
from model.dialogue import SpeakerTagFilter
from model.interface import Model, Sampling, TextChunk
from model.opening import OpeningTrimmer, ends_sentence
from model.printable import drop_half_characters

MAX_PIECE_CHARS = 144  # of a chunk, to print at once: two lines


async def exchange(
    tty: Teletype,
    model: Model,
    prompt: str,
    sampling: Sampling,
    on_chunk: Callable[[TextChunk], None],
    persona_tag: str = "",
) -> tuple[str, str]:
    """Prints the model's continuation of the prompt; returns its text and its finish reason.

    BREAK stops the paper and the generation at once; the text so far is returned with the reason "break". `on_chunk` is
    called before a chunk is printed. The persona's tag is not printed, nor are first characters with which an answer
    must not begin; they are not part of the returned text either. Raises ModelError, LineLost.
    """
    answer: list[str] = []
    finish_reason, tag_filter = "end", SpeakerTagFilter(persona_tag)
    trimmer = OpeningTrimmer(sampling.opening, is_new_sentence=ends_sentence(prompt))
    async with tty.until_break() as scope, aclosing(model.stream(prompt, sampling)) as chunks:
        async for chunk in chunks:
            on_chunk(chunk)
            if chunk.notice:
                await tty.fresh_line()
                await tty.print(commands.NOTICE_TEXTS[chunk.notice])
                tag_filter.restart_at_margin()
            text = trimmer.feed(drop_half_characters(chunk.text))
            answer.append(text)
            finish_reason = chunk.finish_reason or finish_reason
            # A server may send a whole book in one chunk, and a stroke must not wait until it is laid out.
            for start in range(0, len(text), MAX_PIECE_CHARS):
                await tty.print(tag_filter.feed(text[start : start + MAX_PIECE_CHARS]))
        answer.append(rest := trimmer.flush())
        await tty.print(tag_filter.feed(rest) + tag_filter.flush())
        await tty.flush()
    return "".join(answer), "break" if scope.is_broken else finish_reason


async def print_message(tty: Teletype, text: str) -> None:
    """Prints a message of the daemon on a fresh line; BREAK cuts it short."""
    async with tty.until_break():
        await tty.fresh_line()
        await tty.print(text)
        await tty.flush()
