"""OpenAI's protocol, both directions: decoding reverses encoding; foreign JSON gives a result or an error."""

import argparse
import contextlib
import json
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config import AnswerConfig
from model.interface import ANSWER_LENGTH, PARAMETERS, CompletionRequest, FinishReason, Opening, Sampling
from model.openai_api import response
from model.openai_api.fields import InvalidRequest
from model.openai_api.models import ModelInfo, decode_models, encode_models
from model.openai_api.request import OpenAIRequest
from model.openai_api.response import CompletionChunk, ErrorInfo, StreamEnd, Usage
from model.openai_api.sse import MalformedResponse, SseParser
from tools import ask

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
TOKENS = st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple)
FINISHES = st.sampled_from([None, *get_args(FinishReason)])


def values_of(name: str) -> st.SearchStrategy[Any]:
    low, high = PARAMETERS[name].bounds
    return st.floats(low, high) if PARAMETERS[name].kind is float else st.integers(int(low), int(high))


SAMPLINGS = st.builds(
    Sampling,
    **{name: values_of(name) for name in PARAMETERS if name != "length"},
    length=st.none() | values_of("length"),
    stop=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=4).map(tuple),
    logprobs=st.booleans(),
    opening=st.sampled_from(get_args(Opening)),
)
COMPLETIONS = st.builds(
    CompletionRequest,
    prompt=TEXT,
    sampling=SAMPLINGS,
    resume_tokens=TOKENS,
    alphabet=TEXT,
    chars_per_second=st.just(0.0) | st.floats(1, 1000),
    conversation=TEXT,
)
COUNTS = st.integers(0, 10**6)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


REQUESTS = st.builds(
    OpenAIRequest,
    model=TEXT,
    completion=COMPLETIONS,
    stream=st.just(True),
    prefill_only=st.booleans(),
    include_usage=st.booleans(),
)


@given(REQUESTS)
def test_a_request_survives_encoding(request: OpenAIRequest) -> None:
    assert OpenAIRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_a_request_without_a_stream_has_no_stream_options() -> None:
    body = OpenAIRequest("m", CompletionRequest("a", Sampling()), stream=False).to_json()
    assert not body["stream"]
    assert "stream_options" not in body


def test_a_parameter_is_declared_once_and_known_everywhere() -> None:
    parser = argparse.ArgumentParser()
    ask.add_arguments(parser)
    request = OpenAIRequest("m", CompletionRequest("", Sampling(length=1))).to_json()
    for name, parameter in PARAMETERS.items():
        assert getattr(parser.parse_args([]), name) == getattr(Sampling(length=ANSWER_LENGTH), name)
        assert name in {key.name for key in fields(AnswerConfig)}
        body = request["asr33"] if parameter.is_extension else request
        assert all(key in body for key in parameter.json_names)


def test_a_request_without_sampling_has_the_defaults_of_openai() -> None:
    request = OpenAIRequest.from_json({"prompt": ["Hello"], "user": "bob", "seed": None}, default_seed=7)
    assert request == OpenAIRequest(
        "",
        CompletionRequest("Hello", Sampling(max_tokens=16, temperature=1.0, top_k=0, repetition_penalty=1.0, seed=7)),
        stream=False,
        include_usage=False,
    )


def test_the_penalty_has_two_names_and_top_k_minus_one_means_all_tokens() -> None:
    body = {"prompt": "", "repeat_penalty": 1.5, "top_k": -1, "stop": "."}
    sampling = OpenAIRequest.from_json(body).completion.sampling
    assert (sampling.repetition_penalty, sampling.top_k, sampling.stop) == (1.5, 0, (".",))


