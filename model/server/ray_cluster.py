"""Runs the application on Ray Serve, as several replicas on one machine or on a cluster.

Ray starts replicas by the load, restarts failed ones, and routes a conversation to the replica that has its cache. No
other module imports ray.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Ray reads these on import. It must not report usage, and must not run the code of a caller without the token.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")
import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, RequestRouterConfig
from ray.serve.schema import LoggingConfig

from model.errors import EngineFailed, EngineMissing

APP_NAME = "asr33"
TOKEN_PATH = Path("~/.ray/auth_token")  # where ray looks for the token
# Routes by a hash of the conversation: each turn goes to the same replica, and a new replica takes only its share.
CONSISTENT_HASH_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
HEALTH_CHECK_PERIOD_S = 2.0  # Ray restarts a replica that fails a check
HEALTH_CHECK_TIMEOUT_S = 10.0
LOGGING = LoggingConfig(log_level="ERROR", enable_access_log=False)  # Ray's access log has addresses and paths


@dataclass(frozen=True, slots=True)
class ClusterSize:
    """The range of replicas, the load of one, and the CPUs and GPUs that each reserves."""

    min_replicas: int = 1
    max_replicas: int = 4
    answers_per_replica: int = 64
    cpus: float = 1.0
    gpus: float = 0.0
    upscale_s: float = 10.0  # of overload before another replica starts
    downscale_s: float = 300.0  # of low load before a replica ends; longer, because a model loads slowly


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
    """Runs the application in every replica while the block runs, then shuts all down.

    Each replica imports and calls `make_app`. `address` is a running cluster, "auto" the cluster of this machine; None
    starts a cluster on this machine alone. Raises EngineMissing if the cluster cannot be reached, and EngineFailed if
    no replica starts.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    _connect(address)
    try:
        tls = {"ssl_certfile": cert and str(cert), "ssl_keyfile": cert_key and str(cert_key)}
        serve.start(http_options=HTTPOptions(host=host, port=port, **tls), logging_config=LOGGING)
        application = _make_deployment(make_app, size, drain_s).bind()
        try:
            serve.run(application, name=APP_NAME, route_prefix="/", logging_config=LOGGING)
        except RuntimeError as error:
            raise EngineFailed(f"no replica started ({_first_line(error)}): its log is in /tmp/ray") from None
        yield
    finally:
        serve.shutdown()
        ray.shutdown()


def count_replicas() -> int:
    application = serve.status().applications.get(APP_NAME)
    states = application.deployments[APP_NAME].replica_states if application else {}
    return int(states.get("RUNNING", 0))


def _connect(address: str | None) -> None:
    _ensure_token()
    quiet = {"include_dashboard": False, "logging_level": logging.ERROR, "log_to_driver": False}
    try:
        ray.init(address=address, namespace=APP_NAME, **quiet)
    except (ConnectionError, ValueError) as error:
        raise EngineMissing(f"no Ray cluster at {address} ({_first_line(error)}): start one with ray start") from None


def _ensure_token() -> None:
    """Creates a token if there is none. All machines of a cluster must have the same token."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = TOKEN_PATH.expanduser()
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(0o600, exist_ok=False)
        path.write_text(secrets.token_hex(32))


def _make_deployment(make_app: Callable[[], Any], size: ClusterSize, drain_s: float) -> Any:
    autoscaling = AutoscalingConfig(
        min_replicas=size.min_replicas,
        max_replicas=size.max_replicas,
        initial_replicas=size.min_replicas,
        target_ongoing_requests=size.answers_per_replica,
        upscale_delay_s=size.upscale_s,
        downscale_delay_s=size.downscale_s,
        look_back_period_s=min(30.0, size.upscale_s),
        metrics_interval_s=min(10.0, size.upscale_s / 2),
    )
    checks: list[Callable[[], Awaitable[None]]] = []  # of the application in this process

    def build_app() -> Any:  # Ray calls a plain function in each replica; any other callable must be an ASGI app
        app = make_app()
        checks.append(app.state.check_alive)
        return app

    class Replica:
        async def check_health(self) -> None:  # Ray restarts the replica if this raises
            assert checks, "Ray builds the application before it checks the replica"
            for check_alive in checks:
                await check_alive()

    return serve.deployment(
        serve.ingress(build_app)(Replica),
        name=APP_NAME,
        autoscaling_config=autoscaling,
        max_ongoing_requests=4 * size.answers_per_replica,  # our queue sends keep-alives, and Ray's does not
        ray_actor_options={"num_cpus": size.cpus, "num_gpus": size.gpus},
        request_router_config=RequestRouterConfig(request_router_class=CONSISTENT_HASH_ROUTER),
        graceful_shutdown_timeout_s=drain_s,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        health_check_timeout_s=HEALTH_CHECK_TIMEOUT_S,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
