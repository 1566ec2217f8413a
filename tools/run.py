"""The daemon: it owns one machine's line, reads what is typed there, and prints what a model answers.

The machine may be real (/dev/serial/by-id/...), behind a serial server (socket://HOST:PORT), or virtual (the path
that `asr33 virtual --link PATH` made). A real line is tried out first, for two seconds; one that hangs up is waited
for, and the paper goes on where it was. [line] self_test and reconnect = false leave these out.

The model is one of this machine, or a server's: --model http://HOST:8033. A server that is not there yet is waited
for; who is asked instead of it stands in [model] otherwise.

It runs until .BYE or ^D is typed at the machine, or until SIGTERM or Ctrl-C here, or until this terminal is closed.
Meanwhile `asr33 print` and `asr33 punch` use the machine through it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from daemon import build, config
from daemon.config import Config, Settings
from daemon.errors import ConfigError
from daemon.session import TeletypeSession
from daemon.systemd import SystemdNotifier
from daemon.watchdog import SHUTDOWN_LIMIT_S, format_status_line, run_watchdog
from tools.cli.terminal import termination_signals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--line", metavar="PORT", help="the machine's line: /dev/... or the path of a virtual machine")
    parser.add_argument("--fast", action="store_true", help="no pace: for a virtual machine that has none either")
    add_machine_argument(parser)
    add_answer_arguments(parser)


def add_machine_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--machine", type=Path, metavar="FILE", help="the machine's profile, as asr33 calibrate writes it"
    )


def add_answer_arguments(parser: argparse.ArgumentParser) -> None:
    """What `run` and `demo` share: the model, how it answers, and where that is written down."""
    parser.add_argument("--model", metavar="NAME|PATH|URL", help="the model that answers (the one in use)")
    parser.add_argument("--length", type=int, metavar="N", help="an answer ends at a sentence near N characters (600)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="and at N tokens wherever it is (1024)")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest word each time (0.7)")
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed and the same typing give the same paper")
    parser.add_argument("--threads", type=int, metavar="N", help="processor threads for the model (0: as fits)")
    parser.add_argument("--log", type=Path, metavar="FOLDER", help="where sessions are kept")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file over those of the system and the user")


def config_from_arguments(args: argparse.Namespace, port: str | None = None) -> Config:
    """The configuration that the arguments ask for, over what files and environment say."""
    flags: Settings = {
        "line": {"port": port},
        "model": {"name": args.model, "threads": args.threads},
        "answer": {
            "length": args.length,
            "max_tokens": args.max_tokens,
            "temperature": args.temperature,
            "seed": args.seed,
        },
        "log": {"folder": args.log},
    }
    return config.load_config(flags, config_file=args.config, machine_file=getattr(args, "machine", None))


def main(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    chosen = config_from_arguments(args, port=args.line)
    if chosen.line.port is None:
        raise ConfigError("no line to run on: asr33 run --line /dev/serial/by-id/..., or try: asr33 demo")
    return asyncio.run(_run_daemon(chosen, chosen.line.port, 0.0 if args.fast else 0.1))


async def _run_daemon(chosen: Config, port: str, character_s: float) -> int:
    model, notify = build.open_model(chosen, character_s), SystemdNotifier()
    async with build.build_session(chosen, model, port, character_s, serve_control=True) as (daemon, log):
        logging.info("asr33: %s, model %s; the session is kept in %s", port, model.name, log)
        # The line is open: that the model loads, or that no server answers, is said on the paper.
        notify.send_ready(format_status_line(daemon))
        telling = asyncio.ensure_future(run_watchdog(daemon, notify))
        try:
            await _run_until_signal(daemon)
        finally:
            telling.cancel()
            notify.send_stopping("LEAVING")
            notify.extend_timeout(SHUTDOWN_LIMIT_S)
    return 0


async def _run_until_signal(session: TeletypeSession) -> None:
    """Until somebody leaves, or a signal comes."""
    running = asyncio.ensure_future(session.run())
    loop, leaving = asyncio.get_running_loop(), termination_signals()

    def leave() -> None:
        running.cancel()
        for number in leaving:  # a model may be loading for minutes: the second signal does not wait for it
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in leaving:
        loop.add_signal_handler(number, leave)
    with contextlib.suppress(asyncio.CancelledError):
        await running
