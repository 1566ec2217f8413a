"""Every refusal of the server: HTTP status, code, message, Retry-After; in the shape of OpenAI's errors."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from model.errors import InvalidParameter, ModelError, PromptTooLong
from model.openai_api.response import ErrorInfo

ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable_error",
}
RETRY_AFTER_S = 1
# Beside those that Python makes a ConnectionError: the far end is gone, or the network to it.
LOST_CONNECTION_ERRORS = {
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
}

CancelReason = Literal["gone", "down"]


class StreamCancelled(Exception):
    """The answer ends early: the client is gone, or the server is shutting down."""

    def __init__(self, reason: CancelReason) -> None:
        super().__init__(reason)
        self.reason = reason


class HttpError(Exception):
    """A request is refused; the exception has the answer."""

    def __init__(self, failure: ErrorInfo, headers: Mapping[str, str], slows: bool = False) -> None:
        """`slows`: the answer is held back, so that the client cannot try again at once."""
        super().__init__(failure.message)
        self.failure, self.headers, self.slows = failure, headers, slows
        self.place = 0  # in line; 0: in none

    def to_response(self) -> JSONResponse:
        place = {"place": self.place} if self.place else {}
        return JSONResponse({**self.failure.to_json(), **place}, self.failure.status, self.headers)

    def in_line(self, place: int, retry_after_s: int) -> HttpError:
        """Returns the refusal of a caller who has this place in line."""
        error = HttpError(self.failure, {**self.headers, "Retry-After": str(retry_after_s)})
        error.place = place
        return error


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason to refuse a request. `message` is a format for the arguments of `error`."""

    status: int
    code: str
    message: str
    param: str = ""
    retry_after_s: int | None = None
    closes: bool = False  # whether the answer ends the connection
    slows: bool = False  # whether the answer is held back

    def error(self, *args: object, param: str = "") -> HttpError:
        """Returns the exception to raise."""
        kind = ERROR_TYPES.get(self.status, "invalid_request_error")
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.closes:
            headers["Connection"] = "close"
        message = self.message.format(*args)
        return HttpError(ErrorInfo(self.status, kind, message, self.code, param or self.param), headers, self.slows)


# Connections (sent by http.server):
CONNECTIONS_FULL = Refusal(503, "busy", "all connections are taken: try again", retry_after_s=5)
SLOW_HEADER = Refusal(408, "slow_header", "the header took too long: send it at once")
# Access:
TWO_LENGTHS = Refusal(400, "not_http", "Content-Length and Transfer-Encoding: send one of them", closes=True)
BROWSER = Refusal(403, "browser", "no requests from web pages: --keys FILE lists the clients that may ask")
NO_KEY = Refusal(401, "invalid_api_key", "a key is needed: Authorization: Bearer KEY")
UNKNOWN_KEY = Refusal(401, "invalid_api_key", "this key is not known here", slows=True)
MANY_WRONG_KEYS = Refusal(429, "wrong_keys", "too many wrong keys: send a right one", retry_after_s=5)
PATHS = "/v1/completions, /v1/chat/completions, /v1/models, /say, /health, /metrics"
NO_ROUTE = Refusal(404, "", f"nothing is at this path: try {PATHS}")
NO_METHOD = Refusal(405, "", "not with this method: POST /v1/completions, /v1/chat/completions; GET all else")
UNKNOWN_MODEL = Refusal(404, "model_not_found", "there is one model here: {}", "model")
# By the state of the server, which is also the code:
NOT_OPEN = {
    "loading": Refusal(503, "loading", "the model {} is still being loaded", retry_after_s=RETRY_AFTER_S),
    "draining": Refusal(503, "draining", "the server is going down: ask another", retry_after_s=RETRY_AFTER_S),
    "failed": Refusal(503, "failed", "the model {} could not be loaded", retry_after_s=RETRY_AFTER_S),
}
# Load:
ANSWERS_FULL = Refusal(429, "busy", "all {:,} answers are open: try again", retry_after_s=RETRY_AFTER_S)
KEY_FULL = Refusal(429, "share", "this key has all its {:,} answers open: try again", retry_after_s=RETRY_AFTER_S)
MANY_CHOICES = Refusal(422, "unfit", "n: at most {:,} answers of one request here", "n")
SAY_FULL = Refusal(429, "busy", "all answers are taken: you are number {0} in line, ask again in {1} s")
SAY_OWN = Refusal(429, "share", "you have your {2} answers open: you are number {0} in line, ask again in {1} s")
QUEUE_FULL = Refusal(429, "busy", "{}", retry_after_s=RETRY_AFTER_S)
BODIES_FULL = Refusal(503, "busy", "too many bytes arrive at once: try again", retry_after_s=RETRY_AFTER_S)
# The body and its fields:
SLOW_BODY = Refusal(408, "slow_body", "the body took over {:g} seconds: send it at once")
LARGE_BODY = Refusal(413, "body_too_large", "the body is over {:,} bytes: shorten it")
NOT_JSON = Refusal(400, "not_json", "the body is not JSON in UTF-8")
LARGE_PROMPT = Refusal(400, "context_length_exceeded", "prompt: over {:,} characters; send its end alone", "prompt")
LONG_PROMPT = Refusal(400, "context_length_exceeded", "{}", "prompt")
MANY_TOKENS = Refusal(422, "unfit", "max_tokens: at most {:,} here", "max_tokens")
MANY_RESUMED = Refusal(422, "unfit", "said: at most {:,} tokens here", "said")
UNSUPPORTED_VALUE = Refusal(422, "unfit", "{}")
# Failures:
MODEL_FAILED = Refusal(500, "model_failed", "the model failed; the server's log says how")
SERVER_FAILED = Refusal(500, "server_failed", "the server failed; its log says where")


def error_for(error: ModelError) -> HttpError:
    """The answer to an error of the model."""
    if isinstance(error, PromptTooLong):
        return LONG_PROMPT.error(error)
    if isinstance(error, InvalidParameter):
        return UNSUPPORTED_VALUE.error(error, param=error.param)
    if error.kind == "busy":
        return QUEUE_FULL.error(error)
    return MODEL_FAILED.error()


def error_for_route(error: HTTPException) -> HttpError:
    """The answer to a path or a method that does not exist."""
    refusal = {404: NO_ROUTE, 405: NO_METHOD}.get(error.status_code, Refusal(error.status_code, "", "{}"))
    http_error = refusal.error(error.detail)
    return HttpError(http_error.failure, {**http_error.headers, **(error.headers or {})})


def error_for_request(field: str, message: str, status: int) -> HttpError:
    """The answer to a field with an invalid value."""
    return Refusal(status, "unfit", "{}", field).error(message)


def malformed_http(status: int) -> HttpError:
    """The answer to bytes that are not HTTP."""
    return Refusal(status, "not_http", HTTPStatus(status).phrase.lower()).error()


def is_lost_connection(error: BaseException | None) -> bool:
    """Whether the error says only that a client has gone, which a client may do at any moment."""
    return isinstance(error, ConnectionError) or (isinstance(error, OSError) and error.errno in LOST_CONNECTION_ERRORS)


def error_location(error: BaseException) -> str:
    """The class and the place of an error, for the log, because its message could hold an operator's words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{type(error).__name__} at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
