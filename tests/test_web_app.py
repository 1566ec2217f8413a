"""The live page over HTTP: the stream and how it is resumed, lines of visitors, keys, the archive. No browser."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import httpx2
import pytest
from fakes_live_page import PageBench, open_page_bench, read_events
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.config import AnswerConfig, Config, WebConfig
from daemon.conversation import Conversation
from daemon.errors import ConfigError, DaemonError
from daemon.web import server
from daemon.web.access import Access, make_cookie, parse_address
from daemon.web.archive_pages import ArchivePages
from daemon.web.paper_hub import MAX_LINES, MAX_RECENT, PaperHub
from daemon.web.visitor_lines import MAX_LINE_CHARS, MAX_WAITING, LineRefused, VisitorLines
from drivers.events import AnswerbackReceived, CharacterStruck, KeyReceived, ParameterDetected
from drivers.paper.paper import Paper
from drivers.profile import Profile
from model.dialogue import Speakers
from model.server.http.connections import ConnectionLimits

POST = {"X-ASR33": "1", "Content-Type": "application/json"}

DONE = "A SECOND.\n\nREADY"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[PageBench]:
    async with open_page_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=20) as client:
        yield client


class Sheet:
    """What a viewer has from the events that it got."""

    def __init__(self) -> None:
        self.paper = Paper()
        self.sheets = 0
        self.last_id = ""

    def take(self, number: str, name: str, data: str) -> None:
        if name == "sheet":
            sheet = json.loads(data)
            self.sheets += 1
            self.paper = Paper()
            self.paper.feed("\r\n".join(sheet["lines"]).encode())
            self.paper.column = sheet["column"]
        elif name == "strokes":
            for byte, column, _ in json.loads(data):
                self.paper.column = self.paper.column if column is None else column
                self.paper.feed(bytes([byte]))
        self.last_id = number or self.last_id


async def follow(sheet: Sheet, bench: PageBench, client: httpx2.AsyncClient, until: str, **headers: str) -> None:
    async with aclosing(read_events(client, bench.url, **headers)) as events:
        async for event in events:
            sheet.take(*event)
            if until in "\n".join(sheet.paper.last_lines(9)):
                return


async def test_a_viewer_gets_the_sheet_from_the_top_and_then_each_stroke(
    bench: PageBench, client: httpx2.AsyncClient
) -> None:
    await bench.wait_for_paper("READY")
    sheet = Sheet()
    following = asyncio.ensure_future(follow(sheet, bench, client, DONE))
    await bench.machine.type("THE TELETYPE IS\r")
    await following
    await bench.wait_for_paper(DONE)
    assert sheet.sheets == 1
    assert sheet.paper.text().startswith("\nASR33 TIME-SHARING SYSTEM")
    assert sheet.paper.inked_cells() == bench.machine.typing_unit.paper.inked_cells()[: len(sheet.paper.lines)]


async def test_a_viewer_that_was_away_gets_each_character_once(bench: PageBench, client: httpx2.AsyncClient) -> None:
    sheet = Sheet()
    await follow(sheet, bench, client, "READY")
    await bench.machine.type("THE TELETYPE IS\r")
    await bench.wait_for_paper(DONE)
    await follow(sheet, bench, client, DONE, last_event_id=sheet.last_id)
    assert sheet.sheets == 1
    assert sheet.paper.inked_cells() == bench.machine.typing_unit.paper.inked_cells()[: len(sheet.paper.lines)]


@pytest.mark.parametrize("last", ["", "0000.5", "x", ".", "{epoch}.99999999", "{epoch}.-1", "{epoch}.²", "{epoch}."])
async def test_a_last_event_that_is_unknown_brings_the_whole_sheet(last: str) -> None:
    hub = PaperHub(Profile(), lambda: 0.0)
    strike(hub, b"HELLO")
    async with aclosing(hub.stream()) as events:
        known = [await anext(events) for _ in range(2)][1].decode()
    epoch = known.partition("id: ")[2].partition(".")[0]
    async with aclosing(hub.stream(last.format(epoch=epoch))) as events:
        assert b"event: sheet" in [await anext(events) for _ in range(2)][1]


def strike(hub: PaperHub, text: bytes) -> None:
    for byte in text:
        hub.on_event(CharacterStruck(0.0, 0.0, byte, None))


async def test_a_viewer_that_falls_behind_the_ring_gets_the_whole_sheet() -> None:
    hub = PaperHub(Profile(), lambda: 0.0)
    async with aclosing(hub.stream()) as events:
        for _ in range(2):
            await anext(events)
        strike(hub, b"X" * MAX_RECENT)
        assert b"event: strokes" in await anext(events)
        strike(hub, b"Y" * (MAX_RECENT + 1))
        assert b"event: sheet" in await anext(events)


async def test_a_sheet_that_is_forgotten_is_taken_from_all_viewers() -> None:
    hub = PaperHub(Profile(), lambda: 0.0)
    strike(hub, b"SECRET\r\nMATTER")
    async with aclosing(hub.stream()) as events:
        known = [await anext(events) for _ in range(2)][1]
        hub.forget_sheet()
        strike(hub, b"NEW")
        event = await anext(events)
        assert b"event: sheet" in event
        assert b"SECRET" not in event
        assert b"MATTER" not in event
        assert b"NEW" in event
    last_id = known.decode().partition("id: ")[2].partition("\n")[0]
    async with aclosing(hub.stream(last_id)) as events:
        assert [await anext(events) for _ in range(2)][1] == event


async def test_a_long_sheet_loses_its_oldest_lines_and_keeps_their_numbers() -> None:
    hub = PaperHub(Profile(), lambda: 0.0)
    for number in range(MAX_LINES + 500):
        strike(hub, b"%d\r\n" % number)
    async with aclosing(hub.stream()) as events:
        data = [await anext(events) for _ in range(2)][1].decode().partition("data: ")[2]
    sheet = json.loads(data)
    assert MAX_LINES <= len(sheet["lines"]) <= MAX_LINES + 101
    assert sheet["lines"][0] == str(sheet["first"])


@given(st.lists(st.sampled_from([*b"AB _\r\n\x07\x7f^"]), max_size=60), st.integers(0, 60))
def test_a_sheet_has_the_cells_of_the_paper_wherever_the_viewer_joins(data: list[int], at: int) -> None:
    async def join() -> None:
        hub, paper, sheet = PaperHub(Profile(columns=20), lambda: 0.0), Paper(20), Sheet()
        strike(hub, bytes(data[:at]))
        paper.feed(bytes(data[:at]))
        async with aclosing(hub.stream()) as events:
            await anext(events)
            take(sheet, await anext(events))
            strike(hub, bytes(data[at:]))
            paper.feed(bytes(data[at:]))
            if data[at:]:
                take(sheet, await anext(events))
        assert sheet.paper.inked_cells() == paper.inked_cells()

    def take(sheet: Sheet, event: bytes) -> None:
        number, name, content = (line.partition(": ")[2] for line in event.decode().splitlines()[:3])
        sheet.paper.columns = 20
        sheet.take(number, name, content)

    asyncio.run(join())


async def test_a_machine_that_prints_its_own_keys_shows_them() -> None:
    hub = PaperHub(Profile(), lambda: 0.0)
    hub.on_event(KeyReceived(0.0, ord("X")))
    hub.on_event(ParameterDetected(0.0, "duplex", "half"))
    hub.on_event(KeyReceived(0.0, ord("A") | 0x80))
    hub.on_event(AnswerbackReceived(0.0, b"\x8dKM 33\r\n"))
    async with aclosing(hub.stream()) as events:
        assert b'"lines":["A"]' in [await anext(events) for _ in range(2)][1]
    assert hub.answerback == "KM 33"


async def test_viewers_are_woken_a_few_at_a_time_and_all_get_all() -> None:
    hub = PaperHub(Profile(), lambda: 0.0)
    got = [b""] * 100

    async def view(number: int) -> None:
        async for event in hub.stream():
            got[number] += event

    viewing = [asyncio.ensure_future(view(number)) for number in range(100)]
    await asyncio.sleep(0)
    turns, woken = 0, set[int]()
    strike(hub, b"A")
    while len(woken) < 100:
        before = len(woken)
        await asyncio.sleep(0)
        woken = {number for number in range(100) if b"event: strokes" in got[number]}
        assert len(woken) - before <= 16
        turns += 1
        strike(hub, b"B" if turns == 3 else b"")
    hub.close()
    await asyncio.gather(*viewing)
    assert turns >= 100 / 16
    assert all(sheet.count(b"[66,") == 1 for sheet in got)


async def test_a_viewer_that_does_not_read_is_dropped_and_delays_no_other(
    tmp_path: Path, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LIMITS", ConnectionLimits(unread_s=0.3))
    async with open_page_bench(tmp_path) as bench:
        await bench.wait_for_paper("READY")
        bench.hub._lines += [json.dumps("X" * 72)] * 4000  # more than the buffers of a connection hold
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", int(bench.url.rstrip("/").rpartition(":")[2])))
            slow.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sheet = Sheet()
            following = asyncio.ensure_future(follow(sheet, bench, client, DONE))
            async with asyncio.timeout(20):
                while bench.viewer_count < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await bench.machine.type("THE TELETYPE IS\r")
                await following
                while bench.viewer_count:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    assert sheet.sheets == 1


async def test_a_line_of_a_visitor_is_printed_and_answered(bench: PageBench, client: httpx2.AsyncClient) -> None:
    line = {"line": "  what is a\tteletype? <script>\x07é ", "temperature": 1.5}
    reply = await client.post(f"{bench.url}type", headers=POST, json=line)
    assert reply.status_code == 202
    assert reply.json() == {"typed": "WHAT IS A TELETYPE? <SCRIPT>E", "number": 1}
    await bench.wait_for_paper("READY\nWHAT IS A TELETYPE? <SCRIPT>E\nA MACHINE")
    await bench.wait_for_paper(DONE)
    assert bench.model.last_prompt.lower().startswith("what is a teletype? <script>e")
    bench.log.flush()
    records = [json.loads(text) for text in bench.log.path.read_text().splitlines()]
    assert [record["text"] for record in records if record["ev"] == "typed"] == ["WHAT IS A TELETYPE? <SCRIPT>E"]
    await bench.machine.type("AND AGAIN\r")
    await bench.wait_for_paper("AND AGAIN\nA MACHINE")
    await bench.session.listening.wait()
    bench.log.flush()
    records = [json.loads(text) for text in bench.log.path.read_text().splitlines()]
    temperatures = [record["parameters"]["temperature"] for record in records if record["ev"] == "prompt"]
    assert temperatures == [1.5, AnswerConfig().temperature]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b'{"line": "X"}', 403),  # a form of another site
        (POST, b"", 400),
        (POST, b"[" * 5000, 400),
        (POST, b"[]", 400),
        (POST, b'{"line": 5}', 400),
        (POST, b'{"line": "  "}', 400),
        (POST, b'{"line": "\\u4e00"}', 202),
        (POST, b'{"line": "X", "temperature": "hot"}', 400),
        (POST, b'{"line": "X", "temperature": 1e99}', 400),
        (POST, b'{"line": "X", "temperature": NaN}', 400),
        (POST, b'{"line": "X", "persona": "nobody"}', 400),
        (POST, b'{"line": ".BYE"}', 403),
        (POST, b'{"line": " .private"}', 403),
        (POST, b'{"line": "' + b"X" * (MAX_LINE_CHARS + 1) + b'"}', 400),
        (POST, b"X" * 10_000, 413),
    ],
)
async def test_a_request_to_type_is_checked(
    bench: PageBench, client: httpx2.AsyncClient, headers: dict[str, str], body: bytes, status: int
) -> None:
    reply = await client.post(f"{bench.url}type", headers=headers, content=body)
    assert reply.status_code == status
    assert status == 202 or reply.json()["error"]


async def test_break_stops_the_answer_to_a_line_of_the_page_only(tmp_path: Path, client: httpx2.AsyncClient) -> None:
    async with open_page_bench(tmp_path, answer="WORD " * 4000) as bench:
        await bench.wait_for_paper("READY")
        assert (await client.post(f"{bench.url}break", headers=POST)).status_code == 409
        await client.post(f"{bench.url}type", headers=POST, json={"line": "GO ON"})
        await bench.wait_for_paper("WORD WORD WORD")
        assert (await client.post(f"{bench.url}break", headers=POST)).status_code == 204
        await bench.wait_for_paper("^C\n\nREADY")
        assert bench.paper.count("WORD") < 3000


async def test_only_so_many_lines_wait_and_the_rest_are_refused(tmp_path: Path) -> None:
    async with open_page_bench(tmp_path) as bench:
        visitors = VisitorLines(bench.session, Conversation(), AnswerConfig(), lambda: False)
        with bench.session.leases.request_lease():  # a command has the machine
            for _ in range(MAX_WAITING):
                visitors.submit(visitors.parse({"line": "X"}))
            with pytest.raises(LineRefused, match="wait already"):
                visitors.submit(visitors.parse({"line": "X"}))
            await visitors.close()
        assert visitors.waiting == 0


def test_a_private_time_takes_no_lines(tmp_path: Path) -> None:
    visitors = VisitorLines(None, Conversation(), AnswerConfig(), lambda: True)  # type: ignore[arg-type]
    with pytest.raises(LineRefused, match="private"):
        visitors.submit(visitors.parse({"line": "X"}))


def test_a_visitor_chooses_among_the_speakers_of_the_model() -> None:
    joe = Speakers("Joe", "Ann", ("Joe", "Ann", "Kim"))
    visitors = VisitorLines(None, Conversation("", joe), AnswerConfig(), lambda: False)  # type: ignore[arg-type]
    assert list(visitors.personas) == ["Joe", "", "Ann", "Kim"]
    assert visitors.parse({"line": "X"}).speakers is joe
    kim = visitors.parse({"line": "X", "persona": "Kim", "temperature": 1})
    assert kim.speakers.persona == "Kim"
    assert kim.answer.temperature == 1.0
    assert not visitors.parse({"line": "X", "persona": ""}).speakers.persona


async def test_the_page_is_found_under_any_prefix_and_its_policy_is_strict(
    bench: PageBench, client: httpx2.AsyncClient
) -> None:
    for path in ("", "paper/", "a/b/"):
        page = await client.get(f"{bench.url}{path}")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        script = await client.get(f"{bench.url}{path}static/page.js")
        assert script.headers["content-type"].startswith("text/javascript")
    again = await client.get(f"{bench.url}static/page.js", headers={"If-None-Match": script.headers["etag"]})
    assert again.status_code == 304
    for path in ("static/../app.py", "static/%2e%2e/app.py", "static/x", "x", "sessions/..%2fx", "sessions/x"):
        assert (await client.get(f"{bench.url}{path}")).status_code == 404
    assert (await client.delete(bench.url)).status_code == 405


async def test_nginx_is_asked_not_to_hold_the_events_back(bench: PageBench, client: httpx2.AsyncClient) -> None:
    async with client.stream("GET", f"{bench.url}events") as response:
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["cache-control"] == "no-store"


async def test_a_name_of_another_site_that_points_here_is_refused(bench: PageBench, client: httpx2.AsyncClient) -> None:
    for host, status in (("evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost:1", 200), ("[::1]", 200)):
        assert (await client.get(bench.url, headers={"Host": host})).status_code == status


async def test_a_page_with_a_key_opens_by_form_by_cookie_and_by_header(
    tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    key_file, key = tmp_path / "keys", "0123456789abcdef;,"
    key_file.write_text(f"{key} the reading room\n")
    key_file.chmod(0o600)
    async with open_page_bench(tmp_path, WebConfig("127.0.0.1:0", key_file, typing=True)) as bench:
        for path, status in (("", 401), ("archive", 401), ("events", 401), ("glyphs", 401), ("sessions", 401)):
            assert (await client.get(f"{bench.url}{path}")).status_code == status
        assert (await client.get(f"{bench.url}static/page.css")).status_code == 200
        assert (await client.post(f"{bench.url}type", headers=POST, json={"line": "X"})).status_code == 401
        assert (await client.post(f"{bench.url}key", data={"key": "wrong"})).status_code == 401
        header = {"Authorization": f"Bearer {key}", "Host": "paper.example"}
        assert (await client.get(f"{bench.url}glyphs", headers=header)).status_code == 200
        opened = await client.post(f"{bench.url}key", data={"key": f" {key} "})
        assert (opened.status_code, opened.headers["location"]) == (303, "./")
        assert "HttpOnly" in opened.headers["set-cookie"]
        assert key not in opened.headers["set-cookie"]
        assert (await client.get(f"{bench.url}glyphs")).status_code == 200
        key_file.write_text("fedcba9876543210\n")
        assert (await client.get(f"{bench.url}glyphs")).status_code == 401


@settings(max_examples=25)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_a_cookie_carries_any_key(key: str) -> None:
    access = Access(lambda shown: shown == key)
    cookie = make_cookie(key, is_https=True).partition(";")[0]
    assert cookie.isascii()
    assert access.allows({"cookie": f"a=b; {cookie}; c"})
    assert not access.allows({"cookie": "asr33=%"})


async def test_a_page_to_read_only_takes_no_lines(tmp_path: Path, client: httpx2.AsyncClient) -> None:
    async with open_page_bench(tmp_path, WebConfig("127.0.0.1:0", archive=False)) as bench:
        reply = await client.post(f"{bench.url}type", headers=POST, json={"line": "X"})
        assert reply.status_code == 403
        assert "typing = true" in reply.json()["error"]
        for path in ("archive", "sessions", "sessions/x"):
            assert (await client.get(f"{bench.url}{path}")).status_code == 404


async def test_a_kept_session_can_be_fetched_to_be_played(bench: PageBench, client: httpx2.AsyncClient) -> None:
    await bench.machine.type("THE TELETYPE IS\r")
    await bench.wait_for_paper(DONE)
    bench.log.flush()
    [summary] = (await client.get(f"{bench.url}sessions")).json()["sessions"]
    assert (summary["model"], summary["line"]) == ("script", "THE TELETYPE IS")
    session = (await client.get(f"{bench.url}sessions/{summary['id']}")).json()
    paper = Paper()
    for _, byte, column in session["strokes"]:
        paper.column = paper.column if column is None else column
        paper.feed(bytes([byte]))
    assert "THE TELETYPE IS\nA MACHINE THAT PRINTS" in paper.text()
    [turn] = session["turns"]
    assert (turn["code"], turn["typed"]) == (summary["code"], "THE TELETYPE IS")
    assert len(session["table"]["glyphs"]) == 64
    older = await client.get(f"{bench.url}sessions?before={summary['id']}", headers={"Accept-Encoding": "identity"})
    assert older.json() == {"sessions": [], "more": False}


async def test_a_damaged_session_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(DaemonError, match="no session log"):
        await ArchivePages(tmp_path).session("x")


def test_an_address_is_a_port_or_an_address_with_one() -> None:
    assert parse_address("8034") == ("127.0.0.1", 8034)
    assert parse_address(" 0.0.0.0:80") == ("0.0.0.0", 80)
    assert parse_address("[::1]:8034") == ("::1", 8034)
    for text in ("", "x", "localhost", "1:99999", "1:-1", "1:²"):
        with pytest.raises(ConfigError, match="ADDRESS:PORT"):
            parse_address(text)


@pytest.mark.parametrize(
    ("web", "why"),
    [
        (WebConfig("0.0.0.0:0"), "set key_file"),
        (WebConfig("[::]:0"), "set key_file"),
        (WebConfig("0.0.0.0:0", Path("/nowhere/key")), "make a file"),
        (WebConfig("host.invalid:1", Path("{key}")), "no such host"),
        (WebConfig("127.0.0.1:{taken}"), "names another"),
    ],
)
async def test_a_page_that_cannot_be_served_is_refused_in_one_line(tmp_path: Path, web: WebConfig, why: str) -> None:
    (tmp_path / "key").write_text("0123456789abcdef\n")
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    listen = web.listen.format(taken=taken.sockets[0].getsockname()[1])
    key_file = web.key_file and Path(str(web.key_file).format(key=tmp_path / "key"))
    with pytest.raises(DaemonError, match=why):
        async with server.serve_page(Config(web=WebConfig(listen, key_file))):
            pass
    taken.close()


async def test_what_is_struck_in_a_private_time_never_reaches_the_page(
    bench: PageBench, client: httpx2.AsyncClient
) -> None:
    seen = Sheet()
    following = asyncio.ensure_future(follow(seen, bench, client, "PUBLIC AGAIN\nA MACHINE"))
    for number, line in enumerate((".PRIVATE", "A SECRET", ".PUBLIC", "PUBLIC AGAIN"), 1):
        async with asyncio.timeout(20):
            while bench.paper.count("READY") < number or not bench.session.listening.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        if line == "A SECRET":
            refused = await client.post(f"{bench.url}type", headers=POST, json={"line": "X"})
            assert refused.status_code == 409
        await bench.machine.type(f"{line}\r")
    await following
    late = Sheet()
    await follow(late, bench, client, "PUBLIC AGAIN\nA MACHINE")
    assert "A SECRET\n" in bench.paper
    for sheet in (seen, late):
        assert ".PRIVATE" in sheet.paper.text()
        assert "SECRET" not in sheet.paper.text()
        assert sheet.paper.text().count("A MACHINE") == 1
    bench.log.flush()
    [summary] = (await client.get(f"{bench.url}sessions")).json()["sessions"]
    assert "SECRET" not in (await client.get(f"{bench.url}sessions/{summary['id']}")).text
