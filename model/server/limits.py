"""The limits of a request, and the reading of its body within them. It knows nothing of the model."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from model.dialogue import Speakers
from model.openai_api.chat_request import parse_chat
from model.openai_api.fields import InvalidRequest
from model.openai_api.request import OpenAIRequest
from model.server import refusals
from model.server.refusals import StreamCancelled


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The largest request and the most answers. `answers_per_key` matters only to a server with several keys."""

    open_answers: int = 1024
    body_bytes: int = 65_536
    prompt_chars: int = 32_768
    max_tokens: int = 4096
    answers_per_key: int = 32
    all_bodies_bytes: int = 64 << 20  # of all bodies that are arriving
    body_timeout_s: float = 20.0  # for a whole body
    first_chunk_s: float = 1.0  # an answer that fails within this time gets an HTTP status for its error
    keepalive_s: float = 10.0  # the longest time without an event in a stream


DEFAULT_LIMITS = RequestLimits()


class BodyBudget:
    """Counts the bytes of all bodies that are arriving."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._reserved = max_bytes, 0

    def reserve(self, size: int) -> None:
        """Raises HttpError if the budget is exceeded; the caller releases the bytes in any case."""
        self._reserved += size
        if self._reserved > self._max_bytes:
            raise refusals.BODIES_FULL.error()

    def release(self, size: int) -> None:
        self._reserved -= size


async def read_body(scope: Scope, receive: Receive, limits: RequestLimits, budget: BodyBudget) -> bytes:
    """Reads a whole body, and counts it in `budget` meanwhile. Raises HttpError, StreamCancelled on a disconnect."""
    announced = Headers(scope=scope).get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limits.body_bytes:
        raise refusals.LARGE_BODY.error(limits.body_bytes)
    data, has_more = bytearray(), True
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            while has_more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise StreamCancelled("gone")
                part, has_more = message.get("body", b""), message.get("more_body", False)
                data += part
                budget.reserve(len(part))
                if len(data) > limits.body_bytes:
                    raise refusals.LARGE_BODY.error(limits.body_bytes)
    except TimeoutError:
        raise refusals.SLOW_BODY.error(limits.body_timeout_s) from None
    finally:
        budget.release(len(data))
    return bytes(data)


def parse_request(data: bytes, limits: RequestLimits, speakers: Speakers | None = None) -> OpenAIRequest:
    """Decodes a request, of a chat if it gets speakers. Raises HttpError if it is invalid or beyond the limits."""
    try:
        body, seed = json.loads(data), secrets.randbelow(1 << 31)
        request = OpenAIRequest.from_json(body, seed) if speakers is None else parse_chat(body, speakers, seed)
    except InvalidRequest as error:
        raise refusals.error_for_request(error.field, str(error), error.status) from None
    except (ValueError, RecursionError):
        raise refusals.NOT_JSON.error() from None
    completion = request.completion
    if max(len(choice.prompt) for choice in request.choices) > limits.prompt_chars:
        raise refusals.LARGE_PROMPT.error(limits.prompt_chars)
    if completion.sampling.max_tokens > limits.max_tokens and not request.fills_context:
        raise refusals.MANY_TOKENS.error(limits.max_tokens)
    if len(completion.resume_tokens) > limits.max_tokens:  # the engine computes each of them again
        raise refusals.MANY_RESUMED.error(limits.max_tokens)
    return request
