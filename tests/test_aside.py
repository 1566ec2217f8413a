import logging
import os
import re
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from model.server.http import log_handler
from model.server.http.log_handler import NonBlockingHandler

LOG = logging.Logger("test")


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    out, in_ = os.pipe()
    try:
        yield out, in_
    finally:
        os.close(out)
        os.close(in_)


@contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()


def read_until(out: int, last: str) -> str:
    """What comes, up to this."""
    got = ""
    while not got.endswith(last):
        assert select.select([out], [], [], 30)[0], got[-100:]
        got += os.read(out, 65536).decode()
    return got


def test_a_log_that_nobody_takes_stops_nobody_and_says_later_what_is_missing() -> None:
    with pipe() as (out, in_), logging_to(handler := NonBlockingHandler(in_)):
        begun = time.monotonic()
        for number in range(9999):
            LOG.info("line %d of a log that is longer than all that waits", number)
        assert time.monotonic() - begun < 30
        taken = ""
        while not handler._queue.empty():
            taken += read_until(out, "\n")
        LOG.info("the end")
        taken += read_until(out, "\nthe end\n")
    missing = re.findall(r"^asr33: (\d+) lines of this log are missing: nobody took them$", taken, re.MULTILINE)
    assert sum(map(int, missing)) + taken.count("that waits\n") == 9999
    assert missing
    assert taken.startswith("line 0 ")
    assert taken.endswith("\nthe end\n")


@pytest.mark.parametrize("lines", [10, 9999])  # the one that is being written is stuck, or all are
def test_it_ends_though_nobody_takes_it(lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_handler, "CLOSE_TIMEOUT_S", 0.05)
    out, in_ = os.pipe()
    os.set_blocking(in_, False)
    with suppress(BlockingIOError):
        while True:
            os.write(in_, b"x")
    os.set_blocking(in_, True)
    begun = time.monotonic()
    handler = NonBlockingHandler(in_)
    with logging_to(handler):
        for _ in range(lines):
            LOG.info("line")
    assert time.monotonic() - begun < 30
    assert handler._writer.is_alive()
    os.close(out)  # now it gets on
    handler._queue.put(None)
    handler._writer.join()
    os.close(in_)


def test_what_was_said_before_the_end_is_out_at_the_end() -> None:
    with pipe() as (out, in_):
        with logging_to(NonBlockingHandler(in_)):
            for number in range(100):
                LOG.info("%d \udcff", number)
        assert read_until(out, "99 \\udcff\n") == "".join(f"{number} \\udcff\n" for number in range(100))


def test_whoever_read_it_may_leave() -> None:
    out, in_ = os.pipe()
    with logging_to(NonBlockingHandler(in_)):
        os.close(out)
        for _ in range(3):
            LOG.info("line")
    os.close(in_)
