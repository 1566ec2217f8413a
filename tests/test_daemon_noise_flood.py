"""A real daemon on a pty with 10^6 bytes of noise during an answer: no traceback, no late stroke, no exit."""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from pathlib import Path

import pytest
from fakes_sandbox import open_sandbox, wait_for
from fakes_serial_line import far_end

FLOOD_BYTES = 1_000_000
LATEST_S = 0.2
CHARACTER_S, TRAVEL_S = 0.1, 0.2


def tx_records(folder: Path) -> list[dict[str, float]]:
    [path] = folder.rglob("*.jsonl")
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    records = [record for record in map(json.loads, lines) if record["ev"] == "tx"]
    for before, record in itertools.pairwise(records):
        record.setdefault("q", before["q"])  # it is left out where it is the same
    return records


def struck_text(folder: Path) -> str:
    return "".join(chr(int(str(record["b"]), 16) & 0x7F) for record in tx_records(folder))


def read_forever(master: int) -> None:
    while True:
        try:
            os.read(master, 4096)
        except BlockingIOError:
            time.sleep(0.005)
        except OSError:
            return


def lateness(sooner: dict[str, float], later: dict[str, float]) -> float:
    """Returns by how many seconds a stroke came after it was queued and the machine was ready for it."""
    is_control = int(str(sooner["b"]), 16) & 0x7F < 0x20
    return later["at"] - max(later["q"], sooner["at"] + CHARACTER_S + TRAVEL_S * is_control)


@pytest.mark.pace
def test_a_million_bytes_of_noise_delay_no_stroke(tmp_path: Path) -> None:
    rng = random.Random(33)
    with far_end() as end, open_sandbox(tmp_path) as sandbox:
        threading.Thread(target=read_forever, args=(end.master,), daemon=True).start()
        daemon = sandbox.start(
            "run", "--line", end.path, "--seed", "7", "--length", "2000", "--log", str(tmp_path / "log")
        )
        wait_for(lambda: any((tmp_path / "log").glob("*.jsonl")), 60.0)
        wait_for(lambda: len(struck_text(tmp_path / "log")) > 2, 60.0)
        os.write(end.master, b"\x03")  # skips the greeting
        wait_for(lambda: struck_text(tmp_path / "log").endswith("READY\r\n"), 90.0)
        os.write(end.master, b"THE TELETYPE IS\r")
        wait_for(lambda: len(struck_text(tmp_path / "log").rpartition("TELETYPE IS")[2]) > 20, 60.0)
        begun_at, left = tx_records(tmp_path / "log")[-1]["at"], FLOOD_BYTES
        while left:
            # No byte that stops the answer before the noise is known.
            data = bytes(rng.choices(b"\x81\x01\xfe\x7d\x13\x04\x84\x0d\xd1Q\xb3", k=min(left, 1000)))
            try:
                left -= os.write(end.master, data)
            except BlockingIOError:
                time.sleep(0.001)
        time.sleep(2.0)
        assert daemon.poll() is None
        daemon.terminate()
        _, message = daemon.communicate(timeout=60)
        assert b"Traceback" not in message
        assert message.count(b"noise on the line") == 1
        records = tx_records(tmp_path / "log")
        pairs = [(sooner, later) for sooner, later in itertools.pairwise(records) if later["at"] > begun_at]
        assert len(pairs) > 10
        assert max(lateness(sooner, later) for sooner, later in pairs) < LATEST_S
