"""The same app on Ray Serve: as many replicas as the lines ask for, on as many machines as the cluster has.

Ray carries the lines, counts them, starts a replica that is missed and sends a conversation to the one that has its
cache; nothing of that is made here. The only file that knows ray. What the app is, and what a line says, it does not.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before the import, which reads them: nobody is told what is used here, and nobody without the token runs code here.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")
import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, RequestRouterConfig
from ray.serve.schema import LoggingConfig

from model.errors import EngineFailed, EngineMissing

APP_NAME = "asr33"
TOKEN_PATH = Path("~/.ray/auth_token")  # where ray itself looks for it
# By a hash of the conversation: each turn goes to the same replica, and only its share moves when one comes or goes.
CONSISTENT_HASH_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
HEALTH_CHECK_PERIOD_S = 2.0  # between two looks at a replica, which is started anew when it does not answer
HEALTH_CHECK_TIMEOUT_S = 10.0  # without an answer


@dataclass(frozen=True, slots=True)
class ClusterSize:
    """How many replicas there may be, each for about so many `lines`, and what each asks of its machine."""

    min_replicas: int = 1
    max_replicas: int = 4
    answers_per_replica: int = 64
    cpus: float = 1.0
    gpus: float = 0.0
    upscale_s: float = 10.0  # of too many lines until there is one more
    downscale_s: float = 300.0  # of too few until there is one less: a model takes longer to load than to keep


@contextmanager
def run_cluster(
    make_app: Callable[[], Any],
    size: ClusterSize,
    *,
    host: str,
    port: int,
    cert: Path | None = None,
    cert_key: Path | None = None,
    drain_s: float = 30.0,
    address: str | None = None,
) -> Iterator[None]:
    """The app that `app` makes, in every replica, until the block ends; then all of it is taken down.

    `address` is a cluster's that runs already, "auto" the one this machine belongs to; without one a cluster of this
    machine alone is begun, and ended. `app` is called in each replica, so it must be importable there. Raises
    EngineMissing for a cluster that cannot be reached, EngineFailed where no replica comes to life.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    _connect(address)
    try:
        options = HTTPOptions(host=host, port=port, ssl_certfile=_path_text(cert), ssl_keyfile=_path_text(cert_key))
        serve.start(http_options=options, logging_config=_logging_config())
        try:
            serve.run(
                _make_deployment(make_app, size, drain_s).bind(),
                name=APP_NAME,
                route_prefix="/",
                logging_config=_logging_config(),
            )
        except RuntimeError as error:
            raise EngineFailed(f"no replica came to life ({_first_line(error)}): its log is in /tmp/ray") from None
        yield
    finally:
        serve.shutdown()
        ray.shutdown()


def count_replicas() -> int:
    """How many are alive just now."""
    application = serve.status().applications.get(APP_NAME)
    states = application.deployments[APP_NAME].replica_states if application else {}
    return int(states.get("RUNNING", 0))


def _connect(address: str | None) -> None:
    _ensure_token()
    try:
        ray.init(
            address=address,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            namespace=APP_NAME,
        )
    except (ConnectionError, ValueError) as error:
        raise EngineMissing(f"no Ray cluster at {address} ({_first_line(error)}): start one with ray start") from None


def _ensure_token() -> None:
    """A token where there is none yet; a cluster of several machines has the same on each."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = TOKEN_PATH.expanduser()
    if not path.exists():
        import secrets

        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))


def _make_deployment(make_app: Callable[[], Any], size: ClusterSize, drain_s: float) -> Any:
    scaled = AutoscalingConfig(
        min_replicas=size.min_replicas,
        max_replicas=size.max_replicas,
        initial_replicas=size.min_replicas,
        target_ongoing_requests=size.answers_per_replica,
        upscale_delay_s=size.upscale_s,
        downscale_delay_s=size.downscale_s,
        look_back_period_s=min(30.0, size.upscale_s),
        metrics_interval_s=min(10.0, size.upscale_s / 2),
    )

    sound: list[Callable[[], Awaitable[None]]] = []  # of this process's app

    def made() -> Any:  # a plain function is called in each replica; whatever else can be called is taken for an app
        one = make_app()
        sound.append(one.state.sound)
        return one

    class Replica:
        async def check_health(self) -> None:  # by Ray, which begins a replica anew when this raises
            assert sound, "the app is made before a replica is looked at"
            for raises in sound:
                await raises()

    return serve.deployment(
        serve.ingress(made)(Replica),
        name=APP_NAME,
        autoscaling_config=scaled,
        max_ongoing_requests=4
        * size.answers_per_replica,  # a wait in the batch's own queue is told to the line; in Ray's it is not
        ray_actor_options={"num_cpus": size.cpus, "num_gpus": size.gpus},
        request_router_config=RequestRouterConfig(request_router_class=CONSISTENT_HASH_ROUTER),
        graceful_shutdown_timeout_s=drain_s,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        health_check_timeout_s=HEALTH_CHECK_TIMEOUT_S,
    )


def _logging_config() -> LoggingConfig:
    """Ray's log of requests tells addresses and paths; ours tells what is needed."""
    return LoggingConfig(log_level="ERROR", enable_access_log=False)


def _path_text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
