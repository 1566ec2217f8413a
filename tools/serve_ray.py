"""`asr33 serve --ray`: its options and the life of the process; `model.server.ray_cluster` configures Ray."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
from collections.abc import Callable
from typing import Any

from daemon.systemd import SystemdNotifier
from tools.cli.arguments import ranged_number
from tools.cli.errors import ToolError

_END_SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_S = 5.0  # between two reports of the number of replicas

log = logging.getLogger("asr33.serve")


def add_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    ray = "run replicas on Ray Serve, here or on the cluster at ADDRESS; auto: this machine's cluster (default: off)"
    replicas = "number of replicas; another starts for each --rows answers (default 1:4)"
    scale = "seconds of high load before a replica starts, and of low load before one ends (default 10:300)"
    add("--ray", nargs="?", const="", metavar="ADDRESS", help=ray)
    add("--replicas", type=_parse_range, default=(1, 4), metavar="MIN:MAX", help=replicas)
    add("--scale", type=_parse_pair, default=(10, 300), metavar="UP:DOWN", help=scale)
    gpus = "GPUs of a replica; .25: four share one (default %(default)g)"
    add("--gpus", type=ranged_number(float, 0, 1024), default=0.0, metavar="N", help=gpus)


def serve_replicas(args: argparse.Namespace, make_app: Callable[[], Any]) -> int:
    """Serves until a signal. Returns the exit code.

    Raises ToolError, EngineMissing, EngineFailed, and ModuleNotFoundError if Ray is not installed.
    """
    from model.server.http.sockets import url_of

    if not args.port:
        raise ToolError("--ray takes no --port 0, because Ray does not tell which port it took: name one", "argument")
    from model.server import ray_cluster

    fewest, most = args.replicas
    size = ray_cluster.ClusterSize(fewest, most, args.rows, args.threads or 1, args.gpus, *args.scale)
    notify = SystemdNotifier()
    log.info("asr33: starting Ray, and %d of at most %d replicas", fewest, most)
    options = {"host": args.host, "port": args.port, "cert": args.cert, "cert_key": args.cert_key}
    options |= {"drain_s": args.drain, "address": args.ray or None}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(ray_cluster.run_cluster(make_app, size, **options))
        except KeyboardInterrupt:
            log.info("asr33: going down before Ray was started")
            return 0
        log.info("asr33: %s, %d to %d replicas", url_of(args.host, args.port, bool(args.cert)), fewest, most)
        notify.send_ready(f"{fewest} replicas")
        last_count = fewest
        while not _wait_for_signal(min(POLL_S, (notify.watchdog_s or POLL_S) / 2)):
            notify.send_watchdog()
            if (count := ray_cluster.count_replicas()) != last_count:
                last_count = count
                log.info("asr33: %d replicas", count)
                notify.send_status(f"{count} replicas")
        notify.send_stopping()
        log.info("asr33: going down")
    return 0


def _wait_for_signal(seconds: float) -> bool:
    """Whether a signal came within that time. A second signal ends the process at once."""
    # The signals are blocked only here, because Ray's processes would inherit the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, _END_SIGNALS)
    try:
        return signal.sigtimedwait(_END_SIGNALS, seconds) is not None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _END_SIGNALS)


def _parse_pair(text: str) -> tuple[int, int]:
    low, colon, high = text.partition(":")
    if not (colon and low.isdecimal() and high.isdecimal() and int(low) and int(high)):
        raise argparse.ArgumentTypeError(f"two whole numbers from 1 on with a colon between them, not {text!r}")
    return int(low), int(high)


def _parse_range(text: str) -> tuple[int, int]:
    fewest, most = _parse_pair(text)
    if fewest > most:
        raise argparse.ArgumentTypeError(f"the least first and then the most, not {text!r}")
    return fewest, most
