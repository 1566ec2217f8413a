"""One model for many machines: what `asr33 run --model http://HOST:8033` asks, and whatever else speaks to OpenAI's.

It listens on this computer alone. For others: --host 0.0.0.0 with --keys FILE, one key a line and the name of whoever
has it; over a net that is not yours, with --cert and --cert-key as well, or behind a proxy that has them.

SIGTERM or Ctrl-C lets the answers that are under way come to their end (--drain), a second one does not; SIGHUP reads
the keys again. It runs until then.
"""

from __future__ import annotations

import argparse
import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.interface import THREAD_RANGE
from model.server.http import log_handler
from tools import serve_ray
from tools.ask import ranged_number

if TYPE_CHECKING:
    from drivers.profile import TypeWheel
    from model.server.api_keys import ApiKeys
    from model.server.engine.engine_thread import BatchModel

DEFAULT_PORT = 8033
ANSWERS_PER_KEY_HELP = "of these for one key, where there are several (0: as many as rows)"
TYPE_WHEELS: tuple[TypeWheel, ...] = ("1963", "1968")  # the alphabets that a machine may have


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="NAME|PATH", help="the model (the one in use)")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen; 0.0.0.0: everywhere (%(default)s)")
    add(
        "--port",
        type=ranged_number(int, 0, 65535),
        default=DEFAULT_PORT,
        metavar="N",
        help="0: any that is free (%(default)s)",
    )
    add("--keys", type=Path, metavar="FILE", help="who may ask: one key a line, a blank, a name")
    add("--cert", type=Path, metavar="FILE", help="for https: the certificate with its chain, PEM")
    add("--cert-key", type=Path, metavar="FILE", help="and its private key")
    _add_engine(parser.add_argument_group("the engine"))
    _add_limits(parser.add_argument_group("limits"))
    serve_ray.add_arguments(parser.add_argument_group("a cluster"))


def _add_engine(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--rows", type=ranged_number(int, 1, 4096), default=64, metavar="N", help="answers made at once (%(default)s)")
    add("--memory", type=ranged_number(int, 1, 10_000_000), default=1024, metavar="MB", help="for caches (%(default)s)")
    add(
        "--context",
        type=ranged_number(int, 0, 1_000_000),
        default=0,
        metavar="N",
        help="tokens of a text; 0: the model's",
    )
    add(
        "--threads",
        type=ranged_number(int, *THREAD_RANGE),
        default=0,
        metavar="N",
        help="0: as many as there are cores",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it runs; auto: a GPU if there is one")
    add(
        "--order",
        choices=("paper", "arrival"),
        default="paper",
        help="who is next: whose paper ends first, or who came",
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    add, whole = group.add_argument, ranged_number(int, 1, 1_000_000_000)
    add("--lines", type=whole, default=1024, metavar="N", help="answers open at once, made or waited for (%(default)s)")
    add("--each", type=ranged_number(int, 0, 1_000_000_000), default=0, metavar="N", help=ANSWERS_PER_KEY_HELP)
    add("--connections", type=whole, default=8192, metavar="N", help="connections at once (%(default)s)")
    add("--body", type=whole, default=65_536, metavar="BYTES", help="of a request (%(default)s)")
    add("--prompt", type=whole, default=32_768, metavar="N", help="characters of a prompt (%(default)s)")
    add("--max-tokens", type=whole, default=4096, metavar="N", help="tokens of an answer (%(default)s)")
    add(
        "--drain",
        type=ranged_number(float, 0, 86_400),
        default=30.0,
        metavar="S",
        help="seconds to end in (%(default)g)",
    )


def main(args: argparse.Namespace) -> int:
    with log_handler.logging_to_stderr():
        return _serve_here(args)


def _serve_here(args: argparse.Namespace) -> int:
    from daemon.systemd import SystemdNotifier
    from model.server.api_keys import ApiKeys
    from model.server.app import CompletionServer
    from model.server.http import fair_loop, lifecycle
    from model.server.http.connections import ConnectionLimiter, ConnectionLimits
    from model.server.http.server import HardenedServer
    from model.store import default_model, store

    keys = ApiKeys(args.keys) if args.keys else None
    lifecycle.require_keys_for(args.host, keys is not None)
    context = lifecycle.tls_context(args.cert, args.cert_key)
    folder = store.find_model(args.model or default_model.get_default())
    store.read_manifest(folder)
    if args.ray is not None:
        return serve_ray.serve_replicas(args, partial(build_app, args, folder))
    hall = ConnectionLimiter(ConnectionLimits(max_connections=lifecycle.limit_to_descriptors(args.connections)))
    sockets = lifecycle.open_sockets(args.host, args.port)
    place = lifecycle.socket_url(sockets[0], is_tls=context is not None)

    async def served() -> int:
        batch = open_batch_model(args, folder)
        server = CompletionServer(batch, keys=keys, gauges=hall.gauges, **_server_settings(args, folder))
        told = f"{place}, model {server.name}, {args.rows} rows, {_describe_keys(keys)}"
        return await lifecycle.serve_until_signal(
            server,
            HardenedServer(server.app, hall, context),
            sockets,
            args.drain,
            told,
            SystemdNotifier(),
            batch.check_alive,
        )

    with asyncio.Runner(loop_factory=fair_loop.new_fair_loop) as runner:
        return runner.run(served())


def build_app(args: argparse.Namespace, folder: Path) -> Any:
    """The app alone, as each replica of a cluster has it."""
    from model.server import app
    from model.server.api_keys import ApiKeys

    keys = ApiKeys(args.keys) if args.keys else None
    return app.create_app(open_batch_model(args, folder), keys=keys, **_server_settings(args, folder))


def _server_settings(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What a server is told of its model and its limits."""
    from model.server.limits import RequestLimits
    from model.store import store

    return {
        "name": store.name_of_folder(folder),
        "limits": RequestLimits(args.lines, args.body, args.prompt, args.max_tokens, args.each or max(2, args.rows)),
        "vocabulary": store.read_manifest(folder).files[store.TOKENIZER_FILE].sha256,
        "alphabets": TYPE_WHEELS,
    }


def open_batch_model(args: argparse.Namespace, folder: Path) -> BatchModel:
    """The model in this folder, as the options want it; it begins to load at once."""
    from drivers.text.charset import is_printable
    from model.server.engine.engine_thread import BatchModel

    return BatchModel(
        folder,
        batch_size=args.rows,
        memory=args.memory << 20,
        context=args.context,
        queue_size=max(0, args.lines - args.rows),
        alphabets={wheel: partial(is_printable, wheel=wheel) for wheel in TYPE_WHEELS},
        threads=args.threads,
        device=args.device,
        order=args.order,
    )


def _describe_keys(keys: ApiKeys | None) -> str:
    return "no keys" if keys is None else f"{len(keys)} keys"
