"""The reply of `/v1/completions`, both directions: whole bodies and the events of a stream. Pure.

Decoding accepts the deviations of other servers: empty `choices`, no `text`, a usage in any chunk, an error in the
middle of a stream.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from model.interface import FinishReason
from model.openai_api.fields import INT32_MAX, Fields
from model.openai_api.sse import MalformedResponse
from model.printable import quote_briefly

PING = b": ping\n\n"
MAX_ERROR_CHARS = 300  # of an error message from another server
_FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)
_LENGTH_FINISH_REASONS = ("length", "context")  # OpenAI's "length"; the others are OpenAI's "stop"
_FAILED_FINISH_REASONS = ("abort", "error")  # of vLLM, for an answer that it could not finish


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts. `cached_tokens`: tokens of the prompt that were in a cache, 0 if unknown."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens} if self.cached_tokens else None,
        }


@dataclass(frozen=True, slots=True)
class CompletionChunk:
    """Part of an answer, or a whole one.

    `is_plain`: the JSON has no object "asr33" with tokens, dropped characters and asr33's own finish reason. `index` is
    the number of the choice. With `logprobs`, `offsets` tells where the text of each token begins, in characters from
    the start of the prompt, `token_texts` has its bytes, and `top_logprobs` the likeliest tokens at its place. A chunk
    that has a usage, and no text, tokens or finish reason, ends a stream.
    """

    id: str
    created: int
    model: str
    text: str = ""
    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    logprobs: tuple[float, ...] = ()
    offsets: tuple[int, ...] = ()
    dropped_chars: int = 0
    usage: Usage | None = None
    is_plain: bool = False
    index: int = 0
    token_texts: tuple[bytes, ...] = ()
    top_logprobs: tuple[tuple[tuple[bytes, float], ...], ...] = ()

    @property
    def openai_finish(self) -> str | None:
        """OpenAI's name of the finish reason."""
        return self.finish_reason and ("length" if self.finish_reason in _LENGTH_FINISH_REASONS else "stop")

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON of a stream's event, or of a whole answer."""
        body = {**self.envelope("text_completion"), "choices": [self.choice_to_json()]}
        if not self.is_plain:
            body["asr33"] = {"tokens": list(self.tokens), "forgotten": self.dropped_chars}
            if self.finish_reason is not None:
                body["asr33"]["finish"] = self.finish_reason
        return body

    def usage_to_json(self) -> dict[str, Any]:
        """Returns the JSON of an event with the usage alone."""
        return {**self.envelope("text_completion"), "choices": []}

    def choice_to_json(self) -> dict[str, Any]:
        logprobs = self._logprobs_to_json() if self.logprobs else None
        return {"index": self.index, "text": self.text, "logprobs": logprobs, "finish_reason": self.openai_finish}

    def envelope(self, kind: str) -> dict[str, Any]:
        """Returns the JSON around the choices. `kind` is OpenAI's type of the object."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "usage": self.usage and self.usage.to_json(),
        }

    def _logprobs_to_json(self) -> dict[str, Any]:
        # Without the bytes of the tokens, vLLM's form.
        texts = [token_text(data) for data in self.token_texts] or [f"token_id:{token}" for token in self.tokens]
        tops = [
            {token_text(data): number for data, number in candidates} | {text: logprob}
            for candidates, text, logprob in zip(self.top_logprobs, texts, self.logprobs, strict=False)
        ]
        return {
            "tokens": texts,
            "token_logprobs": list(self.logprobs),
            "top_logprobs": tops or None,
            "text_offset": list(self.offsets) or None,
        }


def encode_answers(answers: Sequence[CompletionChunk], usage: Usage) -> dict[str, Any]:
    """Returns the JSON of whole answers, the choices of one reply. One answer alone has the object "asr33"."""
    body = replace(answers[0], usage=usage).to_json()
    if len(answers) > 1:
        body["choices"] = [answer.choice_to_json() for answer in answers]
        body.pop("asr33", None)
    return body


def token_text(data: bytes) -> str:
    """Returns the text of a token; in OpenAI's form for half a character, such as `bytes:\\xe2`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error, as a body or as an event of a stream. `kind` is OpenAI's type, such as invalid_request_error."""

    status: int
    kind: str
    message: str
    code: str = ""
    param: str = ""

    def to_json(self) -> dict[str, Any]:
        body = {"message": self.message, "type": self.kind, "param": self.param or None, "code": self.code or None}
        return {"error": {**body, "status": self.status}}


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The event that ends a stream."""


StreamEvent = CompletionChunk | ErrorInfo | StreamEnd


