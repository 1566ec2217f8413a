"""One model for many readers, over HTTP: `/v1/completions`, `/v1/models`, `/health`, `/metrics`, as an ASGI app.

The app alone: who listens where, and how long a header may take, is for whoever runs it. It logs no word of a text.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Literal, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from model.errors import ModelError
from model.far import wire
from model.serving import door, metrics
from model.serving.answer import Answer, Source, told
from model.serving.door import Limits, Refused
from model.serving.gate import Gate
from model.serving.handing import Cut, Line
from model.serving.keys import Keys

State = Literal["loading", "open", "draining", "failed"]
AFTER_S = 2.0  # for the last words to those who are cut off

log = logging.getLogger("asr33.serve")


class Batched(Source, Protocol):
    """What is asked of the batch."""

    @property
    def context(self) -> int: ...

    async def ready(self) -> None: ...

    def counters(self) -> object: ...

    async def close(self) -> None: ...


class Sound(Batched, Protocol):
    """One that says whether its engine still runs, by raising what it has failed by."""

    async def sound(self) -> None: ...


class Server:
    """The app, the lines that are open at it, and whether it takes more. `app` is for whatever speaks ASGI."""

    def __init__(
        self,
        batch: Batched,
        *,
        name: str,
        keys: Keys | None = None,
        limits: Limits = door.USUAL,
        vocabulary: str = "",
        alphabets: Sequence[str] = (),
        gauges: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`vocabulary` is a hash of the tokenizer; `gauges` are numbers of whoever runs it, for `/metrics`."""
        self.batch, self.name, self.limits, self.keys = batch, name, limits, keys
        self.state: State = "loading"
        self.lines: set[Line] = set()
        self.tray = door.Tray(limits.bodies)
        self.requests: Counter[tuple[str, int]] = Counter()
        self._gauges = gauges
        self._vocabulary, self._alphabets = vocabulary, tuple(alphabets)
        self._begun = time.monotonic()
        self._quiet = asyncio.Event()
        self.app = self._app()

    async def ready(self) -> None:
        """Open as soon as the model is loaded. Raises ModelError if it never will be."""
        try:
            await self.batch.ready()
        except BaseException:
            self.state = "failed"
            raise
        if self.state == "loading":
            self.state = "open"

    async def drain(self, seconds: float) -> None:
        """Take no more, let what is open come to its end for so long, and cut off the rest with a word."""
        self.state = "draining"
        if not await self._all_ended(seconds):
            log.info("asr33: %d lines are cut off; they can go on elsewhere", len(self.lines))
            for line in list(self.lines):
                line.cut("down")
            await self._all_ended(AFTER_S)

    async def _all_ended(self, seconds: float) -> bool:
        self._quiet.clear()
        if self.lines:
            try:
                await asyncio.wait_for(self._quiet.wait(), seconds)
            except TimeoutError:
                return False
        return True

    def _app(self) -> Starlette:
        app = Starlette(
            routes=[
                Route("/v1/completions", _Completions(self), methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/v1/models/{name:path}", self._models),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
            ],
            middleware=[Middleware(Gate, admit=self.admit, requests=self.requests)],
            exception_handlers={HTTPException: _no_such, Refused: _no_such},
        )
        app.router.redirect_slashes = False
        return app

    def admit(self, scope: Scope) -> str:
        """The name of whoever asks. Raises Refused: a stranger, or a time at which nobody is served."""
        path, who = scope["path"], ""
        door.proper(scope)
        if path == "/health":
            return who
        if self.keys is None:
            door.no_page(scope)
        else:
            shown = door.bearer(scope)
            known = self.keys.who(shown) if shown else None
            if known is None:
                said = "this key is not known here" if shown else "a key is wanted: Authorization: Bearer KEY"
                raise door.refused(401, said, "invalid_api_key")
            who = known
        if path.startswith("/v1/"):
            self.check_open()
        return who

    def check_open(self) -> None:
        """Raises Refused: a time at which no answer is begun."""
        if self.state != "open":
            raise door.refused(503, self._why_not(), self.state)

    @asynccontextmanager
    async def line(self, line: Line) -> AsyncIterator[None]:
        """A place among those who are served. Raises Refused where there is none, for all or for this key."""
        if len(self.lines) >= self.limits.lines:
            raise door.refused(429, f"{self.limits.lines:,} lines are open, which is all: try again", "busy")
        each = self.limits.each
        if self.keys and len(self.keys) > 1 and sum(one.who == line.who for one in self.lines) >= each:
            raise door.refused(429, f"this key has {each:,} lines open, which is all it may: try again", "share")
        self.lines.add(line)
        try:
            yield
        finally:
            self.lines.discard(line)
            if not self.lines:
                self._quiet.set()

    def card(self) -> wire.Card:
        return wire.Card(self.name, context=self.batch.context, alphabets=self._alphabets, vocabulary=self._vocabulary)

    def _why_not(self) -> str:
        return {
            "loading": f"the model {self.name} is still being loaded",
            "draining": "the server is going down: ask another",
            "failed": f"the model {self.name} could not be loaded",
        }[self.state]

    async def _models(self, request: Request) -> Response:
        name = request.path_params.get("name")
        if name is None:
            return JSONResponse(wire.catalogue([self.card()]))
        if name != self.name:
            raise door.refused(404, f"there is one model here: {self.name}", "model_not_found", "model")
        return JSONResponse(self.card().to_json())

    async def _health(self, request: Request) -> Response:
        if self.state == "open":
            return JSONResponse({"status": "ok"})
        again = {"Retry-After": str(door.RETRY_S)}
        return JSONResponse({"status": self.state, "doing": self._why_not()}, 503, again)

    async def _metrics(self, request: Request) -> Response:
        gauges = {
            "up": float(self.state == "open"),
            "lines": float(len(self.lines)),
            "uptime_seconds": round(time.monotonic() - self._begun, 3),
            **self._gauges(),
        }
        counters = self.batch.counters() if self.state in ("open", "draining") else None
        text = metrics.page(counters=counters, requests=self.requests, gauges=gauges)
        return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE})


