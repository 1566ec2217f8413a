"""One answer on its way out: as events while it is made, or as a whole. OpenAI's shapes, by `model.far.wire`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from model.base import Ask, Piece
from model.errors import ModelError
from model.far import wire
from model.far.wire import Chunk, Done, Failure, Usage
from model.serving import door
from model.serving.door import Limits, Refused
from model.serving.gate import place
from model.serving.handing import Cut, Line, handed, in_time

GOING_DOWN = Failure(503, "service_unavailable_error", "the server is going down: go on at another", "draining")
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the words back
]

log = logging.getLogger("asr33.serve")


class Source(Protocol):
    """Where answers are made."""

    def count(self, text: str) -> int: ...

    def stream(self, ask: Ask, who: str = "") -> AsyncGenerator[Piece, None]: ...

    async def read(self, ask: Ask) -> int: ...


class Answer:
    """What one request is given."""

    def __init__(self, asked: wire.Request, source: Source, line: Line, limits: Limits, base: Chunk) -> None:
        """`base` has what all chunks of it share."""
        self._asked, self._source, self._line, self._limits, self._base = asked, source, line, limits, base
        self._at = len(asked.ask.prompt)  # characters, up to what comes next

    async def give(self, scope: Scope, receive: Receive, send: Send) -> None:
        """All of it. Raises ModelError and Cut while nothing has gone out; later they are the stream's last event."""
        if self._asked.stream and not self._asked.read:
            await self._stream(send)
            return
        whole = await (self._read() if self._asked.read else self._whole())
        await JSONResponse(whole.to_json())(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        begun = False
        try:
            async with aclosing(self._events()) as events:
                async for data in events:
                    if not begun:
                        begun = True
                        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        except Exception as error:
            if not begun or (isinstance(error, Cut) and error.why == "gone"):
                raise
            last = wire.event(_why(error))
            await send({"type": "http.response.body", "body": last, "more_body": False})
            if not isinstance(error, Cut | ModelError):
                raise
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                yield wire.PING if piece is None else wire.event(self._of(piece))
        if self._asked.usage:
            yield wire.event(self._chunk(usage=self._usage()))
        yield wire.event(Done())

    async def _whole(self) -> Chunk:
        async with aclosing(self._pieces()) as pieces:
            got = [self._of(piece) async for piece in pieces if piece is not None]
        return self._chunk(
            text="".join(piece.text for piece in got),
            tokens=tuple(token for piece in got for token in piece.tokens),
            logprobs=tuple(number for piece in got for number in piece.logprobs),
            offsets=tuple(number for piece in got for number in piece.offsets),
            forgotten=sum(piece.forgotten for piece in got),
            finish=got[-1].finish if got else None,
            usage=self._usage(),
        )

    async def _read(self) -> Chunk:
        reading = asyncio.ensure_future(self._source.read(self._asked.ask))
        return self._chunk(finish="length", usage=Usage(await in_time(reading, self._line), 0))

    def _pieces(self) -> AsyncGenerator[Piece | None, None]:
        limits = self._limits
        return handed(self._source.stream(self._asked.ask, self._line.who), self._line, limits.first_s, limits.ping_s)

    def _of(self, piece: Piece) -> Chunk:
        at, self._at = self._at, self._at + len(piece.text)
        return self._chunk(
            text=piece.text,
            tokens=piece.tokens,
            finish=piece.finish,
            logprobs=piece.logprobs,
            offsets=(at,) * len(piece.logprobs),  # what tokens are to a character, only all of them tell
            forgotten=piece.forgotten,
        )

    def _usage(self) -> Usage:
        ask = self._asked.ask
        return Usage(self._source.count(ask.prompt) + len(ask.said), self._line.tokens)

    def _chunk(self, **said: Any) -> Chunk:
        return replace(self._base, **said)


def _why(error: Exception) -> Failure:
    """The last event of a stream that was broken off."""
    if isinstance(error, Cut):
        return GOING_DOWN
    return (told(error) if isinstance(error, ModelError) else door.because(ModelError())).failure


def told(error: ModelError) -> Refused:
    """How the reader hears of it; what he is not told, the log has."""
    no = door.because(error)
    if no.failure.status == 500:
        log.error("asr33: the model failed: %s", place(error))
    return no
