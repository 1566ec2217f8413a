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
from model.openai_api import response
from model.server import limits as request_limits
from model.server import metrics
from model.server.api_keys import ApiKeys
from model.server.keepalive import ClientStream, StreamCancelled
from model.server.limits import HttpError, RequestLimits
from model.server.middleware import AccessMiddleware
from model.server.streaming import CompletionBackend, CompletionResponse, log_and_convert

ServerState = Literal["loading", "open", "draining", "failed"]
CANCEL_GRACE_S = 2.0  # for the last words to those who are cut off

log = logging.getLogger("asr33.serve")


class ServedModel(CompletionBackend, Protocol):
    """What is asked of the batch."""

    @property
    def context(self) -> int: ...

    async def wait_until_loaded(self) -> None: ...

    def counters(self) -> object: ...

    async def close(self) -> None: ...


class MonitoredModel(ServedModel, Protocol):
    """One that says whether its engine still runs, by raising what it has failed by."""

    async def check_alive(self) -> None: ...


class CompletionServer:
    """The app, the lines that are open at it, and whether it takes more. `app` is for whatever speaks ASGI."""

    def __init__(
        self,
        model: ServedModel,
        *,
        name: str,
        keys: ApiKeys | None = None,
        limits: RequestLimits = request_limits.DEFAULT_LIMITS,
        vocabulary: str = "",
        alphabets: Sequence[str] = (),
        gauges: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`vocabulary` is a hash of the tokenizer; `gauges` are numbers of whoever runs it, for `/metrics`."""
        self.model, self.name, self.limits, self.keys = model, name, limits, keys
        self.state: ServerState = "loading"
        self.clients: set[ClientStream] = set()
        self.body_budget = request_limits.BodyBudget(limits.all_bodies_bytes)
        self.request_counts: Counter[tuple[str, int]] = Counter()
        self._gauges = gauges
        self._vocabulary_hash, self._alphabets = vocabulary, tuple(alphabets)
        self._started_at = time.monotonic()
        self._has_no_clients = asyncio.Event()
        self.app = self._build_app()

    async def open_when_loaded(self) -> None:
        """Open as soon as the model is loaded. Raises ModelError if it never will be."""
        try:
            await self.model.wait_until_loaded()
        except BaseException:
            self.state = "failed"
            raise
        if self.state == "loading":
            self.state = "open"

    async def drain(self, seconds: float) -> None:
        """Take no more, let what is open come to its end for so long, and cut off the rest with a word."""
        self.state = "draining"
        if not await self._wait_for_clients(seconds):
            log.info("asr33: %d lines are cut off; they can go on elsewhere", len(self.clients))
            for line in list(self.clients):
                line.cancel("down")
            await self._wait_for_clients(CANCEL_GRACE_S)

    async def _wait_for_clients(self, seconds: float) -> bool:
        self._has_no_clients.clear()
        if self.clients:
            try:
                await asyncio.wait_for(self._has_no_clients.wait(), seconds)
            except TimeoutError:
                return False
        return True

    def _build_app(self) -> Starlette:
        app = Starlette(
            routes=[
                Route("/v1/completions", _CompletionsEndpoint(self), methods=["POST"]),
                Route("/v1/models", self._get_models),
                Route("/v1/models/{name:path}", self._get_models),
                Route("/health", self._get_health),
                Route("/metrics", self._get_metrics),
            ],
            middleware=[Middleware(AccessMiddleware, admit=self.admit, requests=self.request_counts)],
            exception_handlers={HTTPException: _handle_http_error, HttpError: _handle_http_error},
        )
        app.router.redirect_slashes = False
        return app

    def admit(self, scope: Scope) -> str:
        """The name of whoever asks. Raises Refused: a stranger, or a time at which nobody is served."""
        path, who = scope["path"], ""
        request_limits.reject_smuggling(scope)
        if path == "/health":
            return who
        if self.keys is None:
            request_limits.reject_browsers(scope)
        else:
            shown = request_limits.bearer_key(scope)
            known = self.keys.name_of(shown) if shown else None
            if known is None:
                said = "this key is not known here" if shown else "a key is wanted: Authorization: Bearer KEY"
                raise request_limits.http_error(401, said, "invalid_api_key")
            who = known
        if path.startswith("/v1/"):
            self.require_open()
        return who

    def require_open(self) -> None:
        """Raises Refused: a time at which no answer is begun."""
        if self.state != "open":
            raise request_limits.http_error(503, self._describe_state(), self.state)

    @asynccontextmanager
    async def register_client(self, client: ClientStream) -> AsyncIterator[None]:
        """A place among those who are served. Raises Refused where there is none, for all or for this key."""
        if len(self.clients) >= self.limits.open_answers:
            raise request_limits.http_error(
                429, f"{self.limits.open_answers:,} lines are open, which is all: try again", "busy"
            )
        each = self.limits.answers_per_key
        if self.keys and len(self.keys) > 1 and sum(one.key_name == client.key_name for one in self.clients) >= each:
            raise request_limits.http_error(
                429, f"this key has {each:,} lines open, which is all it may: try again", "share"
            )
        self.clients.add(client)
        try:
            yield
        finally:
            self.clients.discard(client)
            if not self.clients:
                self._has_no_clients.set()

    def model_info(self) -> response.ModelInfo:
        return response.ModelInfo(
            self.name, context=self.model.context, alphabets=self._alphabets, vocabulary=self._vocabulary_hash
        )

    def _describe_state(self) -> str:
        return {
            "loading": f"the model {self.name} is still being loaded",
            "draining": "the server is going down: ask another",
            "failed": f"the model {self.name} could not be loaded",
        }[self.state]

    async def _get_models(self, request: Request) -> Response:
        name = request.path_params.get("name")
        if name is None:
            return JSONResponse(response.encode_models([self.model_info()]))
        if name != self.name:
            raise request_limits.http_error(404, f"there is one model here: {self.name}", "model_not_found", "model")
        return JSONResponse(self.model_info().to_json())

    async def _get_health(self, request: Request) -> Response:
        if self.state == "open":
            return JSONResponse({"status": "ok"})
        again = {"Retry-After": str(request_limits.RETRY_AFTER_S)}
        return JSONResponse({"status": self.state, "doing": self._describe_state()}, 503, again)

    async def _get_metrics(self, request: Request) -> Response:
        gauges = {
            "up": float(self.state == "open"),
            "lines": float(len(self.clients)),
            "uptime_seconds": round(time.monotonic() - self._started_at, 3),
            **self._gauges(),
        }
        counters = self.model.counters() if self.state in ("open", "draining") else None
        text = metrics.render_metrics(counters=counters, requests=self.request_counts, gauges=gauges)
        return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE})


def create_app(model: MonitoredModel, *, name: str, **more: Any) -> Starlette:
    """The app by itself, for what runs its own loop: `more` is as of Server. It loads, and closes, the batch itself.

    Its `state.sound` raises what the engine has failed by.
    """
    server = CompletionServer(model, name=name, **more)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await server.open_when_loaded()
        try:
            yield
        finally:
            await server.drain(CANCEL_GRACE_S)
            await model.close()

    server.app.router.lifespan_context = lifespan
    server.app.state.sound = model.check_alive
    return server.app


class _CompletionsEndpoint:
    """`/v1/completions`: a request, and the answer as it comes, or whole."""

    def __init__(self, server: CompletionServer) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server, line = self._server, scope["state"]["line"]
        async with server.register_client(line):  # before the body, which may be slow
            asked = request_limits.parse_request(
                await request_limits.read_body(scope, receive, server.limits, server.body_budget), server.limits
            )
            if asked.model not in ("", server.name):
                raise request_limits.http_error(
                    404, f"there is one model here: {server.name}", "model_not_found", "model"
                )
            server.require_open()
            asked = _scope_conversation(asked, line.who)
            leaving = asyncio.ensure_future(_cancel_on_disconnect(receive, line))
            try:
                base = response.CompletionChunk(f"cmpl-{secrets.token_hex(12)}", int(time.time()), server.name)
                await CompletionResponse(asked, server.model, line, server.limits, base).respond(scope, receive, send)
            except ModelError as error:
                raise log_and_convert(error) from None
            except StreamCancelled as cut:
                if cut.reason == "gone":
                    raise request_limits.Gone from None
                raise request_limits.http_error(503, "the server is going down: ask another", "draining") from None
            finally:
                leaving.cancel()


def _scope_conversation(request: response.OpenAIRequest, key_name: str) -> response.OpenAIRequest:
    """With a conversation that nobody else has, whatever he calls his."""
    name = request.completion.conversation
    return (
        replace(request, completion=replace(request.completion, conversation=f"{key_name}\n{name}"))
        if key_name and name
        else request
    )


async def _cancel_on_disconnect(receive: Receive, client: ClientStream) -> None:
    with suppress(Exception):  # Ray's proxy raises instead of saying so
        while (await receive())["type"] != "http.disconnect":
            pass
    client.cancel("gone")


async def _handle_http_error(request: Request, error: Exception) -> Response:
    refused = request_limits.error_for_route(error) if isinstance(error, HTTPException) else error
    assert isinstance(refused, HttpError)
    return refused.to_response()
