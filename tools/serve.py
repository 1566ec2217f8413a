"""Serves a model to many machines: to `asr33 run --model http://HOST:8033`, and to any client of OpenAI's protocol.

By default only this computer can connect. For other computers, use --host 0.0.0.0 and --keys FILE, with a key and its
name in each line. On a shared network, add --cert and --cert-key, or a proxy that has a certificate.

The server runs until SIGTERM or Ctrl-C. Then open answers may finish (--drain). A second signal ends the server at
once. SIGHUP makes the server read the keys again.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import ModelError
from model.interface import THREAD_RANGE
from model.server.http.log_handler import logging_to_stderr
from tools import serve_ray
from tools.cli.arguments import ranged_number
from tools.cli.errors import ToolError

if TYPE_CHECKING:
    from drivers.profile import TypeWheel
    from model.dialogue import Speakers
    from model.server.engine.engine_thread import BatchModel

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8033
TYPE_WHEELS: tuple[TypeWheel, ...] = ("1963", "1968")  # the alphabets that a client may name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, port = parser.add_argument, ranged_number(int, 0, 65535)
    host = f"address to listen at; 0.0.0.0: all, ::: all, IPv6 too (default {DEFAULT_HOST})"
    socket_path = "Unix socket to listen at, instead of an address and a port (default: none)"
    mode = "permissions of the Unix socket, octal (default 660: this user and its group)"
    origin = "origin of web pages that may ask with a key, https://chat.example; may be repeated (default: none)"
    cert_key = "private key of the certificate, PEM (default: none; --cert needs it)"
    add("--model", metavar="NAME|PATH", help="model to serve (default: the one set by asr33 model use)")
    add("--host", metavar="ADDRESS", help=host)
    add("--port", type=port, metavar="N", help=f"port; 0: any free one (default {DEFAULT_PORT})")
    add("--socket", type=Path, metavar="PATH", help=socket_path)
    add("--socket-mode", type=_parse_mode, default=0o660, metavar="MODE", help=mode)
    add("--keys", type=Path, metavar="FILE", help="API keys, a line each: key, blank, name (default: none needed)")
    add("--cert", type=Path, metavar="FILE", help="certificate with its chain for https, PEM (default: http)")
    add("--cert-key", type=Path, metavar="FILE", help=cert_key)
    add("--cors-origin", action="append", default=[], metavar="ORIGIN", help=origin)
    _add_engine(parser.add_argument_group("the engine"))
    _add_limits(parser.add_argument_group("limits"))
    _add_chat(parser.add_argument_group("chat"))
    serve_ray.add_arguments(parser.add_argument_group("a cluster"))


def _add_engine(group: argparse._ArgumentGroup) -> None:
    def add(flag: str, low: int, high: int, default: int, metavar: str, text: str) -> None:
        group.add_argument(flag, type=ranged_number(int, low, high), default=default, metavar=metavar, help=text)

    add("--rows", 1, 4096, 64, "N", "batch size: answers generated at once (default %(default)s)")
    add("--memory", 1, 10_000_000, 1024, "MB", "memory for KV caches, in MiB (default %(default)s)")
    add("--context", 0, 1_000_000, 0, "N", "tokens of a prompt and its answer; 0: the model's (default %(default)s)")
    add("--threads", *THREAD_RANGE, 0, "N", "threads of the engine; 0: one for each core (default %(default)s)")
    device = "processor to use; auto: a GPU if there is one (default %(default)s)"
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=device)
    order = "order of the answers; paper: by the time at which the client runs out of text (default %(default)s)"
    group.add_argument("--order", choices=("paper", "arrival"), default="paper", help=order)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    def add(flag: str, default: int, metavar: str, text: str, old: str = "", low: int = 1) -> None:
        dest, kind = flag.strip("-").replace("-", "_"), ranged_number(int, low, 1_000_000_000)
        group.add_argument(flag, type=kind, default=default, metavar=metavar, help=text)
        if old:
            group.add_argument(old, type=kind, default=argparse.SUPPRESS, dest=dest, help=argparse.SUPPRESS)

    add("--clients", 1024, "N", "open answers, generated or queued (default %(default)s)", "--lines")
    per_key = "open answers of an API key; 0: same as --rows, at least 2 (default %(default)s)"
    add("--per-key", 0, "N", per_key, "--each", 0)
    add("--connections", 8192, "N", "open connections (default %(default)s)")
    add("--max-body", 65_536, "BYTES", "bytes of a request body (default %(default)s)", "--body")
    add("--max-prompt", 32_768, "N", "characters of a prompt (default %(default)s)", "--prompt")
    add("--max-tokens", 4096, "N", "tokens of an answer (default %(default)s)")
    drain = "seconds to finish open answers after SIGTERM (default %(default)g)"
    group.add_argument("--drain", type=ranged_number(float, 0, 86_400), default=30.0, metavar="S", help=drain)


def _add_chat(group: argparse._ArgumentGroup) -> None:
    persona = "speaker who answers (default: the --person of the corpus, or who has most lines in it, or Assistant)"
    you = "speaker of the user's messages (default: the other one with most lines in the corpus, or User)"
    group.add_argument("--persona", default="", metavar="NAME", help=persona)
    group.add_argument("--you", default="", metavar="NAME", help=you)


@logging_to_stderr()
def main(args: argparse.Namespace) -> int:
    from model.engine_errors import prepare_for_libraries

    prepare_for_libraries()
    from daemon.systemd import SystemdNotifier
    from model.server.api_keys import ApiKeys
    from model.server.app import CompletionServer
    from model.server.http import sockets
    from model.server.http.connections import ConnectionLimiter, ConnectionLimits
    from model.server.http.lifecycle import serve_until_signal
    from model.server.http.server import HardenedServer
    from model.store import default_model, store

    keys = ApiKeys(args.keys) if args.keys else None
    _resolve_address(args, has_keys=keys is not None)
    tls = sockets.tls_context(args.cert, args.cert_key)
    folder = store.find_model(args.model or default_model.get_default())
    settings = _server_settings(args, folder)
    if args.ray is not None:
        return serve_ray.serve_replicas(args, partial(build_app, args, folder))
    limiter = ConnectionLimiter(ConnectionLimits(max_connections=sockets.limit_to_descriptors(args.connections)))

    async def serve(listeners: list[socket.socket], url: str) -> int:
        model = open_batch_model(args, folder)
        server = CompletionServer(model, keys=keys, gauges=limiter.gauges, **settings)
        hardened = HardenedServer(server.app, limiter, tls)
        key_count = "no keys" if keys is None else f"{len(keys)} keys"
        status = f"{url}, model {server.name}, {args.rows} rows, {key_count}"
        notify = SystemdNotifier()
        return await serve_until_signal(server, hardened, listeners, args.drain, status, notify, model.check_alive)

    with _open_listeners(args) as (listeners, url), asyncio.Runner(loop_factory=sockets.new_fair_loop) as runner:
        return runner.run(serve(listeners, url))


def _resolve_address(args: argparse.Namespace, has_keys: bool) -> None:
    """Adds the default address, and checks it and the origins. Raises ToolError, ModelError."""
    from model.server.cors import parse_origin
    from model.server.http import sockets

    if args.socket is not None:
        if args.host is not None or args.port is not None or args.ray is not None:
            raise ToolError("--socket replaces --host and --port, and not with --ray: leave one out", "argument")
    else:
        args.host, args.port = args.host or DEFAULT_HOST, DEFAULT_PORT if args.port is None else args.port
        sockets.require_keys_for(args.host, has_keys)
    args.cors_origin = [parse_origin(origin) for origin in args.cors_origin]
    if args.cors_origin and not has_keys:
        raise ModelError("--cors-origin: any visitor of the page could ask: list keys in a file, --keys FILE", "config")


@contextmanager
def _open_listeners(args: argparse.Namespace) -> Iterator[tuple[list[socket.socket], str]]:
    """Yields the listening sockets and their URL; removes the file of a Unix socket at the end. Raises ModelError."""
    from model.server.http import sockets

    if args.socket is not None:
        listener = sockets.open_unix_socket(args.socket, args.socket_mode)
        try:
            yield [listener], f"unix:{args.socket}"
        finally:
            sockets.remove_unix_socket(args.socket, listener)
        return
    listeners = sockets.open_sockets(args.host, args.port)
    host, port = listeners[0].getsockname()[:2]
    yield listeners, sockets.url_of(host, port, is_tls=args.cert is not None)


def _parse_mode(text: str) -> int:
    """Parses permissions such as 660."""
    if not re.fullmatch("0?[0-7]{3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} are no permissions: three octal digits, such as 660")
    return int(text, 8)


def build_app(args: argparse.Namespace, folder: Path) -> Any:
    """Makes the application of one replica in a cluster."""
    from model.server.api_keys import ApiKeys
    from model.server.app import create_app

    keys = ApiKeys(args.keys) if args.keys else None
    return create_app(open_batch_model(args, folder), keys=keys, **_server_settings(args, folder))


def _server_settings(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The options of CompletionServer that a server and a replica share."""
    from model.server.limits import RequestLimits
    from model.store import store

    per_key = args.per_key or max(2, args.rows)
    return {
        "name": store.name_of_folder(folder),
        "limits": RequestLimits(args.clients, args.max_body, args.max_prompt, args.max_tokens, per_key),
        "vocabulary": store.read_manifest(folder).files[store.TOKENIZER_FILE].sha256,
        "alphabets": TYPE_WHEELS,
        "speakers": _choose_speakers(args, folder),
        "cors_origins": args.cors_origin,
        "max_say": max(1, args.rows // 2),
    }


def _choose_speakers(args: argparse.Namespace, folder: Path) -> Speakers:
    """The assistant and the user of a chat. Raises ModelError for a persona that the model's corpus lacks."""
    from model.dialogue import choose_speakers, read_known_speakers
    from model.openai_api.chat_request import PLAIN_SPEAKERS
    from model.store import store

    names, default = read_known_speakers(store.read_manifest(folder).training)
    persona = args.persona or default or (names[0] if names else PLAIN_SPEAKERS.persona)
    try:
        return choose_speakers(persona, args.you or ("" if names else PLAIN_SPEAKERS.you), names)
    except ModelError as error:
        raise ModelError(f"--persona {persona}: {error}", "config") from None


def open_batch_model(args: argparse.Namespace, folder: Path) -> BatchModel:
    """Starts to load the model in the folder, with the engine's options."""
    from drivers.text.charset import is_printable
    from model.server.engine.engine_thread import BatchModel

    return BatchModel(
        folder,
        batch_size=args.rows,
        memory=args.memory << 20,
        context=args.context,
        queue_size=max(0, args.clients - args.rows),
        alphabets={wheel: partial(is_printable, wheel=wheel) for wheel in TYPE_WHEELS},
        threads=args.threads,
        device=args.device,
        order=args.order,
    )
