"""What `/v1/completions` is asked: an Ask as JSON, and back. Pure; knows no HTTP.

OpenAI's fields where it has them, vLLM's and llama.cpp's where they have more, and one object, `asr33`, for what only
our own server knows and all others ignore. What comes in is a stranger's: each field is bounded, and one that would
be silently without effect on the text is refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.interface import SAMPLING_RANGES, CompletionRequest, Sampling

MAX_TOKEN = 2**31 - 1
MAX_RESUME_TOKENS = 1_000_000  # tokens
MAX_CHARS_PER_SECOND = 100_000.0  # characters a second
MAX_NAME_CHARS = 256  # characters of a model's name, an alphabet's, a conversation's
MAX_STOPS, MAX_STOP_CHARS = 64, 256  # how many strings, and the characters of one

# OpenAI's defaults where it has the field, else no effect; the seed is given by whoever reads.
OPENAI_DEFAULTS = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, max_tokens=16)
# The only values of these that have no effect on the text.
UNSUPPORTED_FIELDS: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
}


class InvalidRequest(ValueError):
    """A request that is not answered: which field, and why. `status` is the HTTP status for it."""

    def __init__(self, field: str, reason: str, status: int = 400) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason, self.status = field, reason, status


@dataclass(frozen=True, slots=True)
class OpenAIRequest:
    """An Ask on its way. `read`: take the prompt into a cache and answer nothing. `usage`: a last event that counts."""

    model: str
    completion: CompletionRequest
    stream: bool = True
    prefill_only: bool = False
    include_usage: bool = True

    def to_json(self) -> dict[str, Any]:
        sampling = self.completion.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": self.completion.prompt,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "repeat_penalty": sampling.repetition_penalty,  # the same in llama.cpp's words
            "seed": sampling.seed,
            "stream": self.stream,
            "asr33": self._extension(),
        }
        if stops := [stop for stop in sampling.stop if stop]:
            body["stop"] = stops
        if self.stream and self.include_usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def _extension(self) -> dict[str, Any]:
        ask = self.completion
        return {
            "said": list(ask.resume_tokens),
            "alphabet": ask.alphabet,
            "pace": ask.chars_per_second,
            "conversation": ask.conversation,
            "length": ask.sampling.length,
            "no_repeat_ngram": ask.sampling.no_repeat_ngram,
            "logprobs": ask.sampling.logprobs,
            "read": self.prefill_only,
        }

    @classmethod
    def from_json(cls, body: object, default_seed: int = 33) -> OpenAIRequest:
        """The request in a body; `seed` is for one that names none. Raises Unfit; unknown fields are ignored."""
        if not isinstance(body, Mapping):
            raise InvalidRequest("body", "is not a JSON object")
        for name, harmless in UNSUPPORTED_FIELDS.items():
            if body.get(name) is not None and body[name] not in harmless:
                raise InvalidRequest(name, "is not done here: leave it out", 422)
        ours = body.get("asr33") or {}
        if not isinstance(ours, Mapping):
            raise InvalidRequest("asr33", "is not an object")
        options = body.get("stream_options") or {}
        if not isinstance(options, Mapping):
            raise InvalidRequest("stream_options", "is not an object")
        stream = _get_bool(body, "stream")
        return cls(
            model=_get_text(body, "model", MAX_NAME_CHARS),
            completion=CompletionRequest(
                prompt=_parse_prompt(body.get("prompt")),
                sampling=_parse_sampling(body, ours, default_seed),
                resume_tokens=_parse_resume_tokens(ours.get("said")),
                alphabet=_get_text(ours, "alphabet", MAX_NAME_CHARS),
                chars_per_second=float(_get_number(ours, "pace", 0.0, (0, MAX_CHARS_PER_SECOND))),
                conversation=_get_text(ours, "conversation", MAX_NAME_CHARS),
            ),
            stream=stream,
            prefill_only=_get_bool(ours, "read"),
            include_usage=stream and _get_bool(options, "include_usage"),
        )


def _parse_sampling(body: Mapping[str, Any], extension: Mapping[str, Any], default_seed: int) -> Sampling:
    def number(name: str, where: Mapping[str, Any] = body) -> Any:
        return _get_number(where, name, getattr(OPENAI_DEFAULTS, name), SAMPLING_RANGES[name])

    penalty = "repetition_penalty" if body.get("repetition_penalty") is not None else "repeat_penalty"
    top_k = number("top_k") if body.get("top_k") != -1 else 0  # vLLM's word for all of them
    length = extension.get("length")
    return Sampling(
        temperature=float(number("temperature")),
        top_k=top_k,
        top_p=float(number("top_p")),
        min_p=float(number("min_p")),
        repetition_penalty=float(_get_number(body, penalty, 1.0, SAMPLING_RANGES["repetition_penalty"])),
        no_repeat_ngram=number("no_repeat_ngram", extension),
        seed=int(_get_number(body, "seed", default_seed, SAMPLING_RANGES["seed"])),
        max_tokens=number("max_tokens"),
        length=None if length is None else int(_get_number(extension, "length", 1, SAMPLING_RANGES["length"])),
        stop=_parse_stops(body.get("stop")),
        logprobs=_get_bool(extension, "logprobs") or _get_number(body, "logprobs", -1, (-1, 5)) >= 0,
    )


def _get_number(fields: Mapping[str, Any], name: str, default: float, bounds: tuple[float, float]) -> float:
    """A number of the kind that `absent` is. Raises Unfit beyond its bounds."""
    value = fields.get(name)
    if value is None:
        return default
    whole = type(default) is int
    if type(value) is not int and (whole or type(value) is not float):
        raise InvalidRequest(name, "is not a whole number" if whole else "is not a number")
    if not bounds[0] <= value <= bounds[1]:
        raise InvalidRequest(name, f"must be from {bounds[0]:,} to {bounds[1]:,}", 422)
    return value


def _get_bool(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidRequest(name, "is neither true nor false")
    return value


def _get_text(fields: Mapping[str, Any], name: str, max_chars: int) -> str:
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


def is_encodable(text: str) -> bool:
    """Whether it is all characters; JSON can spell halves of them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    if not all(type(token) is int and 0 <= token <= MAX_TOKEN for token in value):
        raise InvalidRequest("said", "is not a list of tokens")
    return tuple(value)


def _parse_stops(value: object) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise InvalidRequest("stop", f"is not a list of up to {MAX_STOPS} texts")
    return tuple(checked for stop in stops if (checked := _check_text(stop, "stop", MAX_STOP_CHARS)))