@pytest.mark.parametrize(
    ("body", "field", "status"),
    [
        ([], "body", 400),
        ({}, "prompt", 400),
        ({"prompt": [1, 2]}, "prompt", 422),
        ({"prompt": [[1]]}, "prompt", 422),
        ({"prompt": ["a"] * 129}, "prompt", 422),
        ({"prompt": ["a", 5]}, "prompt", 422),
        ({"prompt": ["a", None]}, "prompt", 400),
        ({"prompt": ["a"] * 65, "n": 2}, "n", 422),
        ({"messages": [{"role": "user", "content": "a"}]}, "messages", 422),
        ({"prompt": []}, "prompt", 422),
        ({"prompt": "\ud800"}, "prompt", 400),
        ({"prompt": "a", "n": 0}, "n", 422),
        ({"prompt": "a", "n": 129}, "n", 422),
        ({"prompt": "a", "n": 1.5}, "n", 400),
        ({"prompt": "a", "n": "2"}, "n", 400),
        ({"prompt": "a", "best_of": 2}, "best_of", 422),
        ({"prompt": "a", "best_of": 3, "n": 2}, "best_of", 422),
        ({"prompt": "a", "best_of": "x"}, "best_of", 422),
        ({"prompt": "a", "echo": "yes"}, "echo", 400),
        ({"prompt": "a", "echo": True, "logprobs": 1}, "echo", 422),
        ({"prompt": "a", "logprobs": 6}, "logprobs", 422),
        ({"prompt": "a", "logprobs": True}, "logprobs", 400),
        ({"prompt": "a", "n": 2, "asr33": {"said": [1]}}, "said", 422),
        ({"prompt": ["a", "b"], "asr33": {"read": True}}, "read", 422),
        ({"prompt": "a", "suffix": "b"}, "suffix", 422),
        ({"prompt": "a", "logit_bias": {"50256": -100}}, "logit_bias", 422),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens", 422),
        ({"prompt": "a", "max_tokens": 2.5}, "max_tokens", 400),
        ({"prompt": "a", "max_tokens": True}, "max_tokens", 400),
        ({"prompt": "a", "temperature": float("nan")}, "temperature", 422),
        ({"prompt": "a", "temperature": "hot"}, "temperature", 400),
        ({"prompt": "a", "temperature": 10**400}, "temperature", 422),
        ({"prompt": "a", "stream": 1}, "stream", 400),
        ({"prompt": "a", "stop": ["a"] * 65}, "stop", 400),
        ({"prompt": "a", "stop": ["a" * 257]}, "stop", 422),
        ({"prompt": "a", "asr33": {"said": [-1]}}, "said", 400),
        ({"prompt": "a", "asr33": {"said": [True]}}, "said", 400),
        ({"prompt": "a", "asr33": {"pace": -1}}, "pace", 422),
        ({"prompt": "a", "asr33": {"pace": 0.99}}, "pace", 422),
        ({"prompt": "a", "asr33": {"pace": 5e-324}}, "pace", 422),
        ({"prompt": "a", "asr33": {"pace": float("nan")}}, "pace", 422),
        ({"prompt": "a", "asr33": {"pace": float("inf")}}, "pace", 422),
        ({"prompt": "a", "asr33": {"length": 0}}, "length", 422),
        ({"prompt": "a", "asr33": 5}, "asr33", 400),
    ],
)
def test_an_invalid_field_is_named(body: object, field: str, status: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        OpenAIRequest.from_json(body)
    assert (caught.value.field, caught.value.status) == (field, status)


@given(
    st.dictionaries(
        st.sampled_from([*OpenAIRequest("", CompletionRequest("", Sampling())).to_json(), "n", "echo"]), JSON
    ),
    JSON,
)
def test_any_body_is_a_request_or_invalid(body: dict[str, Any], extension: object) -> None:
    for given_body in (body, {**body, "prompt": "a", "asr33": extension}):
        try:
            request = OpenAIRequest.from_json(given_body)
        except InvalidRequest:
            continue
        assert OpenAIRequest.from_json(request.to_json()).completion == request.completion


CHUNKS = st.builds(
    lambda is_asr33, extension, **fields: CompletionChunk(
        **fields, is_plain=not is_asr33, **(extension if is_asr33 else {})
    ),
    is_asr33=st.booleans(),
    extension=st.fixed_dictionaries({"tokens": TOKENS, "finish_reason": FINISHES, "dropped_chars": COUNTS}),
    id=TEXT,
    created=COUNTS,
    model=TEXT,
    text=TEXT,
    logprobs=st.lists(st.floats(-50, 0), max_size=3).map(tuple),
    usage=st.none() | USAGES,
)
FAILURES = st.builds(
    ErrorInfo, st.integers(400, 599), TEXT, st.text("abc é", max_size=9).map(str.strip), TEXT, TEXT
).map(lambda info: ErrorInfo(info.status, info.kind, " ".join(info.message.split()), info.code, info.param))


@given(st.one_of(CHUNKS, FAILURES, st.just(StreamEnd())), st.randoms(use_true_random=False))
def test_an_event_survives_encoding_however_its_bytes_are_cut(
    event: CompletionChunk | ErrorInfo | StreamEnd, random: Any
) -> None:
    if isinstance(event, CompletionChunk) and event.usage and not (event.text or event.tokens or event.finish_reason):
        # Such a chunk has the token counts alone.
        event = CompletionChunk(event.id, event.created, event.model, usage=event.usage, is_plain=True)
    parser, decoded, data = SseParser(), [], response.PING + response.encode_event(event)
    while data:
        size = random.randint(1, len(data))
        decoded += parser.push(data[:size])
        data = data[size:]
    assert [response.decode_event(data) for data in decoded] == [event]


def test_each_finish_reason_has_one_of_openai() -> None:
    for finish in get_args(FinishReason):
        choice = CompletionChunk("i", 0, "m", finish_reason=finish).to_json()["choices"][0]
        assert choice["finish_reason"] in {"stop", "length"}


def test_replies_of_other_servers_are_decoded() -> None:
    def finish_reason(**choice: object) -> FinishReason | None:
        event = response.decode_event(json.dumps({"choices": [{"text": "", **choice}]}))
        assert isinstance(event, CompletionChunk)
        assert event.is_plain
        return event.finish_reason

    assert finish_reason(finish_reason=None) is None
    assert finish_reason(finish_reason="") is None
    assert finish_reason(finish_reason="stop") == "end"
    assert finish_reason(finish_reason="stop", stop_reason="\n") == "stop"
    assert finish_reason(finish_reason="length") == "length"
    event = response.decode_event('{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}')
    assert isinstance(event, CompletionChunk)
    assert event.usage == Usage(5, 2)


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        ('{"error": {"message": "a\\n b", "code": 404}}', 404, "a b"),
        ('{"error": {"message": "a", "code": "rate_limit"}}', 500, "a"),
        ('{"error": "out of memory"}', 500, "out of memory"),
        ('{"object": "error", "message": "too long", "code": 400}', 400, "too long"),
        ('{"choices": [{"text": "", "finish_reason": "abort"}]}', 500, "the server gave up on this answer"),
    ],
)
def test_an_error_inside_a_stream_is_decoded(data: str, status: int, message: str) -> None:
    event = response.decode_event(data)
    assert isinstance(event, ErrorInfo)
    assert (event.status, event.message) == (status, message)


