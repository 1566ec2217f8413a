"""The callers of `/say` in the engine: they use the rows that the operators leave, and delay an operator by no pass."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes_batch_engine import FakeBatchedSession, make_engine, make_request
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_server_engine_loop import LoopHarness

from model.errors import ModelError
from model.interface import CompletionRequest
from model.server.engine.engine_loop import PrefillJob
from model.server.engine.engine_thread import BatchModel
from model.server.engine.scheduler import YIELDING_CHUNK

ROWS = 4
CONTEXT = 300
LINE = "The operator asks what time it is, and where the mail is. " * 3


def caller(number: int, prompt: str = "A friend asks on the page: ") -> CompletionRequest:
    return replace(make_request(f"{number} {prompt}", tokens=200, seed=number, speed=0.0), gives_way=True)


def operator(prompt: str = LINE) -> CompletionRequest:
    return make_request(prompt, tokens=60, conversation="operator")


def passes_to_first_token(harness: LoopHarness, request: CompletionRequest) -> int:
    sequence, before = harness.add(request), len(harness.session.passes)
    for _ in range(100):
        if harness.chunks(sequence):
            break
        harness.run_passes()
    assert harness.chunks(sequence), "the operator is not served"
    return len(harness.session.passes) - before


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(0, 60), st.integers(1, 3), st.integers(0, 250), st.floats(0, 9))
@example(callers=2, passes=1, operators=1, prompt_chars=200, busy_s=3.0)  # a caller's prompt has waited for long
def test_an_operator_waits_for_no_pass_of_a_caller(
    callers: int, passes: int, operators: int, prompt_chars: int, busy_s: float
) -> None:
    alone = passes_to_first_token(LoopHarness(8, CONTEXT, ROWS), operator())
    harness = LoopHarness(8, CONTEXT, ROWS)
    for number in range(callers):
        harness.add(caller(number, "x" * prompt_chars))
    harness.run_passes(passes)
    harness.now += busy_s
    assert passes_to_first_token(harness, operator()) == alone  # beside the pass that runs when the request comes
    for number in range(1, operators):
        harness.run_passes(passes)
        other = replace(operator(f"{number} {LINE}"), conversation=f"operator {number}")
        started_at = harness.now
        passes_to_first_token(harness, other)
        assert harness.now - started_at < 0.5 + alone * 0.2


def test_a_pass_for_a_caller_is_short() -> None:
    harness = LoopHarness(8, CONTEXT, ROWS)
    sizes: list[int] = []
    harness.session.on_pass = lambda rows, tokens: sizes.append(tokens)
    harness.add(caller(1, "x" * 200))
    harness.run_passes(20)
    assert max(sizes) == YIELDING_CHUNK


def test_the_line_is_prefilled_while_it_is_typed_whatever_the_callers_do() -> None:
    harness = LoopHarness(8, CONTEXT, ROWS)
    for number in range(3):
        harness.add(caller(number))
    harness.run_passes(3)
    done: list[int] = []
    tokens = harness.encoder.encode_prompt(LINE)
    harness.engine_loop.add_prefill(PrefillJob(tokens, "operator", done.append))
    harness.run_passes(4)
    assert done == [len(tokens)]
    assert passes_to_first_token(harness, operator()) == 1


def test_a_caller_who_gave_way_goes_on_when_the_operator_is_served() -> None:
    harness = LoopHarness(8, CONTEXT, 1)
    friend = harness.add(caller(1))
    harness.run_passes(10)
    before = len(harness.chunks(friend))
    assert before
    first = harness.add(operator())
    harness.run_passes(3)
    assert harness.chunks(first)
    assert len(harness.chunks(friend)) == before
    harness.run_until_idle()
    assert harness.chunks(friend)[-1].finish_reason
    assert harness.chunks(first)[-1].finish_reason


def test_an_answer_to_a_caller_leaves_no_cache_in_place_of_an_operators() -> None:
    harness = LoopHarness(8, CONTEXT, ROWS)
    harness.add(operator())
    harness.run_until_idle()
    for number in range(20):
        harness.add(replace(caller(number), sampling=make_request(tokens=3).sampling))
        harness.run_until_idle()
    assert harness.engine_loop.counters().caches == 1
    harness.engine_loop.cancel(harness.add(caller(1)))
    assert passes_to_first_token(harness, operator()) == 1


async def test_callers_take_no_place_of_the_operators_in_the_queue() -> None:
    session = FakeBatchedSession(2, 60)
    session.may_run.clear()
    model = BatchModel(lambda: make_engine(session), batch_size=1, queue_size=0)
    friends = [model.stream(caller(number)) for number in range(3)]
    waiting = [anext(friend) for friend in friends]
    tasks = [asyncio.ensure_future(chunk) for chunk in waiting]
    await asyncio.sleep(0)
    first = asyncio.ensure_future(anext(model.stream(operator("Now: "))))
    await asyncio.sleep(0)
    with pytest.raises(ModelError, match="taken"):
        await anext(model.stream(operator("Late: ")))
    session.may_run.set()
    assert (await first).tokens
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await model.close()
