"""The model reads along while a line is typed: what is in its cache at RETURN, and who waits for whom."""

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
from fakes import spin_loop
from fakes_model import Floats, ScriptedSession
from hypothesis import given, settings
from hypothesis import strategies as st
from test_local import GREEDY, local, model_threads, said, settled, text_of, wait_until

from daemon.conversation import Conversation
from model.errors import ModelDamaged, PromptTooLong
from model.generate.local_model import LOOKAHEAD_CHARS, LocalEngine, LocalModel
from model.generate.prefix_cache import PREFILL_CHUNK
from model.generate.prefix_cache import stable_prefix as settled_of
from model.interface import Sampling
from model.store import store

MEMORY = "It was the best of times, it was the worst of times.\n" * 20
LINE = "The quick brown fox"


async def heard(model: LocalModel, prompt: str) -> None:
    """So much stands in the line, and the thread has had the time for it."""
    model.prefill(prompt)
    await wait_until(lambda: not model._is_prefilling)


async def typed(model: LocalModel, script: ScriptedSession, prompt: str) -> None:
    """The same on a slow machine, which reads what is settled."""
    await heard(model, prompt)
    assert bytes(script.seen[1:]).decode() == settled_of(prompt)


@asynccontextmanager
async def listening(script: ScriptedSession, a_look: float = 1.0) -> AsyncIterator[LocalModel]:
    """On a machine on which the clock goes on by so many seconds between two looks at it."""
    looks = itertools.count()
    async with local(script.engine, clock=lambda: a_look * next(looks)) as model:
        await model.wait_ready()
        yield model


@pytest.mark.parametrize("memory", ["", MEMORY], ids=["a short prompt", "a long prompt"])
async def test_at_return_only_the_last_word_is_left_to_read(memory: str) -> None:
    script = ScriptedSession("x")
    async with listening(script) as model:
        for end in range(len(LINE) + 1):
            await typed(model, script, memory + LINE[:end])
        script.counts.clear()
        assert text_of(await said(model, memory + LINE)) == "x"
        assert script.counts == [len(" fox"), 1]


async def test_each_word_is_read_once_as_it_is_typed() -> None:
    script = ScriptedSession("x")
    async with listening(script) as model:
        for end in range(len(LINE) + 1):
            await typed(model, script, LINE[:end])
        # The end of text stands before every prompt, and is there before the first key.
        assert script.counts == [1, len("The"), len(" quick"), len(" brown")]


async def test_where_a_word_costs_nothing_it_is_read_at_every_key_and_return_finds_the_logits_there() -> None:
    script = ScriptedSession("!")
    async with listening(script, a_look=0.001) as model:
        for end in range(len(LINE) + 1):
            await heard(model, LINE[:end])
            assert bytes(script.seen[1:]).decode() == LINE[:end]
        script.counts.clear()
        assert text_of(await said(model, LINE)) == "!"
        assert script.counts == [1], "all that was left is the token of the answer itself"


async def test_a_machine_that_has_become_slow_leaves_the_last_word_alone() -> None:
    script, a_look, now = ScriptedSession("!"), 0.001, 0.0

    def clock() -> float:
        nonlocal now
        now += a_look
        return now

    async with local(script.engine, clock=clock) as model:
        await heard(model, "One")
        assert bytes(script.seen[1:]) == b"One"
        a_look = 1.0
        await heard(model, "One two")
        await heard(model, "One two six")
        assert bytes(script.seen[1:]) == b"One two"


async def test_a_line_that_is_edited_is_read_again_from_the_place_of_the_edit() -> None:
    script = ScriptedSession("x")
    async with listening(script) as model:
        await typed(model, script, MEMORY + "The quick brown fox jumps")
        script.counts.clear()
        for line in ("The quick brown fo", "The quick b", "The quick ", "The quick red", "The quick red fox"):
            await typed(model, script, MEMORY + line)
        assert script.counts == [len(" quick"), len(" red")]
        assert text_of(await said(model, MEMORY + "The quick red fox")) == "x"
        assert bytes(script.seen[1:]).decode() == MEMORY + "The quick red foxx"


async def test_the_next_line_of_a_conversation_begins_where_the_answer_ended() -> None:
    script = ScriptedSession(" is red.\n")
    async with listening(script) as model:
        answer = text_of(await said(model, MEMORY + "The fox"))
        script.counts.clear()
        await said(model, MEMORY + "The fox" + answer + "It runs")
        assert script.counts[0] == len("It runs")


