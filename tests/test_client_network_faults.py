"""Faults between a daemon and `asr33 serve`: on the paper they cause only silence and a notice.

Real processes, real sockets and a virtual machine; the model is fp32, without a local model behind it.
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
from fakes_flaky_network import ConnectionCut, FaultyProxy, ProxiedConnection, buffer_until, cut_at_byte, cut_at_token
from fakes_openai_server import FakeModelServer, full_reply, stream_text
from fakes_serve_process import ServeProcess, serve_process
from fakes_tls import certificates as certificates
from fakes_tls import server_context

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
PROXIES = 4  # as many as the server has rows
KILLS = 50
CURE = "renew it on the server, or name the file of its authority in ca_file"
UNUSED_PORT = 1
URL = "http://127.0.0.1:1"  # makes the model a remote model; no test connects to it
LINES = ["THE OLD TELEGRAPH OFFICE", "AND THEN", "IN THE MORNING", "NOBODY KNEW", "A YEAR LATER"]
NOTICE = re.compile("|".join(re.escape(notice.strip()) for notice in NOTICE_TEXTS.values()))
GREEDY = AnswerConfig(temperature=0.0, seed=7, length=900)
SEEDED = AnswerConfig(seed=7, length=900)


@dataclass
class PrintedAnswers:
    """The text on the paper, and the answers in the session log."""

    paper: str
    answers: list[str]

    @property
    def notices(self) -> int:
        return len(NOTICE.findall(self.paper))

    @property
    def body(self) -> str:
        """The paper below the greeting, as the greeting has the server's name and the time."""
        return self.paper.partition("READY")[2]

    @property
    def letters(self) -> str:
        """The body without notices, and without blanks and line ends, as notices break lines."""
        return "".join(NOTICE.sub("", self.body).split())


@asynccontextmanager
async def typing_session(
    model: Model, answer: AnswerConfig, folder: Path, log: list[Path] | None = None
) -> AsyncIterator[tuple[VirtualTeletype, TeletypeSession]]:
    """Runs a session on a virtual machine at full speed."""
    config = Config(answer=answer, log=LogConfig(folder), machine=Profile(duplex="full"), model=ModelConfig(URL))
    machine = VirtualTeletype(WallClock(), character_s=0.0)
    async with machine, build.build_session(config, model, machine.path, 0.0) as (session, kept):
        if log is not None:
            log.append(kept.path)
        tasks = [asyncio.ensure_future(session.run()), asyncio.ensure_future(machine.wait_until_stopped())]
        try:
            yield machine, session
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def print_answers(
    model: Model, answer: AnswerConfig, folder: Path, lines: Sequence[str] = LINES
) -> PrintedAnswers:
    """Types each line when the session is ready, and returns what was printed."""
    log: list[Path] = []
    async with typing_session(model, answer, folder, log) as (machine, session):
        for line in lines:
            await session.listening.wait()
            session.listening.clear()
            await machine.type(line + "\r")
        await session.listening.wait()
        await machine.wait_until_idle()
        return PrintedAnswers(machine.typing_unit.paper.text(), read_answers(log[0]))


def read_answers(log: Path) -> list[str]:
    """Returns the answers of a session log."""
    answers = [""]
    for record in map(json.loads, log.read_text().splitlines()):
        if record["ev"] == "piece":
            answers[-1] += record["text"]
        elif record["ev"] == "end":
            answers.append("")
    return answers[:-1]


class NoJitter(random.Random):
    """Retries without a wait."""

    def random(self) -> float:
        return 0.0


def failover_model(
    server: FaultyProxy | ServeProcess,
    config: ClientConfig | None = None,
    notice_after_s: float = 10.0,
    rng: random.Random | None = None,
) -> FailoverModel:
    config = config or ClientConfig(request_template=CompletionRequest("", Sampling(), alphabet="1968"))
    remote = RemoteModel(f"http://127.0.0.1:{server.port}", config)
    return FailoverModel([remote], rng=rng or random.Random(33), notice_after_s=notice_after_s)


