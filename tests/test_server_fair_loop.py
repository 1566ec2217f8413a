import asyncio
import gc
import os
import selectors
import socket
from contextlib import ExitStack

from model.server.http import sockets


def test_each_turn_handles_a_few_of_many_ready_sockets() -> None:
    with ExitStack() as stack:
        loop = sockets.new_fair_loop()
        stack.callback(loop.close)
        handled: list[int] = []
        turns = 0
        for number in range(100):
            near, far = socket.socketpair()
            stack.callback(near.close)
            stack.callback(far.close)
            far.send(b"x")  # never read, so that the socket stays ready
            loop.add_reader(near, handled.append, number)

        async def wait() -> None:
            nonlocal turns
            while set(handled) != set(range(100)):
                before = len(handled)
                await asyncio.sleep(0)
                assert len(handled) - before <= sockets.SOCKETS_PER_TURN
                turns += 1

        loop.run_until_complete(asyncio.wait_for(wait(), 30))
        assert turns >= 100 // sockets.SOCKETS_PER_TURN


def test_timers_sockets_and_threads_work_as_in_any_loop() -> None:
    async def talk() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.read())[::-1])
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x" * 2_000_000 + b"!")
            writer.write_eof()
            reply = await reader.read()
            writer.close()
        await asyncio.sleep(0.01)
        return reply[:1] + await asyncio.to_thread(bytes, 1)

    with asyncio.Runner(loop_factory=sockets.new_fair_loop) as runner:
        assert runner.run(talk()) == b"!\0"


def test_a_failed_socket_is_ready_for_its_registered_events() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with sockets._FairSelector() as selector, server, socket.create_connection(server.getsockname()) as client:
        selector.register(client, selectors.EVENT_READ)
        assert selector.select(0) == []
        with server.accept()[0] as far:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert [events for _, events in selector.select(1)] == [selectors.EVENT_READ]
        selector.unregister(client)


def test_a_closed_selector_closes_no_descriptor_that_was_reused() -> None:
    selector = sockets._FairSelector()
    selector.close()
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    del selector
    gc.collect()
    for number in others:
        os.close(number)  # raises if the selector has closed it
