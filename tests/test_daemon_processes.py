"""The daemon and the machine as two processes with a pty between them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
from fakes_sandbox import ROOT, lateness, wait_for

pytestmark = pytest.mark.pace


@dataclass
class Pair:
    """A machine and a daemon, with the events file and the session log."""

    machine: subprocess.Popen[str]
    daemon: subprocess.Popen[str]
    events: Path
    logs: Path

    def type(self, keys: str) -> None:
        assert self.machine.stdin is not None
        self.machine.stdin.write(keys)
        self.machine.stdin.flush()

    def struck(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in self.events.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def paper(self) -> str:
        return "".join(chr(int(strike["byte"])) for strike in self.struck()).replace("\r", "")

    def log(self, ev: str) -> list[dict[str, float]]:
        [path] = self.logs.glob("*.jsonl")
        records = [json.loads(line) for line in path.read_text().splitlines()]
        return [record for record in records if record["ev"] == ev]


@pytest.fixture
def start_pair(tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """Yields a function that starts both, with `--fast` by default."""
    running: list[subprocess.Popen[str]] = []

    def spawn(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.main", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    def start(*flags: str, fast: bool = True) -> Pair:
        link, events, logs = tmp_path / "tty33", tmp_path / "events.jsonl", tmp_path / "sessions"
        pace = ["--fast"] if fast else []
        machine = spawn("virtual", "--link", str(link), "--events", str(events), *pace)
        wait_for(link.exists)
        # The typed text is continued, for as long as a test wants.
        mode = ("--persona", "")
        daemon = spawn("run", "--line", str(link), "--log", str(logs), "--seed", "7", *mode, *pace, *flags)
        pair = Pair(machine, daemon, events, logs)
        if not fast:  # skips fifteen seconds of greeting
            wait_for(lambda: len(pair.struck()) > 2)
            pair.type("\x03")
        wait_for(lambda: pair.paper().endswith("READY\n"), 60.0)
        return pair

    yield start
    for process in reversed(running):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_a_typed_line_is_echoed_and_answered(start_pair: Callable[..., Pair]) -> None:
    pair = start_pair("--length", "200")
    pair.type("THE TELETYPE IS\n")
    wait_for(lambda: pair.paper().count("READY\n") == 2)
    answer = pair.paper().split("THE TELETYPE IS\n")[1].removesuffix("\nREADY\n")
    message = "".join(str(piece["text"]) for piece in pair.log("piece"))
    assert len(answer.split()) > 20
    assert " ".join(answer.split())[:20] == " ".join(message.upper().split())[:20]
    assert pair.log("prompt")[0]["text"] == "The Teletype is"
    assert pair.log("end")[0]["finish"] in ("sentence", "end")


def test_the_game_strikes_pairs_and_keeps_the_score(
    start_pair: Callable[..., Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text(
        "The paper is fed by the sprocket and the platen.\nThe typing unit has a type wheel and a hammer.\n"
    )
    monkeypatch.setenv("ASR33_GAME_LINES", str(lines))
    pair = start_pair()
    pair.type(".GUESS\n")
    wait_for(lambda: pair.paper().count("READY\n") == 2, 60.0)
    place = str(pair.log("pair")[0]["place"])
    pair.type(f"{place}\n")
    wait_for(lambda: pair.paper().count("READY\n") == 3, 60.0)
    assert f"RIGHT: {place} IS THE HUMAN'S. 1 OF 1\n1 THE " in pair.paper()
    pair.type(".GUESS\n")
    wait_for(lambda: pair.paper().endswith("THE GAME IS OVER: 1 OF 1\n\nREADY\n"))
    assert not pair.log("prompt")


def test_bye_ends_the_daemon_with_goodbye(start_pair: Callable[..., Pair]) -> None:
    pair = start_pair()
    pair.type(".BYE\n")
    assert pair.daemon.wait(30) == 0
    wait_for(lambda: pair.paper().endswith("GOODBYE.\n"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_or_a_closed_terminal_ends_the_daemon_cleanly(start_pair: Callable[..., Pair], number: int) -> None:
    pair = start_pair()
    pair.daemon.send_signal(number)
    assert pair.daemon.wait(30) == 0
    assert len(pair.log("close")) == 1


def test_a_killed_daemon_has_logged_all_strikes_and_keys(start_pair: Callable[..., Pair]) -> None:
    pair = start_pair("--length", "100000", "--max-tokens", "100000")
    pair.type("ONCE UPON A TIME\n")
    wait_for(lambda: len(pair.struck()) > 400)
    pair.daemon.kill()
    pair.daemon.wait(30)
    logged = [int(str(record["b"]), 16) for record in pair.log("tx")]
    wait_for(lambda: len(logged) - len(pair.struck()) <= 2)  # bytes still in the pty reach the paper
    struck = [int(strike["byte"]) for strike in pair.struck()]
    kept = min(len(logged), len(struck))
    assert struck[:kept] == logged[:kept]
    assert 0x0A not in struck[kept:]  # at most the last line of the paper is not in the log
    assert pair.log("typed")[0]["text"] == "ONCE UPON A TIME"


def test_a_daemon_whose_machine_is_gone_reports_it_and_ends(start_pair: Callable[..., Pair], tmp_path: Path) -> None:
    (tmp_path / "once.toml").write_text("[line]\nreconnect = false\n")
    pair = start_pair("--config", str(tmp_path / "once.toml"))
    pair.machine.kill()
    _, message = pair.daemon.communicate(timeout=30)
    assert pair.daemon.returncode == 69
    assert message.splitlines()[-1].startswith("asr33: ")
    assert "Traceback" not in message


def test_after_a_break_at_most_two_characters_follow_and_then_the_next_prompt(start_pair: Callable[..., Pair]) -> None:
    pair = start_pair("--length", "2000", fast=False)
    for number, after in enumerate([0, 5]):
        pair.type(f"{number} CAME\n")
        wait_for(lambda typed=f"{number} CAME\n": typed in pair.paper())
        there = len(pair.struck()) + after
        wait_for(lambda there=there: len(pair.struck()) >= there)
        pair.type("\x03")
        wait_for(lambda number=number: pair.paper().count("READY\n") == number + 2)
        moment = pair.log("session")[0]["monotonic"] + pair.log("break")[number + 1]["t"]
        text = "".join(chr(int(strike["byte"])) for strike in pair.struck() if strike["start"] > moment)
        assert re.fullmatch(r".{0,2}?(\r\n)?\^C\r\n\nREADY\r\n", text, re.DOTALL), text
        assert pair.log("end")[number]["finish"] == "break"
        assert all(piece["made"] <= pair.log("break")[number + 1]["t"] for piece in pair.log("piece"))
        assert str(pair.log("prompt")[number]["text"]).endswith(f"{number} came")


def answer_only(struck: list[dict[str, float]]) -> list[dict[str, float]]:
    """Returns the strikes of the answer: from the echo of the second line to READY."""
    text = "".join(chr(int(strike["byte"])) for strike in struck)
    begin = text.index("TELETYPE IS\r\n") + len("TELETYPE IS\r\n")
    end = text.rindex("\r\n\nREADY")
    return struck[begin:end]


def check_pace(pair: Pair, least: int) -> None:
    """Checks the bounds on the pace of all strikes and prints the figures."""
    answer = answer_only(pair.struck())
    late = lateness(answer)
    share = sum(late) / (answer[-1]["start"] - answer[0]["start"])
    ordered = sorted(late)
    begun = [record["at"] for record in pair.log("tx")]
    pieces = pair.log("piece")
    first = begun[len(pair.struck()) - len(pair.struck()[pair.struck().index(answer[0]) :])]
    ahead = most_ahead(pieces, pair.log("tx"))
    sys.stdout.write(
        f"{len(answer)} characters; late {1e3 * median(late):.2f} ms in the median, "
        f"{1e3 * ordered[int(0.99 * len(late))]:.2f} ms in 99 of 100; idle {100 * share:.3f} %; first strike "
        f"{pieces[-1]['made'] - first:.1f} s before the last token; at most {ahead} characters ahead of the paper\n"
    )
    assert len(answer) >= least
    assert not any(strike["smeared"] for strike in pair.struck())
    assert first < pieces[-1]["made"]
    assert ahead <= 2 * 72 + 16  # two lines, and the current chunk
    assert share < 0.005
    assert median(late) < 0.005
    assert ordered[int(0.99 * len(late))] < 0.020


def most_ahead(pieces: list[dict[str, float]], struck: list[dict[str, float]]) -> int:
    """Returns the largest number of characters that were generated but not struck yet."""
    most, generated, begun = 0, 0, pieces[0]["made"]
    starts = sorted(record["at"] for record in struck if record["at"] >= begun)
    for piece in pieces:
        generated += len(str(piece["text"]))
        most = max(most, generated - sum(start <= piece["made"] for start in starts))
    return most


def test_printing_does_not_wait_for_the_model(start_pair: Callable[..., Pair]) -> None:
    pair = start_pair("--length", "30", fast=False)
    pair.type("THE TELETYPE IS\n")
    wait_for(lambda: pair.paper().count("READY\n") == 2, 60.0)
    answer = answer_only(pair.struck())
    assert not any(strike["smeared"] for strike in pair.struck())
    # The soak test has the bounds of the full length, since a computer that runs a test suite is not idle.
    assert median(lateness(answer)) < 0.005


@pytest.mark.soak
def test_printing_never_waits_over_a_thousand_characters(start_pair: Callable[..., Pair]) -> None:
    pair = start_pair("--length", "1100", fast=False)
    pair.type("THE TELETYPE IS\n")
    wait_for(lambda: pair.paper().count("READY\n") == 2, 240.0)
    check_pace(pair, least=1000)


@pytest.mark.soak
def test_the_first_character_of_the_demo_is_struck_within_two_seconds(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tools.main", "demo", "--prompt", "THE TELETYPE IS", "--log", str(tmp_path)]
    begun = time.monotonic()
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.read(1).isspace():
            pass
        took = time.monotonic() - begun
        process.terminate()
    sys.stdout.write(f"the first glyph was struck {took:.2f} s after the command\n")
    assert took < 2.0


def test_two_daemons_do_not_share_a_line(start_pair: Callable[..., Pair], tmp_path: Path) -> None:
    start_pair()
    second = subprocess.run(
        [sys.executable, "-m", "tools.main", "run", "--line", str(tmp_path / "tty33"), "--log", str(tmp_path / "two")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 69
    assert second.stderr.startswith("asr33: ")
    assert second.stderr.count("\n") == 1


def test_the_demo_prints_a_page_without_a_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.main", "demo", "--fast", "--prompt", "THE TELETYPE IS", "--log", str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"TERM": "dumb"},
    )
    assert done.returncode == 0, done.stderr
    assert "THE TELETYPE IS\n" in done.stdout
    assert len(done.stdout.split("THE TELETYPE IS\n")[1]) > 400
    assert str(tmp_path) in done.stderr
