"""A daemon with a live page in this process: a virtual machine on a pty, a scripted model, a free port."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx2
from fakes_daemon import ScriptedModel, split_words

from daemon import build
from daemon.config import Config, LogConfig, WebConfig
from daemon.session import TeletypeSession
from daemon.session_log import SessionLog
from daemon.web.paper_hub import PaperHub
from drivers.clock import WallClock
from drivers.profile import Profile
from drivers.virtual import Strike, VirtualTeletype

ANSWER = "A MACHINE THAT PRINTS WHAT IT IS TOLD, AT TEN CHARACTERS A SECOND. "

TYPING = WebConfig("127.0.0.1:0", typing=True)
FULL_DUPLEX = Profile(duplex="full")


@dataclass
class PageBench:
    """The machine, the session and the address of its page."""

    machine: VirtualTeletype
    session: TeletypeSession
    log: SessionLog
    url: str
    model: ScriptedModel

    @cached_property
    def hub(self) -> PaperHub:
        """The hub of the page, which the composition root keeps to itself."""
        return [item for item in gc.get_objects() if type(item) is PaperHub and not item._is_closed][-1]

    @property
    def viewer_count(self) -> int:
        """The number of open streams."""
        return self.hub.viewer_count

    @property
    def paper(self) -> str:
        return self.machine.typing_unit.paper.text()

    async def wait_for_paper(self, text: str, timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while text not in self.paper:  # noqa: ASYNC110 - the machine has no event for it
                await asyncio.sleep(0.01)


@asynccontextmanager
async def open_page_bench(
    folder: Path,
    web: WebConfig = TYPING,
    *,
    answer: str = ANSWER,
    character_s: float = 0.0,
    profile: Profile = FULL_DUPLEX,
    port: int = 0,
    on_strike: Callable[[Strike], None] | None = None,
) -> AsyncIterator[PageBench]:
    """Starts all parts; the page is at a free port."""
    model = ScriptedModel(split_words(answer), pause_s=0.001, loading_s=0.0)
    host = web.listen.rpartition(":")[0]
    free = port or await _free_port()
    config = Config(
        machine=profile,
        log=LogConfig(folder=folder / "sessions"),
        web=WebConfig(f"{host}:{free}", web.key_file, web.typing, web.archive),
    )
    machine = VirtualTeletype(WallClock(), columns=profile.columns, character_s=character_s, on_strike=on_strike)
    async with (
        machine,
        build.build_session(config, model, machine.path, character_s) as (session, log),
    ):
        running = asyncio.ensure_future(session.run())
        try:
            yield PageBench(machine, session, log, f"http://127.0.0.1:{free}/", model)
        finally:
            running.cancel()
            await asyncio.wait({running})


async def _free_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def read_events(client: httpx2.AsyncClient, url: str, **headers: str) -> AsyncIterator[tuple[str, str, str]]:
    """Yields id, name and data of each event of the stream."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.stream("GET", f"{url}events", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        buffer = ""
        async for text in response.aiter_text():
            buffer += text
            while "\n\n" in buffer:
                event, _, buffer = buffer.partition("\n\n")
                fields = dict(re.findall(r"^(\w+): (.*)$", event, re.MULTILINE))
                if "event" in fields:
                    yield fields.get("id", ""), fields["event"], fields["data"]
