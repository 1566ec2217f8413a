"""/v1/completions, both directions: dataclasses come out as they went in, and a stranger's JSON ends clearly."""

import contextlib
import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.interface import SAMPLING_RANGES, CompletionRequest, FinishReason, Sampling
from model.openai_api import response
from model.openai_api.response import (
    CompletionChunk,
    ErrorInfo,
    InvalidRequest,
    ModelInfo,
    OpenAIRequest,
    StreamEnd,
    Usage,
)
from model.openai_api.sse import MalformedResponse, SseParser

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
TOKENS = st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple)
FINISHES = st.sampled_from([None, *get_args(FinishReason)])


def within(name: str) -> st.SearchStrategy[Any]:
    least, most = SAMPLING_RANGES[name]
    if isinstance(getattr(Sampling(), name), float):
        return st.floats(least, most)
    return st.integers(int(least), int(most))


SAMPLINGS = st.builds(
    Sampling,
    **{name: within(name) for name in SAMPLING_RANGES if name != "length"},
    length=st.none() | within("length"),
    stop=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=4).map(tuple),
    logprobs=st.booleans(),
)
ASKS = st.builds(
    CompletionRequest,
    prompt=TEXT,
    sampling=SAMPLINGS,
    said=TOKENS,
    alphabet=TEXT,
    pace=st.floats(0, 1000),
    conversation=TEXT,
)
COUNTS = st.integers(0, 10**6)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.builds(OpenAIRequest, model=TEXT, ask=ASKS, stream=st.just(True), read=st.booleans(), usage=st.booleans()))
def test_a_request_comes_back_as_it_went(request: OpenAIRequest) -> None:
    assert OpenAIRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_a_request_without_a_stream_asks_for_no_count_of_one() -> None:
    body = OpenAIRequest("m", CompletionRequest("a", Sampling()), stream=False).to_json()
    assert not body["stream"]
    assert "stream_options" not in body


def test_a_request_of_another_program_has_the_defaults_of_openai() -> None:
    request = OpenAIRequest.from_json({"prompt": ["Hello"], "user": "bob", "seed": None}, default_seed=7)
    assert request == OpenAIRequest(
        "",
        CompletionRequest("Hello", Sampling(1.0, 0, 1.0, 0.0, 1.0, 0, 7, 16)),
        stream=False,
        include_usage=False,
    )


def test_the_penalty_is_known_by_either_name_and_all_tokens_by_minus_one() -> None:
    sampling = OpenAIRequest.from_json(
        {"prompt": "", "repeat_penalty": 1.5, "top_k": -1, "stop": "."}
    ).completion.sampling
    assert (sampling.repetition_penalty, sampling.top_k, sampling.stop) == (1.5, 0, (".",))


