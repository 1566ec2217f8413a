"""A virtual ASR-33 in this terminal, with the daemon at the other end of its line: nothing to set up.

Type as at the machine; RETURN sends the line. Ctrl-C is the BREAK key while the machine is busy or a line
is begun, and leaves when it is idle. Without a terminal the paper goes to standard output as it is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from daemon import app
from daemon.app import App
from daemon.config import Config
from drivers.charset import fold
from drivers.clock import WallClock
from drivers.errors import NoSuchKey
from drivers.paper import BEL
from drivers.virtual import Strike, VirtualTeletype
from tools.run import add_answer_arguments, settings
from tools.virtual import show

REDRAW_S = 0.04
CTRL_C, CTRL_D, ESCAPE = "\x03", "\x04", "\x1b"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fast", action="store_true", help="as fast as it comes, not ten characters a second")
    parser.add_argument("--prompt", metavar="TEXT", help="type this, and end after the answer")
    add_answer_arguments(parser)


def main(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    chosen = settings(args)
    if args.prompt is None and not sys.stdin.isatty():
        sys.stderr.write("asr33: no terminal to type at; give the line here: asr33 demo --prompt 'THE TELETYPE IS'\n")
        return 2
    return asyncio.run(_demo(chosen, args.prompt, 0.0 if args.fast else 0.1))


async def _demo(chosen: Config, prompt: str | None, character_s: float) -> int:
    """Machine and daemon in one loop, and a real pty between them, as between two processes."""
    on_paper = _ring if sys.stdout.isatty() else lambda strike: show(strike, sys.stdout)
    columns = chosen.line.columns
    machine = VirtualTeletype(WallClock(), columns=columns, character_s=character_s, on_strike=on_paper)
    model = app.open_model(chosen)
    async with machine, app.build(chosen, model, machine.path, character_s) as (daemon, log):
        left = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, left.set)
        async with _shown(machine, daemon, columns):
            operator = _operate(machine, daemon, left) if prompt is None else _type(machine, daemon, prompt)
            await _first_of(daemon.run(), operator, left.wait())
    if sys.stdout.isatty():
        sys.stdout.write(machine.machine.paper.text().strip("\n") + "\n")
    sys.stdout.flush()
    sys.stderr.write(f"asr33: the session is kept in {log}\n")
    return 0


async def _first_of(*works: object) -> None:
    """Run all until one ends, then end the others; what went wrong in any of them is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _type(machine: VirtualTeletype, daemon: App, prompt: str) -> None:
    """One line, typed when the daemon listens; over when its answer stands on the paper."""
    await daemon.listening.wait()
    line = fold(prompt).replace("_", "-")  # that key rubs out
    daemon.listening.clear()
    await machine.type(line + "\r")
    await daemon.listening.wait()
    await machine.idle()  # the daemon is one or two characters ahead of the paper


async def _operate(machine: VirtualTeletype, daemon: App, left: asyncio.Event) -> None:
    """The terminal's keys, at the pace of the machine's. Ctrl-C is BREAK, and leaves when there is nothing to stop."""
    keys: asyncio.Queue[str] = asyncio.Queue()
    with _raw_keys(keys.put_nowait):
        while True:
            key = await keys.get()
            if key == CTRL_C and daemon.idle:
                left.set()
            elif key == CTRL_C:
                await machine.press_break()
            else:
                with contextlib.suppress(NoSuchKey):
                    await machine.type(key)


@contextlib.contextmanager
def _raw_keys(press: Callable[[str], None]) -> Iterator[None]:
    """Single keys from the terminal, Ctrl-C among them; arrow keys and their like are not on a Model 33."""
    terminal = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    before = termios.tcgetattr(terminal)

    def readable() -> None:
        text = os.read(terminal, 4096).decode("utf-8", "ignore")
        if not text.startswith(ESCAPE):
            for key in text:
                press("\r" if key == "\n" else key)
        if not text:
            press(CTRL_D)
            loop.remove_reader(terminal)

    keys = termios.tcgetattr(terminal)
    keys[tty.IFLAG] &= ~(termios.IXON | termios.ICRNL)
    keys[tty.LFLAG] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    termios.tcsetattr(terminal, termios.TCSANOW, keys)  # output is left as it was: it is the screen's
    loop.add_reader(terminal, readable)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextlib.asynccontextmanager
async def _shown(machine: VirtualTeletype, daemon: App, columns: int) -> AsyncIterator[None]:
    """The paper on the terminal, drawn anew when something was struck; nothing where there is no terminal."""
    if not sys.stdout.isatty():
        yield
        return
    from rich.console import Console

    from tools.screen import opened

    with opened(Console(), columns) as draw:
        drawing = asyncio.ensure_future(_draw(machine, daemon, draw))
        try:
            yield
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)


async def _draw(
    machine: VirtualTeletype, daemon: App, draw: Callable[[Callable[[int], Sequence[str]], int, str], None]
) -> None:
    drawn: object = None
    while True:
        unit = machine.machine
        ctrl_c = "LEAVES" if daemon.idle else "BREAKS"
        state = f"COLUMN {unit.column + 1:2}   {daemon.doing.upper():9}   CTRL-C {ctrl_c}"
        if (now := (len(unit.strikes), state, os.get_terminal_size())) != drawn:
            drawn = now
            draw(unit.paper.foot, unit.column, state)
        await asyncio.sleep(REDRAW_S)


def _ring(strike: Strike) -> None:
    if strike.byte == BEL:
        sys.stdout.write("\a")
        sys.stdout.flush()
