"""The body of a POST to `/v1/completions`: `CompletionRequest` to JSON and back. Pure; knows no HTTP.

The fields are OpenAI's, with the extensions of vLLM and llama.cpp. One object, `asr33`, has the fields that only an
asr33 server knows; other servers ignore it. A request may come from a stranger, so every field has bounds, and
InvalidRequest names a field that asr33 does not implement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.interface import PARAMETERS, CompletionRequest, Parameter, Sampling

INT32_MAX = 2**31 - 1  # the largest token, and the largest count
MAX_RESUME_TOKENS = 1_000_000
# Of a paced reader: a slower one would hold its row for hours. The slowest teleprinters have 6 characters a second.
MIN_CHARS_PER_SECOND, MAX_CHARS_PER_SECOND = 1.0, 100_000.0
MAX_NAME_CHARS = 256  # of a model, an alphabet, a conversation
MAX_STOPS, MAX_STOP_CHARS = 64, 256

# Fields of OpenAI that asr33 does not implement, with the values that have no effect on the text.
UNSUPPORTED_FIELDS: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
}
Fields = Mapping[str, Any]


class InvalidRequest(ValueError):
    """A field of a request is invalid. `status` is the HTTP status of the reply."""

    def __init__(self, field: str, reason: str, status: int = 400) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason, self.status = field, reason, status


@dataclass(frozen=True, slots=True)
class OpenAIRequest:
    """A `CompletionRequest` with the options of the HTTP reply.

    `prefill_only`: the server reads the prompt into its cache and generates nothing. `include_usage`: the stream ends
    with an event that has the token counts.
    """

    model: str
    completion: CompletionRequest
    stream: bool = True
    prefill_only: bool = False
    include_usage: bool = True

    def to_json(self) -> dict[str, Any]:
        sampling = self.completion.sampling
        body = {
            "model": self.model,
            "prompt": self.completion.prompt,
            **_numbers_to_json(sampling, is_extension=False),
            "stream": self.stream,
            "asr33": self._extension_to_json(),
        }
        if stops := [stop for stop in sampling.stop if stop]:
            body["stop"] = stops
        if self.stream and self.include_usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def _extension_to_json(self) -> dict[str, Any]:
        return {
            "said": list(self.completion.resume_tokens),
            "alphabet": self.completion.alphabet,
            "pace": self.completion.chars_per_second,
            "conversation": self.completion.conversation,
            **_numbers_to_json(self.completion.sampling, is_extension=True),
            "logprobs": self.completion.sampling.logprobs,
            "read": self.prefill_only,
        }

    @classmethod
    def from_json(cls, body: object, default_seed: int = 33) -> OpenAIRequest:
        """Decodes a body; a body without a seed gets `default_seed`. Ignores unknown fields. Raises InvalidRequest."""
        if not isinstance(body, Mapping):
            raise InvalidRequest("body", "is not a JSON object")
        for name, allowed in UNSUPPORTED_FIELDS.items():
            if body.get(name) is not None and body[name] not in allowed:
                raise InvalidRequest(name, "is not implemented here: leave it out", 422)
        extension = _get_object(body, "asr33")
        options = _get_object(body, "stream_options")
        stream = _get_bool(body, "stream")
        return cls(
            model=_get_text(body, "model", MAX_NAME_CHARS),
            completion=CompletionRequest(
                prompt=_parse_prompt(body.get("prompt")),
                sampling=_parse_sampling(body, extension, default_seed),
                resume_tokens=_parse_resume_tokens(extension.get("said")),
                alphabet=_get_text(extension, "alphabet", MAX_NAME_CHARS),
                chars_per_second=_parse_pace(extension),
                conversation=_get_text(extension, "conversation", MAX_NAME_CHARS),
            ),
            stream=stream,
            prefill_only=_get_bool(extension, "read"),
            include_usage=stream and _get_bool(options, "include_usage"),
        )


def is_encodable(text: str) -> bool:
    """Whether the text is valid Unicode; a text from JSON may have lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _numbers_to_json(sampling: Sampling, is_extension: bool) -> dict[str, Any]:
    return {
        key: getattr(sampling, name)
        for name, parameter in PARAMETERS.items()
        if parameter.is_extension == is_extension
        for key in parameter.json_names
    }


