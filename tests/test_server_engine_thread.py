from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes_batch_engine import FakeBatchedSession, generate_alone, join_chunks, make_engine, make_request
from fakes_model import TEXT, tiny_folder
from fakes_teletype import wait_until

from model.errors import EngineFailed, InvalidParameter, ModelError, PromptTooLong
from model.generate.local_model import LocalModel
from model.interface import CompletionRequest, GPT2Config, Sampling, TextChunk
from model.server.engine.encoder import BatchEngine, count_slots
from model.server.engine.engine_thread import BatchModel

FAST = {"speed": 10_000.0}


@asynccontextmanager
async def running_batch(
    session: FakeBatchedSession | Callable[[], BatchEngine], **options: Any
) -> AsyncIterator[BatchModel]:
    source = (lambda: make_engine(session)) if isinstance(session, FakeBatchedSession) else session
    model = BatchModel(source, **{"batch_size": 4, **options})
    try:
        yield model
    finally:
        await model.close()


async def collect_answer(model: BatchModel, request: CompletionRequest) -> list[TextChunk]:
    async with aclosing(model.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("engine", "tokenizer"))]


async def test_each_of_many_answers_is_the_same_as_alone() -> None:
    requests = [make_request(f"{n} asks", seed=n, tokens=60, speed=0.0 if n % 3 else 500.0) for n in range(9)]
    async with running_batch(FakeBatchedSession(6, 50), batch_size=4, queue_size=5) as model:
        answers = await asyncio.gather(*(collect_answer(model, request) for request in requests))
        expected = [join_chunks(list(generate_alone(request, 50))) for request in requests]
        assert [join_chunks(answer) for answer in answers] == expected
        await wait_until(lambda: model.counters().active == 0)
        counters = model.counters()
        assert (counters.finished, counters.failed, counters.cut, counters.waiting) == (9, 0, 0, 0)
        assert counters.rows > counters.steps
        assert counters.tokens == sum(len(join_chunks(answer)[1]) for answer in answers)


async def test_a_batch_model_has_a_name_and_a_device_and_counts_tokens() -> None:
    async with running_batch(FakeBatchedSession(1, 50)) as model:
        await model.wait_until_loaded()
        assert (model.name, model.device, model.context, model.count_tokens("Hello\nyou")) == ("model", "numpy", 50, 9)
        assert [chunk async for chunk in model.stream(make_request("Hi", tokens=3))][-1].finish_reason == "length"
    assert thread_names() == []


async def test_a_closed_stream_is_in_no_later_step_and_its_cache_is_kept() -> None:
    session = FakeBatchedSession(4, 400)
    async with running_batch(session) as model:
        async with aclosing(model.stream(make_request("Hello", tokens=300, conversation="a"))) as chunks:
            text = "".join([(await anext(chunks)).text for _ in range(5)])
            session.may_run.clear()
        before = len(session.passes)
        session.may_run.set()
        await wait_until(lambda: model.counters().cut == 1)
        assert len(session.passes) <= before + 1
        tokens_before = model.counters().read
        await collect_answer(model, make_request("Hello" + text, tokens=2, conversation="a"))
        assert model.counters().read - tokens_before <= 2


async def test_a_request_beyond_the_queue_is_refused() -> None:
    session = FakeBatchedSession(2, 200)
    session.may_run.clear()
    async with running_batch(session, batch_size=2, queue_size=1) as model:
        tasks = [asyncio.create_task(collect_answer(model, make_request(str(n), **FAST))) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ModelError, match="ask again soon") as caught:
            await collect_answer(model, make_request())
        assert caught.value.kind == "busy"
        session.may_run.set()
        await asyncio.gather(*tasks)
        assert model.counters().refused == 1
        await collect_answer(model, make_request(tokens=1))


@pytest.mark.parametrize(
    ("refused", "error"),
    [(make_request("x" * 60), PromptTooLong), (make_request("x", alphabet="klingon"), InvalidParameter)],
)
async def test_an_unanswerable_request_raises_before_the_first_chunk(
    refused: CompletionRequest, error: type[Exception]
) -> None:
    async with running_batch(FakeBatchedSession(2, 60)) as model:
        with pytest.raises(error):
            await collect_answer(model, refused)
        assert (await collect_answer(model, make_request(tokens=2)))[-1].finish_reason == "length"


async def test_an_alphabet_applies_to_its_answer_alone() -> None:
    alphabets = {"vowels": set("aeiou ").__contains__}
    async with running_batch(FakeBatchedSession(4, 60), alphabets=alphabets) as model:
        masked, free = await asyncio.gather(
            collect_answer(model, make_request("Hi", alphabet="vowels", **FAST)),
            collect_answer(model, make_request("Hi", **FAST)),
        )
    assert set(join_chunks(masked)[0]) <= set("aeiou ") < set("aeiou ") | set(join_chunks(free)[0])


