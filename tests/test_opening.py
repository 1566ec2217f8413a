import resource
from collections.abc import Iterator

import pytest

from tools.opening import Unservable, descriptors, may_listen


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_all_descriptors_that_can_be_had_are_asked_for(limits: tuple[int, int]) -> None:
    hard = limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    assert descriptors(100) == 100
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard


def test_more_connections_than_descriptors_are_not_promised(
    limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert descriptors(8192) == 1024 - 64 - 256
    assert "ulimit" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_computer_needs_no_key(host: str) -> None:
    may_listen(host, keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "teletype.local", "127.0.0.1.example", ""])
def test_others_need_one(host: str) -> None:
    with pytest.raises(Unservable, match="--keys FILE"):
        may_listen(host, keys=False)
    may_listen(host, keys=True)
