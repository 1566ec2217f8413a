from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes_model import TEXT, TINY, Floats, ScriptedSession, tiny_folder, tiny_tokenizer, tiny_weights, write_model
from fakes_teletype import wait_until

from model.build import graph
from model.errors import ModelDamaged, PromptTooLong
from model.generate.local_model import LOOKAHEAD_CHARS, LocalEngine, LocalModel
from model.generate.prefix_cache import PREFILL_CHUNK
from model.interface import GPT2Config, Model, Sampling, TextChunk
from model.onnx import tokenizer
from model.onnx.model_loader import load_model
from model.store import store

GREEDY = Sampling(temperature=0, repetition_penalty=1.0, max_tokens=10_000)


@asynccontextmanager
async def open_model(source: Path | Callable[[], LocalEngine], **settings: Any) -> AsyncIterator[LocalModel]:
    model = LocalModel(source, **settings)
    try:
        yield model
    finally:
        await model.close()


async def collect_chunks(model: Model, prompt: str = "Hello", sampling: Sampling = GREEDY) -> list[TextChunk]:
    async with aclosing(model.stream(prompt, sampling)) as chunks:
        return [chunk async for chunk in chunks]


def join_text(chunks: list[TextChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def wait_until_stable(number: Callable[[], int]) -> int:
    """The number, once 50 readings in a row are equal."""
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
    async with open_model(tiny_folder(tmp_path), threads=1) as model:
        await model.wait_ready()
        assert (model.name, model.context) == ("tiny", TINY.n_positions)
        assert model.count_tokens("The operator") == len(tiny_tokenizer().encode("The operator"))
        first, second = [await collect_chunks(model, "The", Sampling(seed=7)) for _ in range(2)]
        assert join_text(first) == join_text(second) != ""
        assert first[-1].finish_reason in ("length", "end")
        assert join_text(await collect_chunks(model, "The", Sampling(seed=8))) != join_text(first)


async def test_chunks_have_text_tokens_time_and_finish_reason() -> None:
    times = iter(range(100))
    model = LocalModel(ScriptedSession("a“b").make_engine, clock=lambda: float(next(times)))
    chunks = await collect_chunks(model)
    assert chunks == [
        TextChunk("a", (97,), 0.0),
        TextChunk("“", tuple("“".encode()), 1.0),
        TextChunk("b", (98,), 2.0),
        TextChunk("", (256,), 3.0, "end"),
    ]
    await model.close()


async def test_the_prompt_follows_an_end_of_text() -> None:
    script = ScriptedSession("x")
    async with open_model(script.make_engine) as model:
        await collect_chunks(model, "Hi")
        assert script.cached_ids == [256, *b"Hi", *b"x"]
        await collect_chunks(model, "")
        assert script.cached_ids == [256, *b"x"]


async def test_the_thread_never_exceeds_the_lookahead() -> None:
    script = ScriptedSession("x" * 2000)
    async with open_model(script.make_engine) as model, aclosing(model.stream("Hello", GREEDY)) as chunks:
        taken = 0
        async for chunk in chunks:
            if taken % 100 == 0:
                # No further pass while this chunk is held: it counts as read when the next is asked for.
                assert await wait_until_stable(lambda: script.passes) - taken == min(LOOKAHEAD_CHARS, 2001 - taken)
            taken += len(chunk.text)
        assert taken == 2000


@pytest.mark.parametrize("lookahead_chars", [0, 1, 3])
async def test_the_smallest_lookahead_still_makes_progress(lookahead_chars: int) -> None:
    async with open_model(ScriptedSession("Hello there").make_engine, lookahead_chars=lookahead_chars) as model:
        assert join_text(await collect_chunks(model)) == "Hello there"


async def test_long_tokens_respect_the_lookahead() -> None:
    script = ScriptedSession("x" * 500)
    script.max_token_bytes = 40
    async with open_model(script.make_engine) as model, aclosing(model.stream("Hello", GREEDY)) as chunks:
        await anext(chunks)
        assert await wait_until_stable(lambda: script.passes) <= LOOKAHEAD_CHARS - 40 + 1


async def test_closing_ends_the_work_within_one_step() -> None:
    script = ScriptedSession("x" * 5000)
    async with open_model(script.make_engine, lookahead_chars=100_000) as model:
        async with aclosing(model.stream("Hello", GREEDY)) as chunks:
            await anext(chunks)
            script.gate.clear()
            # From here on, only the pass that waits at the gate may run.
            passes = await wait_until_stable(lambda: script.passes)
        script.gate.set()
        assert await wait_until_stable(lambda: script.passes) <= passes + 1


async def test_closing_before_the_first_token_ends_a_long_prompt_at_its_next_chunk() -> None:
    script = ScriptedSession("x" * 100)
    script.gate.clear()
    async with open_model(script.make_engine) as model:
        stream = model.stream("y" * (10 * PREFILL_CHUNK), GREEDY)
        first = asyncio.create_task(anext(stream))
        await wait_until(script.entered.is_set)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await stream.aclose()
        script.gate.set()
        assert await wait_until_stable(lambda: script.passes) == 1
        assert join_text(await collect_chunks(model)) == "x" * 100


async def test_a_cancelled_wait_while_loading_stops_neither_loading_nor_the_next_answer() -> None:
    loading, entered = threading.Event(), threading.Event()
    script = ScriptedSession("Hello")

    def load() -> LocalEngine:
        entered.set()
        assert loading.wait(60)
        return script.make_engine()

    async with open_model(load) as model:
        await wait_until(entered.is_set)
        for wait in (model.wait_ready(), collect_chunks(model), collect_chunks(model)):
            task = asyncio.ensure_future(wait)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        loading.set()
        await model.wait_ready()
        assert join_text(await collect_chunks(model)) == "Hello"
        assert script.passes == 1 + 5, "a cancelled answer was generated"


async def test_after_a_reader_is_cancelled_at_any_chunk_the_model_still_answers() -> None:
    script = ScriptedSession("Hello there, how do you do?")
    async with open_model(script.make_engine, lookahead_chars=4) as model:
        for read_count in range(20):
            stream = model.stream("Hi", GREEDY)
            for _ in range(read_count):
                await anext(stream)
            task = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await stream.aclose()
        assert join_text(await collect_chunks(model)) == "Hello there, how do you do?"


async def test_concurrent_answers_are_generated_one_after_the_other() -> None:
    async with open_model(ScriptedSession("Hello there").make_engine, lookahead_chars=3) as model:
        both = await asyncio.gather(collect_chunks(model, "a"), collect_chunks(model, "b"))
        assert [join_text(chunks) for chunks in both] == ["Hello there"] * 2


async def test_a_loading_error_reaches_every_caller(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    (folder / "model.onnx").write_bytes(b"not the bytes of the manifest")
    async with open_model(folder) as model:
        with pytest.raises(ModelDamaged, match=r"model\.onnx"):
            await model.wait_ready()
        for _ in range(2):
            with pytest.raises(ModelDamaged, match=r"model\.onnx"):
                await collect_chunks(model)
        with pytest.raises(ModelDamaged, match=r"model\.onnx"):
            model.count_tokens("Hello")


def write_mixed_model(folder: Path, shape: GPT2Config, tokens: int, manifest_shape: GPT2Config) -> Path:
    """Writes a model whose graph, tokenizer and manifest may differ in size."""
    tokenizer_json = tokenizer.train_tokenizer(TEXT.splitlines(keepends=True), tokens).to_json()
    onnx_bytes = graph.build_gpt2(tiny_weights(shape), shape)
    write_model(folder, onnx_bytes, shape=manifest_shape, tokenizer_json=tokenizer_json)
    return folder


def test_mismatched_model_files_are_an_error_at_loading(tmp_path: Path) -> None:
    small = replace(TINY, vocab_size=280)
    unused_ids = write_mixed_model(tmp_path / "a", TINY, 280, TINY)
    session, small_tokenizer = load_model(unused_ids, threads=1)
    assert (session.shape.vocab_size, small_tokenizer.vocab_size) == (300, 280)
    with pytest.raises(ModelDamaged, match=r"b: tokenizer\.json has 300 tokens, the model knows 280"):
        load_model(write_mixed_model(tmp_path / "b", small, 300, small), threads=1)
    with pytest.raises(ModelDamaged, match=r"c: model\.onnx is GPT2Config.*=64.*, its manifest says GPT2Config.*=65"):
        load_model(write_mixed_model(tmp_path / "c", TINY, 300, replace(TINY, n_positions=65)), threads=1)


async def test_a_stored_model_writes_only_allowed_characters(tmp_path: Path) -> None:
    sampling, allowed = Sampling(temperature=3.0, top_k=0, seed=3, max_tokens=200), set("aeiou \n")
    folder = write_mixed_model(tmp_path / "a", TINY, 280, TINY)  # some of its tokens have no bytes
    async with open_model(folder, threads=1, is_allowed=allowed.__contains__) as model:
        texts = [join_text(await collect_chunks(model, "The", replace(sampling, seed=seed))) for seed in range(5)]
    assert set("".join(texts)) == allowed


async def test_a_model_found_by_its_file_has_the_name_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_folder(tmp_path))
    async with open_model(store.find_model("model.onnx"), threads=1) as model:
        assert model.name == "tiny"


async def test_a_prompt_that_is_too_long_is_refused_and_the_next_is_answered() -> None:
    async with open_model(ScriptedSession("Hello", context=100).make_engine) as model:
        with pytest.raises(PromptTooLong, match="the prompt is 101 tokens"):
            await collect_chunks(model, "x" * 100)
        assert join_text(await collect_chunks(model)) == "Hello"


async def test_an_error_in_mid_answer_follows_the_chunks_before_it() -> None:
    class BrokenSession(ScriptedSession):
        def forward(self, ids: Sequence[int]) -> Floats:
            if self.passes == 4:
                raise ModelDamaged("it broke")
            return super().forward(ids)

    script = BrokenSession("Hello there")
    async with open_model(script.make_engine) as model, aclosing(model.stream("Hi", GREEDY)) as stream:
        assert join_text([await anext(stream) for _ in range(4)]) == "Hell"
        with pytest.raises(ModelDamaged, match="it broke"):
            await anext(stream)


async def test_one_thread_touches_the_session_and_none_is_left_behind() -> None:
    script = ScriptedSession("Hello")
    async with open_model(script.make_engine) as model:
        for _ in range(3):
            await collect_chunks(model)
        assert script.threads == {"model_0"}
        assert len(model_threads()) == 1
    assert model_threads() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_the_model_ends_an_unread_answer() -> None:
    model = LocalModel(ScriptedSession("x" * 5000).make_engine)
    stream = model.stream("Hi", GREEDY)
    await anext(stream)
    async with asyncio.timeout(30):
        await model.close()
    assert model_threads() == []
    await stream.aclose()


def test_a_stream_dropped_with_its_event_loop_leaves_no_thread_waiting() -> None:
    async def drop() -> LocalModel:
        model = LocalModel(ScriptedSession("x" * 5000).make_engine)
        stream = model.stream("Hi", GREEDY)
        await anext(stream)
        return model

    model = asyncio.run(drop())
    asyncio.run(asyncio.wait_for(model.close(), 30))
    assert model_threads() == []
