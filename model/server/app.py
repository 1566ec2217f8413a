"""The ASGI application of one model: completions, chat completions, models, health and metrics."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from model.dialogue import Speakers
from model.errors import ModelError
from model.interface import CompletionRequest
from model.openai_api.chat_request import PLAIN_SPEAKERS
from model.openai_api.models import ModelInfo, encode_models
from model.openai_api.request import OpenAIRequest
from model.openai_api.response import CompletionChunk
from model.server import metrics, refusals, say_request
from model.server.api_keys import ApiKeys
from model.server.completion_response import CompletionBackend, CompletionResponse, convert_model_error
from model.server.cors import cors_middleware
from model.server.limits import DEFAULT_LIMITS, BodyBudget, RequestLimits, parse_request, read_body
from model.server.middleware import AccessMiddleware, bearer_key, reject_browsers, reject_smuggling
from model.server.open_answers import OpenAnswers
from model.server.refusals import HttpError, StreamCancelled
from model.server.say_endpoint import SayEndpoint
from model.server.say_response import robots_response
from model.server.streaming import ClientStream, cancel_on_disconnect

ServerState = Literal["loading", "open", "draining", "failed"]
CANCEL_GRACE_S = 2.0  # to send the last event of cancelled answers

log = logging.getLogger("asr33.serve")


class ServedModel(CompletionBackend, Protocol):
    """A model that the server can load, watch and close. `BatchModel` implements it."""

    @property
    def context(self) -> int: ...
    async def wait_until_loaded(self) -> None: ...
    def counters(self) -> object: ...
    async def close(self) -> None: ...


class MonitoredModel(ServedModel, Protocol):
    """A model whose engine can be checked: `check_alive` raises the engine's error."""

    async def check_alive(self) -> None: ...


class CompletionServer:
    """The application and its state: the model, the clients with an open answer, and the server's state."""

    def __init__(
        self,
        model: ServedModel,
        *,
        name: str,
        keys: ApiKeys | None = None,
        limits: RequestLimits = DEFAULT_LIMITS,
        vocabulary: str = "",
        alphabets: Sequence[str] = (),
        speakers: Speakers = PLAIN_SPEAKERS,
        cors_origins: Sequence[str] = (),
        gauges: Callable[[], Mapping[str, float]] = dict,
        max_say: int = 4,
    ) -> None:
        """`vocabulary` is the hash of the tokenizer. In a chat, `speakers` are the assistant and the user.

        Pages of the `cors_origins` may ask with a key; without `keys` no page may. `gauges` returns the caller's
        numbers for `/metrics`. `max_say` answers at once are made for `/say`, a quarter of them for one caller.
        """
        self.speakers, self._cors_origins = speakers, cors_origins
        self.model, self.name, self.limits, self.keys = model, name, limits, keys
        self.state: ServerState = "loading"
        self.answers = OpenAnswers(limits, lambda: keys is not None and len(keys) > 1)
        self.body_budget = BodyBudget(limits.all_bodies_bytes)
        self.request_counts: Counter[tuple[str, int]] = Counter()
        self._vocabulary, self._alphabets, self._gauges = vocabulary, tuple(alphabets), gauges
        self._say_endpoint = SayEndpoint(model, self.answers, speakers, name, limits.prompt_chars, max_say)
        self._started_at = time.monotonic()
        self.app = self._build_app()

    async def open_when_loaded(self) -> None:
        """Waits for the model, then accepts requests. Raises ModelError if the model cannot be loaded."""
        try:
            await self.model.wait_until_loaded()
        except BaseException:
            self.state = "failed"
            raise
        if self.state == "loading":
            self.state = "open"

    async def drain(self, seconds: float) -> None:
        """Refuses new requests, waits `seconds` for open answers, then cancels the others with a last event."""
        self.state = "draining"
        if not await self.answers.wait_until_none(seconds):
            log.info("asr33: %d answers are cancelled; their clients can resume elsewhere", self.answers.count)
            self.answers.cancel_all("down")
            await self.answers.wait_until_none(CANCEL_GRACE_S)

    @property
    def clients(self) -> set[ClientStream]:
        """The clients with an open answer."""
        return self.answers.clients

    def _build_app(self) -> Starlette:
        app = Starlette(
            routes=[
                Route("/v1/completions", _CompletionsEndpoint(self, is_chat=False), methods=["POST"]),
                Route("/v1/chat/completions", _CompletionsEndpoint(self, is_chat=True), methods=["POST"]),
                Route("/v1/models", self._get_models),
                Route("/v1/models/{name:path}", self._get_models),
                Route(say_request.PATH, self._say_endpoint, methods=["GET"]),
                Route("/robots.txt", _get_robots),
                Route("/health", self._get_health),
                Route("/metrics", self._get_metrics),
            ],
            middleware=[
                *cors_middleware(self._cors_origins),
                Middleware(AccessMiddleware, admit=self.admit, requests=self.request_counts),
            ],
            exception_handlers={HTTPException: _handle_routing_error},
        )
        app.router.redirect_slashes = False
        return app

    def admit(self, scope: Scope) -> str:
        """Returns the name of the request's API key. Raises HttpError if the request is refused."""
        reject_smuggling(scope)
        if scope["path"] in ("/health", "/robots.txt"):
            return ""
        key_name: str | None
        if self.keys is None:
            reject_browsers(scope)
            key_name = ""
        else:
            key = bearer_key(scope)
            key_name = self.keys.name_of(key) if key else None
            if key_name is None:
                raise (refusals.UNKNOWN_KEY if key else refusals.NO_KEY).error()
        if scope["path"].startswith("/v1/") or scope["path"] == say_request.PATH:
            self.require_open()
        return key_name

    def require_open(self) -> None:
        """Raises HttpError unless the server's state is "open"."""
        if self.state != "open":
            raise refusals.NOT_OPEN[self.state].error(self.name)

    async def _get_models(self, request: Request) -> Response:
        name = request.path_params.get("name", self.name)
        if name != self.name:
            raise refusals.UNKNOWN_MODEL.error(self.name)
        info = ModelInfo(
            name,
            context=self.model.context,
            alphabets=self._alphabets,
            vocabulary=self._vocabulary,
            speakers=self.speakers.others,
            persona=self.speakers.persona,
        )
        return JSONResponse(info.to_json() if "name" in request.path_params else encode_models([info]))

    async def _get_health(self, request: Request) -> Response:
        try:
            self.require_open()
        except HttpError as error:
            return JSONResponse({"status": self.state, "doing": error.failure.message}, 503, error.headers)
        return JSONResponse({"status": "ok"})

    async def _get_metrics(self, request: Request) -> Response:
        gauges = {
            "up": float(self.state == "open"),
            "lines": float(self.answers.count),
            "uptime_seconds": round(time.monotonic() - self._started_at, 3),
            **self._gauges(),
        }
        counters = self.model.counters() if self.state in ("open", "draining") else None
        text = metrics.render_metrics(counters=counters, requests=self.request_counts, gauges=gauges)
        return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE})


