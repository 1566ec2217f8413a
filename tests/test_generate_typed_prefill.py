"""The model prefills a line while the operator types it: the cache at RETURN, the order of prefill and answers."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from fakes_model import Floats, ScriptedSession
from fakes_teletype import spin_loop
from hypothesis import given, settings
from hypothesis import strategies as st
from test_generate_local_model import (
    GREEDY,
    collect_chunks,
    join_text,
    model_threads,
    open_model,
    wait_until,
    wait_until_stable,
)

from daemon.conversation import Conversation
from model.errors import ModelDamaged, PromptTooLong
from model.generate.local_model import LOOKAHEAD_CHARS, LocalEngine, LocalModel
from model.generate.prefix_cache import PREFILL_CHUNK, stable_prefix
from model.interface import Sampling
from model.store import store

MEMORY = "It was the best of times, it was the worst of times.\n" * 20
LINE = "The quick brown fox"


async def prefill_and_wait(model: LocalModel, prompt: str) -> None:
    """Types a prompt, and waits until the thread has prefilled it."""
    model.prefill(prompt)
    await wait_until(lambda: not model._is_prefilling)


async def type_on_slow_machine(model: LocalModel, script: ScriptedSession, prompt: str) -> None:
    """Types a prompt on a slow machine, which prefills only the stable prefix."""
    await prefill_and_wait(model, prompt)
    assert bytes(script.cached_ids[1:]).decode() == stable_prefix(prompt)


@asynccontextmanager
async def open_loaded_model(script: ScriptedSession, seconds_per_reading: float = 1.0) -> AsyncIterator[LocalModel]:
    """A model whose clock advances by so many seconds at each reading."""
    readings = itertools.count()
    async with open_model(script.make_engine, clock=lambda: seconds_per_reading * next(readings)) as model:
        await model.wait_ready()
        yield model


@pytest.mark.parametrize("memory", ["", MEMORY], ids=["a short prompt", "a long prompt"])
async def test_at_return_only_the_last_word_is_left_to_prefill(memory: str) -> None:
    script = ScriptedSession("x")
    async with open_loaded_model(script) as model:
        for end in range(len(LINE) + 1):
            await type_on_slow_machine(model, script, memory + LINE[:end])
        script.pass_sizes.clear()
        assert join_text(await collect_chunks(model, memory + LINE)) == "x"
        assert script.pass_sizes == [len(" fox"), 1]


async def test_each_word_is_prefilled_once_as_it_is_typed() -> None:
    script = ScriptedSession("x")
    async with open_loaded_model(script) as model:
        for end in range(len(LINE) + 1):
            await type_on_slow_machine(model, script, LINE[:end])
        # The end of text stands before every prompt, and is prefilled before the first key.
        assert script.pass_sizes == [1, len("The"), len(" quick"), len(" brown")]


async def test_a_cheap_word_is_prefilled_at_every_key_and_return_reuses_the_logits() -> None:
    script = ScriptedSession("!")
    async with open_loaded_model(script, seconds_per_reading=0.001) as model:
        for end in range(len(LINE) + 1):
            await prefill_and_wait(model, LINE[:end])
            assert bytes(script.cached_ids[1:]).decode() == LINE[:end]
        script.pass_sizes.clear()
        assert join_text(await collect_chunks(model, LINE)) == "!"
        assert script.pass_sizes == [1], "only the token of the answer itself was left to compute"


async def test_a_machine_that_became_slow_does_not_prefill_the_last_word() -> None:
    script, seconds_per_reading, now = ScriptedSession("!"), 0.001, 0.0

    def clock() -> float:
        nonlocal now
        now += seconds_per_reading
        return now

    async with open_model(script.make_engine, clock=clock) as model:
        await prefill_and_wait(model, "One")
        assert bytes(script.cached_ids[1:]) == b"One"
        seconds_per_reading = 1.0
        await prefill_and_wait(model, "One two")
        await prefill_and_wait(model, "One two six")
        assert bytes(script.cached_ids[1:]) == b"One two"


async def test_an_edited_line_is_prefilled_from_the_edit() -> None:
    script = ScriptedSession("x")
    async with open_loaded_model(script) as model:
        await type_on_slow_machine(model, script, MEMORY + "The quick brown fox jumps")
        script.pass_sizes.clear()
        for line in ("The quick brown fo", "The quick b", "The quick ", "The quick red", "The quick red fox"):
            await type_on_slow_machine(model, script, MEMORY + line)
        assert script.pass_sizes == [len(" quick"), len(" red")]
        assert join_text(await collect_chunks(model, MEMORY + "The quick red fox")) == "x"
        assert bytes(script.cached_ids[1:]).decode() == MEMORY + "The quick red foxx"


async def test_the_next_line_of_a_conversation_reuses_the_cache_of_the_answer() -> None:
    script = ScriptedSession(" is red.\n")
    async with open_loaded_model(script) as model:
        answer = join_text(await collect_chunks(model, MEMORY + "The fox"))
        script.pass_sizes.clear()
        await collect_chunks(model, MEMORY + "The fox" + answer + "It runs")
        assert script.pass_sizes[0] == len("It runs")


@settings(max_examples=30)
@given(st.lists(st.text("AB C.\n", max_size=12), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_after_any_edits_the_answer_is_the_same_and_the_cache_a_prefix_of_the_prompt(
    lines: list[str], rng: random.Random
) -> None:
    async def main() -> None:
        script = ScriptedSession("So.")
        async with open_loaded_model(script) as model:
            for line in lines:
                model.prefill(line)
                if rng.random() < 0.5:
                    await type_on_slow_machine(model, script, line)
                if rng.random() < 0.3:
                    assert join_text(await collect_chunks(model, line)) == "So."
                    assert bytes(script.cached_ids[1:]).decode() == line + "So."

    asyncio.run(main())


async def test_the_newest_prompt_counts() -> None:
    script = ScriptedSession("x")
    async with open_loaded_model(script) as model:
        script.gate.clear()
        model.prefill("One two")
        await wait_until(script.entered.is_set)
        for end in range(1, 500):
            model.prefill("Many keys " * end)
        model.prefill("Other words")
        script.gate.set()
        await wait_until(lambda: not model._is_prefilling)
        assert bytes(script.cached_ids[1:]).decode() == "Other"
        assert script.passes == 2


async def test_return_waits_for_at_most_one_outdated_chunk() -> None:
    script = ScriptedSession("x")
    async with open_loaded_model(script) as model:
        script.gate.clear()
        model.prefill("word " * 2 * PREFILL_CHUNK)
        await wait_until(script.entered.is_set)
        answer = asyncio.create_task(collect_chunks(model, "Hi"))
        await spin_loop()
        script.gate.set()
        assert join_text(await answer) == "x"
        assert script.pass_sizes == [PREFILL_CHUNK, len("Hi"), 1]
        assert await wait_until_stable(lambda: script.passes) == 3, "an outdated line was prefilled"


async def test_return_during_a_long_prompt_prefills_only_the_rest() -> None:
    prompt = "word " * PREFILL_CHUNK + "end"
    script = ScriptedSession("x")
    async with open_loaded_model(script) as model:
        script.gate.clear()
        model.prefill(prompt)
        await wait_until(script.entered.is_set)
        answer = asyncio.create_task(collect_chunks(model, prompt))
        await spin_loop()
        script.gate.set()
        assert join_text(await answer) == "x"
        assert sum(script.pass_sizes) == 1 + len(prompt) + 1


async def test_a_running_answer_goes_first() -> None:
    script = ScriptedSession("Hello there")
    async with open_loaded_model(script) as model, aclosing(model.stream("Hi", GREEDY)) as chunks:
        text = (await anext(chunks)).text
        model.prefill("Type ahead")
        async for chunk in chunks:
            text += chunk.text
        assert text == "Hello there"
        await wait_until(lambda: not model._is_prefilling)
        assert bytes(script.cached_ids[1:]).decode() == "Type"


async def test_break_waits_one_step_at_most_while_a_line_is_prefilled() -> None:
    script = ScriptedSession("x" * 1000)
    async with open_loaded_model(script) as model:
        async with aclosing(model.stream("Hi", GREEDY)) as chunks:
            await anext(chunks)
            model.prefill("Next line")
        await wait_until(lambda: not model._is_prefilling)
        assert bytes(script.cached_ids[1:]).decode() == "Next"
        assert join_text(await collect_chunks(model, "Next line", Sampling(temperature=0, max_tokens=3))) == "xxx"


async def test_a_line_that_is_too_long_is_not_prefilled() -> None:
    script = ScriptedSession("x", context=100)
    async with open_loaded_model(script) as model:
        model.prefill("word " * 40)
        assert await wait_until_stable(lambda: script.passes) == 0
        with pytest.raises(PromptTooLong):
            await collect_chunks(model, "word " * 40)
        await type_on_slow_machine(model, script, "Shorter now")


async def test_an_error_during_prefill_is_raised_by_the_answer() -> None:
    class BrokenSession(ScriptedSession):
        def forward(self, ids: Sequence[int]) -> Floats:
            raise ModelDamaged("it broke")

    def fail_to_load() -> LocalEngine:
        raise ModelDamaged("it broke")

    for source in (BrokenSession("x").make_engine, fail_to_load):
        async with open_model(source) as model:
            for _ in range(3):
                model.prefill("One two")
                await wait_until(lambda model=model: not model._is_prefilling)
            with pytest.raises(ModelDamaged, match="it broke"):
                await collect_chunks(model)


async def test_a_line_typed_while_another_fails_is_prefilled() -> None:
    class StumblingSession(ScriptedSession):
        def forward(self, ids: Sequence[int]) -> Floats:
            logits = super().forward(ids)
            if self.passes == 1:
                self.rewind(0)
                raise ModelDamaged("it stumbled")
            return logits

    script = StumblingSession("x")
    async with open_loaded_model(script) as model:
        script.gate.clear()
        model.prefill("One two")
        await wait_until(script.entered.is_set)
        model.prefill("Other words")
        script.gate.set()
        await wait_until(lambda: bytes(script.cached_ids[1:]) == b"Other")


async def test_a_line_typed_while_the_model_loads_is_prefilled_afterwards() -> None:
    script = ScriptedSession("x")
    async with open_model(script.make_engine) as model:
        model.prefill("One two")
        await wait_until(lambda: bytes(script.cached_ids[1:]) == b"One two")


async def test_closing_ends_the_prefill_at_its_next_chunk() -> None:
    script = ScriptedSession("x")
    script.gate.clear()
    model = LocalModel(script.make_engine)
    model.prefill("word " * 5 * PREFILL_CHUNK)
    await wait_until(script.entered.is_set)
    closing = asyncio.create_task(model.close())
    await spin_loop()
    script.gate.set()
    await closing
    model.prefill("Anyone there?")
    assert script.passes == 1
    assert model_threads() == []


PROMPT = "It was a dark and stormy night; the rain fell in torrents.\n" * 6 + "The old telegraph office"


async def test_the_embedded_model_writes_the_same_with_and_without_prefill() -> None:
    sampling = Sampling(seed=7, max_tokens=40)
    async with open_model(store.find_model("embedded"), threads=1) as fresh:
        without_prefill = await collect_chunks(fresh, PROMPT, sampling)
    async with open_model(store.find_model("embedded"), threads=1) as model:
        await model.wait_ready()
        for end in range(len(PROMPT) - 30, len(PROMPT) + 1):
            model.prefill(PROMPT[:end])
            if end % 3 == 0:
                await wait_until(lambda: not model._is_prefilling)
        with_prefill = await collect_chunks(model, PROMPT, sampling)
        await collect_chunks(model, PROMPT + join_text(with_prefill) + "\nAnd so", sampling)
        repeated = await collect_chunks(model, PROMPT, sampling)
    answers = (without_prefill, with_prefill, repeated)
    tokens = [[token for chunk in chunks for token in chunk.tokens] for chunks in answers]
    assert len(tokens[0]) == 40
    assert tokens[0] == tokens[1] == tokens[2]


async def test_dropped_characters_are_reported_with_the_next_chunk() -> None:
    script = ScriptedSession("x" * 100, context=64)
    async with open_model(script.make_engine) as model:
        prompt = "A line.\nAnother line.\nA third.\n"
        chunks = await collect_chunks(model, prompt, Sampling(temperature=0, max_tokens=60))
        assert [chunk.dropped_chars for chunk in chunks if chunk.dropped_chars] == [len(prompt)]
        assert chunks[-1].finish_reason == "length"


class HaltingSession(ScriptedSession):
    """Stops at its gate at the prefill that follows dropped lines."""

    def forward(self, ids: Sequence[int]) -> Floats:
        if self.passes and len(ids) > 1:
            self.gate.clear()
            self.has_dropped.set()
        return super().forward(ids)

    has_dropped = threading.Event()


async def test_two_lines_of_paper_are_ready_when_lines_are_dropped() -> None:
    script = HaltingSession("x" * 1000, context=256)
    async with open_model(script.make_engine) as model, aclosing(model.stream("Hi", GREEDY)) as chunks:
        taken = 0
        while not script.has_dropped.is_set():
            await anext(chunks)
            taken += 1
            await wait_until(
                lambda taken=taken: script.has_dropped.is_set() or script.passes >= taken + LOOKAHEAD_CHARS - 1
            )
        ready_chars = 0
        while taken + ready_chars < 256 - len("Hi"):
            await asyncio.wait_for(anext(chunks), 30)
            ready_chars += 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(chunks), 0.2)
        assert ready_chars >= LOOKAHEAD_CHARS - 3
        script.gate.set()


async def test_conversation_and_model_drop_the_same_lines_so_only_the_next_line_is_prefilled() -> None:
    script, talk = ScriptedSession("So it was said, and so it was done.\n" * 4, context=200), Conversation()
    dropped_by_model = answers_after_drop = 0
    async with open_model(script.make_engine) as model:
        for number in range(20):
            line = f"LINE {number}"
            dropped = talk.drop_oldest_lines(line, model.count_tokens, 180, 100)
            script.pass_sizes.clear()
            chunks = await collect_chunks(model, talk.build_prompt(line), Sampling(temperature=0, max_tokens=90))
            if number and not dropped:
                assert script.pass_sizes[0] <= len("\n" + line) + 1
                answers_after_drop += dropped_by_model > 0
            dropped_by_model = sum(chunk.dropped_chars for chunk in chunks)
            talk.add_answer(talk.build_prompt(line), join_text(chunks), dropped_by_model)
    assert answers_after_drop >= 4


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.soak
async def test_a_thousand_generations_do_not_grow_the_memory() -> None:
    async with open_model(store.find_model("embedded"), threads=1) as model:
        await model.wait_ready()
        memory, sizes = "", []
        for number in range(1000):
            line = f"{memory}\nLine {number} is typed"
            for end in range(len(memory) + 1, len(line), 8):
                model.prefill(line[:end])
            chunks = await collect_chunks(model, line.strip(), Sampling(seed=number, max_tokens=10))
            memory = (line + join_text(chunks))[-600:].partition("\n")[2]
            if number % 100 == 99:
                gc.collect()
                sizes.append(resident_pages())
        assert max(sizes[1:]) <= sizes[0] * 1.02, sizes