def test_the_body_of_an_error_may_be_anything() -> None:
    assert response.decode_error(422, '{"detail": "no"}').message == "no"
    assert response.decode_error(502, "<html><h1>502 Bad Gateway</h1>") == ErrorInfo(502, "", "")
    assert response.decode_error(502, "[" * 100_000).message == ""
    assert response.decode_error(503, '{"detail": [{"msg": "x"}]}').status == 503


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[1]",
        "{",
        "[" * 100_000,
        '{"choices": 5}',
        '{"choices": [5]}',
        '{"choices": [{"text": 5}]}',
        '{"choices": [{"finish_reason": 5}]}',
        '{"choices": [], "asr33": {"tokens": 5}}',
    ],
)
def test_malformed_events_are_refused(data: str) -> None:
    with pytest.raises(MalformedResponse):
        response.decode_event(data)


@given(JSON)
def test_any_json_is_an_event_or_malformed(value: object) -> None:
    for body in (value, {"choices": value}, {"choices": [{"text": "a", "logprobs": value}], "asr33": value}):
        with contextlib.suppress(MalformedResponse):
            response.decode_event(json.dumps(body))


@given(st.builds(ModelInfo, TEXT, st.just("asr33"), COUNTS, st.lists(TEXT, max_size=2).map(tuple), TEXT))
def test_a_model_survives_encoding(info: ModelInfo) -> None:
    assert decode_models(json.loads(json.dumps(encode_models([info])))) == [info]
    assert info.is_asr33


def test_the_speakers_of_a_model_survive_encoding_and_an_unknown_persona_does_not() -> None:
    info = ModelInfo("m", speakers=("Bob", "Ann"), persona="Ann")
    assert decode_models(encode_models([info])) == [info]
    assert decode_models(encode_models([replace(info, persona="Zoe")])) == [replace(info, persona="")]
    body = encode_models([info])
    body["data"][0]["asr33"] |= {"speakers": "Ann", "persona": ["Ann"]}
    assert decode_models(body) == [ModelInfo("m")]


def test_the_models_of_other_servers_are_decoded() -> None:
    body = {"data": [{"id": "a", "max_model_len": 99}, {"id": "b", "meta": {"n_ctx_train": 7}}, {"id": 5}, "x"]}
    assert [(info.id, info.context, info.is_asr33) for info in decode_models(body)] == [
        ("a", 99, False),
        ("b", 7, False),
    ]
    with pytest.raises(MalformedResponse):
        decode_models({"models": []})


def test_all_line_ends_are_accepted_and_comments_ignored() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        lines = [b": hello", b"event: x", b"data: a", b"data:b", b"id", b"", b"", b"data: c", b"", b"data: d"]
        stream = end.join(lines)
        for size in (1, 2, 3, len(stream)):
            parser = SseParser()
            blocks = [stream[at : at + size] for at in range(0, len(stream), size)]
            assert [data for block in blocks for data in parser.push(block)] == ["a\nb", "c"]


def test_an_event_that_never_ends_is_refused_before_it_fills_the_memory() -> None:
    for part in (b"x" * 60, b"data: " + b"x" * 50 + b"\n", b": " + b"x" * 60):
        parser = SseParser(max_bytes=100)
        parser.push(part)
        with pytest.raises(MalformedResponse, match="over 100 bytes"):
            parser.push(part)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(MalformedResponse, match="UTF-8"):
        SseParser().push(b"data: \xff\n")
