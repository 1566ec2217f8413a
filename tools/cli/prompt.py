"""Asks the user at this terminal to press RETURN or to type a line. It does not know the machine."""

from __future__ import annotations

import asyncio
import os
import sys

from tools.cli.errors import ToolError
from tools.cli.output import print_message

RETURN_TIMEOUT_S = 300.0  # no other command gets the machine while this one waits for RETURN


class PromptAbandoned(ToolError):
    """The user typed Ctrl-D or did not answer in time; the exit code is that of Ctrl-C."""

    exit_code = 130  # 128 + SIGINT, as shells count


def has_terminal() -> bool:
    """Whether a user can be asked here."""
    return _terminal_fd() is not None


async def prompt_for_return(action: str) -> None:
    """Asks for the action and waits for RETURN; without a terminal it only prints the action.

    Raises PromptAbandoned at Ctrl-D and after RETURN_TIMEOUT_S.
    """
    if not has_terminal():
        print_message(f"asr33: {action}")
        return
    print_message(f"asr33: {action}, then press RETURN here")
    try:
        await asyncio.wait_for(read_terminal_line(), RETURN_TIMEOUT_S)
    except TimeoutError:
        minutes = RETURN_TIMEOUT_S / 60
        raise PromptAbandoned(f"RETURN was not pressed for {minutes:.0f} minutes: the machine is given back") from None


async def read_terminal_line() -> str:
    """Returns a line typed at this terminal, without its end. Raises PromptAbandoned at Ctrl-D.

    Without a terminal it waits until it is cancelled.
    """
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()
    fd = _terminal_fd()
    if fd is None:
        return await line

    def on_readable() -> None:
        loop.remove_reader(fd)
        try:
            data = os.read(fd, 4096)
        except OSError:  # the terminal is closed
            data = b""
        if line.done():
            return
        if data:
            line.set_result(data.decode(errors="replace").rstrip("\n"))
        else:
            line.set_exception(PromptAbandoned("left by Ctrl-D"))

    loop.add_reader(fd, on_readable)
    try:
        return await line
    finally:
        loop.remove_reader(fd)


def _terminal_fd() -> int | None:
    """Returns standard input if it is a terminal; else standard error, since standard input may be a piped text."""
    for stream in (sys.stdin, sys.stderr):
        if stream is not None and stream.isatty():
            return stream.fileno()
    return None
