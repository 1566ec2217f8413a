"""A broker of MQTT from Debian on a free port of this computer, and a home that publishes and listens there."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
from fakes_irc import PROGRAM_PATH
from fakes_sandbox import wait_for
from fakes_teletype import wait_until

CONFIG = """
listener {port} 127.0.0.1
allow_anonymous {anonymous}
persistence false
user root
{extra}
"""


@contextmanager
def running_broker(folder: Path, port: int, extra: str = "", *, anonymous: bool = True) -> Iterator[None]:
    """Runs mosquitto for the block."""
    config = folder / "mosquitto.conf"
    config.write_text(CONFIG.format(port=port, extra=extra, anonymous=str(anonymous).lower()))
    path = shutil.which("mosquitto", path=PROGRAM_PATH) or "mosquitto"
    with (folder / "mosquitto.log").open("ab") as log:
        process = subprocess.Popen([path, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(lambda: _is_open(port))
            yield
        finally:
            process.terminate()
            process.wait()


def _is_open(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Home:
    """Home automation: it has subscribed to everything, and keeps what it gets."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.messages: list[tuple[str, bytes, bool]] = []  # topic, payload, whether the broker had retained it

    def last(self, topic: str) -> str:
        """Returns the last message of a topic; "" if there is none."""
        return next((payload.decode() for name, payload, _ in reversed(self.messages) if name == topic), "")

    def all_of(self, topic: str) -> list[str]:
        return [payload.decode() for name, payload, _ in self.messages if name == topic]

    async def listen(self) -> None:
        async for message in self.client.messages:
            self.messages.append((str(message.topic), bytes(message.payload), bool(message.retain)))


@asynccontextmanager
async def running_home(port: int, **options: Any) -> AsyncIterator[Home]:
    async with aiomqtt.Client("127.0.0.1", port, timeout=30, **options) as client:
        home = Home(client)
        listening = asyncio.ensure_future(home.listen())
        await client.subscribe("#", qos=1)
        try:
            yield home
        finally:
            listening.cancel()
            await asyncio.wait({listening})


async def read_retained(port: int) -> dict[str, str]:
    """Returns the retained messages of the broker by topic."""
    async with running_home(port) as home:
        await home.client.publish("test/end", "end", qos=1)
        await wait_until(lambda: home.last("test/end"))
        return {topic: payload.decode() for topic, payload, is_retained in home.messages if is_retained}
