"""What a server says with a status that is not 200, as one of our errors: which of them another try may mend. Pure."""

from __future__ import annotations

import re

from model.errors import KeyRefused, ModelError, ModelNotFound, PromptTooLong, RequestRefused, ServerLost
from model.openai_api.response import ErrorInfo

TRANSIENT_STATUSES = {408, 409, 425, 429}  # and all from 500 on
MAX_RETRY_AFTER_S = 600.0  # longer than that nobody waits, whatever the server says

# How OpenAI, vLLM, llama.cpp and our own say that a prompt is too long.
_TOO_LONG = re.compile(
    r"context.?(length|window|size)|too.?long|too many tokens|maximum (model|input|context)"
    r"|exceeds?\b.*\b(context|tokens)",
    re.IGNORECASE,
)


def error_for_reply(base_url: str, model: str, info: ErrorInfo, has_key: bool, retry_after: str = "") -> ModelError:
    """The error, in one line that names the cure. `again` is Retry-After; `key`: one was sent."""
    status, said = info.status, info.message
    if status in (401, 403):
        cure = (
            "the key is refused: put the right one in the key_file" if has_key else "it wants a key: name its key_file"
        )
        return KeyRefused(f"{base_url}: {cure}")
    if status in TRANSIENT_STATUSES or status >= 500:
        return ServerLost(
            f"{base_url}: {_transient_reason(status)}{f': {said}' if said else ''}", parse_retry_after(retry_after)
        )
    if status == 413 or _TOO_LONG.search(f"{info.code} {said}"):
        return PromptTooLong(f"{base_url}: the prompt is too long for it: {said or 'shorten it'}")
    if status == 404:
        if info.code == "model_not_found" or (model and model in said):
            return ModelNotFound(
                f"{base_url} has no model {model!r}; see {base_url}/v1/models, and name one behind a #"
            )
        return ModelNotFound(
            f"nothing is at {base_url}/v1/completions: is that the URL of a model server, up to its /v1?"
        )
    if 300 <= status < 400:
        return RequestRefused(f"{base_url} sends elsewhere: name the URL where the server really is")
    return RequestRefused(f"{base_url} refuses what it was asked ({status}){f': {said}' if said else ''}")


def parse_retry_after(header: str) -> float:
    """Retry-After where it is a number; a date or nonsense is none."""
    try:
        found = float(header)
    except ValueError:
        return 0.0
    return min(max(found, 0.0), MAX_RETRY_AFTER_S) if found == found else 0.0


def _transient_reason(status: int) -> str:
    words = {429: "too many ask it", 503: "it is loading, or full", 502: "there is no model server behind the proxy"}
    return f"{words.get(status, 'it fails')} ({status})"
