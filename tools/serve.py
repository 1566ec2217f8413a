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

from model.base import THREADS
from tools import aside, replicas
from tools.ask import number

if TYPE_CHECKING:
    from drivers.profile import Wheel
    from model.serving.batch import Batch
    from model.serving.keys import Keys

PORT = 8033
EACH = "of these for one key, where there are several (0: as many as rows)"
WHEELS: tuple[Wheel, ...] = ("1963", "1968")  # the alphabets that a machine may have


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="NAME|PATH", help="the model (the one in use)")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen; 0.0.0.0: everywhere (%(default)s)")
    add("--port", type=number(int, 0, 65535), default=PORT, metavar="N", help="0: any that is free (%(default)s)")
    add("--keys", type=Path, metavar="FILE", help="who may ask: one key a line, a blank, a name")
    add("--cert", type=Path, metavar="FILE", help="for https: the certificate with its chain, PEM")
    add("--cert-key", type=Path, metavar="FILE", help="and its private key")
    _add_engine(parser.add_argument_group("the engine"))
    _add_limits(parser.add_argument_group("limits"))
    replicas.add_arguments(parser.add_argument_group("a cluster"))


def _add_engine(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--rows", type=number(int, 1, 4096), default=64, metavar="N", help="answers made at once (%(default)s)")
    add("--memory", type=number(int, 1, 10_000_000), default=1024, metavar="MB", help="for caches (%(default)s)")
    add("--context", type=number(int, 0, 1_000_000), default=0, metavar="N", help="tokens of a text; 0: the model's")
    add("--threads", type=number(int, *THREADS), default=0, metavar="N", help="0: as many as there are cores")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it runs; auto: a GPU if there is one")
    add(
        "--order",
        choices=("paper", "arrival"),
        default="paper",
        help="who is next: whose paper ends first, or who came",
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    add, whole = group.add_argument, number(int, 1, 1_000_000_000)
    add("--lines", type=whole, default=1024, metavar="N", help="answers open at once, made or waited for (%(default)s)")
    add("--each", type=number(int, 0, 1_000_000_000), default=0, metavar="N", help=EACH)
    add("--connections", type=whole, default=8192, metavar="N", help="connections at once (%(default)s)")
    add("--body", type=whole, default=65_536, metavar="BYTES", help="of a request (%(default)s)")
    add("--prompt", type=whole, default=32_768, metavar="N", help="characters of a prompt (%(default)s)")
    add("--max-tokens", type=whole, default=4096, metavar="N", help="tokens of an answer (%(default)s)")
    add("--drain", type=number(float, 0, 86_400), default=30.0, metavar="S", help="seconds to end in (%(default)g)")


def main(args: argparse.Namespace) -> int:
    with aside.told():
        return _serve(args)


def _serve(args: argparse.Namespace) -> int:
    from daemon.notify import Notify
    from model import in_use, store
    from model.serving.keys import Keys
    from model.serving.server import Server
    from tools import opening, rounds
    from tools.hall import Hall, Patience
    from tools.porch import Porch

    keys = Keys(args.keys) if args.keys else None
    opening.may_listen(args.host, keys is not None)
    context = opening.secure(args.cert, args.cert_key)
    folder = store.find(args.model or in_use.name())
    store.read_manifest(folder)
    if args.ray is not None:
        return replicas.serve(args, partial(build, args, folder))
    hall = Hall(Patience(connections=opening.descriptors(args.connections)))
    sockets = opening.sockets(args.host, args.port)
    place = opening.place(sockets[0], secure=context is not None)

    async def served() -> int:
        batch = open_batch(args, folder)
        server = Server(batch, keys=keys, gauges=hall.gauges, **_told_of(args, folder))
        told = f"{place}, model {server.name}, {args.rows} rows, {_known(keys)}"
        return await opening.life(
            server, Porch(server.app, hall, context), sockets, args.drain, told, Notify(), batch.sound
        )

    with asyncio.Runner(loop_factory=rounds.loop) as runner:
        return runner.run(served())


def build(args: argparse.Namespace, folder: Path) -> Any:
    """The app alone, as each replica of a cluster has it."""
    from model.serving import server
    from model.serving.keys import Keys

    keys = Keys(args.keys) if args.keys else None
    return server.app(open_batch(args, folder), keys=keys, **_told_of(args, folder))


def _told_of(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What a server is told of its model and its limits."""
    from model import store
    from model.serving.door import Limits

    return {
        "name": store.name_of(folder),
        "limits": Limits(args.lines, args.body, args.prompt, args.max_tokens, args.each or max(2, args.rows)),
        "vocabulary": store.read_manifest(folder).files[store.TOKENIZER].sha256,
        "alphabets": WHEELS,
    }


def open_batch(args: argparse.Namespace, folder: Path) -> Batch:
    """The model in this folder, as the options want it; it begins to load at once."""
    from drivers.charset import prints
    from model.serving.batch import Batch

    return Batch(
        folder,
        rows=args.rows,
        memory=args.memory << 20,
        context=args.context,
        queue=max(0, args.lines - args.rows),
        alphabets={wheel: partial(prints, wheel=wheel) for wheel in WHEELS},
        threads=args.threads,
        device=args.device,
        order=args.order,
    )


def _known(keys: Keys | None) -> str:
    return "no keys" if keys is None else f"{len(keys)} keys"
