"""Point by point what goes wrong between a daemon and `asr33 serve`; the paper must not show more of it than silence.

Real processes, real sockets, and a virtual machine; fp32, no model of this machine behind it.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from fakes_between import ConnectionCut, FaultyProxy, ProxiedConnection, buffer_until, cut_at_byte, cut_at_token
from fakes_http import FakeModelServer, full_reply, stream_text
from fakes_serving import ServeProcess, serve_process
from test_remote import certificates as certificates
from test_remote import served

from daemon import build
from daemon.commands import NOTICE_TEXTS
from daemon.config import AnswerConfig, Config, LogConfig, ModelConfig
from daemon.exchange import exchange
from daemon.session import TeletypeSession
from drivers.clock import WallClock
from drivers.line.line import open_line
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.virtual import VirtualTeletype
from model.client.failover import FailoverModel
from model.client.http_client import ClientConfig
from model.client.remote_model import RemoteModel
from model.interface import CompletionRequest, Model, Sampling

pytestmark = pytest.mark.soak

SERVER = ("--device", "cpu", "--threads", "1")
ROWS = 4  # of the server's
KILLS = 50
CURE = "renew it there, or name who signed it in ca_file"
NOBODY = 1  # a port where nobody listens
URL = "http://127.0.0.1:1"  # of no server: only that it is none of this machine counts
LINES = ["THE OLD TELEGRAPH OFFICE", "AND THEN", "IN THE MORNING", "NOBODY KNEW", "A YEAR LATER"]
NOTICE = re.compile("|".join(re.escape(notice.strip()) for notice in NOTICE_TEXTS.values()))
GREEDY = AnswerConfig(temperature=0.0, seed=7, length=900)
SEEDED = AnswerConfig(seed=7, length=900)


@dataclass
class Printed:
    """What stands on a sheet, and what was said."""

    paper: str
    said: list[str]

    @property
    def notices(self) -> int:
        return len(NOTICE.findall(self.paper))

    @property
    def body(self) -> str:
        """Below the greeting, which has the server's name and the time."""
        return self.paper.partition("READY")[2]

    @property
    def letters(self) -> str:
        """Without the notices, which break lines, and so without lines."""
        return "".join(NOTICE.sub("", self.body).split())


@asynccontextmanager
async def typing(
    model: Model, answer: AnswerConfig, folder: Path, log: list[Path] | None = None
) -> AsyncIterator[tuple[VirtualTeletype, TeletypeSession]]:
    """A virtual machine without pace, and the daemon at its line."""
    config = Config(answer=answer, log=LogConfig(folder), machine=Profile(duplex="full"), model=ModelConfig(URL))
    machine = VirtualTeletype(WallClock(), character_s=0.0)
    async with machine, build.build_session(config, model, machine.path, 0.0) as (daemon, path):
        if log is not None:
            log.append(path)
        work = [asyncio.ensure_future(daemon.run()), asyncio.ensure_future(machine.wait_until_stopped())]
        try:
            yield machine, daemon
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


async def printed(model: Model, answer: AnswerConfig, folder: Path, lines: Sequence[str] = LINES) -> Printed:
    """The lines typed one after the other, each when the machine is ready for it."""
    log: list[Path] = []
    async with typing(model, answer, folder, log) as (machine, daemon):
        for line in lines:
            await daemon.listening.wait()
            daemon.listening.clear()
            await machine.type(line + "\r")
        await daemon.listening.wait()
        await machine.wait_until_idle()
        return Printed(machine.typing_unit.paper.text(), said(log[0]))


def said(log: Path) -> list[str]:
    """Each answer, from the session's log."""
    answers = [""]
    for record in map(json.loads, log.read_text().splitlines()):
        if record["ev"] == "piece":
            answers[-1] += record["text"]
        elif record["ev"] == "end":
            answers.append("")
    return answers[:-1]


class Never(random.Random):
    """No waits but those that must be."""

    def random(self) -> float:
        return 0.0


