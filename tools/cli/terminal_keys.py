"""The keys of this terminal, or the bytes of a pipe, on their way to a machine's keyboard at its own pace.

Ctrl-C is the BREAK key, and overtakes all that is still on its way. When it leaves instead, whoever calls knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from typing import Protocol

from drivers.errors import NoSuchKey

CTRL_C = "\x03"
_END = ""
# Arrow and function keys: ECMA-48 5.4, and F1 to F5 of the Linux console. A lone ESC is the ALT MODE key.
_SEQUENCE = re.compile(rb"\x1b(?:\[\[[A-E]|[\[O][0-?]*[ -/]*[@-~])")


class TypingTarget(Protocol):
    """What is typed on: a virtual machine, or its levers too."""

    async def type(self, text: str) -> None: ...

    async def press_break(self) -> None: ...


def stdin_is_terminal() -> bool:
    """Whether somebody can type here."""
    return (fd := _stdin_fd()) is not None and os.isatty(fd)


async def forward_keys(machine: TypingTarget, should_leave: Callable[[int], bool], stdin: int | None = None) -> None:
    """Types on the machine what comes in; back when Ctrl-C leaves, or the terminal is gone.

    `leaves` is asked at each Ctrl-C, and told how many keys that has overtaken. At a terminal each key is a key; in
    a pipe the end of a line is RETURN. The end of a pipe is not the end: nobody types, and the machine runs on.
    """
    pressed = KeyQueue(should_leave)
    with _reading_keys(_stdin_fd() if stdin is None else stdin, pressed):
        while key := await pressed.next_key():
            if key == CTRL_C:
                await machine.press_break()
            else:
                with contextlib.suppress(NoSuchKey):  # a key that this terminal has and a Model 33 has not
                    await machine.type(key)


class KeyQueue:
    """Keys in the order in which the machine gets them."""

    def __init__(self, should_leave: Callable[[int], bool]) -> None:
        self._should_leave = should_leave
        self._keys: asyncio.Queue[str] = asyncio.Queue()

    def put_keys(self, keys: str) -> None:
        for key in keys:
            if key == CTRL_C:
                key = _END if self._should_leave(self._drop_keys()) else CTRL_C
            self._keys.put_nowait(key)

    def close(self) -> None:
        """There will be no more, and what is on its way is not wanted."""
        self._drop_keys()
        self._keys.put_nowait(_END)

    async def next_key(self) -> str:
        """The next key, or nothing at the end."""
        return await self._keys.get()

    def _drop_keys(self) -> int:
        count = self._keys.qsize()
        while not self._keys.empty():
            self._keys.get_nowait()
        return count


def decode_keys(data: bytes) -> str:
    """The keys in what a terminal sends; bytes over 0x7F are no keys of a Model 33, and stay one each."""
    return _SEQUENCE.sub(b"", data).decode("latin-1")


def _stdin_fd() -> int | None:
    """None if whoever started us has closed it."""
    try:
        return sys.stdin.fileno() if sys.stdin else None
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _reading_keys(fd: int | None, queue: KeyQueue) -> Iterator[None]:
    if fd is not None and os.isatty(fd):
        with _raw_mode(fd), _watching_terminal(fd, queue):
            yield
        return
    if fd is not None:
        # A thread, because a file cannot be waited for; a daemon, because nothing can interrupt its read.
        threading.Thread(target=_read_pipe, args=(fd, asyncio.get_running_loop(), queue.put_keys), daemon=True).start()
    yield


@contextlib.contextmanager
def _raw_mode(fd: int) -> Iterator[None]:
    """Each key as it is pressed, Ctrl-C among them. Output is left as it was: it is the screen's."""
    before = termios.tcgetattr(fd)
    raw = termios.tcgetattr(fd)
    raw[tty.IFLAG] &= ~(termios.IXON | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.ISTRIP)
    raw[tty.LFLAG] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    termios.tcsetattr(fd, termios.TCSANOW, raw)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, termios.error):  # the terminal was closed
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _watching_terminal(fd: int, queue: KeyQueue) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def readable() -> None:
        try:
            data = os.read(fd, 4096)
        except OSError:
            data = b""
        if data:
            queue.put_keys(decode_keys(data))
        else:
            loop.remove_reader(fd)
            queue.close()

    loop.add_reader(fd, readable)
    try:
        yield
    finally:
        loop.remove_reader(fd)


def _read_pipe(fd: int, loop: asyncio.AbstractEventLoop, put_keys: Callable[[str], None]) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # it is gone; or the loop is closed, and we are leaving
        while data := os.read(fd, 4096):
            loop.call_soon_threadsafe(put_keys, data.decode("latin-1").replace("\n", "\r"))