async def test_an_engine_or_load_failure_is_raised_to_every_caller() -> None:
    session = FakeBatchedSession(3, 200)
    session.failing_pass = 6
    async with running_batch(session) as model:
        both = await asyncio.gather(
            *(collect_answer(model, make_request(text, **FAST)) for text in "ab"), return_exceptions=True
        )
        with pytest.raises(MemoryError, match="no more memory"):
            await collect_answer(model, make_request())
        assert [type(error) for error in both] == [MemoryError] * 2

    def fail_to_load() -> BatchEngine:
        raise EngineFailed("no threads left")

    async with running_batch(fail_to_load) as model:
        for wait in (model.wait_until_loaded(), collect_answer(model, make_request()), model.prefill(make_request())):
            with pytest.raises(EngineFailed, match="no threads left"):
                await wait


async def test_an_answer_reuses_the_prefill_of_its_prompt() -> None:
    session = FakeBatchedSession(3, 400)
    async with running_batch(session) as model:
        prompt = "Where is the operator, and what does he type?"
        assert await model.prefill(make_request(prompt[:30], conversation="a")) == 26 + 1
        tokens_before = model.counters().read
        await collect_answer(model, make_request(prompt, tokens=1, conversation="a"))
        assert model.counters().read - tokens_before == len(prompt) - 26
        task = asyncio.create_task(model.prefill(make_request(prompt)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])


async def test_close_ends_unread_answers_and_all_threads() -> None:
    model = BatchModel(lambda: make_engine(FakeBatchedSession(2, 1000)), batch_size=1)
    first = model.stream(make_request(tokens=900))
    await anext(first)
    waiting = asyncio.create_task(collect_answer(model, make_request(tokens=900)))
    await asyncio.sleep(0.02)
    async with asyncio.timeout(30):
        await model.close()
        assert await waiting == []
    await first.aclose()
    assert thread_names() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_stream_of_a_closed_event_loop_gives_up_its_row() -> None:
    async def start_and_drop() -> BatchModel:
        model = BatchModel(lambda: make_engine(FakeBatchedSession(2, 4000)), batch_size=1)
        stream = model.stream(make_request(tokens=3000))
        await anext(stream)
        return model

    async def use_again(model: BatchModel) -> None:
        async with asyncio.timeout(30):
            assert (await collect_answer(model, make_request(tokens=2)))[-1].finish_reason == "length"
            await model.close()

    model = asyncio.run(start_and_drop())
    asyncio.run(use_again(model))


async def test_clients_cancelled_at_any_point_leave_a_working_model() -> None:
    async with running_batch(FakeBatchedSession(5, 60), batch_size=3, queue_size=50) as model:
        request = make_request("Hi", **FAST)

        async def read_some(count: int) -> None:
            async with aclosing(model.stream(request)) as chunks:
                async for _ in chunks:
                    count -= 1
                    if count < 0:
                        return

        tasks = [asyncio.create_task(read_some(n % 7)) for n in range(30)]
        for index, task in enumerate(tasks):
            await asyncio.sleep(0)
            if index % 3 == 0:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert join_chunks(await collect_answer(model, request)) == join_chunks(list(generate_alone(request, 60)))
        await wait_until(lambda: model.counters().active == 0)


async def test_a_complete_answer_that_is_resumed_gives_only_its_end() -> None:
    request = make_request("Hi", tokens=5)
    tokens = join_chunks(list(generate_alone(request, 60)))[1]
    async with running_batch(FakeBatchedSession(2, 60)) as model:
        chunks = await collect_answer(model, replace(request, resume_tokens=tokens))
    assert [(chunk.text, chunk.tokens, chunk.finish_reason) for chunk in chunks] == [("", (), "length")]


def test_the_number_of_slots_follows_from_the_memory() -> None:
    shape = GPT2Config(50257, 1024, 768, 12, 12)
    slot_bytes = 2 * 12 * 768 * 257 * 4
    assert count_slots(10 * slot_bytes + 1, shape, 256, 100) == 10
    assert count_slots(0, shape, 256, 100) == 1
    assert count_slots(10_000 * slot_bytes, shape, 256, 100) == 400


async def test_a_model_gives_many_clients_the_same_answers_as_one(tmp_path: Path) -> None:
    folder, sampling = tiny_folder(tmp_path), Sampling(max_tokens=90, length=120, logprobs=True)
    is_lower = set("abcdefghijklmnopqrstuvwxyz .,\n").__contains__
    alone = LocalModel(folder, threads=1, is_allowed=is_lower)
    many = BatchModel(folder, batch_size=5, queue_size=20, threads=1, alphabets={"low": is_lower})
    try:
        requests = [
            CompletionRequest(
                TEXT[at : at + 20 + 4 * at],
                replace(sampling, seed=at),
                chars_per_second=float(at % 2) * 999,
                alphabet="low",
            )
            for at in range(12)
        ]
        together = await asyncio.gather(*(collect_answer(many, request) for request in requests))
        for request, answer in zip(requests, together, strict=True):
            async with aclosing(alone.stream(request.prompt, request.sampling)) as chunks:
                text, tokens, dropped, finish, logprobs = join_chunks([chunk async for chunk in chunks])
            assert join_chunks(answer)[:4] == (text, tokens, dropped, finish)
            assert join_chunks(answer)[4] == pytest.approx(logprobs, abs=1e-4)
        assert many.counters().rows > many.counters().steps * 2
    finally:
        await alone.close()
        await many.close()
