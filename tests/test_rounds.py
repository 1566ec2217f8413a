import asyncio
import gc
import os
import selectors
import socket
from contextlib import ExitStack

from model.server.http import fair_loop


def test_of_a_crowd_a_few_are_served_in_each_round_and_all_in_turn() -> None:
    with ExitStack() as opened:
        loop = fair_loop.new_fair_loop()
        opened.callback(loop.close)
        served: list[int] = []
        between = 0
        for number in range(100):
            near, far = socket.socketpair()
            opened.callback(near.close)
            opened.callback(far.close)
            far.send(b"x")  # which nobody takes: it stays ready
            loop.add_reader(near, served.append, number)

        async def wait() -> None:
            nonlocal between
            while set(served) != set(range(100)):
                before = len(served)
                await asyncio.sleep(0)
                assert len(served) - before <= fair_loop.SOCKETS_PER_TURN
                between += 1

        loop.run_until_complete(asyncio.wait_for(wait(), 30))
        assert between >= 100 // fair_loop.SOCKETS_PER_TURN


def test_it_waits_reads_writes_and_hears_another_thread_as_any_loop() -> None:
    async def talk() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.read())[::-1])
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x" * 2_000_000 + b"!")
            writer.write_eof()
            got = await reader.read()
            writer.close()
        await asyncio.sleep(0.01)
        return got[:1] + await asyncio.to_thread(bytes, 1)

    with asyncio.Runner(loop_factory=fair_loop.new_fair_loop) as runner:
        assert runner.run(talk()) == b"!\0"


def test_a_socket_that_failed_is_ready_for_what_it_is_watched_for() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with fair_loop._FairSelector() as few, server, socket.create_connection(server.getsockname()) as client:
        few.register(client, selectors.EVENT_READ)
        assert few.select(0) == []
        with server.accept()[0] as far:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert [events for _, events in few.select(1)] == [selectors.EVENT_READ]
        few.unregister(client)


def test_what_it_has_closed_it_does_not_close_again_under_anothers_number() -> None:
    few = fair_loop._FairSelector()
    few.close()
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    del few
    gc.collect()
    for number in others:
        os.close(number)  # raises if somebody else did
