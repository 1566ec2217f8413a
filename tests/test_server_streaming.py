import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from model.interface import TextChunk
from model.server.refusals import StreamCancelled
from model.server.streaming import ClientStream, until_disconnect, with_keepalive


class ChunkSource:
    """Yields chunks of one token each, when `may_go` is set."""

    def __init__(self, count: int = 3) -> None:
        self.may_go = asyncio.Event()
        self.count, self.yielded, self.is_closed = count, 0, False

    async def stream(self) -> AsyncGenerator[TextChunk, None]:
        try:
            for _ in range(self.count):
                await self.may_go.wait()
                self.yielded += 1
                yield TextChunk("x", (1,), 0.0)
        finally:
            self.is_closed = True


async def test_chunks_arrive_and_their_source_is_closed() -> None:
    source, client = ChunkSource(), ClientStream("north")
    source.may_go.set()
    assert len([item async for item in with_keepalive([source.stream()], client, 1, 1)]) == 3
    assert source.is_closed


async def test_a_silence_yields_none_and_loses_no_chunk() -> None:
    source = ChunkSource(1)
    texts = []
    async for item in with_keepalive([source.stream()], ClientStream(""), 0.001, 0.002):
        texts.append(item and item[1].text)
        if len(texts) == 3:
            source.may_go.set()
    assert texts == [None, None, None, "x"]


async def test_a_cancelled_stream_closes_its_source_first() -> None:
    source, client = ChunkSource(), ClientStream("")
    chunks = with_keepalive([source.stream()], client, 9, 9)
    waiting = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    client.cancel("down")
    client.cancel("gone")
    with pytest.raises(StreamCancelled) as caught:
        await waiting
    assert (caught.value.reason, source.is_closed, source.yielded) == ("down", True, 0)


async def test_a_stream_closed_between_two_chunks_asks_for_no_further_one() -> None:
    source = ChunkSource()
    source.may_go.set()
    async with aclosing(with_keepalive([source.stream()], ClientStream(""), 9, 9)) as chunks:
        await anext(chunks)
        await asyncio.sleep(0.01)
    assert (source.yielded, source.is_closed) == (1, True)


async def test_a_cancelled_task_closes_the_source() -> None:
    source = ChunkSource()

    async def read_one() -> None:
        async with aclosing(with_keepalive([source.stream()], ClientStream(""), 9, 9)) as chunks:
            await anext(chunks)

    reading = asyncio.ensure_future(read_one())
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert source.is_closed


async def test_work_is_cancelled_when_its_client_disconnects() -> None:
    client = ClientStream("")
    work: asyncio.Future[int] = asyncio.ensure_future(asyncio.sleep(60, 7))
    asyncio.get_running_loop().call_soon(client.cancel, "gone")
    with pytest.raises(StreamCancelled):
        await until_disconnect(work, client)
    assert work.cancelled()
    assert await until_disconnect(asyncio.ensure_future(asyncio.sleep(0, 7)), ClientStream("")) == 7


async def test_the_chunks_of_several_choices_come_as_they_are_ready() -> None:
    sources, client = [ChunkSource(2) for _ in range(3)], ClientStream("")
    sources[1].may_go.set()
    items = with_keepalive([source.stream() for source in sources], client, 9, 9)
    async with aclosing(items):
        assert [(item[0] if item else None) for item in [await anext(items), await anext(items)]] == [1, 1]
        for source in sources:
            source.may_go.set()
        assert sorted([item[0] async for item in items if item]) == [0, 0, 2, 2]
    assert all(source.is_closed for source in sources)


async def test_an_error_of_one_choice_closes_all() -> None:
    async def fail() -> AsyncGenerator[TextChunk, None]:
        raise ZeroDivisionError
        yield

    source = ChunkSource()
    with pytest.raises(ZeroDivisionError):
        await anext(with_keepalive([source.stream(), fail()], ClientStream(""), 9, 9))
    assert (source.is_closed, source.yielded) == (True, 0)
