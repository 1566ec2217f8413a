import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from model.interface import TextChunk
from model.server.keepalive import ClientStream, StreamCancelled, until_disconnect, with_keepalive


class ChunkSource:
    """Pieces at a word, each of one token."""

    def __init__(self, pieces: int = 3) -> None:
        self.go = asyncio.Event()
        self.pieces, self.made, self.closed = pieces, 0, False

    async def stream(self) -> AsyncGenerator[TextChunk, None]:
        try:
            for _ in range(self.pieces):
                await self.go.wait()
                self.made += 1
                yield TextChunk("x", (1,), 0.0)
        finally:
            self.closed = True


async def test_pieces_come_and_are_counted() -> None:
    source, line = ChunkSource(), ClientStream("north")
    source.go.set()
    assert len([piece async for piece in with_keepalive(source.stream(), line, 1, 1)]) == 3
    assert (line.token_count, source.closed) == (3, True)


async def test_a_silence_is_none_and_costs_no_piece() -> None:
    source = ChunkSource(1)
    got = []
    async for piece in with_keepalive(source.stream(), ClientStream(""), 0.001, 0.002):
        got.append(piece and piece.text)
        if len(got) == 3:
            source.go.set()
    assert got == [None, None, None, "x"]


async def test_a_cut_line_closes_its_pieces_before_it_says_so() -> None:
    source, line = ChunkSource(), ClientStream("")
    pieces = with_keepalive(source.stream(), line, 9, 9)
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    line.cancel("down")
    line.cancel("gone")
    with pytest.raises(StreamCancelled) as caught:
        await waiting
    assert (caught.value.reason, source.closed, source.made) == ("down", True, 0)


async def test_closed_between_two_pieces_it_asks_for_no_other() -> None:
    source = ChunkSource()
    source.go.set()
    async with aclosing(with_keepalive(source.stream(), ClientStream(""), 9, 9)) as pieces:
        await anext(pieces)
        await asyncio.sleep(0.01)
    assert (source.made, source.closed) == (1, True)


async def test_cancelled_it_closes_its_pieces() -> None:
    source = ChunkSource()

    async def take() -> None:
        async with aclosing(with_keepalive(source.stream(), ClientStream(""), 9, 9)) as pieces:
            await anext(pieces)

    taking = asyncio.ensure_future(take())
    await asyncio.sleep(0.01)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert source.closed


async def test_work_for_one_who_has_left_is_cancelled() -> None:
    line = ClientStream("")
    work: asyncio.Future[int] = asyncio.ensure_future(asyncio.sleep(60, 7))
    asyncio.get_running_loop().call_soon(line.cancel, "gone")
    with pytest.raises(StreamCancelled):
        await until_disconnect(work, line)
    assert work.cancelled()
    assert await until_disconnect(asyncio.ensure_future(asyncio.sleep(0, 7)), ClientStream("")) == 7
