from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import until
from fakes_model import TEXT, tiny_folder
from fakes_slots import FakeSlots, alone, ask, engine, whole

from model.base import Ask, Piece, Sampling, Shape
from model.errors import Busy, EngineFailed, NoSuchAlphabet, PromptTooLong
from model.local import Local
from model.serving.batch import Batch
from model.serving.engine import Engine, slots_in

FAST = {"pace": 10_000.0}


@asynccontextmanager
async def batch(slots: FakeSlots | Callable[[], Engine], **settings: Any) -> AsyncIterator[Batch]:
    source = (lambda: engine(slots)) if isinstance(slots, FakeSlots) else slots
    made = Batch(source, **{"rows": 4, **settings})
    try:
        yield made
    finally:
        await made.close()


async def said(made: Batch, asked: Ask) -> list[Piece]:
    async with aclosing(made.stream(asked)) as pieces:
        return [piece async for piece in pieces]


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(("batch", "spelling"))]


async def test_many_answers_at_once_are_what_each_would_be_alone() -> None:
    asks = [ask(f"{n} asks", seed=n, tokens=60, pace=0.0 if n % 3 else 500.0) for n in range(9)]
    async with batch(FakeSlots(6, 50), rows=4, queue=5) as made:
        answers = await asyncio.gather(*(said(made, one) for one in asks))
        assert [whole(got) for got in answers] == [whole(list(alone(one, 50))) for one in asks]
        await until(lambda: made.counters().active == 0)
        counters = made.counters()
        assert (counters.finished, counters.failed, counters.cut, counters.waiting) == (9, 0, 0, 0)
        assert counters.stepped > counters.steps
        assert counters.tokens == sum(len(whole(got)[1]) for got in answers)


async def test_a_batch_has_a_name_a_device_and_counts_tokens() -> None:
    async with batch(FakeSlots(1, 50), name="small") as made:
        await made.ready()
        assert (made.name, made.device, made.context, made.count("Hello\nyou")) == ("small", "numpy", 50, 9)
        assert [piece async for piece in made.stream(ask("Hi", tokens=3))][-1].finish == "length"
    assert threads() == []


async def test_a_stream_that_is_closed_is_in_no_later_step_and_its_cache_is_kept() -> None:
    slots = FakeSlots(4, 400)
    async with batch(slots) as made:
        async with aclosing(made.stream(ask("Hello", tokens=300, conversation="a", **FAST))) as pieces:
            text = "".join([(await anext(pieces)).text for _ in range(5)])
            slots.gate.clear()
        before = len(slots.passes)
        slots.gate.set()
        await until(lambda: made.counters().cut == 1)
        assert len(slots.passes) <= before + 1
        read = made.counters().read
        await said(made, ask("Hello" + text, tokens=2, conversation="a"))
        assert made.counters().read - read <= 2


async def test_where_all_rows_and_all_places_are_taken_the_next_is_sent_away() -> None:
    slots = FakeSlots(2, 200)
    slots.gate.clear()
    async with batch(slots, rows=2, queue=1) as made:
        tasks = [asyncio.create_task(said(made, ask(str(n), **FAST))) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="ask again soon"):
            await said(made, ask())
        slots.gate.set()
        await asyncio.gather(*tasks)
        assert made.counters().refused == 1
        await said(made, ask(tokens=1))


@pytest.mark.parametrize(
    ("asked", "error"), [(ask("x" * 60), PromptTooLong), (ask("x", alphabet="klingon"), NoSuchAlphabet)]
)
async def test_what_cannot_be_answered_is_said_before_the_first_piece(asked: Ask, error: type[Exception]) -> None:
    async with batch(FakeSlots(2, 60)) as made:
        with pytest.raises(error):
            await said(made, asked)
        assert (await said(made, ask(tokens=2)))[-1].finish == "length"


async def test_an_answer_keeps_to_its_alphabet_and_its_neighbour_does_not() -> None:
    alphabets = {"vowels": set("aeiou ").__contains__}
    async with batch(FakeSlots(4, 60), alphabets=alphabets) as made:
        kept, free = await asyncio.gather(
            said(made, ask("Hi", alphabet="vowels", **FAST)), said(made, ask("Hi", **FAST))
        )
    assert set(whole(kept)[0]) <= set("aeiou ") < set("aeiou ") | set(whole(free)[0])


