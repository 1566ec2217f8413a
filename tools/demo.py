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

from daemon import build
from daemon.config import Config
from daemon.session import TeletypeSession
from drivers.clock import CHARACTER_S, WallClock
from drivers.paper.paper import BEL
from drivers.text.charset import fold_text
from drivers.virtual import Strike, VirtualTeletype
from tools.cli.output import check_stdout, print_message, stdout_errors
from tools.cli.terminal_keys import forward_keys, stdin_is_terminal
from tools.paper_view.stream import write_strike
from tools.run import add_answer_arguments, config_from_arguments
from tools.virtual import run_until_first_ends

REDRAW_S = 0.04
_MAX_HELD_MESSAGES = 10_000  # held back while the screen is drawn on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fast", action="store_true", help="as fast as it comes, not ten characters a second")
    parser.add_argument("--prompt", metavar="TEXT", help="type this, and end after the answer")
    add_answer_arguments(parser)


def main(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    check_stdout()
    chosen = config_from_arguments(args)
    # The machine here does not echo, whatever the one that these settings were made for does.
    chosen = replace(chosen, machine=replace(chosen.machine, duplex="full"))
    if args.prompt is None and not stdin_is_terminal():
        print_message("asr33: no terminal to type at; give the line here: asr33 demo --prompt 'THE TELETYPE IS'")
        return 2
    return asyncio.run(_run_demo(chosen, args.prompt, 0.0 if args.fast else CHARACTER_S))


async def _run_demo(chosen: Config, prompt: str | None, character_s: float) -> int:
    """Machine and daemon in one loop, and a real pty between them, as between two processes."""
    on_paper = _ring_bell if sys.stdout.isatty() else lambda strike: write_strike(strike, sys.stdout)
    columns = chosen.machine.columns
    machine = VirtualTeletype(WallClock(), columns=columns, character_s=character_s, on_strike=on_paper)
    model = build.open_model(chosen, character_s)
    async with machine, build.build_session(chosen, model, machine.path, character_s) as (daemon, log):
        left = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, left.set)
        with _screen_drawing(machine, daemon, columns) as drawing:
            operator = _forward_keys(machine, daemon) if prompt is None else _type_prompt(machine, daemon, prompt)
            await run_until_first_ends(daemon.run(), operator, left.wait(), machine.wait_until_stopped(), *drawing)
    with stdout_errors():
        if sys.stdout.isatty():
            sys.stdout.write(machine.typing_unit.paper.text().strip("\n") + "\n")
        sys.stdout.flush()
    print_message(f"asr33: the session is kept in {log}")
    return 0


async def _forward_keys(machine: VirtualTeletype, session: TeletypeSession) -> None:
    """The terminal's keys. Ctrl-C is BREAK, and leaves when there is nothing to stop: no line, no paste, no answer."""
    await forward_keys(machine, lambda overtaken: session.is_idle and not overtaken)


async def _type_prompt(machine: VirtualTeletype, session: TeletypeSession, prompt: str) -> None:
    """One line, typed when the daemon listens; over when its answer stands on the paper."""
    await session.listening.wait()
    line = fold_text(prompt).replace("_", "-")  # that key rubs out
    session.listening.clear()
    await machine.type(line + "\r")
    await session.listening.wait()
    await machine.wait_until_idle()  # the daemon is one or two characters ahead of the paper


@contextlib.contextmanager
def _screen_drawing(
    machine: VirtualTeletype, session: TeletypeSession, columns: int
) -> Iterator[list[Coroutine[Any, Any, None]]]:
    """The terminal as a screen, and the work that draws on it; nothing where there is no terminal."""
    if not sys.stdout.isatty():
        yield []
        return
    from rich.console import Console

    from tools.paper_view.fullscreen import open_screen

    with hold_messages(logging.getLogger()), open_screen(Console(), columns) as draw:
        yield [_draw_forever(machine, session, draw)]


@contextlib.contextmanager
def hold_messages(logger: logging.Logger) -> Iterator[None]:
    """Messages wait until the screen is closed: what is written on it goes with it."""
    handlers = logger.handlers[:]
    waiting = [
        MemoryHandler(_MAX_HELD_MESSAGES, flushLevel=logging.CRITICAL + 1, target=handler) for handler in handlers
    ]
    logger.handlers[:] = waiting
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        for handler in waiting:
            handler.close()  # which lets them out


async def _draw_forever(
    machine: VirtualTeletype,
    session: TeletypeSession,
    draw: Callable[[Callable[[int], Sequence[Sequence[str]]], int, str], None],
) -> None:
    drawn: object = None
    unit = machine.typing_unit
    while True:
        ctrl_c = "LEAVES" if session.is_idle else "BREAKS"
        state = f"COLUMN {unit.column + 1:2}   {session.activity.upper():9}   CTRL-C {ctrl_c}"
        with stdout_errors():
            if (now := (unit.strike_count, state, os.get_terminal_size())) != drawn:
                drawn = now
                draw(lambda count: unit.paper.lines[-count:], unit.column, state)
        await asyncio.sleep(REDRAW_S)


def _ring_bell(strike: Strike) -> None:
    if strike.byte == BEL:
        with stdout_errors():
            sys.stdout.write("\a")
            sys.stdout.flush()
