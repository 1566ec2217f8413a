"""One exchange: the model gets a prompt, and its answer is printed while it is generated."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from contextlib import aclosing

from daemon import commands
from daemon.copied_mark import CopiedMarker
from daemon.ink import InkMarker
from drivers.teletype import Teletype
from drivers.text.charset import IncrementalFolder
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
    marker: CopiedMarker | None = None,
) -> tuple[str, str]:
    """Prints the model's continuation of the prompt; returns its text and its finish reason.

    BREAK stops the paper and the generation at once; the text that was struck is returned, with "break". `on_chunk` is
    called before a chunk is printed. The persona's tag is not printed, nor are first characters with which an answer
    must not begin; they are not part of the returned text either. With `sampling.logprobs` what the model was sure of
    is struck twice, and the answer ends with its line. A `marker` marks the words that it finds, in place of that.
    Raises ModelError, LineLost.
    """
    answer: list[str] = []
    finish_reason, tag_filter = "end", SpeakerTagFilter(persona_tag)
    sheet, ink = _StruckText(tty), InkMarker() if sampling.logprobs and marker is None else None
    trimmer = OpeningTrimmer(sampling.opening, is_new_sentence=ends_sentence(prompt))
    async with tty.until_break() as scope, aclosing(model.stream(prompt, sampling)) as chunks:
        async for chunk in chunks:
            on_chunk(chunk)
            if ink:
                ink.note_chunk(chunk)
            if chunk.notice:
                if marker is not None:
                    await tty.print(marker.release(), overstrike=True)
                await tty.fresh_line()
                await tty.print(commands.NOTICE_TEXTS[chunk.notice])
                sheet.note_notice(commands.NOTICE_TEXTS[chunk.notice])
                tag_filter.restart_at_margin()
            text = trimmer.feed(drop_half_characters(chunk.text))
            answer.append(text)
            finish_reason = chunk.finish_reason or finish_reason
            # A server may send a whole book in one chunk, and a stroke must not wait until it is laid out.
            for start in range(0, len(text), MAX_PIECE_CHARS):
                shown = sheet.filter_text(text[start : start + MAX_PIECE_CHARS], tag_filter)
                await _print_text(tty, shown, ink or marker)
        answer.append(rest := trimmer.flush())
        await _print_text(tty, sheet.filter_text(rest, tag_filter) + tag_filter.flush(), ink or marker)
        await tty.print(marker.release() if marker else "", overstrike=True)
        # The second strikes are part of the answer in the log.
        await (tty.fresh_line() if ink or marker else tty.flush())
    if scope.is_broken:
        return "".join(answer)[: sheet.count_struck()], "break"
    return "".join(answer), finish_reason


async def _print_text(tty: Teletype, text: str, marker: InkMarker | CopiedMarker | None) -> None:
    for run, has_overstrikes in marker.mark_text(text) if marker else [(text, False)]:
        await tty.print(run, overstrike=has_overstrikes)


class _StruckText:
    """Tells how much of an answer is on the paper: counts the glyphs of its characters, and those that were struck."""

    def __init__(self, tty: Teletype) -> None:
        self._counters, self._glyphs = tty.counters, tty.counters.glyphs
        self._folder = IncrementalFolder(tty.profile.wheel)
        self._glyphs_after: list[int] = []  # each character of the answer

    def note_notice(self, text: str) -> None:
        """Counts a text on the paper that is no part of the answer."""
        self._glyphs += sum(not char.isspace() for char in text)

    def filter_text(self, text: str, tag_filter: SpeakerTagFilter) -> str:
        """Returns what the filter lets through of the answer's next characters."""
        shown: list[str] = []
        for char in text:
            shown.append(tag_filter.feed(char))
            self._glyphs += sum(not glyph.isspace() for glyph in self._folder.feed(shown[-1]))
            self._glyphs_after.append(self._glyphs)
        return "".join(shown)

    def count_struck(self) -> int:
        """Returns the number of the answer's characters up to the last glyph on the paper."""
        struck = self._counters.glyphs
        if not self._glyphs_after or struck < self._glyphs_after[0]:
            return 0
        return bisect_left(self._glyphs_after, struck) + 1


async def print_message(tty: Teletype, text: str) -> None:
    """Prints a message of the daemon on a fresh line; BREAK cuts it short."""
    async with tty.until_break():
        await tty.fresh_line()
        await tty.print(text)
        await tty.flush()
