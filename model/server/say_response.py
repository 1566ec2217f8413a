"""The reply to a GET at `/say`: plain text as it is made, or JSON when it is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from model.interface import CompletionRequest, FinishReason, TextChunk
from model.openai_api.fields import InvalidRequest
from model.server import refusals
from model.server.caller_queue import QueueFull
from model.server.refusals import HttpError, StreamCancelled
from model.server.say_request import PATH, ROBOTS_HEADER, ROBOTS_TEXT, SayRequest, SayText
from model.server.streaming import ClientStream, cancel_on_disconnect, with_keepalive

Generate = Callable[[CompletionRequest], AsyncGenerator[TextChunk, None]]
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # otherwise nginx holds the text back
    "X-Content-Type-Options": "nosniff",
    ROBOTS_HEADER[0]: ROBOTS_HEADER[1],
}


@dataclass(slots=True)
class _Answer:
    text: str = ""
    finish_reason: FinishReason | None = None
    token_count: int = 0


def wants_json(scope: Scope) -> bool:
    return "application/json" in Headers(scope=scope).get("accept", "").lower()


def robots_response() -> Response:
    """Tells robots to stay away."""
    return PlainTextResponse(ROBOTS_TEXT)


def refuse(scope: Scope, error: HttpError) -> Response:
    """Returns a refusal as a line of text; as JSON if the caller wants that, or did not ask for `/say`."""
    if scope["path"].rpartition("/")[2] != PATH[1:] or wants_json(scope):
        return error.to_response()
    return PlainTextResponse(f"{error.failure.message}\n", error.failure.status, error.headers)


def queue_error(full: QueueFull) -> HttpError:
    """The answer to a caller who has a place in line."""
    refusal = refusals.SAY_OWN if full.own_limit else refusals.SAY_FULL
    return refusal.error(full.place, full.retry_after_s, full.own_limit).in_line(full.place, full.retry_after_s)


def request_error(error: InvalidRequest) -> HttpError:
    """The answer to a query with an invalid field."""
    return refusals.error_for_request(error.field, str(error), error.status)


async def send_answers(
    say: SayRequest,
    model_name: str,
    generate: Generate,
    client: ClientStream,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Sends the answers until the client is gone. An error before the first byte is raised; a later one cuts the body.

    A caller who has sent the whole request and closes the connection is gone at once.
    """
    scope.setdefault("state", {})["ends_at_eof"] = True
    if scope["method"] == "HEAD":
        await PlainTextResponse(headers=HEADERS)(scope, receive, send)
        return
    has_started = False

    async def send_and_note(message: Message) -> None:
        nonlocal has_started
        has_started = True
        await send(message)

    watcher = asyncio.ensure_future(cancel_on_disconnect(receive, client))
    try:
        if wants_json(scope):
            answers = [answer async for answer in _whole_answers(say, generate, client)]
            body = encode_answers(say, model_name, answers)
            await JSONResponse(body, headers=HEADERS)(scope, receive, send_and_note)
        else:
            await _send_text(say, generate, client, send_and_note)
    except StreamCancelled as cancelled:
        if has_started or cancelled.reason == "gone":
            raise
        raise refusals.NOT_OPEN["draining"].error() from None
    finally:
        watcher.cancel()


def encode_answers(say: SayRequest, model_name: str, answers: list[_Answer]) -> dict[str, Any]:
    """Returns the JSON of whole answers. `place` is 0: they were made at once."""
    items = [
        {"text": answer.text, "finish_reason": answer.finish_reason, "tokens": answer.token_count} for answer in answers
    ]
    return {"model": model_name, "persona": say.persona, "seed": say.seed, "place": 0, "answers": items}


async def _send_text(say: SayRequest, generate: Generate, client: ClientStream, send: Send) -> None:
    has_started = False
    for number, request in enumerate(say.answers):
        separator = "\n" if number else ""
        async with aclosing(_texts(request, say.persona_tag, generate, client)) as texts:
            async for text, _ in texts:
                if not has_started:
                    has_started = True
                    headers = {"Content-Type": "text/plain; charset=utf-8", **HEADERS}
                    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
                    await send({"type": "http.response.start", "status": 200, "headers": raw})
                if text:
                    await send({"type": "http.response.body", "body": (separator + text).encode(), "more_body": True})
                    separator = ""
        await send({"type": "http.response.body", "body": (separator + "\n").encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _whole_answers(say: SayRequest, generate: Generate, client: ClientStream) -> AsyncGenerator[_Answer, None]:
    for request in say.answers:
        answer = _Answer()
        async with aclosing(_texts(request, say.persona_tag, generate, client)) as texts:
            async for text, chunk in texts:
                answer.text += text
                answer.token_count += len(chunk.tokens)
                answer.finish_reason = chunk.finish_reason or answer.finish_reason
        yield answer


async def _texts(
    request: CompletionRequest, persona_tag: str, generate: Generate, client: ClientStream
) -> AsyncGenerator[tuple[str, TextChunk], None]:
    """Yields the text of each chunk, and the chunk. Raises StreamCancelled when the client is gone."""
    said = SayText(request, persona_tag)
    async with aclosing(with_keepalive([generate(request)], client, None, None)) as chunks:
        async for item in chunks:
            if item is not None:
                client.token_count += len(item[1].tokens)
                yield said.feed(item[1]), item[1]
