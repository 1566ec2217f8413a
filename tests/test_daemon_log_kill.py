"""kill -9 at random moments: the log of a real daemon opens, and has all that was struck on earlier lines of paper."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from fakes_sandbox import ROOT, Sandbox, open_sandbox, wait_for

from daemon.archive.session_reader import ArchivedSession, read_session
from drivers.paper.paper import LF
from drivers.text.charset import strip_parity

# `asr33 run --fast` with a model that needs no engine, so that it starts in half a second.
SCRIPTED_DAEMON = dedent("""
    import asyncio, sys
    from pathlib import Path
    from fakes_daemon import ScriptedModel
    from daemon.build import build_session
    from daemon.config import Config, ConversationConfig, CopyConfig, LogConfig
    async def main():
        words = [f" word{number} follows" for number in range(400)]
        model = ScriptedModel(words, pause_s=0.0, loading_s=0.0, context=100_000)
        folder = Path(sys.argv[2])
        config = Config(
            log=LogConfig(folder=folder),
            copy=CopyConfig(file=folder.parent / "copy.txt"),
            conversation=ConversationConfig(persona=""),
        )
        async with build_session(config, model, sys.argv[1], 0.0, serve_control=True) as (session, log):
            await session.run()
    asyncio.run(main())
""")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        sandbox.environ["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests'}"
        yield sandbox


class KilledDaemon:
    """Starts daemons one after the other on a fast machine, and kills them."""

    def __init__(self, sandbox: Sandbox, logs: Path, words: list[str]) -> None:
        self.logs, self._sandbox, self._words = logs, sandbox, words
        self._machine = sandbox.start_machine("--fast")
        self._first_strike = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._first_strike = len(self._sandbox.strikes())
        words = [*self._words[:-2], str(self._sandbox.link), str(self.logs)] if self._words[1] == "-c" else self._words
        self.process = subprocess.Popen(
            words, cwd=ROOT, env=self._sandbox.environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        wait_for(lambda: self.paper.endswith("READY\n"), 60.0)

    @property
    def strikes(self) -> list[int]:
        return [strip_parity(byte) for byte in self._sandbox.strikes()[self._first_strike :]]

    @property
    def paper(self) -> str:
        return "".join(map(chr, self.strikes)).replace("\r", "")

    def type(self, line: str) -> None:
        assert self._machine.stdin is not None
        self._machine.stdin.write(line.encode() + b"\n")
        self._machine.stdin.flush()

    def type_and_wait(self, line: str) -> None:
        before = self.paper.count("READY\n")
        self.type(line)
        wait_for(lambda: self.paper.count("READY\n") > before)

    def kill(self) -> ArchivedSession:
        """Kills the daemon, waits until the machine has struck what was on the line, and reads the log."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate()
        struck = -1
        while struck != (struck := len(self._sandbox.strikes())):
            time.sleep(0.2)
        newest = max(self.logs.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        return read_session(newest)


SETTLE_S = 0.5


def check_no_earlier_line_is_lost(daemon: KilledDaemon, session: ArchivedSession) -> int:
    """Compares the log with the paper, byte for byte; returns the number of lines on the paper."""
    struck = daemon.strikes
    end = len(struck) - struck[::-1].index(LF)  # after the last line feed
    assert bytes(stroke.byte for stroke in session.strokes)[:end] == bytes(struck[:end])
    text = session.path.read_text()
    assert text.endswith("\n"), "the last record is torn"
    return struck.count(LF)


def kill_while_printing(daemon: KilledDaemon, rng: random.Random, longest_s: float) -> int:
    daemon.start()
    daemon.type("GO ON")
    wait_for(lambda: "GO ON\n" in daemon.paper)
    moment = rng.uniform(0, longest_s)  # the random moment is what is tested
    time.sleep(moment)
    session = daemon.kill()
    if session.turns or moment > SETTLE_S:  # a kill just after RETURN may come before the record of the prompt
        assert session.turns[-1].typed == "GO ON"
    return check_no_earlier_line_is_lost(daemon, session)


def scripted(sandbox: Sandbox, logs: Path) -> KilledDaemon:
    return KilledDaemon(sandbox, logs, [sys.executable, "-c", SCRIPTED_DAEMON, "", ""])


def test_a_few_kills_in_mid_line_lose_no_earlier_line(sandbox: Sandbox, tmp_path: Path) -> None:
    daemon, rng = scripted(sandbox, tmp_path / "logs"), random.Random(33)
    lines = [kill_while_printing(daemon, rng, 0.3) for _ in range(4)]
    assert len(set(lines)) > 1, "the kills fell at one place"


@pytest.mark.soak
def test_a_hundred_kills_of_asr33_run_lose_no_earlier_line(sandbox: Sandbox, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    words = [*sandbox.program, "run", "--line", str(sandbox.link), "--fast", "--log", str(logs), "--length", "5000"]
    daemon, rng = KilledDaemon(sandbox, logs, words), random.Random(33)
    lines = [kill_while_printing(daemon, rng, 3.0) for _ in range(100)]
    assert len(set(lines)) > 10
    assert len(list(logs.glob("*.jsonl"))) == 100


def search_secret(folder: Path) -> list[str]:
    """Returns the files of a folder that have the secret, as text or as strokes or keys of a log."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "events.jsonl":
            texts = [path.read_bytes()]
            if path.suffix == ".jsonl":
                session = read_session(path)
                texts.append(bytes(stroke.byte for stroke in session.strokes))
                texts.append(bytes(key.byte & 0x7F for key in session.keys))
            found += [str(path) for text in texts if b"SECRET" in text.upper()]
    return found


def test_a_kill_in_a_private_time_leaves_nothing_and_the_next_session_is_private(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    daemon = scripted(sandbox, tmp_path / "logs")
    daemon.start()
    daemon.type_and_wait(".PRIVATE")
    daemon.type_and_wait(".SECRET ONE")
    daemon.type("SECRET TWO")
    wait_for(lambda: "WORD9" in daemon.paper)
    first = daemon.kill()
    assert first.turns == []
    daemon.start()
    assert "PRIVATE: ON THE PAPER ONLY, UNTIL .PUBLIC" in daemon.paper
    daemon.type_and_wait(".SECRET THREE")
    assert search_secret(tmp_path) == []
    daemon.type_and_wait(".PUBLIC")
    daemon.type_and_wait(".SEEN")
    wait_for(lambda: ".SEEN\n" in (tmp_path / "copy.txt").read_text())
    second = daemon.kill()
    assert [gap.why for gap in second.gaps] == ["private"]
    assert second.gaps[0].lost > 50
    assert b".SEEN" in bytes(stroke.byte for stroke in second.strokes)
    assert search_secret(tmp_path) == []
    daemon.start()
    assert "PRIVATE" not in daemon.paper
    daemon.kill()
