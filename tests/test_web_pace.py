"""The live page in real time: from a strike to the pixel, through a proxy, with a hundred viewers, at the end."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import httpx2
import pytest
from fakes_browser import CHROMIUM, DESKTOP, open_browser
from fakes_live_page import PageBench, open_page_bench, read_events
from fakes_sandbox import ROOT

from drivers.virtual import Strike

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
VIEWERS = """
import asyncio, sys
async def view(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    while await reader.read(65536): pass
async def main():
    await asyncio.gather(*(view(int(sys.argv[1])) for _ in range(int(sys.argv[2]))))
asyncio.run(main())
"""
no_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")


@pytest.mark.soak
@no_browser
async def test_a_strike_is_a_pixel_before_the_character_after_the_next(tmp_path: Path) -> None:
    struck: list[tuple[float, int]] = []

    def note(strike: Strike) -> None:
        struck.append((time.time() * 1000, strike.byte))

    async with (
        open_browser() as browser,
        open_page_bench(tmp_path, character_s=0.1, answer="WORD " * 40, on_strike=note) as bench,
    ):
        page = await browser.open_page(bench.url, DESKTOP)
        await page.send("Page.bringToFront")
        await page.wait_for("asr33.sheet && asr33.sheet.end > 1")
        await page.run(
            """window.pixels = []; const strike = asr33.sheet.strike.bind(asr33.sheet);
            asr33.sheet.strike = (byte, column) => {
              strike(byte, column);
              requestAnimationFrame(() => {  // the next frame is painted after this callback
                const painted = new MessageChannel();
                painted.port1.onmessage = () => pixels.push([performance.timeOrigin + performance.now(), byte]);
                painted.port2.postMessage(0);
              });
            }"""
        )
        await page.wait_for("pixels.length > 130", timeout_s=40)
        pixels = await page.run("pixels")
        assert not page.errors
    # The page joined late: its strokes are the last ones of the machine.
    texts = ["".join(chr(byte) for _, byte in rows) for rows in (struck, pixels)]
    first = texts[0].index(texts[1][:40])
    late = [pixel - strike for (pixel, _), (strike, _) in zip(pixels, struck[first:], strict=False)]
    figures = median(late), quantiles(late, n=100)[98]
    report(f"from a strike to the pixel: median {figures[0]:.1f} ms, 99th percentile {figures[1]:.1f} ms, {len(late)}")
    assert figures[0] < 200  # of a busy machine: the report has the figure


def report(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")  # pytest -s shows it


@asynccontextmanager
async def start_nginx(folder: Path, target: str) -> AsyncIterator[str]:
    """Runs nginx with a bare `proxy_pass` under a prefix; yields the address of the page there."""
    assert NGINX is not None
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;\n"
        f"fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n"
        f"server {{ listen 127.0.0.1:{port}; location /paper/ {{ proxy_pass {target}; }} }} }}\n"
    )
    process = await asyncio.create_subprocess_exec(
        NGINX, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while not await _is_open(port):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}/paper/"
    finally:
        process.terminate()
        await process.wait()


async def _is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.pace
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx-light")
@pytest.mark.parametrize("slash", ["/", ""])
async def test_behind_nginx_the_first_character_comes_in_200_ms(tmp_path: Path, slash: str) -> None:
    async with open_page_bench(tmp_path) as bench, start_nginx(tmp_path, bench.url.rstrip("/") + slash) as url:
        await bench.wait_for_paper("READY")
        async with httpx2.AsyncClient(timeout=20) as client:
            assert (await client.get(f"{url}static/sheet.js")).status_code == 200
            began = time.monotonic()
            async with aclosing(read_events(client, url)) as events:
                assert (await anext(events))[1] == "sheet"
                first_s = time.monotonic() - began
                typed_at = time.monotonic()
                post = {"X-ASR33": "1"}
                assert (await client.post(f"{url}type", headers=post, json={"line": "X"})).status_code == 202
                while (event := await anext(events))[1] != "strokes" or not json.loads(event[2]):
                    pass
                typed_s = time.monotonic() - typed_at
    report(f"behind nginx: the sheet after {first_s * 1000:.0f} ms, a typed line after {typed_s * 1000:.0f} ms")
    assert first_s < 0.2


@pytest.mark.soak
async def test_a_daemon_with_three_viewers_ends_in_three_seconds(tmp_path: Path) -> None:
    link, (port,) = tmp_path / "tty33", [await _free_port()]
    words = [sys.executable, "-m", "tools.main"]
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.DEVNULL, "cwd": ROOT}
    machine = await asyncio.create_subprocess_exec(
        *words, "virtual", "--link", str(link), **pipes, stderr=asyncio.subprocess.DEVNULL
    )
    while not link.exists():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    options = ["--line", str(link), "--log", str(tmp_path / "log"), "--web", str(port)]
    daemon = await asyncio.create_subprocess_exec(*words, "run", *options, **pipes, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(60):
            while not await _is_open(port):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        url, texts = f"http://127.0.0.1:{port}/", [""] * 3

        async def view(number: int) -> None:
            async with httpx2.AsyncClient(timeout=60) as client, aclosing(read_events(client, url)) as events:
                async for _, name, data in events:
                    if name == "strokes":
                        texts[number] += "".join(chr(byte) for byte, _, _ in json.loads(data))

        viewing = [asyncio.ensure_future(view(number)) for number in range(3)]
        async with asyncio.timeout(60):
            while not all("READY" in text for text in texts):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        began = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        assert await daemon.wait() == 0
        ended_s = time.monotonic() - began
        await asyncio.wait_for(asyncio.gather(*viewing), 5)
    finally:
        for process in (daemon, machine):
            if process.returncode is None:
                process.kill()
            await process.wait()
    report(f"SIGTERM with three viewers: the daemon ended after {ended_s:.2f} s")
    assert all("-- STOPPED --" in text for text in texts)
    assert ended_s < 3


async def _free_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    return port


@pytest.mark.soak
async def test_a_hundred_viewers_cost_the_paper_no_millisecond(tmp_path: Path) -> None:
    """The viewers are another process, as in a museum: a hundred streams that are read to the end."""
    figures = [await _measure_paper(tmp_path / str(count), count) for count in (0, 100)]
    for count, (gap, worst, handled) in zip((0, 100), figures, strict=True):
        report(
            f"{count:3} viewers: {gap:.3f} ms between two strikes, uneven by {worst:.1f} ms, {handled:.0f} us an event"
        )
    assert abs(figures[1][0] - figures[0][0]) < 1


async def _measure_paper(folder: Path, viewers: int) -> tuple[float, float, float]:
    """Returns the mean ms between two strikes of the machine, how uneven they are in ms, and the us of the observer."""
    struck: list[float] = []
    spent: list[float] = []
    async with open_page_bench(
        folder, character_s=0.1, answer="WORD " * 40, on_strike=lambda strike: struck.append(time.monotonic())
    ) as bench:
        _time_observer(bench, spent)
        port = bench.url.rstrip("/").rpartition(":")[2]
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", VIEWERS, port, str(viewers))
        await asyncio.sleep(3)
        assert bench.viewer_count == viewers
        start = len(struck)
        await asyncio.sleep(12)  # within the greeting: no pause of the model
        times = struck[start:]
        if process.returncode is None:
            process.kill()
        await process.wait()
    gap = (times[-1] - times[0]) / (len(times) - 1)
    late = [(at - times[0] - number * gap) * 1000 for number, at in enumerate(times)]
    return gap * 1000, max(late) - min(late), 1e6 * median(spent)


def _time_observer(bench: PageBench, spent: list[float]) -> None:
    """Notes the seconds that the observers of the page take for an event."""
    hub = bench.hub
    strike = hub._strike

    def timed(byte: int, column: int | None, at: float) -> None:
        began = time.perf_counter()
        strike(byte, column, at)
        spent.append(time.perf_counter() - began)

    hub._strike = timed  # type: ignore[method-assign]
