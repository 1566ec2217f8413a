"""Reads the fields of a JSON request within their bounds, and refuses those that asr33 does not implement. Pure.

A request may come from a stranger, so every field has bounds, and InvalidRequest names the field. A field that asr33
does not know could change the text; it is refused unless its value is empty, as clients send it for "off".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

INT32_MAX = 2**31 - 1  # the largest token, and the largest count
MAX_FIELD_NAME_CHARS = 64  # of a name in an error message

# Fields that never change the text.
HARMLESS_FIELDS = frozenset(
    {
        # of OpenAI
        *("metadata", "parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "safety_identifier", "service_tier", "store", "user"),
        # of vLLM, llama.cpp, Ollama and LM Studio
        *("add_special_tokens", "cache_prompt", "cache_salt", "id_slot", "keep_alive", "priority", "request_id"),
        *("return_progress", "spaces_between_special_tokens", "timings_per_token", "ttl"),
    }
)
# Fields that asr33 does not implement, with the values that have no effect on the text.
NEUTRAL_VALUES: dict[str, tuple[object, ...]] = {
    "add_generation_prompt": (True,),
    "best_of": (1,),
    "detokenize": (True,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "presence_penalty": (0,),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "suffix": ("",),
    "tfs_z": (1,),
    "tool_choice": ("none", "auto"),
    "typical_p": (1,),
    "verbosity": ("medium",),
}
Fields = Mapping[str, Any]


class InvalidRequest(ValueError):
    """A field of a request is invalid. `status` is the HTTP status of the reply."""

    def __init__(self, field: str, reason: str, status: int = 400) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason, self.status = field, reason, status


def reject_unknown_fields(body: Fields, known: Collection[str]) -> None:
    """Raises InvalidRequest for a field outside of `known` that could change the text."""
    for name, value in body.items():
        if value is None or name in known or name in HARMLESS_FIELDS:
            continue
        if name in NEUTRAL_VALUES:
            if value not in NEUTRAL_VALUES[name]:
                raise InvalidRequest(name, "is not implemented here: leave it out", 422)
        elif value:
            raise InvalidRequest(
                ascii(name)[1:-1][:MAX_FIELD_NAME_CHARS],
                "is not known here and could change the text: leave it out",
                422,
            )


def is_encodable(text: str) -> bool:
    """Whether the text is valid Unicode; a text from JSON may have lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def get_number(fields: Fields, name: str, default: float, kind: type[float], bounds: tuple[float, float]) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if type(value) is not int and (kind is int or type(value) is not float):
        raise InvalidRequest(name, "is not a whole number" if kind is int else "is not a number")
    if not bounds[0] <= value <= bounds[1]:
        raise InvalidRequest(name, f"must be from {bounds[0]:,} to {bounds[1]:,}", 422)
    return value


def get_object(fields: Fields, name: str) -> Fields:
    value = fields.get(name) or {}
    if not isinstance(value, Mapping):
        raise InvalidRequest(name, "is not an object")
    return value


def get_bool(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidRequest(name, "is neither true nor false")
    return value


def get_text(fields: Fields, name: str, max_chars: int) -> str:
    value = fields.get(name)
    return "" if value is None else check_text(value, name, max_chars)


def check_text(value: object, name: str, max_chars: int | None = None) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(name, "is not a text")
    if max_chars is not None and len(value) > max_chars:
        raise InvalidRequest(name, f"is over {max_chars:,} characters", 422)
    if not is_encodable(value):
        raise InvalidRequest(name, "has half a character in it: write it in UTF-8")
    return value
