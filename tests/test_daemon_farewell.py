"""A signal ends the paper of a real daemon with a whole word, a new line and a mark."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from fakes_sandbox import Sandbox, open_sandbox, wait_for

from daemon import commands, systemd
from daemon.farewell import MARK_LIMIT_S, WORD_LIMIT_S
from drivers.text.charset import fold_text

MARK = "\n-- STOPPED --\n"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


def known_words(sandbox: Sandbox) -> set[str]:
    """The words that the daemon wanted to print."""
    [path] = Path(sandbox.environ["XDG_STATE_HOME"]).rglob("sessions/*.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records[-1]["ev"] == "close"
    pieces = "".join(record["text"] for record in records if record["ev"] == "piece")
    greeting = commands.format_greeting("embedded", datetime.now())
    return set(fold_text(f"{pieces} {greeting} the old telegraph office was").split())


@pytest.mark.parametrize(
    ("when", "number"),
    [
        *[(f"answer {strokes}", signal.SIGTERM) for strokes in (11, 37)],
        *[pytest.param(f"answer {strokes}", signal.SIGTERM, marks=pytest.mark.soak) for strokes in (24, 52)],
        ("answer 30", signal.SIGINT),
        ("greeting", signal.SIGHUP),
        ("typed", signal.SIGTERM),
        ("ready", signal.SIGTERM),
        ("job", signal.SIGTERM),
    ],
)
def test_the_paper_ends_with_a_word_and_a_mark(sandbox: Sandbox, when: str, number: signal.Signals) -> None:
    machine = sandbox.start_machine()
    daemon = sandbox.start("run", "--line", str(sandbox.link), "--length", "400", "--seed", "3")
    assert machine.stdin is not None

    def type_keys(keys: bytes) -> None:
        machine.stdin.write(keys)
        machine.stdin.flush()

    wait_for(lambda: len(sandbox.strike_records()) > 20)
    if when != "greeting":
        type_keys(b"\x03")
        wait_for(lambda: sandbox.paper_text().endswith("READY\n"))
    if when.startswith("answer"):
        type_keys(b"THE OLD TELEGRAPH OFFICE WAS\n")
        wait_for(lambda: len(sandbox.paper_text().partition("OFFICE WAS\n")[2]) >= int(when.split()[1]))
    elif when == "typed":
        type_keys(b"THE OLD")
        wait_for(lambda: sandbox.paper_text().endswith("THE OLD"))
    elif when == "job":
        printing = sandbox.start("print", "--line", str(sandbox.link))
        printing.stdin.write(b"the telegraph office " * 20)  # type: ignore[union-attr]
        printing.stdin.close()  # type: ignore[union-attr]
        printing.stdin = None
        wait_for(lambda: "OFFICE THE TELEGR" in sandbox.paper_text())
    daemon.send_signal(number)
    _, messages = daemon.communicate(timeout=30)
    assert (daemon.returncode, b"Traceback" in messages) == (0, False)
    wait_for(lambda: sandbox.paper_text().endswith(MARK), 5.0)
    before = sandbox.paper_text().removesuffix(MARK)
    assert before.split()[-1] in known_words(sandbox) | {"READY"}
    if when == "job":
        _, messages = printing.communicate(timeout=30)
        assert b"stopping" in messages


@pytest.mark.pace
def test_a_paused_machine_gets_no_mark_and_delays_no_stop(sandbox: Sandbox) -> None:
    machine = sandbox.start_machine()
    daemon = sandbox.start("run", "--line", str(sandbox.link), "--length", "400")
    wait_for(lambda: len(sandbox.strike_records()) > 20)
    machine.stdin.write(b"\x13")  # type: ignore[union-attr]
    machine.stdin.flush()  # type: ignore[union-attr]
    time.sleep(1)
    struck = len(sandbox.strikes())
    daemon.terminate()
    begun = time.monotonic()
    assert daemon.wait(30) == 0
    assert time.monotonic() - begun < 5
    assert len(sandbox.strikes()) - struck <= 1


def test_the_waits_fit_into_the_stop_timeout_of_the_unit() -> None:
    unit = (Path(__file__).parents[1] / "systemd" / "asr33@.service").read_text()
    assert f"TimeoutStopSec={systemd.SHUTDOWN_LIMIT_S:.0f}s" in unit
    assert WORD_LIMIT_S + MARK_LIMIT_S < systemd.SHUTDOWN_LIMIT_S - 10
