"""A model at a URL: OpenAI's `/v1/completions` over HTTP, our own server's or another's.

One server, asked once: whatever goes wrong is raised, as ServerLost where another try may mend it; `model.far.relay`
tries again. What a stream brings is handed on as it comes, and the stream is closed with the generator.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace

from model.base import Ask, Piece, Sampling
from model.errors import ModelError, ModelNotFound, PromptTooLong, ServerLost
from model.far import wire
from model.far.address import address
from model.far.along import Along
from model.far.flow import Flow
from model.far.length import Length
from model.far.progress import Progress, Trimmed
from model.far.refusal import refusal
from model.far.sse import Events
from model.far.transport import Door, Reply, Silent, Transport
from model.prefix import settled

TAIL_S = 0.5  # for the count behind an answer that is complete
BODY = 65536  # bytes of an answer that is not a stream
CATALOGUE = 1 << 20
CONTEXT = 512  # tokens, where nobody says: the embedded model's, and less than any other's
SHORT = 64  # characters, too many for no context
AHEAD_OURS, AHEAD = 600, 65536  # characters: ours paces itself; another's proxy may not bear a slow reader

Clock = Callable[[], float]
NOTHING = Progress()


class Remote:
    """The model at a URL, as `model.base.Model` has it. Raises AddressWrong."""

    def __init__(self, url: str, door: Door | None = None, *, clock: Clock = time.monotonic) -> None:
        self.address = address(url)
        self._door, self._clock = door or Door(), clock
        self._way = Transport(self.address, self._door)
        self._card: wire.Card | None = None
        self._stale = True  # it may be another server, or another model, since the card was read
        self._flow = Flow()
        self._length = Length()
        self._along = Along(self._read)

    @property
    def name(self) -> str:
        if self.address.model or self._card is None:
            return self.address.model or self.address.base.partition("://")[2]
        return self._card.id

    @property
    def device(self) -> str:
        return self.address.base

    @property
    def context(self) -> int:
        return (self._card and self._card.context) or CONTEXT

    @property
    def ours(self) -> bool:
        return self._card is not None and self._card.ours

    @property
    def vocabulary(self) -> str:
        """Two servers of ours with the same have the same tokens; empty where tokens are not to be had."""
        if not self.ours or self._card is None:
            return ""
        return self._card.vocabulary or f"{self.address.base}#{self._card.id}"

    @property
    def ahead(self) -> int:
        """How many characters it is well to take before they are needed."""
        return AHEAD_OURS if self.ours else AHEAD

    def count(self, text: str) -> int:
        """At least as many tokens as the text has, by what was counted before."""
        return self._length.tokens(text)

    async def ready(self) -> None:
        """Ask what it has. Raises ModelError."""
        async with self._way.asked("GET", "/v1/models", self._door.bytes_s) as reply:
            if reply.status in (404, 405, 501):  # there are servers without this list
                self._card, self._stale = wire.Card(self.address.model, owned_by=""), False
                return
            if reply.status != 200:
                raise await self._refusal(reply)
            try:
                cards = wire.cards(json.loads(await reply.body(CATALOGUE, self._door.bytes_s)))
            except ValueError:
                raise self._lost("what it says of its models is none", "is it a model server?") from None
        wanted = self.address.model
        found = next((card for card in cards if card.id == wanted or not wanted), None)
        if found is None:
            there = ", ".join(card.id for card in cards[:5]) or "none"
            raise ModelNotFound(f"{self.device} has no model {wanted!r}; there are: {there}")
        self._card, self._stale = found, False

    async def there(self) -> bool:
        """Whether it answers at all: at /health, which needs no model, or says that it has no such thing."""
        with contextlib.suppress(ModelError):
            async with self._way.asked("GET", "/health", self._door.bytes_s) as reply:
                return reply.status < 500
        return False

    def listen(self, prompt: str) -> None:
        """What is settled of it our own server reads."""
        if self.ours:
            self._along.heard(settled(prompt))

    async def _read(self, prompt: str) -> None:
        body = wire.Request(self.name, replace(self._door.about, prompt=prompt), stream=False, read=True, usage=False)
        with contextlib.suppress(ModelError, TimeoutError):  # it will be told to whoever asks for the answer
            async with self._way.asked("POST", "/v1/completions", self._door.bytes_s, body.to_json()) as reply:
                await reply.body(BODY, self._door.bytes_s)

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """The continuation, asked for once. Raises ModelError also in its middle."""
        async with contextlib.aclosing(self.resume(prompt, sampling)) as pieces:
            async for piece in pieces:
                if piece.text or piece.tokens or piece.finish or piece.forgotten:
                    yield piece

    async def resume(self, prompt: str, sampling: Sampling, said: Progress = NOTHING) -> AsyncGenerator[Piece, None]:
        """The rest of an answer that has come so far; a piece with nothing in it says that the server is at work.

        Raises ModelError.
        """
        self._along.stop()
        try:
            if self._stale:
                await self.ready()
            async with contextlib.aclosing(self._rest(prompt, sampling, said.turned(self.vocabulary))) as pieces:
                async for piece in pieces:
                    yield piece
        except Exception:  # and not where the reader has had enough
            self._stale = True
            raise

    async def _rest(self, prompt: str, sampling: Sampling, said: Progress) -> AsyncGenerator[Piece, None]:
        if finish := said.over(sampling):
            yield Piece("", (), self._clock(), finish)
            return
        pace = 0.0 if self._flow.held else self._door.about.pace
        ask = said.ask(replace(self._door.about, prompt=prompt, sampling=sampling, pace=pace))
        trimmed = None if self.ours and not said.base else Trimmed(said, sampling)
        begun = False
        async with contextlib.aclosing(self._chunks(ask)) as chunks:
            async for chunk in chunks:
                piece = self._piece(chunk, trimmed)
                begun = begun or chunk.text != ""
                yield piece
                if piece.finish:
                    return
        raise await self._cut_off(ask, begun)

    async def _cut_off(self, ask: Ask, begun: bool) -> ModelError:
        """Why a stream ended before the answer did; there are servers that say it only where they are not to stream.

        And there are those that say it nowhere: what they fail of, and not of its last words, was too long.
        """
        lost = ServerLost(f"{self.device}: the stream ended before the answer did")
        now = asyncio.get_running_loop().time
        asked = now()
        if begun or self.ours or (why := await self._whole(ask)) is None:
            return lost
        if not isinstance(why, ServerLost):
            return why
        if now() - asked >= self._door.bytes_s:
            return lost  # who says nothing at all now would say nothing to the next question either
        if len(ask.prompt) <= SHORT or await self._whole(replace(ask, prompt=ask.prompt[-SHORT:])):
            return lost
        return self._refused(wire.Failure(413, "", f"it fails of {len(ask.prompt):,} characters, not of {SHORT}", ""))

    async def _whole(self, ask: Ask) -> ModelError | None:
        """What is wrong with an ask that is not to be streamed."""
        one = replace(ask, sampling=replace(ask.sampling, max_tokens=1))
        body = wire.Request(self.address.model or self.name, one, stream=False).to_json()
        try:
            async with self._way.asked("POST", "/v1/completions", self._door.bytes_s, body) as reply:
                return None if reply.status == 200 else await self._refusal(reply)
        except ServerLost as error:
            return error

    def _piece(self, chunk: wire.Chunk, trimmed: Trimmed | None) -> Piece:
        """What a chunk brings the reader."""
        text, finish = chunk.text, chunk.finish
        if trimmed is not None:
            text = trimmed.push(text)
            if finish and not trimmed.finish:
                text += trimmed.flush()
            finish = trimmed.finish or finish
        return Piece(text, chunk.tokens, self._clock(), finish, chunk.logprobs, chunk.forgotten)

    async def _chunks(self, ask: Ask) -> AsyncGenerator[wire.Chunk, None]:
        """The answer's chunks, the one with its end last."""
        model = self._card.id if self._card else ""
        body = wire.Request(self.address.model or model, ask).to_json()
        self._flow.begin()
        async with self._begun(body) as reply:
            await self._check(reply)
            yield wire.Chunk("", 0, "")  # it is there, and at work
            async with contextlib.aclosing(reply.parts()) as parts, contextlib.aclosing(self._events(parts)) as events:
                async for said in events:
                    if isinstance(said, wire.Failure):
                        raise self._refused(said)
                    ended = isinstance(said, wire.Done)
                    chunk = wire.Chunk("", 0, "", finish="end") if isinstance(said, wire.Done) else said
                    self._length.counted(ask, chunk.usage)
                    if chunk.finish and not ended:
                        await self._tail(ask, events)
                    yield chunk
                    if chunk.finish:
                        return

    @contextlib.asynccontextmanager
    async def _begun(self, body: object) -> AsyncIterator[Reply]:
        """The reply; our own server says within a second that it is there."""
        limit_s = min(self._door.bytes_s, self._door.first_token_s) if self.ours else self._door.first_token_s
        try:
            async with self._way.asked("POST", "/v1/completions", limit_s, body) as reply:
                yield reply
        except Silent:
            self._flow.silent()
            raise

    async def _tail(self, ask: Ask, events: AsyncGenerator[wire.Event, None]) -> None:
        """What comes behind the end: a count, and the end of the stream, without which the connection is of no use."""
        with contextlib.suppress(TimeoutError, ServerLost):
            async with asyncio.timeout(TAIL_S):
                async for said in events:
                    if isinstance(said, wire.Chunk):
                        self._length.counted(ask, said.usage)

    async def _events(self, parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[wire.Event, None]:
        """What comes, as long as something does in time."""
        events, loop = Events(), asyncio.get_running_loop()
        first, waited = True, 0.0  # since the last word; the reader's own pauses do not count
        while True:
            begun = loop.time()
            try:
                async with asyncio.timeout(self._patience(first, waited)):
                    part = await anext(parts, None)
            except TimeoutError:
                raise self._silence(first, loop.time() - begun) from None
            if part is None:
                return
            this = loop.time() - begun
            waited += this
            words = 0
            try:
                for data in events.each(part):
                    said = wire.read(data)
                    if isinstance(said, wire.Chunk) and (said.text or said.tokens):
                        first, waited, words = False, 0.0, words + 1
                    yield said
            except wire.Garbled as error:
                raise self._lost("the stream is garbled", str(error)) from None
            self._flow.came(words, this)

    def _patience(self, first: bool, waited: float) -> float:
        """How long the next byte may take: before the first word others are silent where ours says that it is there."""
        left = self._door.first_token_s - waited
        return left if first and not self.ours else min(self._door.bytes_s, left)

    def _silence(self, first: bool, silent_s: float) -> ServerLost:
        if self.ours and silent_s >= self._door.bytes_s:
            self._flow.silent()
        return self._lost("no word came" if first else "no further word came", "in the time allowed")

    async def _check(self, reply: Reply) -> None:
        """Raises ModelError if what comes is not a stream of events."""
        if reply.status != 200:
            raise await self._refusal(reply)
        if reply.kind != "text/event-stream":
            raise self._lost(f"{reply.kind or 'something'} came, not a stream of events", "is a proxy in between?")

    async def _refusal(self, reply: Reply) -> ModelError:
        body = await reply.body(BODY, self._door.bytes_s)
        return self._refused(wire.failure(reply.status, body.decode("utf-8", "replace")), reply.again)

    def _refused(self, said: wire.Failure, again: str = "") -> ModelError:
        error = refusal(self.device, self.address.model, said, bool(self._door.key), again)
        if isinstance(error, PromptTooLong):
            self._length.too_long()
        return error

    def _lost(self, what: str, why: str) -> ServerLost:
        return ServerLost(f"{self.device}: {what}: {why}")

    async def close(self) -> None:
        await self._along.close()
        await self._way.close()