class KilledServer:
    """A server that is killed in each answer and started again; the proxy learns its new port."""

    def __init__(self, proxy: FaultyProxy) -> None:
        self.kills = 0
        self._proxy, self._rng = proxy, random.Random(33)
        self._process: ServeProcess | None = None
        self._restarts: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> KilledServer:
        await self._restart(0.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self._restarts)
        self._kill()

    async def _restart(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        process = self._process = ServeProcess(*SERVER)
        self._proxy.target = (await asyncio.to_thread(process.wait_until_open)).port
        self._proxy.fault = cut_at_token(self._rng.randrange(60), self._kill_and_restart)

    async def _kill_and_restart(self) -> None:
        self._kill()
        self.kills += 1
        # Every tenth restart is so late that the reader gets the notice.
        self._restarts.add(asyncio.ensure_future(self._restart(6.0 if self.kills % 10 == 0 else 0.0)))

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
        self._process, self._proxy.target = None, UNUSED_PORT


@pytest.fixture(scope="module")
def server() -> Iterator[ServeProcess]:
    with serve_process(*SERVER) as process:
        yield process.wait_until_open()


def assert_same(observed: PrintedAnswers, expected: PrintedAnswers) -> None:
    """Compares all but the notices and the line ends that they cause."""
    assert observed.answers == expected.answers
    assert observed.letters == expected.letters
    assert observed.notices or observed.body == expected.body


@pytest.mark.parametrize("answer", [GREEDY, SEEDED], ids=["greedy", "seeded"])
async def test_a_server_killed_in_mid_sentence_fifty_times_leaves_the_paper_as_it_is(
    answer: AnswerConfig, server: ServeProcess, tmp_path: Path
) -> None:
    expected = await print_answers(failover_model(server), answer, tmp_path / "expected")
    assert not expected.notices
    assert len("".join(expected.answers)) > 3000
    notices = 0
    async with FaultyProxy(UNUSED_PORT) as proxy, KilledServer(proxy) as killed:
        while killed.kills < KILLS:
            model = failover_model(proxy, notice_after_s=5.0)
            observed = await print_answers(model, answer, tmp_path / f"{killed.kills}")
            assert_same(observed, expected)
            notices += observed.notices
    assert 3 <= notices <= 10


async def test_a_stall_of_a_minute_shows_as_silence(server: ServeProcess, tmp_path: Path) -> None:
    """With the time limits of a daemon."""
    expected = await print_answers(failover_model(server), SEEDED, tmp_path / "expected", LINES[:2])
    async with FaultyProxy(server.port) as proxy:

        async def stall() -> None:
            proxy.is_open.clear()
            asyncio.get_running_loop().call_later(60.0, proxy.is_open.set)

        proxy.fault = cut_at_token(40, stall)
        start = asyncio.get_running_loop().time()
        observed = await print_answers(failover_model(proxy), SEEDED, tmp_path / "observed", LINES[:2])
        assert 60 < asyncio.get_running_loop().time() - start < 100
    assert_same(observed, expected)
    assert observed.notices == 1


async def print_six_tokens(proxy: FaultyProxy | ServeProcess, min_bytes: int = 0) -> tuple[str, str, int]:
    """Returns an answer of six tokens, the paper, and the number of bytes that the machine received.

    Waits for `min_bytes`, as the kernel delivers them with a delay.
    """
    sampling = Sampling(temperature=0.0, max_tokens=6)
    async with asyncio.timeout(60), AsyncExitStack() as ends:
        machine = await ends.enter_async_context(VirtualTeletype(WallClock(), character_s=0.0))
        line = await open_line(machine.path)
        ends.push_async_callback(line.close)
        model = failover_model(proxy, rng=NoJitter())
        ends.push_async_callback(model.close)
        tty = Teletype(line, WallClock(), Profile(duplex="full"), character_s=0.0)
        ends.push_async_callback(tty.close)
        text, _ = await exchange(tty, model, "The old telegraph office", sampling, lambda chunk: None)
        await tty.finish()
        await machine.wait_until_idle()
        while machine.received_bytes < min_bytes:
            await machine.wait_until_idle()
        return text, machine.typing_unit.paper.text(), machine.received_bytes


async def test_a_stream_may_be_reset_at_every_byte(server: ServeProcess) -> None:
    """Runs positions in parallel, as an answer is mostly waiting."""
    expected, positions = await print_six_tokens(server), count()

    async def reset(proxy: FaultyProxy, at: int) -> None:
        proxy.cuts = 0
        for _ in range(50):  # a stream with two words in one event is shorter
            proxy.posts, proxy.fault = 0, cut_at_byte(at)
            assert await print_six_tokens(proxy, expected[2]) == expected, at
            if proxy.cuts:
                return
        pytest.fail(f"no stream had a byte {at}")

    async def reset_at_positions(proxy: FaultyProxy) -> None:
        while (at := next(positions)) < max(proxy.max_bytes for proxy in proxies):
            await reset(proxy, at)

    async with AsyncExitStack() as ends, asyncio.TaskGroup() as tasks:
        proxies = [await ends.enter_async_context(FaultyProxy(server.port)) for _ in range(PROXIES)]
        for proxy in proxies:
            assert await print_six_tokens(proxy) == expected
        for proxy in proxies:
            tasks.create_task(reset_at_positions(proxy))
    assert next(positions) > 1000


@pytest.mark.parametrize("max_bytes", [1 << 16, 1 << 30], ids=["64 KB", "all"])
async def test_a_buffering_proxy_costs_time_alone(server: ServeProcess, tmp_path: Path, max_bytes: int) -> None:
    template = CompletionRequest("", Sampling(), alphabet="1968", chars_per_second=10.0, conversation="held")
    expected = await print_answers(failover_model(server), SEEDED, tmp_path / "expected")
    async with FaultyProxy(server.port, buffer_until(max_bytes)) as proxy:
        start = asyncio.get_running_loop().time()
        model = failover_model(proxy, ClientConfig(request_template=template))
        observed = await print_answers(model, SEEDED, tmp_path / "observed")
        assert asyncio.get_running_loop().time() - start < 60
    assert_same(observed, expected)


async def test_the_error_page_of_a_proxy_is_waited_out(server: ServeProcess, tmp_path: Path) -> None:
    expected = await print_answers(failover_model(server), GREEDY, tmp_path / "expected", LINES[:2])
    page = full_reply(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html")
    async with FaultyProxy(server.port) as proxy:
        replies = 0

        async def fault(connection: ProxiedConnection, data: bytes) -> None:
            nonlocal replies
            replies += 1
            if replies % 4 == 2:
                await connection.write(page)
                raise ConnectionCut
            await connection.write(data)

        proxy.fault = fault
        assert_same(await print_answers(failover_model(proxy), GREEDY, tmp_path / "observed", LINES[:2]), expected)
    assert replies > 4


async def test_an_expired_certificate_is_one_notice_on_paper_and_one_line_in_the_log(
    certificates: Callable[[int], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The notice says that there is no server, the log says why; BREAK ends the wait."""
    async with FakeModelServer([stream_text("Never.")], is_asr33=True, tls=server_context(certificates(-9))) as server:
        remote = RemoteModel(server.url, ClientConfig(ca_file=certificates(-9)))
        model = FailoverModel([remote], rng=random.Random(33), notice_after_s=1.0)
        async with typing_session(model, GREEDY, tmp_path) as (machine, session):
            await session.listening.wait()
            session.listening.clear()
            await machine.type("GO\r")
            await asyncio.sleep(5)
            await machine.press_break()
            await session.listening.wait()
            await machine.wait_until_idle()
            paper = machine.typing_unit.paper.text()
    assert len(NOTICE.findall(paper)) == 1
    logged = [record.getMessage() for record in caplog.records if "certificate" in record.getMessage()]
    assert logged == [f"{server.url}: its certificate is not valid: certificate has expired: {CURE}"]
    assert not server.posts
