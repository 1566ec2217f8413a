"""A virtual ASR-33 in this terminal, with the daemon at the other end of its line: nothing to set up.

Type as at the machine; RETURN sends the line. Ctrl-C is the BREAK key while the machine is busy or a line is begun; it
ends the demo when the machine is idle. Without a terminal the paper goes to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from logging.handlers import MemoryHandler
from typing import TYPE_CHECKING, Any

from daemon import build, model_factory
from daemon.config import Config
from daemon.session import TeletypeSession
from daemon.web.access import parse_address
from drivers.clock import CHARACTER_S, WallClock
from drivers.paper.paper import BEL
from drivers.text.charset import fold_text
from drivers.virtual import Strike, VirtualTeletype
from model.log_format import log_to_stderr
from tools.cli.output import check_stdout, print_message, stdout_errors
from tools.cli.signals import handle_in_loop
from tools.paper_view.stream import write_strike
from tools.paper_view.terminal_type import can_move_cursor, terminal_size
from tools.run import add_answer_arguments, config_from_arguments
from tools.virtual.command import run_until_first_ends
from tools.virtual.terminal_keys import forward_keys, stdin_is_terminal

if TYPE_CHECKING:
    from tools.paper_view.fullscreen import DrawFrame

REDRAW_S = 0.04
_MAX_MESSAGES = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--fast", action="store_true", help="print at full speed, not at 10 characters/s (default: off)")
    add("--prompt", metavar="TEXT", help="type this line and end after its answer (default: type here)")
    add_answer_arguments(parser)


def main(args: argparse.Namespace) -> int:
    log_to_stderr(logging.WARNING)
    check_stdout()
    chosen = config_from_arguments(args)
    # The virtual machine does not echo; the configured duplex is that of another machine.
    chosen = replace(chosen, machine=replace(chosen.machine, duplex="full"))
    if args.prompt is None and not stdin_is_terminal():
        print_message("asr33: no terminal to type at; give the line here: asr33 demo --prompt 'THE TELETYPE IS'")
        return 2
    return asyncio.run(_run_demo(chosen, args.prompt, 0.0 if args.fast else CHARACTER_S))


async def _run_demo(chosen: Config, prompt: str | None, character_s: float) -> int:
    """Runs machine and daemon in one event loop, connected by a real pty."""
    has_screen = can_move_cursor(sys.stdout)
    on_strike = _ring_bell if has_screen else _show_strike
    columns = chosen.machine.columns
    if chosen.web.listen:
        host, port = parse_address(chosen.web.listen)
        print_message(f"asr33: the live page is http://{f'[{host}]' if ':' in host else host}:{port}/")
    machine = VirtualTeletype(WallClock(), columns=columns, character_s=character_s, on_strike=on_strike)
    model = model_factory.open_model(chosen, character_s)
    with contextlib.ExitStack() as signal_handlers:  # they stay until the session is closed
        async with machine, build.build_session(chosen, model, machine.path, character_s) as (session, log):
            stop = asyncio.Event()
            signal_handlers.enter_context(handle_in_loop(lambda _: stop.set(), once=False))
            if prompt is None:  # Ctrl-C leaves if no line, no paste and no answer is there to stop
                typing = forward_keys(machine, lambda dropped_keys: session.is_idle and not dropped_keys)
            else:
                typing = _type_prompt(machine, session, prompt)
            with _screen_drawing(machine, session) if has_screen else _plain_paper() as drawing:
                await run_until_first_ends(session.run(), typing, stop.wait(), machine.wait_until_stopped(), *drawing)
    with stdout_errors():
        if has_screen:
            sys.stdout.write(machine.typing_unit.paper.text().strip("\n") + "\n")
        elif sys.stdout.isatty():
            sys.stdout.write("\n")
        sys.stdout.flush()
    print_message(f"asr33: the session log is {log.path}" if log.is_kept else "asr33: there is no session log")
    return 0


async def _type_prompt(machine: VirtualTeletype, session: TeletypeSession, prompt: str) -> None:
    """Types one line when the daemon listens, and returns when its answer is on the paper."""
    await session.listening.wait()
    line = fold_text(prompt).replace("_", "-")  # the _ key rubs out
    session.listening.clear()
    await machine.type(line + "\r")
    await session.listening.wait()
    await machine.wait_until_idle()  # the daemon is one or two characters ahead of the paper


@contextlib.contextmanager
def _screen_drawing(machine: VirtualTeletype, session: TeletypeSession) -> Iterator[list[Coroutine[Any, Any, None]]]:
    """Opens the full-screen view and yields the coroutine that draws it."""
    from tools.paper_view.fullscreen import open_screen

    with hold_messages(logging.getLogger()), open_screen(sys.stdout, machine.typing_unit.paper.columns) as draw:
        yield [_draw_forever(machine, session, draw)]


@contextlib.contextmanager
def _plain_paper() -> Iterator[list[Coroutine[Any, Any, None]]]:
    """Yields no coroutine: each strike goes to standard output. A terminal is told its keys."""
    if sys.stdout.isatty():
        print_message("asr33: Ctrl-C stops an answer, and leaves when nothing is typed")
    yield []


@contextlib.contextmanager
def hold_messages(logger: logging.Logger) -> Iterator[None]:
    """Holds log messages back inside the block: the full-screen view would hide and then remove them."""
    handlers = logger.handlers[:]
    holding = [MemoryHandler(_MAX_MESSAGES, flushLevel=logging.CRITICAL + 1, target=handler) for handler in handlers]
    logger.handlers[:] = holding
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        for handler in holding:
            handler.close()  # passes the messages on


async def _draw_forever(machine: VirtualTeletype, session: TeletypeSession, draw: DrawFrame) -> None:
    """Redraws the screen when the paper, the state or the size of the terminal has changed."""
    drawn: object = None
    unit = machine.typing_unit
    while True:
        ctrl_c = "LEAVES" if session.is_idle else "BREAKS"
        state = f"COLUMN {unit.column + 1:2}   {session.activity.upper():9}   CTRL-C {ctrl_c}"
        with stdout_errors():
            if (current := (unit.strike_count, state, terminal_size(sys.stdout))) != drawn:
                drawn = current
                draw(lambda count: unit.paper.lines[-count:], unit.column, state)
        await asyncio.sleep(REDRAW_S)


def _show_strike(strike: Strike) -> None:
    """Writes a strike as plain text, and rings a terminal's bell."""
    write_strike(strike, sys.stdout)
    if sys.stdout.isatty():
        _ring_bell(strike)


def _ring_bell(strike: Strike) -> None:
    if strike.byte == BEL:
        with stdout_errors():
            sys.stdout.write("\a")
            sys.stdout.flush()
