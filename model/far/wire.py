"""OpenAI's `/v1/completions`, both directions: what is asked, and each event of what comes back. Pure.

Dataclasses to JSON and back, and the bytes of an event; `model.far.sse` finds the events in a stream. Knows no HTTP and
no clock. What others leave out or add is borne: empty `choices`, empty `text`, a usage in any chunk, an error inside
a stream that began well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from model.base import Finish
from model.far.card import Card as Card
from model.far.card import cards as cards
from model.far.card import catalogue as catalogue
from model.far.request import TOKEN, whole
from model.far.request import Request as Request
from model.far.request import Unfit as Unfit
from model.far.sse import Garbled as Garbled

PING = b": ping\n\n"
ERROR_TEXT = 300  # characters of an error that a stranger sent
_FINISHES: tuple[Finish, ...] = get_args(Finish)
_IN_OPENAI: dict[Finish, str] = {
    "end": "stop",
    "stop": "stop",
    "sentence": "stop",
    "length": "length",
    "context": "length",
}
BROKEN = ("abort", "error")  # how vLLM ends what it could not finish


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens prompt and answer were; so many of the prompt's were in a cache, 0 where nobody counted."""

    prompt: int
    answer: int
    cached: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.answer,
            "total_tokens": self.prompt + self.answer,
            "prompt_tokens_details": {"cached_tokens": self.cached} if self.cached else None,
        }


@dataclass(frozen=True, slots=True)
class Chunk:
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
    finish: Finish | None = None
    logprobs: tuple[float, ...] = ()
    offsets: tuple[int, ...] = ()
    forgotten: int = 0
    usage: Usage | None = None
    bare: bool = False

    def to_json(self) -> dict[str, Any]:
        """As an event of a stream or, `usage` and all, as the whole of an answer that is not streamed."""
        body = self._around()
        ended = {} if self.finish is None else {"finish": self.finish}
        body["choices"] = [
            {
                "index": 0,
                "text": self.text,
                "logprobs": self._logprobs() if self.logprobs else None,
                "finish_reason": self.finish and _IN_OPENAI[self.finish],
            }
        ]
        if not self.bare:
            body["asr33"] = {"tokens": list(self.tokens), "forgotten": self.forgotten, **ended}
        return body

    def counted(self) -> dict[str, Any]:
        """The event after the last that has nothing but the usage."""
        return {**self._around(), "choices": []}

    def _around(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "usage": self.usage and self.usage.to_json(),
        }

    def _logprobs(self) -> dict[str, Any]:
        return {
            "tokens": [f"token_id:{token}" for token in self.tokens],  # as vLLM has them on request
            "token_logprobs": list(self.logprobs),
            "top_logprobs": None,
            "text_offset": list(self.offsets) or None,
        }


@dataclass(frozen=True, slots=True)
class Failure:
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
class Done:
    """The end of a stream."""


Event = Chunk | Failure | Done


def event(said: Event) -> bytes:
    """The bytes of one event; a chunk without text, tokens and finish but with a usage is nothing but a count."""
    if isinstance(said, Done):
        return b"data: [DONE]\n\n"
    count_alone = isinstance(said, Chunk) and said.usage and not (said.text or said.tokens or said.finish)
    body = said.counted() if count_alone and isinstance(said, Chunk) else said.to_json()
    # ASCII alone: no border between two reads cuts a character, and no line separator of Unicode ends a line.
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def read(data: str) -> Event:
    """What the data of one event says. Raises Garbled."""
    if data.strip() == "[DONE]":
        return Done()
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Garbled("an event that is not JSON") from None
    if not isinstance(found, Mapping):
        raise Garbled("an event that is not an object")
    if found.get("error") or found.get("object") == "error":
        return _failure(found, 500)
    return _chunk(found)


def failure(status: int, body: str) -> Failure:
    """What is wrong, by the body of an answer that is not 200: an error's shape, or anything, a page in HTML too."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    return _failure(found if isinstance(found, Mapping) else {}, status)


def _chunk(found: Mapping[str, Any]) -> Event:
    choices = found.get("choices")
    if not isinstance(choices, list):
        raise Garbled("an event without choices")
    choice = choices[0] if choices else {}
    if not isinstance(choice, Mapping):
        raise Garbled("a choice that is not an object")
    reason = choice.get("finish_reason")
    if reason in BROKEN:
        return Failure(500, "server_error", "the server gave up on this answer")
    ours, created = _object(found, "asr33"), found.get("created")
    return Chunk(
        id=str(found.get("id") or ""),
        created=created if type(created) is int else 0,
        model=str(found.get("model") or ""),
        text=_text(choice.get("text")),
        tokens=_tokens(ours.get("tokens")),
        finish=_finish(reason, ours.get("finish"), choice.get("stop_reason")),
        logprobs=_logprobs(choice.get("logprobs")),
        forgotten=_count(ours, "forgotten"),
        usage=_usage(found.get("usage")),
        bare="asr33" not in found,
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not whole(value):
        raise Garbled("a text that is none")
    return value


def _tokens(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(type(token) is int and token >= 0 for token in value):
        raise Garbled("tokens that are none")
    return tuple(value)


def _finish(reason: object, ours: object, stop: object) -> Finish | None:
    if reason is None or reason == "":
        return None
    if not isinstance(reason, str):
        raise Garbled("an end that is none")
    for finish in _FINISHES:
        if ours == finish:
            return finish
    if reason == "length":
        return "length"
    return "stop" if isinstance(stop, str) else "end"  # vLLM says which string it was


def _logprobs(value: object) -> tuple[float, ...]:
    found = value.get("token_logprobs") if isinstance(value, Mapping) else None
    numbers = found if isinstance(found, list) else []
    try:
        return tuple(float(number) for number in numbers if isinstance(number, int | float))
    except OverflowError:  # JSON's whole numbers have no end
        raise Garbled("logprobs that are none") from None


def _usage(value: object) -> Usage | None:
    if not isinstance(value, Mapping):
        return None
    cached = _object(value, "prompt_tokens_details")
    return Usage(_count(value, "prompt_tokens"), _count(value, "completion_tokens"), _count(cached, "cached_tokens"))


def _failure(found: Mapping[str, Any], status: int) -> Failure:
    error = found.get("error") or found.get("detail") or found
    told = error if isinstance(error, Mapping) else {"message": error}
    message, code = told.get("message"), told.get("code")
    for number in (told.get("status"), code):
        if type(number) is int and 400 <= number <= 599:
            status = number
            break
    text = " ".join(message.split())[:ERROR_TEXT] if isinstance(message, str) else ""
    words = [value if isinstance(value := told.get(key), str) else "" for key in ("type", "param")]
    return Failure(status, words[0], text, code if isinstance(code, str) else "", words[1])


def _object(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, Mapping) else {}


def _count(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    return value if type(value) is int and 0 < value <= TOKEN else 0
