"""The body of a POST to `/v1/completions`: `CompletionRequest` to JSON and back. Pure; knows no HTTP.

The fields are OpenAI's, with the extensions of vLLM and llama.cpp. One object, `asr33`, has the fields that only an
asr33 server knows; other servers ignore it. `chat_request` reads the body of `/v1/chat/completions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

from model.interface import PARAMETERS, CompletionRequest, Opening, Parameter, Sampling
from model.openai_api.fields import (
    INT32_MAX,
    Fields,
    InvalidRequest,
    check_text,
    get_bool,
    get_number,
    get_object,
    get_text,
    reject_unknown_fields,
)

MAX_RESUME_TOKENS = 1_000_000
# Of a paced reader: a slower one would hold its row for hours. The slowest teleprinters have 6 characters a second.
MIN_CHARS_PER_SECOND, MAX_CHARS_PER_SECOND = 1.0, 100_000.0
MAX_NAME_CHARS = 256  # of a model, an alphabet, a conversation
MAX_STOPS, MAX_STOP_CHARS = 64, 256
MAX_CHOICES = 128  # of one request; OpenAI's limit for n
MAX_TOP_LOGPROBS = 5

# Fields that both endpoints read.
SHARED_FIELDS = {"model", "stream", "stream_options", "stop", "n", "logprobs", "asr33"} | {
    key for parameter in PARAMETERS.values() if not parameter.is_extension for key in parameter.json_names
}
COMPLETION_FIELDS = SHARED_FIELDS | {"prompt", "best_of", "echo"}


@dataclass(frozen=True, slots=True)
class OpenAIRequest:
    """A `CompletionRequest` with the options of the HTTP reply.

    `further_choices` are other answers of the same reply: of the same prompt with other seeds, or of other prompts.
    `prefill_only`: the server reads the prompt into its cache and generates nothing. `include_usage`: the stream ends
    with an event that has the token counts. `echo`: each answer begins with its prompt. `persona_tag`, in a chat:
    the tag of the speaker who answers. `fills_context`: the answer may be as long as the context allows.
    """

    model: str
    completion: CompletionRequest
    stream: bool = True
    prefill_only: bool = False
    include_usage: bool = True
    further_choices: tuple[CompletionRequest, ...] = ()
    choices_per_prompt: int = 1
    echo: bool = False
    persona_tag: str = ""
    fills_context: bool = False

    @property
    def choices(self) -> tuple[CompletionRequest, ...]:
        return (self.completion, *self.further_choices)

    @property
    def is_chat(self) -> bool:
        return bool(self.persona_tag)

    def to_json(self) -> dict[str, Any]:
        """Returns the body of a request for the first choice."""
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
        if sampling.logprobs or sampling.top_logprobs:  # 0: of the drawn token alone
            body["logprobs"] = sampling.top_logprobs
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
            **({"opening": self.completion.sampling.opening} if self.completion.sampling.opening != "any" else {}),
        }

    @classmethod
    def from_json(cls, body: object, default_seed: int = 33) -> OpenAIRequest:
        """Decodes a body of `/v1/completions`; a body without a seed gets `default_seed`. Raises InvalidRequest."""
        if not isinstance(body, Mapping):
            raise InvalidRequest("body", "is not a JSON object")
        if body.get("messages") and body.get("prompt") is None:
            raise InvalidRequest("messages", "belongs to /v1/chat/completions; here: prompt", 422)
        reject_unknown_fields(body, COMPLETION_FIELDS)
        prompts = _parse_prompts(body.get("prompt"))
        tops = int(get_number(body, "logprobs", -1, int, (-1, MAX_TOP_LOGPROBS)))
        request = parse_request(body, prompts, (), default_seed, has_logprobs=tops >= 0, top_logprobs=max(0, tops))
        if body.get("best_of") not in (None, body.get("n") or 1):
            raise InvalidRequest("best_of", "is not implemented here: leave it out", 422)
        request = replace(request, echo=get_bool(body, "echo"))
        if request.echo and request.completion.sampling.logprobs:
            raise InvalidRequest("echo", "not with logprobs: the prompt's tokens have none here", 422)
        return request


def parse_request(
    body: Fields,
    prompts: Sequence[str],
    stops: Sequence[str],
    default_seed: int,
    *,
    has_logprobs: bool,
    top_logprobs: int,
) -> OpenAIRequest:
    """Decodes the fields that both endpoints share. `stops` come before those of the body. Raises InvalidRequest."""
    extension, options = get_object(body, "asr33"), get_object(body, "stream_options")
    numbers = _parse_numbers(body, extension)
    has_seed = numbers["seed"] is not None
    numbers["seed"] = numbers["seed"] if has_seed else default_seed
    sampling = Sampling(
        **numbers,
        stop=(*stops, *_parse_stops(body.get("stop"))),
        logprobs=has_logprobs or get_bool(extension, "logprobs"),
        top_logprobs=top_logprobs,
        opening=_parse_opening(extension),
    )
    completion = CompletionRequest(
        prompt=prompts[0],
        sampling=sampling,
        resume_tokens=_parse_resume_tokens(extension.get("said")),
        alphabet=get_text(extension, "alphabet", MAX_NAME_CHARS),
        chars_per_second=_parse_pace(extension),
        conversation=get_text(extension, "conversation", MAX_NAME_CHARS),
    )
    per_prompt = int(get_number(body, "n", 1, int, (1, MAX_CHOICES)))
    choices = _make_choices(completion, prompts, per_prompt, has_seed)
    stream = get_bool(body, "stream")
    if len(choices) > 1 and (completion.resume_tokens or get_bool(extension, "read")):
        name = "said" if completion.resume_tokens else "read"
        raise InvalidRequest(name, "only with one prompt and one answer", 422)
    return OpenAIRequest(
        model=get_text(body, "model", MAX_NAME_CHARS),
        completion=choices[0],
        stream=stream,
        prefill_only=get_bool(extension, "read"),
        include_usage=stream and get_bool(options, "include_usage"),
        further_choices=choices[1:],
        choices_per_prompt=per_prompt,
    )


def _parse_pace(extension: Fields) -> float:
    """The reader's characters a second; 0 means without a limit."""
    pace = get_number(extension, "pace", 0.0, float, (0, MAX_CHARS_PER_SECOND))
    if 0 < pace < MIN_CHARS_PER_SECOND:
        raise InvalidRequest("pace", f"must be 0, or from {MIN_CHARS_PER_SECOND:g} to {MAX_CHARS_PER_SECOND:,g}", 422)
    return float(pace)


