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
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from logging.handlers import MemoryHandler
from typing import Any

from daemon import app
from daemon.config import Config
from daemon.turns import App
from drivers.charset import fold
from drivers.clock import CHARACTER_S, WallClock
from drivers.paper import BEL
from drivers.virtual import Strike, VirtualTeletype
from tools.keys import at_terminal, operate
from tools.output import open_output, say, written
from tools.run import add_answer_arguments, settings
from tools.shown import show
from tools.virtual import first_of

REDRAW_S = 0.04
_MESSAGES = 10_000  # held back while the screen is drawn on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fast", action="store_true", help="as fast as it comes, not ten characters a second")
    parser.add_argument("--prompt", metavar="TEXT", help="type this, and end after the answer")
    add_answer_arguments(parser)


def main(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    open_output()
    chosen = settings(args)
    # The machine here does not echo, whatever the one that these settings were made for does.
    chosen = replace(chosen, machine=replace(chosen.machine, duplex="full"))
    if args.prompt is None and not at_terminal():
        say("asr33: no terminal to type at; give the line here: asr33 demo --prompt 'THE TELETYPE IS'")
        return 2
    return asyncio.run(_demo(chosen, args.prompt, 0.0 if args.fast else CHARACTER_S))


async def _demo(chosen: Config, prompt: str | None, character_s: float) -> int:
    """Machine and daemon in one loop, and a real pty between them, as between two processes."""
    on_paper = _ring if sys.stdout.isatty() else lambda strike: show(strike, sys.stdout)
    columns = chosen.machine.columns
    machine = VirtualTeletype(WallClock(), columns=columns, character_s=character_s, on_strike=on_paper)
    model = app.open_model(chosen, character_s)
    async with machine, app.build(chosen, model, machine.path, character_s) as (daemon, log):
        left = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, left.set)
        with _shown(machine, daemon, columns) as drawing:
            operator = _operate(machine, daemon) if prompt is None else _type(machine, daemon, prompt)
            await first_of(daemon.run(), operator, left.wait(), machine.running(), *drawing)
    with written():
        if sys.stdout.isatty():
            sys.stdout.write(machine.machine.paper.text().strip("\n") + "\n")
        sys.stdout.flush()
    say(f"asr33: the session is kept in {log}")
    return 0


async def _operate(machine: VirtualTeletype, daemon: App) -> None:
    """The terminal's keys. Ctrl-C is BREAK, and leaves when there is nothing to stop: no line, no paste, no answer."""
    await operate(machine, lambda overtaken: daemon.idle and not overtaken)


async def _type(machine: VirtualTeletype, daemon: App, prompt: str) -> None:
    """One line, typed when the daemon listens; over when its answer stands on the paper."""
    await daemon.listening.wait()
    line = fold(prompt).replace("_", "-")  # that key rubs out
    daemon.listening.clear()
    await machine.type(line + "\r")
    await daemon.listening.wait()
    await machine.idle()  # the daemon is one or two characters ahead of the paper


@contextlib.contextmanager
def _shown(machine: VirtualTeletype, daemon: App, columns: int) -> Iterator[list[Coroutine[Any, Any, None]]]:
    """The terminal as a screen, and the work that draws on it; nothing where there is no terminal."""
    if not sys.stdout.isatty():
        yield []
        return
    from rich.console import Console

    from tools.screen import opened

    with held_back(logging.getLogger()), opened(Console(), columns) as draw:
        yield [_draw(machine, daemon, draw)]


@contextlib.contextmanager
def held_back(logger: logging.Logger) -> Iterator[None]:
    """Messages wait until the screen is closed: what is written on it goes with it."""
    handlers = logger.handlers[:]
    waiting = [MemoryHandler(_MESSAGES, flushLevel=logging.CRITICAL + 1, target=handler) for handler in handlers]
    logger.handlers[:] = waiting
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        for handler in waiting:
            handler.close()  # which lets them out


async def _draw(
    machine: VirtualTeletype, daemon: App, draw: Callable[[Callable[[int], Sequence[Sequence[str]]], int, str], None]
) -> None:
    drawn: object = None
    unit = machine.machine
    while True:
        ctrl_c = "LEAVES" if daemon.idle else "BREAKS"
        state = f"COLUMN {unit.column + 1:2}   {daemon.doing.upper():9}   CTRL-C {ctrl_c}"
        with written():
            if (now := (unit.struck, state, os.get_terminal_size())) != drawn:
                drawn = now
                draw(lambda count: unit.paper.lines[-count:], unit.column, state)
        await asyncio.sleep(REDRAW_S)


def _ring(strike: Strike) -> None:
    if strike.byte == BEL:
        with written():
            sys.stdout.write("\a")
            sys.stdout.flush()
