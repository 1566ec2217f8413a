"""The reply of `/v1/chat/completions`: whole answers and the events of a stream. Pure.

The chunks are those of `/v1/completions`, whose text is the message of the assistant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from model.openai_api.response import CompletionChunk, Usage, token_text

ROLE = "assistant"


def encode_chat_answers(answers: Sequence[CompletionChunk], usage: Usage) -> dict[str, Any]:
    """Returns the JSON of whole answers, which are the choices of one reply."""
    choices = [
        {
            "index": answer.index,
            "message": {"role": ROLE, "content": answer.text, "refusal": None},
            "logprobs": _logprobs_to_json(answer),
            "finish_reason": answer.openai_finish,
        }
        for answer in answers
    ]
    return {**answers[0].envelope("chat.completion"), "choices": choices, "usage": usage.to_json()}


def encode_chat_chunk(chunk: CompletionChunk, is_first: bool) -> bytes:
    """Returns the events of a chunk: the role if it is the choice's first, then the text, then the finish reason."""
    return b"".join(_encode(body) for body in _chunk_to_json(chunk, is_first))


def encode_chat_usage(chunk: CompletionChunk) -> bytes:
    """Returns the event with the usage alone."""
    return _encode({**chunk.envelope("chat.completion.chunk"), "choices": []})


def _chunk_to_json(chunk: CompletionChunk, is_first: bool) -> Iterator[dict[str, Any]]:
    if is_first:
        yield _event(chunk, {"role": ROLE, "content": "", "refusal": None})
    if chunk.text or chunk.logprobs:
        yield _event(chunk, {"content": chunk.text}, _logprobs_to_json(chunk))
    if chunk.finish_reason:
        yield _event(chunk, {}, None, chunk.openai_finish)


def _event(
    chunk: CompletionChunk, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, finish: str | None = None
) -> dict[str, Any]:
    choice = {"index": chunk.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    return {**chunk.envelope("chat.completion.chunk"), "choices": [choice]}


def _logprobs_to_json(chunk: CompletionChunk) -> dict[str, Any] | None:
    if not chunk.logprobs:
        return None
    tops = chunk.top_logprobs or ((),) * len(chunk.logprobs)
    content = [
        {**_token_to_json(data, number), "top_logprobs": [_token_to_json(*candidate) for candidate in candidates]}
        for data, number, candidates in zip(chunk.token_texts, chunk.logprobs, tops, strict=True)
    ]
    return {"content": content, "refusal": None}


def _token_to_json(data: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token_text(data), "logprob": logprob, "bytes": list(data)}


def _encode(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"