def _parse_sampling(body: Fields, extension: Fields, default_seed: int) -> Sampling:
    if body.get("top_k") == -1:  # in vLLM's protocol: all tokens
        body = {**body, "top_k": 0}
    numbers = {name: _get_parameter(body, extension, parameter) for name, parameter in PARAMETERS.items()}
    numbers["seed"] = default_seed if numbers["seed"] is None else numbers["seed"]
    return Sampling(
        **numbers,
        stop=_parse_stops(body.get("stop")),
        logprobs=_get_bool(extension, "logprobs") or _get_number(body, "logprobs", -1, int, (-1, 5)) >= 0,
    )


def _get_parameter(body: Fields, extension: Fields, parameter: Parameter) -> Any:
    fields = extension if parameter.is_extension else body
    for key in parameter.json_names:
        if fields.get(key) is not None:
            return parameter.kind(_get_number(fields, key, 0, parameter.kind, parameter.bounds))
    return parameter.absent


def _get_number(fields: Fields, name: str, default: float, kind: type[float], bounds: tuple[float, float]) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if type(value) is not int and (kind is int or type(value) is not float):
        raise InvalidRequest(name, "is not a whole number" if kind is int else "is not a number")
    if not bounds[0] <= value <= bounds[1]:
        raise InvalidRequest(name, f"must be from {bounds[0]:,} to {bounds[1]:,}", 422)
    return value


def _parse_pace(extension: Fields) -> float:
    """The reader's characters a second; 0 means without a limit."""
    pace = _get_number(extension, "pace", 0.0, float, (0, MAX_CHARS_PER_SECOND))
    if 0 < pace < MIN_CHARS_PER_SECOND:
        raise InvalidRequest("pace", f"must be 0, or from {MIN_CHARS_PER_SECOND:g} to {MAX_CHARS_PER_SECOND:,g}", 422)
    return float(pace)


def _get_object(fields: Fields, name: str) -> Fields:
    value = fields.get(name) or {}
    if not isinstance(value, Mapping):
        raise InvalidRequest(name, "is not an object")
    return value


def _get_bool(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidRequest(name, "is neither true nor false")
    return value


def _get_text(fields: Fields, name: str, max_chars: int) -> str:
    value = fields.get(name)
    return "" if value is None else _check_text(value, name, max_chars)


def _check_text(value: object, name: str, max_chars: int | None = None) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(name, "is not a text")
    if max_chars is not None and len(value) > max_chars:
        raise InvalidRequest(name, f"is over {max_chars:,} characters", 422)
    if not is_encodable(value):
        raise InvalidRequest(name, "has half a character in it: write it in UTF-8")
    return value


def _parse_prompt(value: object) -> str:
    texts = value if isinstance(value, list) else [value]
    if any(isinstance(text, int | list) for text in texts):
        raise InvalidRequest("prompt", "is tokens: send it as text", 422)
    if len(texts) != 1:
        raise InvalidRequest("prompt", f"one prompt a request, not {len(texts)}", 422)
    return _check_text(texts[0], "prompt")


def _parse_resume_tokens(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_RESUME_TOKENS:
        raise InvalidRequest("said", f"is not a list of up to {MAX_RESUME_TOKENS:,} tokens")
    if not all(type(token) is int and 0 <= token <= INT32_MAX for token in value):
        raise InvalidRequest("said", "is not a list of tokens")
    return tuple(value)


def _parse_stops(value: object) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise InvalidRequest("stop", f"is not a list of up to {MAX_STOPS} texts")
    return tuple(text for stop in stops if (text := _check_text(stop, "stop", MAX_STOP_CHARS)))
