from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import wait_until
from fakes_model import TEXT, tiny_folder
from fakes_slots import FakeBatchedSession, generate_alone, join_chunks, make_engine, make_request

from model.errors import Busy, EngineFailed, NoSuchAlphabet, PromptTooLong
from model.generate.local_model import LocalModel
from model.interface import CompletionRequest, GPT2Config, Sampling, TextChunk
from model.server.engine.encoder import BatchEngine, count_slots
from model.server.engine.engine_thread import BatchModel

FAST_PACE = {"pace": 10_000.0}


@asynccontextmanager
async def running_batch(
    slots: FakeBatchedSession | Callable[[], BatchEngine], **settings: Any
) -> AsyncIterator[BatchModel]:
    source = (lambda: make_engine(slots)) if isinstance(slots, FakeBatchedSession) else slots
    made = BatchModel(source, **{"rows": 4, **settings})
    try:
        yield made
    finally:
        await made.close()


async def collect_answer(made: BatchModel, asked: CompletionRequest) -> list[TextChunk]:
    async with aclosing(made.stream(asked)) as pieces:
        return [piece async for piece in pieces]


def thread_names() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(("batch", "spelling"))]


async def test_many_answers_at_once_are_what_each_would_be_alone() -> None:
    asks = [make_request(f"{n} asks", seed=n, tokens=60, pace=0.0 if n % 3 else 500.0) for n in range(9)]
    async with running_batch(FakeBatchedSession(6, 50), rows=4, queue=5) as made:
        answers = await asyncio.gather(*(collect_answer(made, one) for one in asks))
        assert [join_chunks(got) for got in answers] == [join_chunks(list(generate_alone(one, 50))) for one in asks]
        await wait_until(lambda: made.counters().active == 0)
        counters = made.counters()
        assert (counters.finished, counters.failed, counters.cut, counters.waiting) == (9, 0, 0, 0)
        assert counters.rows > counters.steps
        assert counters.tokens == sum(len(join_chunks(got)[1]) for got in answers)


async def test_a_batch_has_a_name_a_device_and_counts_tokens() -> None:
    async with running_batch(FakeBatchedSession(1, 50), name="small") as made:
        await made.wait_until_loaded()
        assert (made.name, made.device, made.context, made.count_tokens("Hello\nyou")) == ("small", "numpy", 50, 9)
        assert [piece async for piece in made.stream(make_request("Hi", tokens=3))][-1].finish_reason == "length"
    assert thread_names() == []


async def test_a_stream_that_is_closed_is_in_no_later_step_and_its_cache_is_kept() -> None:
    slots = FakeBatchedSession(4, 400)
    async with running_batch(slots) as made:
        async with aclosing(made.stream(make_request("Hello", tokens=300, conversation="a", **FAST_PACE))) as pieces:
            text = "".join([(await anext(pieces)).text for _ in range(5)])
            slots.may_run.clear()
        before = len(slots.passes)
        slots.may_run.set()
        await wait_until(lambda: made.counters().cut == 1)
        assert len(slots.passes) <= before + 1
        read = made.counters().read
        await collect_answer(made, make_request("Hello" + text, tokens=2, conversation="a"))
        assert made.counters().read - read <= 2


async def test_where_all_rows_and_all_places_are_taken_the_next_is_sent_away() -> None:
    slots = FakeBatchedSession(2, 200)
    slots.may_run.clear()
    async with running_batch(slots, rows=2, queue=1) as made:
        tasks = [asyncio.create_task(collect_answer(made, make_request(str(n), **FAST_PACE))) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="ask again soon"):
            await collect_answer(made, make_request())
        slots.may_run.set()
        await asyncio.gather(*tasks)
        assert made.counters().refused == 1
        await collect_answer(made, make_request(tokens=1))


@pytest.mark.parametrize(
    ("asked", "error"),
    [(make_request("x" * 60), PromptTooLong), (make_request("x", alphabet="klingon"), NoSuchAlphabet)],
)
async def test_what_cannot_be_answered_is_said_before_the_first_piece(
    asked: CompletionRequest, error: type[Exception]
) -> None:
    async with running_batch(FakeBatchedSession(2, 60)) as made:
        with pytest.raises(error):
            await collect_answer(made, asked)
        assert (await collect_answer(made, make_request(tokens=2)))[-1].finish_reason == "length"


async def test_an_answer_keeps_to_its_alphabet_and_its_neighbour_does_not() -> None:
    alphabets = {"vowels": set("aeiou ").__contains__}
    async with running_batch(FakeBatchedSession(4, 60), alphabets=alphabets) as made:
        kept, free = await asyncio.gather(
            collect_answer(made, make_request("Hi", alphabet="vowels", **FAST_PACE)),
            collect_answer(made, make_request("Hi", **FAST_PACE)),
        )
    assert set(join_chunks(kept)[0]) <= set("aeiou ") < set("aeiou ") | set(join_chunks(free)[0])


