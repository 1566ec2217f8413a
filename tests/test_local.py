from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import wait_until
from fakes_model import TEXT, TINY, Floats, ScriptedSession, tiny_folder, tiny_tokenizer, tiny_weights

from model.build import graph
from model.errors import ModelDamaged, PromptTooLong
from model.generate.local_model import LOOKAHEAD_CHARS, LocalEngine, LocalModel, load_model
from model.generate.prefix_cache import PREFILL_CHUNK
from model.interface import GPT2Config, Model, Sampling, TextChunk
from model.onnx import tokenizer
from model.store import store

GREEDY = Sampling(temperature=0, repetition_penalty=1.0, max_tokens=10_000)


@asynccontextmanager
async def local(source: Path | Callable[[], LocalEngine], **settings: Any) -> AsyncIterator[LocalModel]:
    model = LocalModel(source, **settings)
    try:
        yield model
    finally:
        await model.close()


async def said(model: Model, prompt: str = "Hello", sampling: Sampling = GREEDY) -> list[TextChunk]:
    async with aclosing(model.stream(prompt, sampling)) as pieces:
        return [piece async for piece in pieces]


def text_of(pieces: list[TextChunk]) -> str:
    return "".join(piece.text for piece in pieces)


async def settled(number: Callable[[], int]) -> int:
    """The number once it has not moved for 50 looks."""
    last, same = number(), 0
    async with asyncio.timeout(30):
        while same < 50:
            await asyncio.sleep(0.004)
            same = same + 1 if number() == last else 0
            last = number()
    return last


def model_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("model")]


async def test_a_stored_model_is_loaded_and_streams_the_same_text_twice(tmp_path: Path) -> None:
    async with local(tiny_folder(tmp_path), threads=1) as model:
        await model.wait_ready()
        assert (model.name, model.context) == ("tiny", TINY.n_positions)
        assert model.count_tokens("The operator") == len(tiny_tokenizer().encode("The operator"))
        first, second = [await said(model, "The", Sampling(seed=7)) for _ in range(2)]
        assert text_of(first) == text_of(second) != ""
        assert first[-1].finish_reason in ("length", "end")
        assert text_of(await said(model, "The", Sampling(seed=8))) != text_of(first)


async def test_pieces_carry_text_tokens_the_time_and_the_finish() -> None:
    times = iter(range(100))
    model = LocalModel(ScriptedSession("a“b").engine, clock=lambda: float(next(times)))
    pieces = await said(model)
    assert pieces == [
        TextChunk("a", (97,), 0.0),
        TextChunk("“", tuple("“".encode()), 1.0),
        TextChunk("b", (98,), 2.0),
        TextChunk("", (256,), 3.0, "end"),
    ]
    await model.close()


async def test_the_prompt_goes_in_after_an_end_of_text() -> None:
    script = ScriptedSession("x")
    async with local(script.engine) as model:
        await said(model, "Hi")
        assert script.seen == [256, *b"Hi", *b"x"]
        await said(model, "")
        assert script.seen == [256, *b"x"]


async def test_the_thread_never_has_more_than_ahead_characters_waiting() -> None:
    script = ScriptedSession("x" * 2000)
    async with local(script.engine) as model, aclosing(model.stream("Hello", GREEDY)) as pieces:
        taken = 0
        async for piece in pieces:
            if taken % 100 == 0:
                # Not one pass more while this piece is held: it is taken when the next is asked for.
                assert await settled(lambda: script.passes) - taken == min(LOOKAHEAD_CHARS, 2001 - taken)
            taken += len(piece.text)
        assert taken == 2000


@pytest.mark.parametrize("ahead", [0, 1, 3])
async def test_a_belt_as_short_as_can_be_still_moves(ahead: int) -> None:
    async with local(ScriptedSession("Hello there").engine, ahead=ahead) as model:
        assert text_of(await said(model)) == "Hello there"


async def test_long_tokens_keep_to_the_bound() -> None:
    script = ScriptedSession("x" * 500)
    script.max_token_bytes = 40
    async with local(script.engine) as model, aclosing(model.stream("Hello", GREEDY)) as pieces:
        await anext(pieces)
        assert await settled(lambda: script.passes) <= LOOKAHEAD_CHARS - 40 + 1


async def test_closing_ends_the_work_within_one_step() -> None:
    script = ScriptedSession("x" * 5000)
    async with local(script.engine, ahead=100_000) as model:
        async with aclosing(model.stream("Hello", GREEDY)) as pieces:
            await anext(pieces)
            script.gate.clear()
            # From here on, at most the pass that stands at the gate is done.
            passes = await settled(lambda: script.passes)
        script.gate.set()
        assert await settled(lambda: script.passes) <= passes + 1


async def test_closing_before_the_first_token_ends_a_long_prompt_at_its_next_chunk() -> None:
    script = ScriptedSession("x" * 100)
    script.gate.clear()
    async with local(script.engine) as model:
        stream = model.stream("y" * (10 * PREFILL_CHUNK), GREEDY)
        first = asyncio.create_task(anext(stream))
        await wait_until(script.entered.is_set)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await stream.aclose()
        script.gate.set()
        assert await settled(lambda: script.passes) == 1
        assert text_of(await said(model)) == "x" * 100


