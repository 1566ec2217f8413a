"""What comes in at a server's door: how much of it at most, how long it may take, and how it is told no.

Knows the limits and OpenAI's shape of an error; nothing of the model behind.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope

from model import errors
from model.openai_api import response
from model.openai_api.response import ErrorInfo

RETRY_AFTER_S = 1  # after which one who was sent away may try again
ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable_error",
}


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """At most so many answers at once, bytes of a body, characters of a prompt, tokens of an answer; and patience.

    `each` is how many of the answers one key may have open, where there are several keys; `bodies` what all that are
    just coming in may have together.
    """

    open_answers: int = 1024
    body_bytes: int = 65_536
    prompt_chars: int = 32_768
    max_tokens: int = 4096
    answers_per_key: int = 32
    all_bodies_bytes: int = 64 << 20
    body_timeout_s: float = 20.0  # for the whole of a body
    first_chunk_s: float = 1.0  # within which an answer that fails has a status of its own
    keepalive_s: float = 10.0  # a stream is not silent for longer


DEFAULT_LIMITS = RequestLimits()


class HttpError(Exception):
    """A request that is not answered, and why."""

    def __init__(self, failure: ErrorInfo, headers: Mapping[str, str]) -> None:
        super().__init__(failure.message)
        self.failure, self.headers = failure, headers

    def to_response(self) -> JSONResponse:
        return JSONResponse(self.failure.to_json(), self.failure.status, self.headers)


class BodyBudget:
    """The bytes of all bodies that are coming in, and how many they may be."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._reserved = max_bytes, 0

    def reserve(self, size: int) -> None:
        """Raises Refused."""
        self._reserved += size
        if self._reserved > self._max_bytes:
            raise http_error(503, "too much comes in at once: try again", "busy")

    def release(self, size: int) -> None:
        self._reserved -= size


class Gone(Exception):
    """Whoever asked is not there any more."""


def http_error(status: int, message: str, code: str = "", param: str = "") -> HttpError:
    """With the type that OpenAI gives such a status, and what HTTP wants beside it."""
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return HttpError(ErrorInfo(status, ERROR_TYPES.get(status, "invalid_request_error"), message, code, param), headers)


def error_for(error: errors.ModelError) -> HttpError:
    """What the model says no to; whose fault it is decides the status."""
    if isinstance(error, errors.PromptTooLong):
        return http_error(400, str(error), "context_length_exceeded", "prompt")
    if isinstance(error, errors.NoSuchAlphabet):
        return http_error(422, str(error), "unfit", "alphabet")
    if isinstance(error, errors.NoSuchToken):
        return http_error(422, str(error), "unfit", "said")
    if error.exit_code == 75:  # EX_TEMPFAIL: it may be different in a moment
        return http_error(429, str(error), "busy")
    return http_error(500, "the model failed; the server's log says how", "model_failed")


def error_for_route(error: HTTPException) -> HttpError:
    """A path or a method that is not there, in the same shape."""
    what = {
        404: "nothing is at this path: try /v1/completions, /v1/models, /health, /metrics",
        405: "not with this method: POST /v1/completions, GET all else",
    }
    made = http_error(error.status_code, what.get(error.status_code, error.detail))
    return HttpError(made.failure, {**made.headers, **(error.headers or {})})


def request_path(target: str) -> str:
    """The path of a request's target, which may be a whole URL (RFC 9112 3.2.2)."""
    scheme, colon, rest = target.partition("://")
    return "/" + rest.partition("/")[2] if colon and "/" not in scheme else target


def reject_smuggling(scope: Scope) -> None:
    """Raises Refused: a body with two lengths, of which whoever stands between us may believe the other."""
    names = {bytes(name).lower() for name, _ in scope["headers"]}
    if {b"content-length", b"transfer-encoding"} <= names:
        no = http_error(400, "Content-Length and Transfer-Encoding: one of them", "not_http")
        raise HttpError(no.failure, {**no.headers, "Connection": "close"})


def reject_browsers(scope: Scope) -> None:
    """Raises Refused: where no key is asked for, any page in a browser of this computer could make it work."""
    if any(bytes(name).lower() == b"origin" for name, _ in scope["headers"]):
        raise http_error(403, "not from a page in a browser: --keys FILE says who may ask", "browser")


def bearer_key(scope: Scope) -> str | None:
    """The key that a request shows."""
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            kind, _, key = bytes(value).partition(b" ")
            return key.strip().decode("latin-1") if kind.lower() == b"bearer" else None
    return None


async def read_body(scope: Scope, receive: Receive, limits: RequestLimits, budget: BodyBudget) -> bytes:
    """All of a body, counted as it comes. Raises Refused, Gone."""
    if _announced_length(scope) > limits.body_bytes:
        raise _body_too_large(limits)
    got = bytearray()
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            while await _read_part(receive, got, budget):
                if len(got) > limits.body_bytes:
                    raise _body_too_large(limits)
    except TimeoutError:
        raise http_error(408, f"a body that took over {limits.body_timeout_s:g} seconds", "slow_body") from None
    finally:
        budget.release(len(got))
    if len(got) > limits.body_bytes:
        raise _body_too_large(limits)
    return bytes(got)


async def _read_part(receive: Receive, data: bytearray, budget: BodyBudget) -> bool:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    part = message.get("body", b"")
    data += part
    budget.reserve(len(part))
    return bool(message.get("more_body", False))


def _body_too_large(limits: RequestLimits) -> HttpError:
    return http_error(413, f"a body of over {limits.body_bytes:,} bytes", "body_too_large")


def parse_request(data: bytes, limits: RequestLimits) -> response.OpenAIRequest:
    """What a body asks for, within the limits. Raises Refused."""
    try:
        asked = response.OpenAIRequest.from_json(json.loads(data), default_seed=secrets.randbelow(1 << 31))
    except response.InvalidRequest as unfit:
        raise http_error(unfit.status, str(unfit), "unfit", unfit.field) from None
    except (ValueError, RecursionError):
        raise http_error(400, "the body is not JSON in UTF-8", "not_json") from None
    if len(asked.completion.prompt) > limits.prompt_chars:
        why = f"prompt: over {limits.prompt_chars:,} characters; send its end alone"
        raise http_error(400, why, "context_length_exceeded", "prompt")
    if asked.completion.sampling.max_tokens > limits.max_tokens:
        raise http_error(422, f"max_tokens: at most {limits.max_tokens:,} here", "unfit", "max_tokens")
    if len(asked.completion.resume_tokens) > limits.max_tokens:  # each of them is read again
        raise http_error(422, f"said: at most {limits.max_tokens:,} tokens here", "unfit", "said")
    return asked


def _announced_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0
