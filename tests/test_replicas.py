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

from model.server.http.lifecycle import Unservable
from tools import serve_ray


def parse_options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve_ray.add_arguments(parser.add_argument_group())
    return parser.parse_args(words)


def test_a_pair_is_two_numbers_with_a_colon_between_them() -> None:
    found = parse_options("--ray", "--replicas", "2:2", "--scale", "30:5", "--gpus", ".25")
    assert (found.ray, found.replicas, found.scale, found.gpus) == ("", (2, 2), (30, 5), 0.25)
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
def test_what_ray_would_choke_on_is_refused_before_it_is_started(
    option: str, value: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(f"{option}={value}")
    assert caught.value.code == 2
    assert word in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """In place of Ray's: `doing` has what was done, and `starting` and `up` are called then."""
    made: Any = ModuleType("model.server.ray_cluster")
    made.doing, made.starting, made.up = [], lambda: None, lambda: None

    @contextmanager
    def serving(*_: object, **__: object) -> Iterator[None]:
        made.doing.append("begins")
        try:
            made.starting()
            made.doing.append("is up")
            yield
        finally:
            made.doing.append("ends")

    made.serving, made.Size = serving, lambda *_: None
    made.replicas = lambda: made.up() or 1
    monkeypatch.setitem(sys.modules, "model.server.ray_cluster", made)
    monkeypatch.setattr(serve_ray, "POLL_S", 0.01)
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


def run_serve(host: str = "127.0.0.1", port: int = 8033) -> int:
    return serve_ray.serve_replicas(
        argparse.Namespace(
            host=host, port=port, cert=None, cert_key=None, drain=1.0, rows=1, threads=1, **vars(parse_options("--ray"))
        ),
        lambda: None,
    )


def send_sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def start_slowly() -> None:
    send_sigterm()
    time.sleep(5)


def test_a_signal_while_ray_starts_ends_it_well(cluster: Any) -> None:
    cluster.starting = start_slowly
    assert run_serve() == 0
    assert cluster.doing == ["begins", "ends"]


def test_an_address_with_colons_is_told_as_a_client_has_it(cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    cluster.up = send_sigterm
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        run_serve("::1")
    assert "http://[::1]:8033, 1 to 4 replicas" in caplog.text
    assert cluster.doing == ["begins", "is up", "ends"]


def test_a_port_that_nobody_would_learn_is_refused(cluster: Any) -> None:
    with pytest.raises(Unservable, match="name one"):
        run_serve(port=0)
    assert cluster.doing == []
