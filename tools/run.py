"""The daemon: it owns the line of one machine, reads what the operator types, and prints the answers of a model.

The machine is real (/dev/serial/by-id/...), behind a serial server (socket://HOST:PORT for raw bytes, telnet://, or
rfc2217://, which sets the server's port to 110 baud), or virtual (the path that `asr33 virtual --link PATH` made). A
real line is tested for two seconds at the start. After a hang-up the daemon waits until the line has held for two
seconds, and goes on in the same line of paper. [line] self_test and reconnect = false turn these off.

The model is on this computer, or on a server: --model http://HOST:8033. The daemon waits for a server that is not
ready; [model] otherwise names the models to use instead.

It ends when the operator types .BYE or ^D, at SIGTERM or Ctrl-C here, and when this terminal is closed. While it runs,
`asr33 print` and `asr33 punch` use the machine through it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
from pathlib import Path

from daemon import build, config, model_factory
from daemon.config import AnswerConfig, Config
from daemon.config_parser import Settings
from daemon.errors import ConfigError
from daemon.farewell import finish_word
from daemon.systemd import SHUTDOWN_LIMIT_S, SystemdNotifier, format_status_line, run_watchdog
from daemon.web.access import DEFAULT_ADDRESS
from model.log_format import log_to_stderr
from tools.cli.arguments import add_config_argument, add_machine_argument, add_sampling_arguments
from tools.cli.signals import handle_in_loop

SAMPLING_FLAGS = ("length", "max_tokens", "temperature", "seed")  # the others are set in the configuration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    line_help = "the machine's line: /dev/ttyUSB0 or a virtual machine's path (default: configured)"
    add("--line", metavar="PORT", help=line_help)
    add("--fast", action="store_true", help="send at full speed, to a machine that is --fast too (default: off)")
    add("--copy", metavar="PORT", help="line of a second machine that prints all that the first does (default: none)")
    copy_help = "text file to which the lines of the paper are appended (default: none)"
    add("--copy-file", type=Path, metavar="FILE", help=copy_help)
    add_machine_argument(parser)
    add_answer_arguments(parser)


def add_answer_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `run` and `demo`: the model, its answers, and the session log."""
    add = parser.add_argument
    add("--model", metavar="NAME|PATH|URL", help="the model that answers (default: the one in use)")
    persona_help = "speaker of the model's corpus who answers; '': none (default: the --person of its corpus, or none)"
    add("--persona", metavar="NAME", help=persona_help)
    you_help = "speaker as whom you type (default: the other one with most lines in the corpus, or You)"
    add("--you", metavar="NAME", help=you_help)
    add_sampling_arguments(parser, AnswerConfig(), SAMPLING_FLAGS, is_configured=True)
    add("--threads", type=int, metavar="N", help="processor threads for the model (default 0: as many as fit)")
    add("--log", type=Path, metavar="FOLDER", help="folder of the session logs (default: the state folder of the user)")
    web_help = "show the paper to browsers at this port, or ADDRESS:PORT (default: as configured; 8034 without PORT)"
    add("--web", nargs="?", const=DEFAULT_ADDRESS, metavar="PORT", help=web_help)
    add_config_argument(parser)


def config_from_arguments(args: argparse.Namespace, port: str | None = None) -> Config:
    """Returns the configuration with these arguments over files and environment. Raises ConfigError."""
    flags: Settings = {
        "line": {"port": port},
        "model": {"name": args.model, "threads": args.threads},
        "answer": {name: getattr(args, name) for name in SAMPLING_FLAGS},
        "conversation": {"persona": args.persona, "you": args.you},
        "log": {"folder": args.log},
        "copy": {"line": getattr(args, "copy", None), "file": getattr(args, "copy_file", None)},
        "web": {"listen": args.web},
    }
    return config.load_config(flags, config_file=args.config, machine_file=getattr(args, "machine", None))


def main(args: argparse.Namespace) -> int:
    log_to_stderr(logging.INFO)
    chosen = config_from_arguments(args, port=args.line)
    if chosen.line.port is None:
        raise ConfigError("no line to run on: asr33 run --line /dev/serial/by-id/..., or try: asr33 demo")
    return asyncio.run(_run_daemon(chosen, chosen.line.port, 0.0 if args.fast else 0.1))


async def _run_daemon(chosen: Config, port: str, character_s: float) -> int:
    model, notifier = model_factory.open_model(chosen, character_s), SystemdNotifier()
    with contextlib.ExitStack() as signal_handlers:  # they stay until the session is closed
        async with build.build_session(chosen, model, port, character_s, serve_control=True) as (session, log):
            kept = f"the session log is {log.path}" if log.is_kept else "there is no session log yet"
            logging.info("asr33: %s, model %s; %s", port, model.name, kept)
            # Ready means that the line is open; the model may still load, or wait for its server.
            notifier.send_ready(format_status_line(session))
            watchdog = asyncio.ensure_future(run_watchdog(session, notifier))
            running = asyncio.ensure_future(session.run())
            stopping: list[asyncio.Future[None]] = []

            def stop(_: signal.Signals) -> None:
                notifier.send_stopping("LEAVING")
                notifier.extend_timeout(SHUTDOWN_LIMIT_S)
                stopping.append(asyncio.ensure_future(finish_word(session.tty)))
                stopping[0].add_done_callback(lambda _: running.cancel())

            # The first signal ends the session; the second kills, since a model may load for minutes.
            signal_handlers.enter_context(handle_in_loop(stop))
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await running
            finally:
                watchdog.cancel()
                notifier.send_stopping("LEAVING")
                notifier.extend_timeout(SHUTDOWN_LIMIT_S)
    return 0
