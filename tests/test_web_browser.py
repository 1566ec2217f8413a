"""The live page and the archive in a real headless browser. One browser process for all tests here."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from fakes_browser import CHROMIUM, DESKTOP, PHONE, Browser, Page, open_browser
from fakes_live_page import PageBench, open_page_bench, read_events

from daemon.config import WebConfig
from daemon.web import server
from drivers.paper.glyphs import glyph_table
from drivers.paper.paper import Paper
from drivers.profile import Profile

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]
DONE = "A SECOND.\n\nREADY"
TEXT = "[...document.querySelectorAll('.sheet-line')].map((line) => line.textContent).join('\\n')"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def bench(tmp_path: Path) -> AsyncIterator[PageBench]:
    async with open_page_bench(tmp_path) as bench:
        yield bench


@asynccontextmanager
async def open_tab(
    browser: Browser, url: str, size: tuple[int, int, float] = DESKTOP, *, is_clean: bool = True
) -> AsyncIterator[Page]:
    """Opens a page, and fails if a script of it failed or the policy refused a part of it."""
    page = await browser.open_page(url, size)
    try:
        yield page
        assert not is_clean or not page.errors
    finally:
        await page.close()


async def wait_for_text(page: Page, text: str) -> None:
    await page.wait_for(f"{TEXT}.includes({json.dumps(text)})")


async def test_the_page_shows_the_paper_while_it_prints_and_answers_a_typed_line(
    browser: Browser, bench: PageBench
) -> None:
    async with open_tab(browser, bench.url) as page, open_tab(browser, bench.url) as early:
        await page.wait_for("document.getElementById('line').offsetHeight")
        await page.send("Page.bringToFront")
        await page.run("document.getElementById('line').focus()")
        await page.type("the <script>window.hacked=1</script> is")
        await page.press("Enter", 13)
        await wait_for_text(page, DONE)
        assert "THE <SCRIPT>WINDOW.HACKED=1</SCRIPT> IS\nA MACHINE THAT PRINTS" in await page.run(TEXT)
        assert await page.run("window.hacked === undefined && !document.querySelector('.sheet script')")
        assert await page.run("document.getElementById('line').value") == ""
        assert await page.wait_for("document.getElementById('doing').textContent === 'listening'")
        assert await page.wait_for("document.getElementById('notice').textContent === ''"), "it waits no more"
        async with open_tab(browser, bench.url) as late:
            for tab in (early, late):
                await wait_for_text(tab, DONE)
                assert await tab.run(TEXT) == await page.run(TEXT)
        assert await page.run(TEXT) == bench.paper


async def test_each_struck_cell_has_ink_and_no_other(browser: Browser, bench: PageBench) -> None:
    async with open_tab(browser, bench.url) as page:
        await wait_for_text(page, "READY")
        cells: list[list[float]] = await page.wait_for(
            """(() => {
              const { sheet } = asr33, canvas = document.querySelector(".sheet-band canvas");
              if (!canvas) return null;
              const pen = canvas.getContext("2d");
              return sheet.rows.slice(0, 8).map((row, y) => Array.from({ length: 72 }, (_, x) => {
                const box = [(x + 1) * sheet.columnPx + 1, y * sheet.linePx + 2, sheet.columnPx - 2, sheet.linePx - 4];
                const { data } = pen.getImageData(...box);
                return data.filter((_, i) => i % 4 === 3).reduce((sum, alpha) => sum + alpha, 0) / data.length;
              }));
            })()"""
        )
        rows = [row.ljust(72) for row in bench.paper.split("\n")[:8]]
        for row, inks in zip(rows, cells, strict=False):
            for glyph, ink in zip(row, inks, strict=True):
                assert (ink > 0.5) == (glyph != " "), (row, glyph, ink)


@pytest.mark.parametrize(
    "profile",
    [Profile(columns=20), Profile(columns=24, auto_return=True), Profile(return_feeds=True, feed_returns=True)],
)
async def test_the_script_has_the_cells_and_the_text_of_the_paper(browser: Browser, profile: Profile) -> None:
    rng, cases = random.Random(33), []
    for length in (0, 1, 30, 200, 600):
        data = bytes(rng.choices(b"AB_^ \r\n\x07\x7fa~", k=length))
        paper = Paper.for_profile(profile)
        paper.feed(data)
        cases.append((list(data), paper.inked_cells(), paper.text(profile.wheel)))
    async with open_tab(browser, "about:blank") as page:
        for name in ("sheet.js", "player.js"):
            await page.run((Path(server.__file__).parent / "static" / name).read_text())
        results = await page.run(
            f"""{json.dumps([data for data, _, _ in cases])}.map((data) => {{
              const table = {json.dumps(glyph_table(profile))}, strokes = data.map((byte, i) => [i, byte, null]);
              const sheet = asr33.drawSheet(document.body, table, strokes);
              const again = new asr33.Sheet(document.body, table);
              const player = asr33.playSheet(document.body, table, strokes);
              player.seekToStroke(data.length);
              player.seekToStroke(Math.floor(data.length / 2));
              player.seekToStroke(data.length);
              const strip = (sheet) => sheet.rows.map((row) => {{
                const cells = row.map((cell) => cell.replaceAll(" ", ""));
                while (cells.length && !cells[cells.length - 1]) cells.pop();
                return cells;
              }});
              const passes = strip(sheet).map((cells) => {{
                const passes = [];
                cells.forEach((cell, column) => [...cell].forEach((glyph, nth) => {{
                  passes[nth] = (passes[nth] || "").padEnd(column) + glyph;
                }}));
                return passes.join("\\r");
              }});
              again.load(passes, 0);
              return [strip(sheet), strip(again), strip(player.sheet), sheet.rows.map((_, row) => sheet.textOf(row))];
            }})"""
        )
    for (_, cells, text), (struck, loaded, played, texts) in zip(cases, results, strict=True):
        assert struck == loaded == played == cells
        assert "\n".join(texts) == text


async def test_a_screen_reader_gets_each_line_once_and_a_line_changes_once(browser: Browser, bench: PageBench) -> None:
    async with open_tab(browser, bench.url) as page:
        await wait_for_text(page, "READY")
        await page.run(
            """window.changes = new Map(); new MutationObserver((list) => list.forEach(({ target }) => {
              if (target.className === "sheet-line") changes.set(target, (changes.get(target) || 0) + 1);
            })).observe(document.querySelector("[role=log]"), { childList: true, subtree: true })"""
        )
        await bench.machine.type("THE TELETYPE IS\r")
        await bench.wait_for_paper(f"{DONE}\n")
        await page.wait_for(f"{TEXT} === {json.dumps(bench.paper)}")
        lines = [line for line in bench.paper.split("\n")[:-1] if line]
        assert await page.accessible_lines() == lines
        counts = await page.run("[...changes.values()]")
        assert len(counts) >= 3
        assert max(counts) == 1


async def test_a_reader_who_scrolled_up_stays_and_a_selection_survives(browser: Browser, tmp_path: Path) -> None:
    low = (1280, 480, 1.0)  # so that few lines fill the window
    async with open_page_bench(tmp_path, answer="WORD " * 600) as bench, open_tab(browser, bench.url, low) as page:
        await bench.wait_for_paper("READY")
        await bench.machine.type("X\r")
        await page.wait_for("asr33.sheet && asr33.sheet.end > 22", timeout_s=60)
        await page.wait_for("document.getElementById('window').scrollTop > 100")
        assert await page.run("document.getElementById('back').hidden")
        await page.run("document.getElementById('window').scrollTop = 40")
        await page.wait_for("!document.getElementById('back').hidden")
        await page.run("getSelection().selectAllChildren(document.querySelectorAll('.sheet-line')[9])")
        chosen, end = await page.run("String(getSelection())"), await page.run("asr33.sheet.end")
        assert chosen.startswith("WORD WORD")
        await page.wait_for(f"asr33.sheet.end > {end + 1}")
        assert await page.run("document.getElementById('window').scrollTop") == 40
        assert await page.run("String(getSelection())") == chosen
        await page.run("document.getElementById('back').click()")
        await page.wait_for(
            "(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight < 5)"
            "(document.getElementById('window'))"
        )
        assert await page.run("document.getElementById('back').hidden")


async def test_eight_tabs_share_one_stream(browser: Browser, bench: PageBench) -> None:
    tabs = [await browser.open_page(bench.url) for _ in range(8)]
    try:
        for tab in tabs:
            await wait_for_text(tab, "READY")
        await bench.machine.type("THE TELETYPE IS\r")
        for tab in tabs:
            await wait_for_text(tab, DONE)
            assert not tab.errors
        assert bench.viewer_count == 1
    finally:
        for tab in tabs:
            await tab.close()


async def test_a_phone_shows_all_columns_and_the_keys_in_its_width(browser: Browser, bench: PageBench) -> None:
    async with open_tab(browser, bench.url, PHONE) as page:
        await wait_for_text(page, "READY")
        await page.wait_for("document.getElementById('line').offsetHeight")
        await page.run("document.getElementById('line').value = 'AB'; document.getElementById('rubout').click()")
        await page.run("document.getElementById('here-is').click()")
        assert await page.run("document.getElementById('line').value") == "AASR33"
        assert await page.run("document.documentElement.scrollWidth") <= PHONE[0]
        boxes = await page.run(
            "['sheet-body', 'key', 'desk'].flatMap((name) => [...document.getElementsByClassName(name)])"
            ".map((item) => item.getBoundingClientRect()).map(({ left, right, bottom }) => [left, right, bottom])"
        )
        assert len(boxes) == 6
        for left, right, bottom in boxes:
            assert left >= 0
            assert right <= PHONE[0]
            assert bottom <= PHONE[1]
        assert await page.run("asr33.sheet.columnPx * 72 / devicePixelRatio") > 0.85 * PHONE[0]


async def test_break_on_the_page_stops_the_answer_to_its_line(browser: Browser, tmp_path: Path) -> None:
    async with open_page_bench(tmp_path, answer="WORD " * 4000) as bench, open_tab(browser, bench.url, PHONE) as page:
        await page.wait_for("document.getElementById('line').offsetHeight")
        await bench.wait_for_paper("READY")
        await page.run("document.getElementById('line').value = 'GO'; document.getElementById('desk').requestSubmit()")
        await wait_for_text(page, "WORD WORD")
        await page.run("document.getElementById('break').click()")
        await bench.wait_for_paper("^C\n\nREADY")


async def test_a_daemon_that_ends_and_comes_back_finds_its_viewers_again(browser: Browser, tmp_path: Path) -> None:
    async with open_page_bench(tmp_path) as bench:
        port = int(bench.url.rstrip("/").rpartition(":")[2])
        page = await browser.open_page(bench.url)
        await wait_for_text(page, "READY")
        await bench.machine.type("THE TELETYPE IS\r")
        await wait_for_text(page, DONE)
        closing_at = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - closing_at < 2
    await page.wait_for("document.getElementById('doing').textContent.includes('tries again')")
    assert DONE in await page.run(TEXT)
    async with open_page_bench(tmp_path / "again", port=port) as bench:
        await bench.wait_for_paper("READY")
        await page.wait_for(f"{TEXT}.includes('READY') && !{TEXT}.includes('MACHINE')")
        await page.wait_for("document.getElementById('doing').textContent === 'listening'")
        await page.close()


class Relay:
    """A TCP relay in front of the page, whose connections can be cut and refused."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pipe, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, far_writer}

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            except ConnectionError:
                pass
            finally:
                target.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))


