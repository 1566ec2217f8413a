"""Where a carbon copy goes: the line of a second Teletype, or a file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from daemon.carbon_copy import CopySink
from daemon.config import Config
from daemon.errors import ConfigError
from drivers.clock import CHARACTER_S
from drivers.line.line import open_line
from drivers.line.line_transport import LineTransport
from drivers.paper.paper import BEL, CR, LF
from drivers.profile import Parity
from drivers.text.charset import apply_parity


class CopyLine:
    """The line of a second machine, which is of the same kind as the first; its keys are ignored."""

    def __init__(self, port: str, parity: Parity) -> None:
        self.name = port
        self.character_s = CHARACTER_S
        self._parity = parity
        self._line: LineTransport | None = None

    async def open(self) -> None:
        self._line = await open_line(self.name)
        self._line.listen(lambda line_input: None)
        self.character_s = 0.0 if self._line.is_pty else CHARACTER_S

    async def write(self, byte: int) -> None:
        assert self._line is not None
        self._line.write(apply_parity(byte, self._parity))
        await self._line.drain()

    async def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.close()


class CopyFile:
    """A text file that grows with each character; the passes of an overprinted line are separated by CRs.

    The file is written in a thread, since a network share may block. If it is removed or moved, it is begun anew.
    """

    character_s = 0.0

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._fd = -1
        self._is_line_begun = False
        self._has_returned = False  # a CR is not written yet: an LF makes it needless
        self._skips_line_feed = False  # the file begins with the first line, not with an empty one
        self._thread = ThreadPoolExecutor(1, "carbon-copy")

    async def open(self) -> None:
        await self._run(self._open)

    async def write(self, byte: int) -> None:
        if byte == CR:
            self._has_returned = True
        elif byte != BEL and not (byte == LF and self._skips_line_feed):
            prefix = b"\r" if self._has_returned and self._is_line_begun and byte != LF else b""
            await self._run(self._write, prefix + bytes((byte,)))
            self._has_returned, self._is_line_begun = False, byte != LF
        self._skips_line_feed = self._skips_line_feed and byte == CR

    async def close(self) -> None:
        await self._run(self._close)

    async def _run(self, work: Callable[..., None], *args: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _open(self) -> None:
        self._close()
        # O_NONBLOCK is for a FIFO that no program reads.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        self._is_line_begun = _ends_within_line(self._path)
        self._skips_line_feed = not self._is_line_begun

    def _write(self, data: bytes) -> None:
        os.write(self._fd, data)
        if data == b"\n" and self._is_replaced():
            self._open()

    def _is_replaced(self) -> bool:
        own = os.fstat(self._fd)
        try:
            found = self._path.stat()
        except OSError:
            return True
        return (own.st_dev, own.st_ino) != (found.st_dev, found.st_ino)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _ends_within_line(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def sinks_of(config: Config, port: str) -> list[CopySink]:
    """Returns the configured sinks of the machine at `port`. Raises ConfigError if one is the machine itself."""
    sinks: list[CopySink] = []
    if config.copy.line is not None:
        if os.path.realpath(config.copy.line) == os.path.realpath(port):
            raise ConfigError(f"[copy] line = {config.copy.line}: this is the line of the machine itself")
        sinks.append(CopyLine(config.copy.line, config.machine.send_parity))
    if config.copy.file is not None:
        sinks.append(CopyFile(config.copy.file.expanduser()))
    return sinks
