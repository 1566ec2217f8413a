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
    """Reads the pipe until the text ends with `last`."""
    text = ""
    while not text.endswith(last):
        assert select.select([out], [], [], 30)[0], text[-100:]
        text += os.read(out, 65536).decode()
    return text


def test_an_unread_log_does_not_block_and_counts_the_missing_lines() -> None:
    with pipe() as (out, in_), logging_to(handler := NonBlockingHandler(in_)):
        started_at = time.monotonic()
        for number in range(9999):
            LOG.info("line %d of a log that is longer than the queue", number)
        assert time.monotonic() - started_at < 30
        text = ""
        while not handler._queue.empty():
            text += read_until(out, "\n")
        LOG.info("the end")
        text += read_until(out, "\nthe end\n")
    missing = re.findall(r"^asr33: (\d+) lines are missing here: the log was not read$", text, re.MULTILINE)
    assert sum(map(int, missing)) + text.count("than the queue\n") == 9999
    assert missing
    assert text.startswith("line 0 ")
    assert text.endswith("\nthe end\n")


@pytest.mark.parametrize("lines", [10, 9999])  # below and above the length of the queue
def test_close_returns_although_the_writer_is_blocked(lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_handler, "CLOSE_TIMEOUT_S", 0.05)
    out, in_ = os.pipe()
    os.set_blocking(in_, False)
    with suppress(BlockingIOError):
        while True:
            os.write(in_, b"x")
    os.set_blocking(in_, True)
    started_at = time.monotonic()
    handler = NonBlockingHandler(in_)
    with logging_to(handler):
        for _ in range(lines):
            LOG.info("line")
    assert time.monotonic() - started_at < 30
    assert handler._writer.is_alive()
    os.close(out)  # which unblocks the writer
    handler._queue.put(None)
    handler._writer.join()
    os.close(in_)


def test_close_writes_the_queued_lines() -> None:
    with pipe() as (out, in_):
        with logging_to(NonBlockingHandler(in_)):
            for number in range(100):
                LOG.info("%d \udcff", number)
        assert read_until(out, "99 \\udcff\n") == "".join(f"{number} \\udcff\n" for number in range(100))


def test_the_reader_of_the_log_may_close_the_pipe() -> None:
    out, in_ = os.pipe()
    with logging_to(NonBlockingHandler(in_)):
        os.close(out)
        for _ in range(3):
            LOG.info("line")
    os.close(in_)
