"""The bytes that the log of a real daemon costs its disk, while it prints at ten characters a second, and idle."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_sandbox import open_sandbox, wait_for

pytestmark = pytest.mark.soak

MAX_BYTES_PER_HOUR = 4_000_000
PRINTING_S, IDLE_S = 900.0, 120.0
SETTLE_S = 45.0  # longer than a sync waits


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yields a folder on an ext4 of its own: on a tmpfs nothing is counted."""
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    for words in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(folder)]):
        try:
            done = subprocess.run(words, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("takes mkfs.ext4, of e2fsprogs")
        if done.returncode:
            pytest.skip("a disk of one's own takes root: " + done.stderr.strip())
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def count_written(process: subprocess.Popen[bytes]) -> int:
    lines = Path(f"/proc/{process.pid}/io").read_text("ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def test_an_hour_of_printing_writes_four_megabytes_and_an_idle_hour_none(tmp_path: Path, disk: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        machine = sandbox.start_machine()
        words = ("--length", "1000000", "--max-tokens", "1000000", "--seed", "7", "--threads", "1")
        daemon = sandbox.start_daemon("--log", str(disk), *words)
        assert machine.stdin is not None
        machine.stdin.write(b"IT WAS A DARK AND STORMY NIGHT AND\n")
        machine.stdin.flush()
        time.sleep(SETTLE_S)
        started, before, strikes = time.monotonic(), count_written(daemon), len(sandbox.strikes())
        while time.monotonic() - started < PRINTING_S:
            time.sleep(1.0)
            if sandbox.paper_text().endswith("READY\n"):  # the answer has ended
                machine.stdin.write(b"AND THEN\n")
                machine.stdin.flush()
                time.sleep(5.0)
        hours = (time.monotonic() - started) / 3600
        per_hour = (count_written(daemon) - before) / hours
        strikes = len(sandbox.strikes()) - strikes
        print(f"{per_hour / 1e6:.2f} MB an hour; {strikes / hours / 3600:.2f} strikes a second")  # noqa: T201
        assert strikes / hours / 3600 > 9
        assert per_hour <= MAX_BYTES_PER_HOUR
        machine.stdin.write(b"\x03")
        machine.stdin.flush()
        wait_for(lambda: sandbox.paper_text().endswith("READY\n"))
        time.sleep(SETTLE_S)
        before = count_written(daemon)
        time.sleep(IDLE_S)
        assert count_written(daemon) == before
