"""Reads a text as it comes, from a pipe, a socket or a terminal: whole lines, or a part of a line after a pause.

It reads no further ahead than the caller prints. It does not know the machine.
"""

from __future__ import annotations

import asyncio
import os
import stat
from typing import BinaryIO

from tools.cli.errors import ToolError
from tools.cli.output import print_message
from tools.cli.text_encoding import TextDecoder

SETTLE_S, MAX_SETTLE_S = 0.1, 1.0  # lines that come together are one piece
PART_PAUSE_S = 2.0  # a line without an end is given out after this time
MAX_AHEAD_CHARS = 1 << 16  # read ahead of the paper, once the first piece is given out
_READ_BYTES = 1 << 16


def is_stream(file: BinaryIO) -> bool:
    """Whether the file's text comes bit by bit: a pipe, a socket, a terminal."""
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or file.isatty()


class TextStream:
    """The text of an open file that `is_stream`.

    Its first piece may have `max_chars`, so that a text that is too long is refused before any of it is printed. Bytes
    that the encoding lacks are refused there; later they become U+FFFD, and the user is told once.
    """

    def __init__(self, file: BinaryIO, source: str, decoder: TextDecoder, max_chars: int) -> None:
        """`source` names the text in messages."""
        self._file, self._source, self._decoder, self._max_chars = file, source, decoder, max_chars
        self._text = ""  # read, not given out
        self._has_ended, self._is_reading, self._is_replacement_told = False, False, False
        self._error: ToolError | None = None
        self._arrived = asyncio.Event()

    def close(self) -> None:
        self._pause()

    async def next_piece(self, timeout_s: float | None = None) -> str | None:
        """Returns the whole lines that have come, or a part of a line after PART_PAUSE_S; None at the end.

        Raises ToolError, and TimeoutError if nothing is complete in time.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        while not self._text and not self._is_over:
            await self._wait_for_text(deadline)
        settled_at = loop.time() + MAX_SETTLE_S
        while (
            not self._is_over and not self._is_full and await self._arrives_by(min(settled_at, loop.time() + SETTLE_S))
        ):
            pass
        part_due = loop.time() + PART_PAUSE_S
        while not self._is_over and not self._is_full and "\n" not in self._text:
            limit = part_due if deadline is None else min(deadline, part_due)
            if not await self._arrives_by(limit):
                if limit != part_due:
                    raise TimeoutError
                break
        return self._take_piece()

    @property
    def _is_over(self) -> bool:
        return self._has_ended or self._error is not None

    @property
    def _is_full(self) -> bool:
        return len(self._text) > (self._max_chars if self._decoder.is_strict else MAX_AHEAD_CHARS)

    def _take_piece(self) -> str | None:
        """Takes the whole lines out of the buffer; all of it if there is none, or at the end."""
        if self._error is not None and not self._text:
            raise self._error
        if len(self._text) > self._max_chars:
            raise too_long(self._source, self._max_chars)
        end = len(self._text) if self._is_over else self._text.rfind("\n") + 1 or len(self._text)
        piece, self._text = self._text[:end], self._text[end:]
        if self._decoder.is_strict and self._error is not None:
            raise self._error
        self._decoder.is_strict = False
        return piece or None

    async def _wait_for_text(self, deadline: float | None) -> None:
        async with asyncio.timeout_at(deadline):
            await self._wait()

    async def _arrives_by(self, deadline: float) -> bool:
        """Waits for more; returns whether any came."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._wait()
        except TimeoutError:
            return False
        return True

    async def _wait(self) -> None:
        self._arrived.clear()
        if not self._is_reading:
            self._is_reading = True
            asyncio.get_running_loop().add_reader(self._file.fileno(), self._read)
        await self._arrived.wait()

    def _pause(self) -> None:
        """Stops reading: the writer then waits at its pipe."""
        if self._is_reading:
            self._is_reading = False
            asyncio.get_running_loop().remove_reader(self._file.fileno())

    def _read(self) -> None:
        try:
            data = os.read(self._file.fileno(), _READ_BYTES)
            self._text += self._decoder.decode(data, final=not data)
            self._has_ended = not data
        except BlockingIOError:
            return
        except OSError as error:  # a terminal that is closed
            self._error = ToolError(f"{self._source}: {error.strerror}; name a file that can be read", "missing")
        except ToolError as error:
            self._error = error
        if self._decoder.has_replaced and not self._is_replacement_told:
            self._is_replacement_told = True
            print_message(f"asr33: {self._source} has bytes that its encoding lacks: ? stands for them")
        if self._is_over or self._is_full:
            self._pause()
        self._arrived.set()


def too_long(source: str, max_chars: int) -> ToolError:
    return ToolError(
        f"{source} has over {max_chars:,} characters, more than a day of paper: print it in parts", "damaged"
    )
