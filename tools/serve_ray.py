"""`asr33 serve --ray`: the same app in replicas, on one machine or on a cluster's; options, and its life.

What Ray is told of it stands in `model.server.ray_cluster`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
from collections.abc import Callable
from typing import Any

from daemon.systemd import SystemdNotifier
from tools.ask import ranged_number

_END_SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_S = 5.0  # so often systemd hears how many replicas there are

log = logging.getLogger("asr33.serve")


def add_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="replicas on Ray Serve: here, or on the cluster at ADDRESS (auto: this machine's)",
    )
    add("--replicas", type=_parse_range, default=(1, 4), metavar="MIN:MAX", help="one more for each --rows lines (1:4)")
    add(
        "--scale",
        type=_parse_pair,
        default=(10, 300),
        metavar="UP:DOWN",
        help="seconds till one more, one less (10:300)",
    )
    add(
        "--gpus",
        type=ranged_number(float, 0, 1024),
        default=0.0,
        metavar="N",
        help="of each replica; .25: four share one (%(default)g)",
    )


def serve_replicas(args: argparse.Namespace, make_app: Callable[[], Any]) -> int:
    """Until a signal. Raises Unservable, EngineMissing, EngineFailed, ModuleNotFoundError where there is no Ray."""
    from model.server.http.lifecycle import Unservable, url_of

    if not args.port:
        raise Unservable("--ray takes no --port 0, for nobody learns which one Ray took: name one", 64)
    from model.server import ray_cluster

    least, most = args.replicas
    up, down = args.scale
    size = ray_cluster.ClusterSize(least, most, args.rows, args.threads or 1, args.gpus, up, down)
    notify = SystemdNotifier()
    log.info("asr33: starting Ray, and %d of at most %d replicas", least, most)
    at = {"host": args.host, "port": args.port, "cert": args.cert, "cert_key": args.cert_key}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                ray_cluster.run_cluster(make_app, size, **at, drain_s=args.drain, address=args.ray or None)
            )
        except KeyboardInterrupt:
            log.info("asr33: going down before it was up")
            return 0
        place = url_of(args.host, args.port, args.cert is not None)
        log.info("asr33: %s, %d to %d replicas", place, least, most)
        notify.send_ready(f"{least} replicas")
        before = least
        while not _wait_for_signal(min(POLL_S, (notify.watchdog_s or POLL_S) / 2)):
            notify.send_watchdog()
            if (alive := ray_cluster.count_replicas()) != before:
                before = alive
                log.info("asr33: %d replicas", alive)
                notify.send_status(f"{alive} replicas")
        notify.send_stopping()
        log.info("asr33: going down")
    return 0


def _wait_for_signal(seconds: float) -> bool:
    """Whether a signal came, within so many seconds; the next one does not wait for the end."""
    # Blocked here and not before, since processes that are started inherit it.
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
    least, most = _parse_pair(text)
    if least > most:
        raise argparse.ArgumentTypeError(f"the least first and then the most, not {text!r}")
    return least, most
