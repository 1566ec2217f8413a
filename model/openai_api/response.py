"""OpenAI's `/v1/completions`, both directions: what is asked, and each event of what comes back. Pure.

Dataclasses to JSON and back, and the bytes of an event; `model.openai_api.sse` finds the events in a stream. Knows no HTTP and
no clock. What others leave out or add is borne: empty `choices`, empty `text`, a usage in any chunk, an error inside
a stream that began well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from model.interface import FinishReason
from model.openai_api.models import ModelInfo as ModelInfo
from model.openai_api.models import decode_models as decode_models
from model.openai_api.models import encode_models as encode_models
from model.openai_api.request import MAX_TOKEN, is_encodable
from model.openai_api.request import InvalidRequest as InvalidRequest
from model.openai_api.request import OpenAIRequest as OpenAIRequest
from model.openai_api.sse import MalformedResponse as MalformedResponse

PING = b": ping\n\n"
MAX_ERROR_CHARS = 300  # characters of an error that a stranger sent
_FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)
_OPENAI_FINISH_REASONS: dict[FinishReason, str] = {
    "end": "stop",
    "stop": "stop",
    "sentence": "stop",
    "length": "length",
    "context": "length",
}
FAILED_FINISH_REASONS = ("abort", "error")  # how vLLM ends what it could not finish


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens prompt and answer were; so many of the prompt's were in a cache, 0 where nobody counted."""

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
    """A piece of the answer, or all of it. Without `tokens`, `forgotten` and our `finish` from other servers.

    `bare`: the server said nothing of tokens, so it is not one of ours. `usage` has no text of its own where the
    event is nothing but a count. `offsets`, for clients of OpenAI's alone: where each token's text begins, in
    characters from the beginning of the prompt on.
    """

    id: str
    created: int
    model: str
    text: str = ""
    tokens: tuple[int, ...] = ()
    finish: FinishReason | None = None
    logprobs: tuple[float, ...] = ()
    offsets: tuple[int, ...] = ()
    forgotten: int = 0
    usage: Usage | None = None
    is_plain: bool = False

    def to_json(self) -> dict[str, Any]:
        """As an event of a stream or, `usage` and all, as the whole of an answer that is not streamed."""
        body = self._envelope()
        ended = {} if self.finish is None else {"finish": self.finish}
        body["choices"] = [
            {
                "index": 0,
                "text": self.text,
                "logprobs": self._logprobs_to_json() if self.logprobs else None,
                "finish_reason": self.finish and _OPENAI_FINISH_REASONS[self.finish],
            }
        ]
        if not self.is_plain:
            body["asr33"] = {"tokens": list(self.tokens), "forgotten": self.forgotten, **ended}
        return body

    def usage_to_json(self) -> dict[str, Any]:
        """The event after the last that has nothing but the usage."""
        return {**self._envelope(), "choices": []}

    def _envelope(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "usage": self.usage and self.usage.to_json(),
        }

    def _logprobs_to_json(self) -> dict[str, Any]:
        return {
            "tokens": [f"token_id:{token}" for token in self.tokens],  # as vLLM has them on request
            "token_logprobs": list(self.logprobs),
            "top_logprobs": None,
            "text_offset": list(self.offsets) or None,
        }


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error, as a body or inside a stream. `kind` is OpenAI's type: invalid_request_error, server_error ..."""

    status: int
    kind: str
    message: str
    code: str = ""
    param: str = ""

    def to_json(self) -> dict[str, Any]:
        told = {"message": self.message, "type": self.kind, "param": self.param or None, "code": self.code or None}
        return {"error": {**told, "status": self.status}}


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The end of a stream."""


StreamEvent = CompletionChunk | ErrorInfo | StreamEnd


def encode_event(event: StreamEvent) -> bytes:
    """The bytes of one event; a chunk without text, tokens and finish but with a usage is nothing but a count."""
    if isinstance(event, StreamEnd):
        return b"data: [DONE]\n\n"
    count_alone = (
        isinstance(event, CompletionChunk) and event.usage and not (event.text or event.tokens or event.finish)
    )
    body = event.usage_to_json() if count_alone and isinstance(event, CompletionChunk) else event.to_json()
    # ASCII alone: no border between two reads cuts a character, and no line separator of Unicode ends a line.
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def decode_event(data: str) -> StreamEvent:
    """What the data of one event says. Raises Garbled."""
    if data.strip() == "[DONE]":
        return StreamEnd()
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedResponse("an event that is not JSON") from None
    if not isinstance(found, Mapping):
        raise MalformedResponse("an event that is not an object")
    if found.get("error") or found.get("object") == "error":
        return _decode_error(found, 500)
    return _decode_chunk(found)


def decode_error(status: int, body: str) -> ErrorInfo:
    """What is wrong, by the body of an answer that is not 200: an error's shape, or anything, a page in HTML too."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    return _decode_error(found if isinstance(found, Mapping) else {}, status)