async def test_an_engine_that_fails_fails_for_all_and_a_model_that_cannot_be_loaded_for_whoever_asks() -> None:
    slots = FakeBatchedSession(3, 200)
    slots.failing_pass = 6
    async with running_batch(slots) as made:
        both = await asyncio.gather(
            *(collect_answer(made, make_request(text, **FAST_PACE)) for text in "ab"), return_exceptions=True
        )
        with pytest.raises(MemoryError, match="no more memory"):
            await collect_answer(made, make_request())
        assert [type(error) for error in both] == [MemoryError] * 2

    def broken() -> BatchEngine:
        raise EngineFailed("no threads left")

    async with running_batch(broken) as made:
        for wait in (made.wait_until_loaded(), collect_answer(made, make_request()), made.prefill(make_request())):
            with pytest.raises(EngineFailed, match="no threads left"):
                await wait


async def test_what_is_typed_is_read_and_the_answer_finds_it() -> None:
    slots = FakeBatchedSession(3, 400)
    async with running_batch(slots) as made:
        typed = "Where is the operator, and what does he type?"
        assert await made.prefill(make_request(typed[:30], conversation="a")) == 26 + 1
        read = made.counters().read
        await collect_answer(made, make_request(typed, tokens=1, conversation="a"))
        assert made.counters().read - read == len(typed) - 26
        task = asyncio.create_task(made.prefill(make_request(typed)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])


async def test_closing_ends_answers_that_nobody_reads_and_leaves_no_thread() -> None:
    made = BatchModel(lambda: make_engine(FakeBatchedSession(2, 1000)), batch_size=1)
    first = made.stream(make_request(tokens=900))
    await anext(first)
    waits = asyncio.create_task(collect_answer(made, make_request(tokens=900)))
    await asyncio.sleep(0.02)
    async with asyncio.timeout(30):
        await made.close()
        assert await waits == []
    await first.aclose()
    assert thread_names() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_stream_dropped_with_its_event_loop_gives_up_its_row() -> None:
    async def drop() -> BatchModel:
        made = BatchModel(lambda: make_engine(FakeBatchedSession(2, 4000)), batch_size=1)
        stream = made.stream(make_request(tokens=3000))
        await anext(stream)
        return made

    async def after(made: BatchModel) -> None:
        async with asyncio.timeout(30):
            assert (await collect_answer(made, make_request(tokens=2)))[-1].finish_reason == "length"
            await made.close()

    made = asyncio.run(drop())
    asyncio.run(after(made))


async def test_readers_that_are_cancelled_at_any_place_leave_a_batch_that_answers() -> None:
    async with running_batch(FakeBatchedSession(5, 60), rows=3, queue=50) as made:
        asked = make_request("Hi", **FAST_PACE)

        async def give_up(after: int) -> None:
            async with aclosing(made.stream(asked)) as pieces:
                async for _ in pieces:
                    after -= 1
                    if after < 0:
                        return

        tasks = [asyncio.create_task(give_up(n % 7)) for n in range(30)]
        for at, task in enumerate(tasks):
            await asyncio.sleep(0)
            if at % 3 == 0:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert join_chunks(await collect_answer(made, asked)) == join_chunks(list(generate_alone(asked, 60)))
        await wait_until(lambda: made.counters().active == 0)


async def test_what_was_said_to_the_end_is_only_told_how_it_ended() -> None:
    asked = make_request("Hi", tokens=5)
    tokens = join_chunks(list(generate_alone(asked, 60)))[1]
    async with running_batch(FakeBatchedSession(2, 60)) as made:
        pieces = await collect_answer(made, replace(asked, resume_tokens=tokens))
    assert [(piece.text, piece.tokens, piece.finish_reason) for piece in pieces] == [("", (), "length")]


def test_memory_says_how_many_caches_there_are() -> None:
    shape = GPT2Config(50257, 1024, 768, 12, 12)
    each = 2 * 12 * 768 * 257 * 4
    assert count_slots(10 * each + 1, shape, 256, 100) == 10
    assert count_slots(0, shape, 256, 100) == 1
    assert count_slots(10_000 * each, shape, 256, 100) == 400


async def test_a_model_on_disk_says_to_many_what_it_says_to_one(tmp_path: Path) -> None:
    folder, sampling = tiny_folder(tmp_path), Sampling(max_tokens=90, length=120, logprobs=True)
    kept = set("abcdefghijklmnopqrstuvwxyz .,\n").__contains__
    alone, many = (
        LocalModel(folder, threads=1, is_allowed=kept),
        BatchModel(folder, batch_size=5, queue_size=20, threads=1, alphabets={"low": kept}),
    )
    try:
        asks = [
            CompletionRequest(
                TEXT[at : at + 20 + 4 * at],
                replace(sampling, seed=at),
                chars_per_second=float(at % 2) * 999,
                alphabet="low",
            )
            for at in range(12)
        ]
        together = await asyncio.gather(*(collect_answer(many, one) for one in asks))
        for one, got in zip(asks, together, strict=True):
            async with aclosing(alone.stream(one.prompt, one.sampling)) as pieces:
                text, tokens, forgotten, finish, logprobs = join_chunks([piece async for piece in pieces])
            assert join_chunks(got)[:4] == (text, tokens, forgotten, finish)
            assert join_chunks(got)[4] == pytest.approx(logprobs, abs=1e-4)
        assert many.counters().rows > many.counters().steps * 2
    finally:
        await alone.close()
        await many.close()
