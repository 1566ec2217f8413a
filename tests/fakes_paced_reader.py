"""A client that prints an answer at the paper's pace, and measures whether a character comes late."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

from fakes_completion_server import post, read_chunk, read_head

SPEED = 10.0


class PacedReader:
    """A client that prints ten characters a second and measures its longest stall."""

    def __init__(self) -> None:
        self.characters = 0
        self.longest_stall_s = 0.0
        self._printed_until = 0.0

    async def read(self, port: int) -> None:
        body = {"prompt": "The sea", "max_tokens": 4000, "stream": True, "seed": 7, "asr33": {"pace": SPEED}}
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(post(body))
            assert (await read_head(reader))[0] == 200
            while chunk := await read_chunk(reader):
                self._print_chunk(chunk)

    def _print_chunk(self, chunk: bytes) -> None:
        now = time.monotonic()
        if b'"text":"' in chunk:
            text = chunk.split(b'"text":"')[1].split(b'","')[0]
            if self.characters:
                self.longest_stall_s = max(self.longest_stall_s, now - self._printed_until)
            self._printed_until = max(self._printed_until, now) + len(text) / SPEED
            self.characters += len(text)