def _decode_chunk(fields: Mapping[str, Any]) -> StreamEvent:
    choices = fields.get("choices")
    if not isinstance(choices, list):
        raise MalformedResponse("an event without choices")
    choice = choices[0] if choices else {}
    if not isinstance(choice, Mapping):
        raise MalformedResponse("a choice that is not an object")
    reason = choice.get("finish_reason")
    if reason in FAILED_FINISH_REASONS:
        return ErrorInfo(500, "server_error", "the server gave up on this answer")
    ours, created = _get_object(fields, "asr33"), fields.get("created")
    return CompletionChunk(
        id=str(fields.get("id") or ""),
        created=created if type(created) is int else 0,
        model=str(fields.get("model") or ""),
        text=_decode_text(choice.get("text")),
        tokens=_decode_tokens(ours.get("tokens")),
        finish=_decode_finish(reason, ours.get("finish"), choice.get("stop_reason")),
        logprobs=_decode_logprobs(choice.get("logprobs")),
        forgotten=_get_count(ours, "forgotten"),
        usage=_decode_usage(fields.get("usage")),
        is_plain="asr33" not in fields,
    )


def _decode_text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not is_encodable(value):
        raise MalformedResponse("a text that is none")
    return value


def _decode_tokens(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(type(token) is int and token >= 0 for token in value):
        raise MalformedResponse("tokens that are none")
    return tuple(value)


def _decode_finish(reason: object, asr33_finish: object, stop: object) -> FinishReason | None:
    if reason is None or reason == "":
        return None
    if not isinstance(reason, str):
        raise MalformedResponse("an end that is none")
    for finish in _FINISH_REASONS:
        if asr33_finish == finish:
            return finish
    if reason == "length":
        return "length"
    return "stop" if isinstance(stop, str) else "end"  # vLLM says which string it was


def _decode_logprobs(value: object) -> tuple[float, ...]:
    found = value.get("token_logprobs") if isinstance(value, Mapping) else None
    numbers = found if isinstance(found, list) else []
    try:
        return tuple(float(number) for number in numbers if isinstance(number, int | float))
    except OverflowError:  # JSON's whole numbers have no end
        raise MalformedResponse("logprobs that are none") from None


def _decode_usage(value: object) -> Usage | None:
    if not isinstance(value, Mapping):
        return None
    cached = _get_object(value, "prompt_tokens_details")
    return Usage(
        _get_count(value, "prompt_tokens"), _get_count(value, "completion_tokens"), _get_count(cached, "cached_tokens")
    )


def _decode_error(fields: Mapping[str, Any], status: int) -> ErrorInfo:
    error = fields.get("error") or fields.get("detail") or fields
    told = error if isinstance(error, Mapping) else {"message": error}
    message, code = told.get("message"), told.get("code")
    for number in (told.get("status"), code):
        if type(number) is int and 400 <= number <= 599:
            status = number
            break
    text = " ".join(message.split())[:MAX_ERROR_CHARS] if isinstance(message, str) else ""
    words = [value if isinstance(value := told.get(key), str) else "" for key in ("type", "param")]
    return ErrorInfo(status, words[0], text, code if isinstance(code, str) else "", words[1])


def _get_object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}


def _get_count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if type(value) is int and 0 < value <= MAX_TOKEN else 0
