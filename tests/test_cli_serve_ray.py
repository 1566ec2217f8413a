"""`asr33 serve --ray` without Ray: its options, its signals, its messages."""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from tools import serve_ray
from tools.cli.errors import ToolError


def parse_options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve_ray.add_arguments(parser.add_argument_group())
    return parser.parse_args(words)


def test_the_options_are_parsed() -> None:
    args = parse_options("--ray", "--replicas", "2:2", "--scale", "30:5", "--gpus", ".25")
    assert (args.ray, args.replicas, args.scale, args.gpus) == ("", (2, 2), (30, 5), 0.25)
    assert parse_options("--ray", "auto").ray == "auto"


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--replicas", "4", "colon"),
        ("--replicas", "4:2", "least first"),
        ("--replicas", "0:2", "from 1 on"),
        ("--scale", "0:9", "from 1 on"),
        ("--scale", "9:x", "whole numbers"),
        ("--gpus", "-1", "--gpus"),
        ("--gpus", "nan", "--gpus"),
    ],
)
def test_an_invalid_option_is_refused(option: str, value: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(f"{option}={value}")
    assert caught.value.code == 2
    assert word in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Replaces the module that runs Ray. `events` lists the calls; `on_start` and `on_poll` are called during them."""
    module: Any = ModuleType("model.server.ray_cluster")
    module.events, module.on_start, module.on_poll = [], lambda: None, lambda: None

    @contextmanager
    def run_cluster(*_: object, **__: object) -> Iterator[None]:
        module.events.append("starts")
        try:
            module.on_start()
            module.events.append("runs")
            yield
        finally:
            module.events.append("ends")

    module.run_cluster, module.ClusterSize = run_cluster, lambda *_: None
    module.count_replicas = lambda: module.on_poll() or 1
    monkeypatch.setitem(sys.modules, "model.server.ray_cluster", module)
    monkeypatch.setattr(serve_ray, "POLL_S", 0.01)
    before = signal.getsignal(signal.SIGTERM)
    yield module
    signal.signal(signal.SIGTERM, before)


def run_serve(host: str = "127.0.0.1", port: int = 8033) -> int:
    options = {"cert": None, "cert_key": None, "drain": 1.0, "rows": 1, "threads": 1, **vars(parse_options("--ray"))}
    return serve_ray.serve_replicas(argparse.Namespace(host=host, port=port, **options), lambda: None)


def send_sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def start_slowly() -> None:
    send_sigterm()
    time.sleep(5)


def test_a_signal_while_ray_starts_ends_with_0(cluster: Any) -> None:
    cluster.on_start = start_slowly
    assert run_serve() == 0
    assert cluster.events == ["starts", "ends"]


def test_an_ipv6_address_is_shown_as_a_url(cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    cluster.on_poll = send_sigterm
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        run_serve("::1")
    assert "http://[::1]:8033, 1 to 4 replicas" in caplog.text
    assert cluster.events == ["starts", "runs", "ends"]


def test_port_0_is_refused(cluster: Any) -> None:
    with pytest.raises(ToolError, match="name one") as caught:
        run_serve(port=0)
    assert caught.value.exit_code == 64
    assert cluster.events == []
