"""Forwards the keys of this terminal, or the bytes of a pipe, to a machine's keyboard at the machine's speed.

Ctrl-C is the BREAK key and drops the keys that still wait. The caller decides when Ctrl-C leaves instead.
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
_END = ""  # ends a queue
# Arrow and function keys: ECMA-48 5.4, and F1 to F5 of the Linux console. A single ESC is the ALT MODE key.
_SEQUENCE = re.compile(rb"\x1b(?:\[\[[A-E]|[\[O][0-?]*[ -/]*[@-~])")


class TypingTarget(Protocol):
    """Accepts keys: a virtual machine, or its controls."""

    async def type(self, text: str) -> None: ...

    async def press_break(self) -> None: ...


def stdin_is_terminal() -> bool:
    return (fd := _stdin_fd()) is not None and os.isatty(fd)


async def forward_keys(machine: TypingTarget, should_leave: Callable[[int], bool], stdin: int | None = None) -> None:
    """Types each key on the machine; returns when Ctrl-C leaves or the terminal is closed, not at the end of a pipe.

    At each Ctrl-C `should_leave` gets the number of keys that it dropped. In a pipe a newline is the RETURN key.
    """
    queue = KeyQueue(should_leave)
    with _reading_keys(_stdin_fd() if stdin is None else stdin, queue):
        while key := await queue.next_key():
            if key == CTRL_C:
                await machine.press_break()
            else:
                with contextlib.suppress(NoSuchKey):  # a Model 33 lacks some keys of a terminal
                    await machine.type(key)


class KeyQueue:
    """The keys that wait for the machine, in order."""

    def __init__(self, should_leave: Callable[[int], bool]) -> None:
        self._should_leave = should_leave
        self._keys: asyncio.Queue[str] = asyncio.Queue()

    def put_keys(self, keys: str) -> None:
        for key in keys:
            leaves = key == CTRL_C and self._should_leave(self._drop_keys())
            self._keys.put_nowait(_END if leaves else key)

    def close(self) -> None:
        """Drops the waiting keys and ends the queue."""
        self._drop_keys()
        self._keys.put_nowait(_END)

    async def next_key(self) -> str:
        """Waits for the next key; returns an empty text at the end."""
        return await self._keys.get()

    def _drop_keys(self) -> int:
        count = self._keys.qsize()
        while not self._keys.empty():
            self._keys.get_nowait()
        return count


def decode_keys(data: bytes) -> str:
    """Returns the keys in a terminal's bytes; each byte over 0x7F becomes a key that a Model 33 lacks."""
    return _SEQUENCE.sub(b"", data).decode("latin-1")


def _stdin_fd() -> int | None:
    """Returns the descriptor of standard input; None if it is closed."""
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
        # A thread, since an event loop cannot wait for a file; a daemon thread, since its read cannot be interrupted.
        threading.Thread(target=_read_pipe, args=(fd, asyncio.get_running_loop(), queue.put_keys), daemon=True).start()
    yield


@contextlib.contextmanager
def _raw_mode(fd: int) -> Iterator[None]:
    """Makes the terminal deliver each key at once, Ctrl-C too; the output modes stay for the screen."""
    before = termios.tcgetattr(fd)
    raw = termios.tcgetattr(fd)
    raw[tty.IFLAG] &= ~(termios.IXON | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.ISTRIP)
    raw[tty.LFLAG] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    termios.tcsetattr(fd, termios.TCSANOW, raw)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, termios.error):  # the terminal is closed
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _watching_terminal(fd: int, queue: KeyQueue) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        try:
            data = os.read(fd, 4096)
        except OSError:
            data = b""
        if data:
            queue.put_keys(decode_keys(data))
        else:
            loop.remove_reader(fd)
            queue.close()

    loop.add_reader(fd, on_readable)
    try:
        yield
    finally:
        loop.remove_reader(fd)


def _read_pipe(fd: int, loop: asyncio.AbstractEventLoop, put_keys: Callable[[str], None]) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # the pipe is closed, or the event loop is
        while data := os.read(fd, 4096):
            loop.call_soon_threadsafe(put_keys, data.decode("latin-1").replace("\n", "\r"))