async def test_an_engine_that_fails_fails_for_all_and_a_model_that_cannot_be_loaded_for_whoever_asks() -> None:
    slots = FakeSlots(3, 200)
    slots.fails = 6
    async with batch(slots) as made:
        both = await asyncio.gather(*(said(made, ask(text, **FAST)) for text in "ab"), return_exceptions=True)
        with pytest.raises(MemoryError, match="no more memory"):
            await said(made, ask())
        assert [type(error) for error in both] == [MemoryError] * 2

    def broken() -> Engine:
        raise EngineFailed("no threads left")

    async with batch(broken) as made:
        for wait in (made.ready(), said(made, ask()), made.read(ask())):
            with pytest.raises(EngineFailed, match="no threads left"):
                await wait


async def test_what_is_typed_is_read_and_the_answer_finds_it() -> None:
    slots = FakeSlots(3, 400)
    async with batch(slots) as made:
        typed = "Where is the operator, and what does he type?"
        assert await made.read(ask(typed[:30], conversation="a")) == 26 + 1
        read = made.counters().read
        await said(made, ask(typed, tokens=1, conversation="a"))
        assert made.counters().read - read == len(typed) - 26
        task = asyncio.create_task(made.read(ask(typed)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])


async def test_closing_ends_answers_that_nobody_reads_and_leaves_no_thread() -> None:
    made = Batch(lambda: engine(FakeSlots(2, 1000)), rows=1)
    first = made.stream(ask(tokens=900))
    await anext(first)
    waits = asyncio.create_task(said(made, ask(tokens=900)))
    await asyncio.sleep(0.02)
    async with asyncio.timeout(30):
        await made.close()
        assert await waits == []
    await first.aclose()
    assert threads() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_stream_dropped_with_its_event_loop_gives_up_its_row() -> None:
    async def drop() -> Batch:
        made = Batch(lambda: engine(FakeSlots(2, 4000)), rows=1)
        stream = made.stream(ask(tokens=3000))
        await anext(stream)
        return made

    async def after(made: Batch) -> None:
        async with asyncio.timeout(30):
            assert (await said(made, ask(tokens=2)))[-1].finish == "length"
            await made.close()

    made = asyncio.run(drop())
    asyncio.run(after(made))


async def test_readers_that_are_cancelled_at_any_place_leave_a_batch_that_answers() -> None:
    async with batch(FakeSlots(5, 60), rows=3, queue=50) as made:
        asked = ask("Hi", **FAST)

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
        assert whole(await said(made, asked)) == whole(list(alone(asked, 60)))
        await until(lambda: made.counters().active == 0)


async def test_what_was_said_to_the_end_is_only_told_how_it_ended() -> None:
    asked = ask("Hi", tokens=5)
    tokens = whole(list(alone(asked, 60)))[1]
    async with batch(FakeSlots(2, 60)) as made:
        pieces = await said(made, replace(asked, said=tokens))
    assert [(piece.text, piece.tokens, piece.finish) for piece in pieces] == [("", (), "length")]


def test_memory_says_how_many_caches_there_are() -> None:
    shape = Shape(50257, 1024, 768, 12, 12)
    each = 2 * 12 * 768 * 257 * 4
    assert slots_in(10 * each + 1, shape, 256, 100) == 10
    assert slots_in(0, shape, 256, 100) == 1
    assert slots_in(10_000 * each, shape, 256, 100) == 400


async def test_a_model_on_disk_says_to_many_what_it_says_to_one(tmp_path: Path) -> None:
    folder, sampling = tiny_folder(tmp_path), Sampling(max_tokens=90, length=120, logprobs=True)
    kept = set("abcdefghijklmnopqrstuvwxyz .,\n").__contains__
    alone, many = (
        Local(folder, threads=1, kept=kept),
        Batch(folder, rows=5, queue=20, threads=1, alphabets={"low": kept}),
    )
    try:
        asks = [
            Ask(TEXT[at : at + 20 + 4 * at], replace(sampling, seed=at), pace=float(at % 2) * 999, alphabet="low")
            for at in range(12)
        ]
        together = await asyncio.gather(*(said(many, one) for one in asks))
        for one, got in zip(asks, together, strict=True):
            async with aclosing(alone.stream(one.prompt, one.sampling)) as pieces:
                text, tokens, forgotten, finish, logprobs = whole([piece async for piece in pieces])
            assert whole(got)[:4] == (text, tokens, forgotten, finish)
            assert whole(got)[4] == pytest.approx(logprobs, abs=1e-4)
        assert many.counters().stepped > many.counters().steps * 2
    finally:
        await alone.close()
        await many.close()