async def test_a_cancelled_wait_while_loading_stops_neither_loading_nor_the_next_answer() -> None:
    loading, entered = threading.Event(), threading.Event()
    script = ScriptedSession("Hello")

    def load() -> LocalEngine:
        entered.set()
        assert loading.wait(60)
        return script.engine()

    async with local(load) as model:
        await wait_until(entered.is_set)
        for wait in (model.wait_ready(), said(model), said(model)):
            task = asyncio.ensure_future(wait)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        loading.set()
        await model.wait_ready()
        assert text_of(await said(model)) == "Hello"
        assert script.passes == 1 + 5, "an answer that nobody wanted was made"


async def test_a_consumer_cancelled_at_any_piece_leaves_a_model_that_answers() -> None:
    script = ScriptedSession("Hello there, how do you do?")
    async with local(script.engine, ahead=4) as model:
        for place in range(20):
            stream = model.stream("Hi", GREEDY)
            for _ in range(place):
                await anext(stream)
            task = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await stream.aclose()
        assert text_of(await said(model)) == "Hello there, how do you do?"


async def test_two_answers_at_once_are_made_one_after_the_other() -> None:
    async with local(ScriptedSession("Hello there").engine, ahead=3) as model:
        both = await asyncio.gather(said(model, "a"), said(model, "b"))
        assert [text_of(pieces) for pieces in both] == ["Hello there"] * 2


async def test_a_model_that_cannot_be_loaded_says_so_to_whoever_asks(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    (folder / "model.onnx").write_bytes(b"not the bytes of the manifest")
    async with local(folder) as model:
        with pytest.raises(ModelDamaged, match=r"model\.onnx"):
            await model.wait_ready()
        for _ in range(2):
            with pytest.raises(ModelDamaged, match=r"model\.onnx"):
                await said(model)
        with pytest.raises(ModelDamaged, match=r"model\.onnx"):
            model.count_tokens("Hello")


def stored(folder: Path, shape: GPT2Config, tokens: int, told: GPT2Config) -> Path:
    store.write_model(
        folder,
        name=folder.name,
        shape=told,
        onnx_bytes=graph.build_gpt2(tiny_weights(shape), shape),
        tokenizer_json=tokenizer.train_tokenizer(TEXT.splitlines(keepends=True), tokens).to_json(),
        training={},
        card="",
    )
    return folder


def test_files_that_do_not_belong_together_are_found_out_at_once(tmp_path: Path) -> None:
    small = replace(TINY, vocab_size=280)
    session, words = load_model(stored(tmp_path / "a", TINY, 280, TINY), threads=1)  # tokens to spare do no harm
    assert (session.shape.vocab_size, words.vocab_size) == (300, 280)
    with pytest.raises(ModelDamaged, match=r"b: tokenizer\.json has 300 tokens, the model knows 280"):
        load_model(stored(tmp_path / "b", small, 300, small), threads=1)
    with pytest.raises(ModelDamaged, match=r"c: model\.onnx is Shape.*=64.*, its manifest says Shape.*=65"):
        load_model(stored(tmp_path / "c", TINY, 300, replace(TINY, n_positions=65)), threads=1)


async def test_a_stored_model_says_only_what_is_kept(tmp_path: Path) -> None:
    wild, kept = Sampling(temperature=3.0, top_k=0, seed=3, max_tokens=200), set("aeiou \n")
    folder = stored(tmp_path / "a", TINY, 280, TINY)  # some of whose tokens have no bytes
    async with local(folder, threads=1, kept=kept.__contains__) as model:
        said_of_it = [text_of(await said(model, "The", replace(wild, seed=seed))) for seed in range(5)]
    assert set("".join(said_of_it)) == kept


async def test_a_model_reached_by_its_file_has_the_name_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_folder(tmp_path))
    async with local(store.find_model("model.onnx"), threads=1) as model:
        assert model.name == "tiny"


async def test_a_prompt_that_is_too_long_is_refused_and_the_next_is_answered() -> None:
    async with local(ScriptedSession("Hello", context=100).engine) as model:
        with pytest.raises(PromptTooLong, match="the prompt is 101 tokens"):
            await said(model, "x" * 100)
        assert text_of(await said(model)) == "Hello"


async def test_an_error_in_mid_answer_comes_after_the_pieces_before_it() -> None:
    class Breaks(ScriptedSession):
        def forward(self, ids: Sequence[int]) -> Floats:
            if self.passes == 4:
                raise ModelDamaged("it broke")
            return super().forward(ids)

    async with local(Breaks("Hello there").engine) as model, aclosing(model.stream("Hi", GREEDY)) as stream:
        assert text_of([await anext(stream) for _ in range(4)]) == "Hell"
        with pytest.raises(ModelDamaged, match="it broke"):
            await anext(stream)


async def test_one_thread_touches_the_session_and_none_is_left_behind() -> None:
    script = ScriptedSession("Hello")
    async with local(script.engine) as model:
        for _ in range(3):
            await said(model)
        assert script.threads == {"model_0"}
        assert len(model_threads()) == 1
    assert model_threads() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_the_model_ends_an_answer_that_nobody_reads() -> None:
    script = ScriptedSession("x" * 5000)
    model = LocalModel(script.engine)
    stream = model.stream("Hi", GREEDY)
    await anext(stream)
    async with asyncio.timeout(30):
        await model.close()
    assert model_threads() == []
    await stream.aclose()


def test_a_stream_dropped_with_its_event_loop_leaves_no_thread_waiting() -> None:
    script = ScriptedSession("x" * 5000)

    async def drop() -> LocalModel:
        model = LocalModel(script.engine)
        stream = model.stream("Hi", GREEDY)
        await anext(stream)
        return model

    model = asyncio.run(drop())
    asyncio.run(asyncio.wait_for(model.close(), 30))
    assert model_threads() == []
