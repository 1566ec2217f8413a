"""A headless Chromium, driven by the DevTools protocol over two pipes: no driver, no port, no further package."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESKTOP, PHONE = (1280, 900, 1.0), (390, 844, 3.0)  # width, height, device pixels to one CSS pixel
_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=Translate",
]


class BrowserError(Exception):
    """The browser refused a command, or a script in the page failed."""


class Browser:
    """One browser process. Commands and events are JSON, each ended by a NUL."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, write_fd: int) -> None:
        self.process, self._reader, self._write_fd = process, reader, write_fd
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.listeners: list[Callable[[str, str, dict[str, Any]], None]] = []  # session, method, parameters
        self._reading = asyncio.ensure_future(self._read_forever())

    async def send(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._write_fd, json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(60):
            return await reply

    async def _read_forever(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                if "id" in message:
                    reply = self._replies.pop(message["id"])
                    if reply.done():  # its caller waits no more
                        continue
                    if "error" in message:
                        reply.set_exception(BrowserError(message["error"]["message"]))
                    else:
                        reply.set_result(message["result"])
                else:
                    for listener in self.listeners:
                        listener(message.get("sessionId", ""), message["method"], message["params"])

    async def open_page(self, url: str, size: tuple[int, int, float] = DESKTOP) -> Page:
        target = (await self.send("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = Page(self, session, target)
        await page.resize(size)
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.send(f"{domain}.enable")
        if url:
            await page.go(url)
        return page

    async def close(self) -> None:
        with contextlib.suppress(BrowserError, OSError, TimeoutError):
            await self.send("Browser.close")
        try:
            async with asyncio.timeout(10):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        self._reading.cancel()
        os.close(self._write_fd)


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self.session, self.target = browser, session, target
        self.errors: list[str] = []  # uncaught exceptions, and what the security policy refused
        browser.listeners.append(self._note)

    def _note(self, session: str, method: str, params: dict[str, Any]) -> None:
        if session != self.session:
            return
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["source"] in ("security", "javascript"):
            self.errors.append(params["entry"]["text"])

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._browser.send(method, self.session, **params)

    async def go(self, url: str) -> None:
        result = await self.send("Page.navigate", url=url)
        if error := result.get("errorText"):
            raise BrowserError(f"{url}: {error}")

    async def resize(self, size: tuple[int, int, float]) -> None:
        width, height, scale = size
        is_phone = width < 600
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=is_phone
        )
        await self.send("Emulation.setTouchEmulationEnabled", enabled=is_phone)

    async def run(self, script: str) -> Any:
        """Returns the value of an expression, after its promise."""
        result = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return result["result"].get("value")

    async def wait_for(self, script: str, timeout_s: float = 20.0) -> Any:
        """Evaluates an expression until it is true; returns its value."""
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(BrowserError):  # the page is changing
                    value = await self.run(script)
                    if value not in (None, False, 0, ""):  # an element is an empty object here
                        return value
                await asyncio.sleep(0.05)

    async def type(self, text: str) -> None:
        await self.send("Input.insertText", text=text)

    async def press(self, key: str, code: int) -> None:
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": "\r" if key == "Enter" else ""}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **common)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    async def screenshot(self) -> bytes:
        """Returns the visible part of the page as PNG."""
        return base64.b64decode((await self.send("Page.captureScreenshot", format="png"))["data"])

    async def accessible_lines(self) -> list[str]:
        """Returns the texts below role=log in the accessibility tree."""
        nodes = {node["nodeId"]: node for node in (await self.send("Accessibility.getFullAXTree"))["nodes"]}
        [log] = [node for node in nodes.values() if node.get("role", {}).get("value") == "log"]
        texts: list[str] = []

        def collect(node: dict[str, Any]) -> None:
            if node.get("role", {}).get("value") == "StaticText":
                texts.append(node["name"]["value"])
                return
            for child in node.get("childIds", []):
                collect(nodes[child])

        collect(log)
        return texts

    async def close(self) -> None:
        self._browser.listeners.remove(self._note)
        await self._browser.send("Target.closeTarget", targetId=self.target)


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Starts a browser with a profile of its own, and ends it."""
    assert CHROMIUM is not None
    command_read, command_write = os.pipe()
    reply_read, reply_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="asr33-browser-", ignore_cleanup_errors=True) as profile:
        # The browser reads commands from descriptor 3 and writes replies to descriptor 4.
        script = f'exec "$@" 3<&{command_read} 4>&{reply_write}'
        words = ["bash", "-c", script, "bash", CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = await asyncio.create_subprocess_exec(
            *words,
            pass_fds=(command_read, reply_write),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        os.close(command_read)
        os.close(reply_write)
        reader = asyncio.StreamReader(limit=1 << 27)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reply_read, "rb")
        )
        browser = Browser(process, reader, command_write)
        try:
            yield browser
        finally:
            await browser.close()
            transport.close()