@pytest.mark.parametrize("away_s", [0.5, pytest.param(10, marks=pytest.mark.soak)])
async def test_a_viewer_that_drops_has_every_character_once(browser: Browser, bench: PageBench, away_s: float) -> None:
    relay = Relay(int(bench.url.rstrip("/").rpartition(":")[2]))
    await relay.open()
    async with open_tab(browser, f"http://127.0.0.1:{relay.port}/", is_clean=False) as page:
        await wait_for_text(page, "READY")
        await relay.cut()
        await page.wait_for("document.getElementById('doing').textContent.includes('tries again')")
        await bench.machine.type("THE TELETYPE IS\r")
        await bench.wait_for_paper(DONE)
        await asyncio.sleep(away_s)
        await relay.open()
        await wait_for_text(page, DONE)
        assert await page.run(TEXT) == bench.paper
        assert await page.accessible_lines() == [line for line in bench.paper.split("\n") if line]
    await relay.cut()


async def test_a_page_with_a_key_is_opened_by_its_form(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("0123456789abcdef\n")
    (tmp_path / "keys").chmod(0o600)
    async with (
        open_page_bench(tmp_path, WebConfig("127.0.0.1:0", tmp_path / "keys")) as bench,
        open_tab(browser, f"{bench.url}paper/", is_clean=False) as page,
    ):
        await page.wait_for("document.getElementById('key')")
        await page.run("document.getElementById('key').value = '0123456789abcdef'; document.forms[0].requestSubmit()")
        await wait_for_text(page, "READY")
        assert await page.run("location.pathname") == "/paper/"
        assert await page.run("document.cookie") == ""
        assert await page.run("document.getElementById('desk').hidden")
        await page.send("Network.clearBrowserCookies")


async def test_the_archive_plays_a_session_and_jumps_to_its_lines(browser: Browser, bench: PageBench) -> None:
    await bench.wait_for_paper("READY")
    for line in ("FIRST LINE", "SECOND LINE"):
        await bench.machine.type(f"{line}\r")
        await bench.wait_for_paper(f"{line}\nA MACHINE")
        await bench.session.listening.wait()
    bench.log.flush()
    async with open_tab(browser, f"{bench.url}archive") as page:
        await page.send("Page.bringToFront")
        await page.wait_for("document.querySelector('#sessions a')")
        assert "FIRST LINE" in await page.run("document.querySelector('#sessions a').textContent")
        await page.run("document.querySelector('#sessions a').click()")
        await page.wait_for("asr33.player && asr33.player.next > 3")
        await page.run("asr33.player.pause(); asr33.player.seek(0)")
        for line in ("FIRST LINE", "SECOND LINE"):
            await page.press("]", 221)
            await page.wait_for(f"document.getElementById('turn').textContent.includes({line!r})")
        await page.run("asr33.player.pause(); asr33.player.seek(asr33.player.duration)")
        text = await page.run("asr33.player.sheet.rows.map((_, row) => asr33.player.sheet.textOf(row)).join('\\n')")
        assert bench.paper.startswith(text.rstrip("\n"))
        assert "SECOND LINE\nA MACHINE" in text
        await page.run("document.getElementById('before').click()")
        assert "SECOND LINE" in await page.run("document.getElementById('turn').textContent")


async def test_the_sound_is_off_until_it_is_asked_for(browser: Browser, bench: PageBench) -> None:
    async with open_tab(browser, bench.url) as page:
        await page.send("Page.bringToFront")
        await page.run(
            "window.made = []; for (const name of ['AudioBufferSourceNode', 'OscillatorNode']) {"
            "const start = window[name].prototype.start; window[name].prototype.start = function (...given) {"
            "made.push(name); return start.apply(this, given); }; }"
        )
        await wait_for_text(page, "READY")
        assert await page.run("made.length") == 0
        await page.run("document.getElementById('sound').click()")
        await page.wait_for("document.getElementById('sound').getAttribute('aria-pressed') === 'true'")
        motor = await page.run("made.length")
        await bench.machine.type("X\r")
        await page.wait_for(f"made.length > {motor + 10}")


async def test_no_request_of_the_page_leaves_its_folder(browser: Browser, bench: PageBench) -> None:
    urls: list[str] = []
    page = await browser.open_page("")
    browser.listeners.append(
        lambda session, method, params: (
            urls.append(params["request"]["url"])
            if (session, method) == (page.session, "Network.requestWillBeSent")
            else None
        )
    )
    await page.go(f"{bench.url}under/a/prefix/")
    await wait_for_text(page, "READY")
    assert len(urls) > 6
    assert all(url.startswith(f"{bench.url}under/a/prefix/") for url in urls)
    browser.listeners.pop()
    await page.close()
    async with httpx2.AsyncClient() as client, aclosing(read_events(client, f"{bench.url}x/")) as events:
        assert (await anext(events))[1] == "sheet"
