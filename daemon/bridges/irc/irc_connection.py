"""The connection to a server of IRC: opened, kept, and opened again after a growing wait.

It moves bytes between the socket and `IrcClient`. It does not know what is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable

from daemon.bridges.backoff import FIRST_WAIT_S, Backoff
from daemon.bridges.irc.irc_client import ChannelJoined, ConnectionEnded, IrcClient, IrcEvent, ServerNotice
from daemon.bridges.server_address import ServerAddress

CONNECT_S = 30.0
_READ_BYTES = 16_384

_log = logging.getLogger("asr33")


class IrcConnection:
    """Keeps a client connected. `on_event` gets what happens, and `on_time` is called when `next_time` is there."""

    def __init__(
        self,
        address: ServerAddress,
        client: IrcClient,
        on_event: Callable[[IrcEvent], None],
        *,
        on_time: Callable[[float], None] = lambda now: None,
        next_time: Callable[[], float] = lambda: float("inf"),
        rng: random.Random | None = None,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self._address, self._client = address, client
        self._on_event, self._on_time, self._next_time = on_event, on_time, next_time
        self._wake = asyncio.Event()
        self._backoff = Backoff(rng, first_wait_s)

    def wake(self) -> None:
        """Sends soon what the client has queued."""
        self._wake.set()

    async def run(self) -> None:
        """Connects again and again; never returns."""
        loop = asyncio.get_running_loop()
        while True:
            started_at = loop.time()
            ended = await self._connect_once()
            self._backoff.note_end(loop.time() - started_at)
            self._backoff.tell_once(f"{self._address}: {ended.reason}; trying again")
            is_asked = ended.reconnect_at_once
            await asyncio.sleep(self._backoff.choose_wait(is_refused=ended.is_refused, is_asked=is_asked))

    async def _connect_once(self) -> ConnectionEnded:
        """Opens a connection and serves it; returns why it ended."""
        address = self._address
        try:
            async with asyncio.timeout(CONNECT_S):
                name = address.host if address.tls else None
                reader, writer = await asyncio.open_connection(
                    address.host, address.port, ssl=address.tls, server_hostname=name
                )
        except TimeoutError:
            return ConnectionEnded("no answer")
        except ssl.SSLCertVerificationError as error:
            reason = f"its certificate is not accepted ({error.verify_message}): see [irc] ca_file"
            return ConnectionEnded(reason, is_refused=True)
        except OSError as error:
            is_no_tls = isinstance(error, ssl.SSLError) or (address.tls and not error.strerror)
            cure = "it does not speak TLS on this port: 6697 is usual, or [irc] tls = false"
            return ConnectionEnded(cure if is_no_tls else error.strerror or str(error))
        try:
            return await self._serve(reader, writer)
        except OSError as error:
            return ConnectionEnded(error.strerror or str(error))
        finally:
            self._client.stop()
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):  # not a cancellation: the daemon would never end
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> ConnectionEnded:
        loop, client = asyncio.get_running_loop(), self._client
        client.start(loop.time())
        reading = asyncio.ensure_future(reader.read(_READ_BYTES))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            while True:
                writer.write(client.take_output(loop.time()))
                due = min(client.next_time(loop.time()), self._next_time())
                wait_s = None if due == float("inf") else max(0.0, due - loop.time())
                await asyncio.wait({reading, waking}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                if waking.done():
                    self._wake.clear()
                    waking = asyncio.ensure_future(self._wake.wait())
                events: list[IrcEvent] = []
                if reading.done():
                    if not (data := reading.result()):
                        return ConnectionEnded("the server closed the connection")
                    events = client.feed(data, loop.time())
                    reading = asyncio.ensure_future(reader.read(_READ_BYTES))
                self._on_time(loop.time())
                if ended := self._deliver([*events, *client.tick(loop.time())]):
                    writer.write(client.take_output(loop.time()))
                    return ended
        finally:
            for task in (reading, waking):
                task.cancel()
            await asyncio.gather(reading, waking, return_exceptions=True)

    def _deliver(self, events: list[IrcEvent]) -> ConnectionEnded | None:
        for event in events:
            if isinstance(event, ConnectionEnded):
                return event
            if isinstance(event, ServerNotice):
                self._backoff.tell_once(f"{self._address}: {event.text}")
            if isinstance(event, ChannelJoined):
                _log.info("%s: %s is in %s", self._address, self._client.nick, event.channel)
            self._on_event(event)
        return None
