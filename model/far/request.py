"""What `/v1/completions` is asked: an Ask as JSON, and back. Pure; knows no HTTP.

OpenAI's fields where it has them, vLLM's and llama.cpp's where they have more, and one object, `asr33`, for what only
our own server knows and all others ignore. What comes in is a stranger's: each field is bounded, and one that would
be silently without effect on the text is refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.base import RANGES, Ask, Sampling

TOKEN = 2**31 - 1
SAID = 1_000_000  # tokens
PACE = 100_000.0  # characters a second
NAME = 256  # characters of a model's name, an alphabet's, a conversation's
STOPS, STOP = 64, 256  # how many strings, and the characters of one

# OpenAI's defaults where it has the field, else no effect; the seed is given by whoever reads.
ABSENT = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, max_tokens=16)
# The only values of these that have no effect on the text.
REFUSED: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
}


class Unfit(ValueError):
    """A request that is not answered: which field, and why. `status` is the HTTP status for it."""

    def __init__(self, field: str, why: str, status: int = 400) -> None:
        super().__init__(f"{field}: {why}")
        self.field, self.why, self.status = field, why, status


@dataclass(frozen=True, slots=True)
class Request:
    """An Ask on its way. `read`: take the prompt into a cache and answer nothing. `usage`: a last event that counts."""

    model: str
    ask: Ask
    stream: bool = True
    read: bool = False
    usage: bool = True

    def to_json(self) -> dict[str, Any]:
        sampling = self.ask.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": self.ask.prompt,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "repeat_penalty": sampling.repetition_penalty,  # the same in llama.cpp's words
            "seed": sampling.seed,
            "stream": self.stream,
            "asr33": self._ours(),
        }
        if stops := [stop for stop in sampling.stop if stop]:
            body["stop"] = stops
        if self.stream and self.usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def _ours(self) -> dict[str, Any]:
        ask = self.ask
        return {
            "said": list(ask.said),
            "alphabet": ask.alphabet,
            "pace": ask.pace,
            "conversation": ask.conversation,
            "length": ask.sampling.length,
            "no_repeat_ngram": ask.sampling.no_repeat_ngram,
            "logprobs": ask.sampling.logprobs,
            "read": self.read,
        }

    @classmethod
    def from_json(cls, found: object, seed: int = 33) -> Request:
        """The request in a body; `seed` is for one that names none. Raises Unfit; unknown fields are ignored."""
        if not isinstance(found, Mapping):
            raise Unfit("body", "is not a JSON object")
        for name, harmless in REFUSED.items():
            if found.get(name) is not None and found[name] not in harmless:
                raise Unfit(name, "is not done here: leave it out", 422)
        ours = found.get("asr33") or {}
        if not isinstance(ours, Mapping):
            raise Unfit("asr33", "is not an object")
        options = found.get("stream_options") or {}
        if not isinstance(options, Mapping):
            raise Unfit("stream_options", "is not an object")
        stream = _truth(found, "stream")
        return cls(
            model=_text(found, "model", NAME),
            ask=Ask(
                prompt=_prompt(found.get("prompt")),
                sampling=_sampling(found, ours, seed),
                said=_said(ours.get("said")),
                alphabet=_text(ours, "alphabet", NAME),
                pace=float(_number(ours, "pace", 0.0, (0, PACE))),
                conversation=_text(ours, "conversation", NAME),
            ),
            stream=stream,
            read=_truth(ours, "read"),
            usage=stream and _truth(options, "include_usage"),
        )


def _sampling(found: Mapping[str, Any], ours: Mapping[str, Any], seed: int) -> Sampling:
    def number(name: str, where: Mapping[str, Any] = found) -> Any:
        return _number(where, name, getattr(ABSENT, name), RANGES[name])

    penalty = "repetition_penalty" if found.get("repetition_penalty") is not None else "repeat_penalty"
    top_k = number("top_k") if found.get("top_k") != -1 else 0  # vLLM's word for all of them
    length = ours.get("length")
    return Sampling(
        temperature=float(number("temperature")),
        top_k=top_k,
        top_p=float(number("top_p")),
        min_p=float(number("min_p")),
        repetition_penalty=float(_number(found, penalty, 1.0, RANGES["repetition_penalty"])),
        no_repeat_ngram=number("no_repeat_ngram", ours),
        seed=int(_number(found, "seed", seed, RANGES["seed"])),
        max_tokens=number("max_tokens"),
        length=None if length is None else int(_number(ours, "length", 1, RANGES["length"])),
        stop=_stops(found.get("stop")),
        logprobs=_truth(ours, "logprobs") or _number(found, "logprobs", -1, (-1, 5)) >= 0,
    )


def _number(found: Mapping[str, Any], name: str, absent: float, bounds: tuple[float, float]) -> float:
    """A number of the kind that `absent` is. Raises Unfit beyond its bounds."""
    value = found.get(name)
    if value is None:
        return absent
    whole = type(absent) is int
    if type(value) is not int and (whole or type(value) is not float):
        raise Unfit(name, "is not a whole number" if whole else "is not a number")
    if not bounds[0] <= value <= bounds[1]:
        raise Unfit(name, f"must be from {bounds[0]:,} to {bounds[1]:,}", 422)
    return value


def _truth(found: Mapping[str, Any], name: str) -> bool:
    value = found.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Unfit(name, "is neither true nor false")
    return value


def _text(found: Mapping[str, Any], name: str, most: int) -> str:
    value = found.get(name)
    return "" if value is None else _checked(value, name, most)


def _checked(value: object, name: str, most: int | None = None) -> str:
    if not isinstance(value, str):
        raise Unfit(name, "is not a text")
    if most is not None and len(value) > most:
        raise Unfit(name, f"is over {most:,} characters", 422)
    if not whole(value):
        raise Unfit(name, "has half a character in it: write it in UTF-8")
    return value


def whole(text: str) -> bool:
    """Whether it is all characters; JSON can spell halves of them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _prompt(value: object) -> str:
    texts = value if isinstance(value, list) else [value]
    if any(isinstance(text, int | list) for text in texts):
        raise Unfit("prompt", "is tokens: send it as text", 422)
    if len(texts) != 1:
        raise Unfit("prompt", f"one prompt a request, not {len(texts)}", 422)
    return _checked(texts[0], "prompt")


def _said(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > SAID:
        raise Unfit("said", f"is not a list of up to {SAID:,} tokens")
    if not all(type(token) is int and 0 <= token <= TOKEN for token in value):
        raise Unfit("said", "is not a list of tokens")
    return tuple(value)


def _stops(value: object) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > STOPS:
        raise Unfit("stop", f"is not a list of up to {STOPS} texts")
    return tuple(checked for stop in stops if (checked := _checked(stop, "stop", STOP)))