def create_app(model: MonitoredModel, *, name: str, **options: Any) -> Starlette:
    """Returns the application for a server with its own event loop, such as Ray's. `options` are CompletionServer's.

    The lifespan of the application loads and closes the model. `state.check_alive` is the model's.
    """
    server = CompletionServer(model, name=name, **options)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await server.open_when_loaded()
        try:
            yield
        finally:
            await server.drain(CANCEL_GRACE_S)
            await model.close()

    server.app.router.lifespan_context = lifespan
    server.app.state.check_alive = model.check_alive
    return server.app


class _CompletionsEndpoint:
    """Reads the request at `/v1/completions` or `/v1/chat/completions` and sends its answer."""

    def __init__(self, server: CompletionServer, *, is_chat: bool) -> None:
        self._server, self._speakers = server, server.speakers if is_chat else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server, client = self._server, scope["state"]["client"]
        async with server.answers.register(client):  # before the body, which may arrive slowly
            body = await read_body(scope, receive, server.limits, server.body_budget)
            request = parse_request(body, server.limits, self._speakers)
            if request.model not in ("", server.name):
                raise refusals.UNKNOWN_MODEL.error(server.name)
            server.require_open()
            server.answers.register_choices(client, len(request.choices))
            request = _complete_request(request, client.key_name, server.model, server.limits.max_tokens)
            kind = "chatcmpl" if request.is_chat else "cmpl"
            template = CompletionChunk(f"{kind}-{secrets.token_hex(12)}", int(time.time()), server.name)
            answer = CompletionResponse(request, server.model, client, server.limits, template)
            watcher = asyncio.ensure_future(cancel_on_disconnect(receive, client))
            try:
                await answer.respond(scope, receive, send)
            except ModelError as error:
                raise convert_model_error(error) from None
            except StreamCancelled as cancelled:
                if cancelled.reason == "gone":
                    raise
                raise refusals.NOT_OPEN["draining"].error() from None
            finally:
                watcher.cancel()


async def _get_robots(request: Request) -> Response:
    return robots_response()


def _complete_request(request: OpenAIRequest, key_name: str, model: ServedModel, max_tokens: int) -> OpenAIRequest:
    """Adds what only the server knows to each choice.

    The key's name becomes part of the conversation's, so that two API keys may use the same name. An answer that may
    fill the context gets the tokens that are left in it, `max_tokens` at most.
    """

    def complete(choice: CompletionRequest) -> CompletionRequest:
        if request.fills_context:
            left = max(1, min(max_tokens, model.context - 1 - model.count_tokens(choice.prompt)))
            choice = replace(choice, sampling=replace(choice.sampling, max_tokens=left))
        if key_name and choice.conversation:
            choice = replace(choice, conversation=f"{key_name}\n{choice.conversation}")
        return choice

    first, *further = map(complete, request.choices)
    return replace(request, completion=first, further_choices=tuple(further))


async def _handle_routing_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusals.error_for_route(error).to_response()