def relay(
    end: FaultyProxy | ServeProcess,
    door: ClientConfig | None = None,
    patience_s: float = 10.0,
    chance: random.Random | None = None,
) -> FailoverModel:
    remote = RemoteModel(
        f"http://127.0.0.1:{end.port}",
        door or ClientConfig(request_template=CompletionRequest("", Sampling(), alphabet="1968")),
    )
    return FailoverModel([remote], rng=chance or random.Random(33), notice_after_s=patience_s)


class Killed:
    """A server that is killed and started again, and the way to it, which finds it wherever it is."""

    def __init__(self, way: FaultyProxy) -> None:
        self.kills = 0
        self._way, self._chance = way, random.Random(33)
        self._process: ServeProcess | None = None
        self._returning: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Killed:
        await self._back(0.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self._returning)
        self._kill()

    async def _back(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        process = self._process = ServeProcess(*SERVER)
        self._way.target = (await asyncio.to_thread(process.wait_until_open)).port
        self._way.fault = cut_at_token(self._chance.randrange(60), self._fall)

    async def _fall(self) -> None:
        self._kill()
        self.kills += 1
        # Now and then it is away for so long that the reader is told.
        self._returning.add(asyncio.ensure_future(self._back(6.0 if self.kills % 10 == 0 else 0.0)))

    def _kill(self) -> None:
        if self._process is not None:
            self._process.process.kill()
            self._process.process.wait()
            assert self._process.process.stdout
            self._process.process.stdout.close()
        self._process, self._way.target = None, NOBODY


@pytest.fixture(scope="module")
def server() -> Iterator[ServeProcess]:
    with serve_process(*SERVER) as process:
        yield process.wait_until_open()


def same(found: Printed, quiet: Printed) -> None:
    """But for notices, and the lines that they break."""
    assert found.said == quiet.said
    assert found.letters == quiet.letters
    assert found.notices or found.body == quiet.body


@pytest.mark.parametrize("answer", [GREEDY, SEEDED], ids=["greedy", "seeded"])
async def test_a_server_killed_in_mid_sentence_fifty_times_leaves_the_paper_as_it_is(
    answer: AnswerConfig, server: ServeProcess, tmp_path: Path
) -> None:
    quiet = await printed(relay(server), answer, tmp_path / "quiet")
    assert not quiet.notices
    assert len("".join(quiet.said)) > 3000
    notices = 0
    async with FaultyProxy(NOBODY) as way, Killed(way) as killed:
        while killed.kills < KILLS:
            found = await printed(relay(way, patience_s=5.0), answer, tmp_path / f"{killed.kills}")
            same(found, quiet)
            notices += found.notices
    assert 3 <= notices <= 10


async def test_a_stall_of_a_minute_is_a_silence(server: ServeProcess, tmp_path: Path) -> None:
    """With all the patience that a daemon has."""
    quiet = await printed(relay(server), SEEDED, tmp_path / "quiet", LINES[:2])
    async with FaultyProxy(server.port) as way:

        async def stall() -> None:
            way.is_open.clear()
            asyncio.get_running_loop().call_later(60.0, way.is_open.set)

        way.fault = cut_at_token(40, stall)
        begun = asyncio.get_running_loop().time()
        found = await printed(relay(way), SEEDED, tmp_path / "found", LINES[:2])
        assert 60 < asyncio.get_running_loop().time() - begun < 100
    same(found, quiet)
    assert found.notices == 1


async def six(way: FaultyProxy | ServeProcess, taken: int = 0) -> tuple[str, str, int]:
    """An answer of six tokens, its sheet, and how many bytes the machine took; at least as many as are named."""
    sampling = Sampling(temperature=0.0, max_tokens=6)
    async with asyncio.timeout(60), AsyncExitStack() as ends:
        machine = await ends.enter_async_context(VirtualTeletype(WallClock(), character_s=0.0))
        line = await open_line(machine.path)
        ends.push_async_callback(line.close)
        model = relay(
            way, ClientConfig(request_template=CompletionRequest("", sampling, alphabet="1968")), chance=Never()
        )
        ends.push_async_callback(model.close)
        tty = Teletype(line, WallClock(), Profile(duplex="full"), character_s=0.0)
        ends.push_async_callback(tty.close)
        text, _ = await exchange(tty, model, "The old telegraph office", sampling, lambda piece: None)
        await tty.finish()
        await machine.wait_until_idle()
        while machine.received_bytes < taken:  # the kernel brings them over in its own time
            await machine.wait_until_idle()
        return text, machine.typing_unit.paper.text(), machine.received_bytes


async def test_a_stream_may_be_reset_at_every_byte(server: ServeProcess) -> None:
    """Side by side, as most of a round is waiting."""
    quiet, places = await six(server), count()

    async def reset(way: FaultyProxy, at: int) -> None:
        way.cuts = 0
        for _ in range(50):  # two words in one event make a stream shorter
            way.posts, way.fault = 0, cut_at_byte(at)
            assert await six(way, quiet[2]) == quiet, at
            if way.cuts:
                return
        pytest.fail(f"no stream had a byte {at}")

    async def lane(way: FaultyProxy) -> None:
        while (at := next(places)) < max(one.max_bytes for one in ways):
            await reset(way, at)

    async with AsyncExitStack() as ends, asyncio.TaskGroup() as lanes:
        ways = [await ends.enter_async_context(FaultyProxy(server.port)) for _ in range(ROWS)]
        for way in ways:
            assert await six(way) == quiet
        for way in ways:
            lanes.create_task(lane(way))
    assert next(places) > 1000


@pytest.mark.parametrize("most", [1 << 16, 1 << 30], ids=["64 KB", "all"])
async def test_a_proxy_that_holds_words_back_costs_time_alone(server: ServeProcess, tmp_path: Path, most: int) -> None:
    """At the paper's pace, of which the proxy knows nothing."""
    about = CompletionRequest("", Sampling(), alphabet="1968", chars_per_second=10.0, conversation="held")
    quiet = await printed(relay(server), SEEDED, tmp_path / "quiet")
    async with FaultyProxy(server.port, buffer_until(most)) as way:
        begun = asyncio.get_running_loop().time()
        found = await printed(relay(way, ClientConfig(request_template=about)), SEEDED, tmp_path / "found")
        assert asyncio.get_running_loop().time() - begun < 60
    same(found, quiet)


async def test_a_page_of_a_proxy_is_waited_out(server: ServeProcess, tmp_path: Path) -> None:
    quiet = await printed(relay(server), GREEDY, tmp_path / "quiet", LINES[:2])
    page = full_reply(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html")
    async with FaultyProxy(server.port) as way:
        pages = 0

        async def fault(way: ProxiedConnection, data: bytes) -> None:
            nonlocal pages
            pages += 1
            if pages % 4 == 2:
                await way.write(page)
                raise ConnectionCut
            await way.write(data)

        way.fault = fault
        same(await printed(relay(way), GREEDY, tmp_path / "found", LINES[:2]), quiet)
    assert pages > 4


async def test_a_certificate_that_ran_out_is_one_line_here_and_one_there(
    certificates: Callable[[int], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On the paper that there is no server, in the daemon's log why; and BREAK ends the wait."""
    async with FakeModelServer([stream_text("Never.")], is_asr33=True, tls=served(certificates(-9))) as end:
        remote = RemoteModel(end.url, ClientConfig(ca_file=certificates(-9)))
        async with typing(FailoverModel([remote], rng=random.Random(33), notice_after_s=1.0), GREEDY, tmp_path) as (
            machine,
            app,
        ):
            await app.listening.wait()
            app.listening.clear()
            await machine.type("GO\r")
            await asyncio.sleep(5)
            await machine.press_break()
            await app.listening.wait()
            await machine.wait_until_idle()
            paper = machine.typing_unit.paper.text()
    assert len(NOTICE.findall(paper)) == 1
    lost = [record.getMessage() for record in caplog.records if "certificate" in record.getMessage()]
    assert lost == [f"{end.url}: its certificate is no good: certificate has expired: {CURE}"]
    assert not end.posts