@pytest.mark.parametrize(
    ("body", "field", "status"),
    [
        ([], "body", 400),
        ({}, "prompt", 400),
        ({"prompt": [1, 2]}, "prompt", 422),
        ({"prompt": [[1]]}, "prompt", 422),
        ({"prompt": ["a", "b"]}, "prompt", 422),
        ({"prompt": []}, "prompt", 422),
        ({"prompt": "\ud800"}, "prompt", 400),
        ({"prompt": "a", "n": 2}, "n", 422),
        ({"prompt": "a", "best_of": 2}, "best_of", 422),
        ({"prompt": "a", "echo": True}, "echo", 422),
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
        ({"prompt": "a", "asr33": {"length": 0}}, "length", 422),
        ({"prompt": "a", "asr33": 5}, "asr33", 400),
    ],
)
def test_what_is_unfit_is_named(body: object, field: str, status: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        OpenAIRequest.from_json(body)
    assert (caught.value.field, caught.value.status) == (field, status)


@given(
    st.dictionaries(
        st.sampled_from([*OpenAIRequest("", CompletionRequest("", Sampling())).to_json(), "n", "echo"]), JSON
    ),
    JSON,
)
def test_whatever_is_asked_is_a_request_or_unfit(body: dict[str, Any], ours: object) -> None:
    for found in (body, {**body, "prompt": "a", "asr33": ours}):
        try:
            request = OpenAIRequest.from_json(found)
        except InvalidRequest:
            continue
        assert OpenAIRequest.from_json(request.to_json()).completion == request.completion


CHUNKS = st.builds(
    lambda known, priced, **parts: CompletionChunk(**parts, is_plain=not known, **(priced if known else {})),
    known=st.booleans(),
    priced=st.fixed_dictionaries({"tokens": TOKENS, "finish": FINISHES, "forgotten": COUNTS}),
    id=TEXT,
    created=COUNTS,
    model=TEXT,
    text=TEXT,
    logprobs=st.lists(st.floats(-50, 0), max_size=3).map(tuple),
    usage=st.none() | USAGES,
)
FAILURES = st.builds(
    ErrorInfo, st.integers(400, 599), TEXT, st.text("abc é", max_size=9).map(str.strip), TEXT, TEXT
).map(lambda it: ErrorInfo(it.status, it.kind, " ".join(it.message.split()), it.code, it.param))


@given(st.one_of(CHUNKS, FAILURES, st.just(StreamEnd())), st.randoms(use_true_random=False))
def test_an_event_comes_back_as_it_went_however_it_is_cut(
    said: CompletionChunk | ErrorInfo | StreamEnd, random: Any
) -> None:
    if isinstance(said, CompletionChunk) and said.usage and not (said.text or said.tokens or said.finish):
        said = CompletionChunk(
            said.id, said.created, said.model, usage=said.usage, is_plain=True
        )  # a count and nothing else
    events, got, data = SseParser(), [], response.PING + response.encode_event(said)
    while data:
        size = random.randint(1, len(data))
        got += events.push(data[:size])
        data = data[size:]
    assert [response.decode_event(one) for one in got] == [said]


def test_each_end_has_a_word_of_openai() -> None:
    for finish in get_args(FinishReason):
        choice = CompletionChunk("i", 0, "m", finish=finish).to_json()["choices"][0]
        assert choice["finish_reason"] in {"stop", "length"}


def test_other_servers_are_understood() -> None:
    def end(**choice: object) -> FinishReason | None:
        said = response.decode_event(json.dumps({"choices": [{"text": "", **choice}]}))
        assert isinstance(said, CompletionChunk)
        assert said.is_plain
        return said.finish

    assert end(finish_reason=None) is None
    assert end(finish_reason="") is None
    assert end(finish_reason="stop") == "end"
    assert end(finish_reason="stop", stop_reason="\n") == "stop"
    assert end(finish_reason="length") == "length"
    counted = response.decode_event('{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}')
    assert isinstance(counted, CompletionChunk)
    assert counted.usage == Usage(5, 2)


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
def test_an_error_inside_a_stream_is_one(data: str, status: int, message: str) -> None:
    said = response.decode_event(data)
    assert isinstance(said, ErrorInfo)
    assert (said.status, said.message) == (status, message)


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
        '{"choices": [{"text": "\\ud83d"}]}',
        '{"choices": [{"finish_reason": 5}]}',
        '{"choices": [], "asr33": {"tokens": 5}}',
    ],
)
def test_what_is_none_of_the_protocol_is_garbled(data: str) -> None:
    with pytest.raises(MalformedResponse):
        response.decode_event(data)


@given(JSON)
def test_whatever_comes_is_an_event_or_garbled(found: object) -> None:
    for body in (found, {"choices": found}, {"choices": [{"text": "a", "logprobs": found}], "asr33": found}):
        with contextlib.suppress(MalformedResponse):
            response.decode_event(json.dumps(body))


@given(st.builds(ModelInfo, TEXT, st.just("asr33"), COUNTS, st.lists(TEXT, max_size=2).map(tuple), TEXT))
def test_a_card_comes_back_as_it_went(card: ModelInfo) -> None:
    assert response.decode_models(json.loads(json.dumps(response.encode_models([card])))) == [card]
    assert card.is_asr33


def test_the_cards_of_others_tell_what_they_tell() -> None:
    found = {"data": [{"id": "a", "max_model_len": 99}, {"id": "b", "meta": {"n_ctx_train": 7}}, {"id": 5}, "x"]}
    assert [(card.id, card.context, card.is_asr33) for card in response.decode_models(found)] == [
        ("a", 99, False),
        ("b", 7, False),
    ]
    with pytest.raises(MalformedResponse):
        response.decode_models({"models": []})


def test_lines_may_end_as_they_like_and_comments_are_nothing() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        stream = end.join(
            [b": hello", b"event: x", b"data: a", b"data:b", b"id", b"", b"", b"data: c", b"", b"data: d"]
        )
        for size in (1, 2, 3, len(stream)):
            events = SseParser()
            parts = [stream[at : at + size] for at in range(0, len(stream), size)]
            assert [data for part in parts for data in events.push(part)] == ["a\nb", "c"]


def test_an_event_that_never_ends_is_refused_before_it_fills_the_memory() -> None:
    for part in (b"x" * 60, b"data: " + b"x" * 50 + b"\n", b": " + b"x" * 60):
        events = SseParser(max_bytes=100)
        events.push(part)
        with pytest.raises(MalformedResponse, match="over 100 bytes"):
            events.push(part)


def test_bytes_that_are_no_text_are_garbled() -> None:
    with pytest.raises(MalformedResponse, match="UTF-8"):
        SseParser().push(b"data: \xff\n")