def _parse_opening(extension: Fields) -> Opening:
    opening = get_text(extension, "opening", MAX_NAME_CHARS) or "any"
    for known in get_args(Opening):
        if opening == known:
            return cast(Opening, known)
    raise InvalidRequest("opening", f"is none of {', '.join(get_args(Opening))}", 422)


def _make_choices(
    completion: CompletionRequest, prompts: Sequence[str], count: int, has_seed: bool
) -> tuple[CompletionRequest, ...]:
    """Returns `count` choices of each prompt, with a seed each. A given seed is that of each prompt's first choice.

    Raises InvalidRequest for too many.
    """
    if len(prompts) * count > MAX_CHOICES:
        name = "prompt" if len(prompts) > MAX_CHOICES else "n"
        raise InvalidRequest(name, f"at most {MAX_CHOICES} answers a request", 422)
    choices, seeds = [], int(PARAMETERS["seed"].bounds[1]) + 1
    for at, prompt in enumerate(prompts):
        for number in range(count):
            offset = number if has_seed else at * count + number
            seed = (completion.sampling.seed + offset) % seeds
            choices.append(replace(completion, prompt=prompt, sampling=replace(completion.sampling, seed=seed)))
    return tuple(choices)


def _numbers_to_json(sampling: Sampling, is_extension: bool) -> dict[str, Any]:
    return {
        key: getattr(sampling, name)
        for name, parameter in PARAMETERS.items()
        if parameter.is_extension == is_extension
        for key in parameter.json_names
    }


def _parse_numbers(body: Fields, extension: Fields) -> dict[str, Any]:
    if body.get("top_k") == -1:  # in vLLM's protocol: all tokens
        body = {**body, "top_k": 0}
    return {name: _get_parameter(body, extension, parameter) for name, parameter in PARAMETERS.items()}


def _get_parameter(body: Fields, extension: Fields, parameter: Parameter) -> Any:
    fields = extension if parameter.is_extension else body
    for key in parameter.json_names:
        if fields.get(key) is not None:
            return parameter.kind(get_number(fields, key, 0, parameter.kind, parameter.bounds))
    return parameter.absent


def _parse_prompts(value: object) -> list[str]:
    texts = value if isinstance(value, list) else [value]
    if any(isinstance(text, int | list) for text in texts):
        raise InvalidRequest("prompt", "is tokens: send it as text", 422)
    if not texts:
        raise InvalidRequest("prompt", "is an empty list", 422)
    return [check_text(text, "prompt") for text in texts]


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
    return tuple(text for stop in stops if (text := check_text(stop, "stop", MAX_STOP_CHARS)))