def encode_event(event: StreamEvent) -> bytes:
    """Returns the bytes of one event."""
    if isinstance(event, StreamEnd):
        return b"data: [DONE]\n\n"
    body = event.to_json()
    if isinstance(event, CompletionChunk) and event.usage and not (event.text or event.tokens or event.finish_reason):
        body = event.usage_to_json()
    # json.dumps writes ASCII: two reads never split a character, and no Unicode line separator ends a line.
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def decode_event(data: str) -> StreamEvent:
    """Decodes the data of one event. Raises MalformedResponse."""
    if data.strip() == "[DONE]":
        return StreamEnd()
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedResponse("an event is not JSON") from None
    if not isinstance(fields, Mapping):
        raise MalformedResponse("an event is not an object")
    if fields.get("error") or fields.get("object") == "error":
        return _decode_error(fields, 500)
    return _decode_chunk(fields)


def decode_error(status: int, body: str) -> ErrorInfo:
    """Decodes the body of a reply that is not 200: an error of any server, or a proxy's HTML page."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    return _decode_error(fields if isinstance(fields, Mapping) else {}, status)


def object_or_empty(fields: Fields, name: str) -> Fields:
    """Returns the object of that name, or an empty one."""
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}


def _decode_chunk(fields: Fields) -> StreamEvent:
    choices = fields.get("choices")
    if not isinstance(choices, list):
        raise MalformedResponse("an event has no choices")
    choice = choices[0] if choices else {}
    if not isinstance(choice, Mapping):
        raise MalformedResponse("a choice is not an object")
    reason = choice.get("finish_reason")
    if reason in _FAILED_FINISH_REASONS:
        return ErrorInfo(500, "server_error", "the server gave up on this answer")
    extension, created = object_or_empty(fields, "asr33"), fields.get("created")
    return CompletionChunk(
        id=_get_string(fields, "id"),
        created=created if type(created) is int else 0,
        model=_get_string(fields, "model"),
        text=_decode_text(choice.get("text")),
        tokens=_decode_tokens(extension.get("tokens")),
        finish_reason=_decode_finish(reason, extension.get("finish"), choice.get("stop_reason")),
        logprobs=_decode_logprobs(object_or_empty(choice, "logprobs").get("token_logprobs")),
        dropped_chars=_get_count(extension, "forgotten"),
        usage=_decode_usage(fields.get("usage")),
        is_plain="asr33" not in fields,
    )


def _decode_text(value: object) -> str:
    if value is None:
        return ""
    """Returns the text of a choice, which may begin or end in half a character: see `SurrogateJoiner`."""
    if not isinstance(value, str):
        raise MalformedResponse("the text of a choice is not text")
    return value


def _decode_tokens(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(type(token) is int and token >= 0 for token in value):
        raise MalformedResponse("tokens are not a list of numbers")
    return tuple(value)


def _decode_finish(reason: object, asr33_finish: object, stop_reason: object) -> FinishReason | None:
    if reason is None or reason == "":
        return None
    if not isinstance(reason, str):
        raise MalformedResponse("a finish reason is not text")
    for finish in _FINISH_REASONS:
        if asr33_finish == finish:
            return finish
    if reason == "length":
        return "length"
    return "stop" if isinstance(stop_reason, str) else "end"  # vLLM's stop_reason has the stop string


def _decode_logprobs(value: object) -> tuple[float, ...]:
    numbers = value if isinstance(value, list) else []
    try:
        return tuple(float(number) for number in numbers if isinstance(number, int | float))
    except OverflowError:  # a whole number in JSON may be too large for a float
        raise MalformedResponse("a logprob is out of range") from None


def _decode_usage(value: object) -> Usage | None:
    if not isinstance(value, Mapping):
        return None
    cached = _get_count(object_or_empty(value, "prompt_tokens_details"), "cached_tokens")
    return Usage(_get_count(value, "prompt_tokens"), _get_count(value, "completion_tokens"), cached)


def _decode_error(fields: Fields, status: int) -> ErrorInfo:
    error = fields.get("error") or fields.get("detail") or fields
    info = error if isinstance(error, Mapping) else {"message": error}
    message, code = info.get("message"), info.get("code")
    numbers = (info.get("status"), code)
    status = next((number for number in numbers if type(number) is int and 400 <= number <= 599), status)
    text = quote_briefly(message, MAX_ERROR_CHARS) if isinstance(message, str) else ""
    kind, param = (value if isinstance(value := info.get(key), str) else "" for key in ("type", "param"))
    return ErrorInfo(status, kind, text, code if isinstance(code, str) else "", param)


def _get_string(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _get_count(fields: Fields, name: str) -> int:
    value = fields.get(name)
    return value if type(value) is int and 0 < value <= INT32_MAX else 0