def app(batch: Sound, *, name: str, **more: Any) -> Starlette:
    """The app by itself, for what runs its own loop: `more` is as of Server. It loads, and closes, the batch itself.

    Its `state.sound` raises what the engine has failed by.
    """
    server = Server(batch, name=name, **more)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await server.ready()
        try:
            yield
        finally:
            await server.drain(AFTER_S)
            await batch.close()

    server.app.router.lifespan_context = lifespan
    server.app.state.sound = batch.sound
    return server.app


class _Completions:
    """`/v1/completions`: a request, and the answer as it comes, or whole."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server, line = self._server, scope["state"]["line"]
        async with server.line(line):  # before the body, which may be slow
            asked = door.request(await door.body(scope, receive, server.limits, server.tray), server.limits)
            if asked.model not in ("", server.name):
                raise door.refused(404, f"there is one model here: {server.name}", "model_not_found", "model")
            server.check_open()
            asked = _own(asked, line.who)
            leaving = asyncio.ensure_future(_leaves(receive, line))
            try:
                base = wire.Chunk(f"cmpl-{secrets.token_hex(12)}", int(time.time()), server.name)
                await Answer(asked, server.batch, line, server.limits, base).give(scope, receive, send)
            except ModelError as error:
                raise told(error) from None
            except Cut as cut:
                if cut.why == "gone":
                    raise door.Gone from None
                raise door.refused(503, "the server is going down: ask another", "draining") from None
            finally:
                leaving.cancel()


def _own(asked: wire.Request, who: str) -> wire.Request:
    """With a conversation that nobody else has, whatever he calls his."""
    name = asked.ask.conversation
    return replace(asked, ask=replace(asked.ask, conversation=f"{who}\n{name}")) if who and name else asked


async def _leaves(receive: Receive, line: Line) -> None:
    with suppress(Exception):  # Ray's proxy raises instead of saying so
        while (await receive())["type"] != "http.disconnect":
            pass
    line.cut("gone")


async def _no_such(request: Request, error: Exception) -> Response:
    refused = door.of_http(error) if isinstance(error, HTTPException) else error
    assert isinstance(refused, Refused)
    return refused.response()