@settings(max_examples=30)
@given(st.lists(st.text("AB C.\n", max_size=12), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_after_any_edits_the_answer_is_the_same_and_the_cache_a_beginning_of_what_was_asked(
    lines: list[str], chance: random.Random
) -> None:
    async def main() -> None:
        script = ScriptedSession("So.")
        async with listening(script) as model:
            for line in lines:
                model.prefill(line)
                if chance.random() < 0.5:
                    await typed(model, script, line)
                if chance.random() < 0.3:
                    assert text_of(await said(model, line)) == "So."
                    assert bytes(script.seen[1:]).decode() == line + "So."

    asyncio.run(main())


async def test_the_newest_line_counts() -> None:
    script = ScriptedSession("x")
    async with listening(script) as model:
        script.gate.clear()
        model.prefill("One two")
        await wait_until(script.entered.is_set)
        for end in range(1, 500):
            model.prefill("Many keys " * end)
        model.prefill("Other words")
        script.gate.set()
        await wait_until(lambda: not model._is_prefilling)
        assert bytes(script.seen[1:]).decode() == "Other"
        assert script.passes == 2


async def test_return_waits_for_one_chunk_of_what_is_no_longer_wanted_and_no_more() -> None:
    script = ScriptedSession("x")
    async with listening(script) as model:
        script.gate.clear()
        model.prefill("word " * 2 * PREFILL_CHUNK)
        await wait_until(script.entered.is_set)
        answer = asyncio.create_task(said(model, "Hi"))
        await spin_loop()
        script.gate.set()
        assert text_of(await answer) == "x"
        assert script.counts == [PREFILL_CHUNK, len("Hi"), 1]
        assert await settled(lambda: script.passes) == 3, "a line was read that nobody types any more"


async def test_return_in_the_middle_of_a_long_prompt_reads_the_rest_alone() -> None:
    prompt = "word " * PREFILL_CHUNK + "end"
    script = ScriptedSession("x")
    async with listening(script) as model:
        script.gate.clear()
        model.prefill(prompt)
        await wait_until(script.entered.is_set)
        answer = asyncio.create_task(said(model, prompt))
        await spin_loop()
        script.gate.set()
        assert text_of(await answer) == "x"
        assert sum(script.counts) == 1 + len(prompt) + 1


async def test_an_answer_under_way_goes_first() -> None:
    script = ScriptedSession("Hello there")
    async with listening(script) as model, aclosing(model.stream("Hi", GREEDY)) as pieces:
        text = (await anext(pieces)).text
        model.prefill("Type ahead")
        async for piece in pieces:
            text += piece.text
        assert text == "Hello there"
        await wait_until(lambda: not model._is_prefilling)
        assert bytes(script.seen[1:]).decode() == "Type"


async def test_break_is_waited_for_no_longer_than_a_step_while_a_line_is_heard() -> None:
    script = ScriptedSession("x" * 1000)
    async with listening(script) as model:
        async with aclosing(model.stream("Hi", GREEDY)) as pieces:
            await anext(pieces)
            model.prefill("Next line")
        await wait_until(lambda: not model._is_prefilling)
        assert bytes(script.seen[1:]).decode() == "Next"
        assert text_of(await said(model, "Next line", Sampling(temperature=0, max_tokens=3))) == "xxx"


async def test_a_line_that_cannot_be_asked_is_not_read() -> None:
    script = ScriptedSession("x", context=100)
    async with listening(script) as model:
        model.prefill("word " * 40)
        assert await settled(lambda: script.passes) == 0
        with pytest.raises(PromptTooLong):
            await said(model, "word " * 40)
        await typed(model, script, "Shorter now")


async def test_what_goes_wrong_while_reading_is_told_to_whoever_asks() -> None:
    class Broken(ScriptedSession):
        def forward(self, ids: Sequence[int]) -> Floats:
            raise ModelDamaged("it broke")

    def unloadable() -> LocalEngine:
        raise ModelDamaged("it broke")

    for source in (Broken("x").engine, unloadable):
        async with local(source) as model:
            for _ in range(3):
                model.prefill("One two")
                await wait_until(lambda model=model: not model._reading)
            with pytest.raises(ModelDamaged, match="it broke"):
                await said(model)


async def test_a_line_typed_while_another_goes_wrong_is_read() -> None:
    class Stumbles(ScriptedSession):
        def forward(self, ids: Sequence[int]) -> Floats:
            logits = super().forward(ids)
            if self.passes == 1:
                self.rewind(0)
                raise ModelDamaged("it stumbled")
            return logits

    script = Stumbles("x")
    async with listening(script) as model:
        script.gate.clear()
        model.prefill("One two")
        await wait_until(script.entered.is_set)
        model.prefill("Other words")
        script.gate.set()
        await wait_until(lambda: bytes(script.seen[1:]) == b"Other")


async def test_a_line_heard_while_the_model_is_loaded_is_read_after_it() -> None:
    script = ScriptedSession("x")
    async with local(script.engine) as model:
        model.prefill("One two")
        await wait_until(lambda: bytes(script.seen[1:]) == b"One two")


async def test_closing_ends_the_reading_at_its_next_chunk_and_hears_no_more() -> None:
    script = ScriptedSession("x")
    script.gate.clear()
    model = LocalModel(script.engine)
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


async def test_the_embedded_model_says_the_same_with_and_without_reading_along() -> None:
    sampling = Sampling(seed=7, max_tokens=40)
    async with local(store.find_model("embedded"), threads=1) as fresh:
        alone = await said(fresh, PROMPT, sampling)
    async with local(store.find_model("embedded"), threads=1) as model:
        await model.wait_ready()
        for end in range(len(PROMPT) - 30, len(PROMPT) + 1):
            model.prefill(PROMPT[:end])
            if end % 3 == 0:
                await wait_until(lambda: not model._is_prefilling)
        read = await said(model, PROMPT, sampling)
        await said(model, PROMPT + text_of(read) + "\nAnd so", sampling)
        again = await said(model, PROMPT, sampling)
    tokens = [[token for piece in pieces for token in piece.tokens] for pieces in (alone, read, again)]
    assert len(tokens[0]) == 40
    assert tokens[0] == tokens[1] == tokens[2]


async def test_what_a_full_context_forgot_is_told_with_the_next_piece() -> None:
    script = ScriptedSession("x" * 100, context=64)
    async with local(script.engine) as model:
        pieces = await said(model, "A line.\nAnother line.\nA third.\n", Sampling(temperature=0, max_tokens=60))
        assert [piece.dropped_chars for piece in pieces if piece.dropped_chars] == [
            len("A line.\nAnother line.\nA third.\n")
        ]
        assert pieces[-1].finish_reason == "length"


class Halting(ScriptedSession):
    """Stops at its gate when it is to read what is left of a text that was too long for its context."""

    def forward(self, ids: Sequence[int]) -> Floats:
        if self.passes and len(ids) > 1:
            self.gate.clear()
            self.rolling.set()
        return super().forward(ids)

    rolling = threading.Event()


async def test_when_the_context_rolls_two_lines_of_paper_are_in_hand() -> None:
    script = Halting("x" * 1000, context=256)
    async with local(script.engine) as model, aclosing(model.stream("Hi", GREEDY)) as pieces:
        taken = 0
        while not script.rolling.is_set():
            await anext(pieces)
            taken += 1
            await wait_until(
                lambda taken=taken: script.rolling.is_set() or script.passes >= taken + LOOKAHEAD_CHARS - 1
            )
        in_hand = 0
        while taken + in_hand < 256 - len("Hi"):
            await asyncio.wait_for(anext(pieces), 30)
            in_hand += 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(pieces), 0.2)
        assert in_hand >= LOOKAHEAD_CHARS - 3
        script.gate.set()


async def test_conversation_and_model_forget_alike_so_that_the_next_line_is_all_there_is_to_read() -> None:
    script, talk = ScriptedSession("So it was said, and so it was done.\n" * 4, context=200), Conversation()
    rolled = behind_a_roll = 0
    async with local(script.engine) as model:
        for number in range(20):
            line = f"LINE {number}"
            gone = talk.drop_oldest_lines(line, model.count_tokens, 180, 100)
            script.counts.clear()
            pieces = await said(model, talk.build_prompt(line), Sampling(temperature=0, max_tokens=90))
            if number and not gone:
                assert script.counts[0] <= len("\n" + line) + 1
                behind_a_roll += rolled > 0
            rolled = sum(piece.dropped_chars for piece in pieces)
            talk.add_answer(talk.build_prompt(line), text_of(pieces), rolled)
    assert behind_a_roll >= 4


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.soak
async def test_a_thousand_generations_leave_the_memory_as_it_was() -> None:
    async with local(store.find_model("embedded"), threads=1) as model:
        await model.wait_ready()
        memory, sizes = "", []
        for number in range(1000):
            line = f"{memory}\nLine {number} is typed"
            for end in range(len(memory) + 1, len(line), 8):
                model.prefill(line[:end])
            pieces = await said(model, line.strip(), Sampling(seed=number, max_tokens=10))
            memory = (line + text_of(pieces))[-600:].partition("\n")[2]
            if number % 100 == 99:
                gc.collect()
                sizes.append(resident())
        assert max(sizes[1:]) <= sizes[0] * 1.02, sizes
