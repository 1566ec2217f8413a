"""`/say` under a crowd: a real server, curl as its callers, and an operator at a machine with a daemon of its own.

`pytest -s -m soak tests/test_server_say_crowd.py` prints the figures of a hundred callers.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic

import pytest
from fakes_sandbox import Sandbox, open_sandbox
from fakes_serve_process import ServeProcess, serve_process
from fakes_teletype import wait_until

OPERATOR_KEY = "o" * 24
AT_ONCE_S = 10.0  # to the first character or the refusal, with all callers and their curls on one busy computer


@dataclass
class Caller:
    """A caller with a key, who asks by curl until the crowd ends."""

    port: int
    key: str
    texts: list[str] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)  # to the first character
    refused_s: list[float] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)  # between two reads of the text: decode steps
    wrong: list[str] = field(default_factory=list)

    async def ask(self) -> None:
        url = f"http://127.0.0.1:{self.port}/say?prompt=The+old+caf%C3%A9+was&n=1"
        authorization = f"Authorization: Bearer {self.key}"
        words = ("curl", "-sS", "-N", "-D", "/dev/stderr", "-H", authorization, url)
        started_at = monotonic()
        curl = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert curl.stdout
        assert curl.stderr
        try:
            body, times = b"", []
            while data := await curl.stdout.read(4096):
                body += data
                times.append(monotonic())
            head = (await curl.stderr.read()).decode()
            await curl.wait()
        except asyncio.CancelledError:
            curl.kill()  # the caller goes away in the middle of the text
            await curl.wait()
            raise
        await self.note(head, body.decode(), [time - started_at for time in times])

    async def note(self, head: str, text: str, times: list[float]) -> None:
        """Files the reply; a caller with a place comes back when told."""
        if head.startswith("HTTP/1.1 200") and text.endswith("\n"):
            self.texts.append(text)
            self.first_s.append(times[0])
            self.gaps_s += [later - earlier for earlier, later in pairwise(times)]
        elif match := re.fullmatch(r"[^\n]* you are number (\d+) in line, ask again in (\d+) s\n", text):
            assert head.startswith("HTTP/1.1 429")
            assert f"\r\nretry-after: {match[2]}\r\n" in head.lower()
            self.refused_s.append(times[0])
            self.places.append(int(match[1]))
            await asyncio.sleep(int(match[2]))
        else:
            self.wrong.append(head + text)

    async def ask_forever(self) -> None:
        try:
            while not self.wrong:
                await self.ask()
        except Exception as error:
            self.wrong.append(repr(error))


@asynccontextmanager
async def running_crowd(callers: list[Caller]) -> AsyncIterator[None]:
    """Lets all callers ask again and again; at the end all go away."""
    tasks = [asyncio.ensure_future(caller.ask_forever()) for caller in callers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Operator:
    """Types lines at a machine, and times the first strike of each answer."""

    def __init__(self, sandbox: Sandbox, folder: Path, port: int, *speed: str) -> None:
        """`speed` is --fast for a machine that strikes and types at once."""
        self._sandbox = sandbox
        (folder / "operator.key").write_text(f"{OPERATOR_KEY}\n")
        (folder / "operator.key").chmod(0o600)
        config = folder / "operator.toml"
        config.write_text(
            f'[model]\nname = "http://127.0.0.1:{port}"\nkey_file = "{folder / "operator.key"}"\n'
            "[answer]\nmax_tokens = 5\nseed = 3\n"
        )
        self._machine = sandbox.start_machine(*speed)
        sandbox.start_daemon(*speed, "--config", str(config))

    async def type_line(self, text: str) -> float:
        """Returns the seconds from the strike of RETURN to the first strike of the answer."""
        seen, seen_chars = len(self._sandbox.strike_records()), len(self._sandbox.paper_text())
        assert self._machine.stdin is not None
        self._machine.stdin.write(f"{text}\n".encode())
        self._machine.stdin.flush()
        await wait_until(lambda: self._sandbox.paper_text()[seen_chars:].endswith("READY\n"), 60)
        records = self._sandbox.strike_records()[seen:]
        ends = [number for number, record in enumerate(records) if record["byte"] == 0x0D]
        answer = next(record for record in records[ends[0] :] if record["byte"] > 0x20)
        return float(answer["start"] - records[ends[0]]["start"])

    async def type_lines(self, count: int) -> list[float]:
        lines = [f"WHAT DOES THE {word} SAY?" for word in ("BELL", "TAPE", "WHEEL", "KEY", "PAPER", "DRUM", "MOTOR")]
        return [await self.type_line(lines[number % len(lines)]) for number in range(count)]


def write_keys(folder: Path, count: int) -> tuple[Path, list[str]]:
    keys = [f"{number:024}" for number in range(count)]
    path = folder / "keys"
    lines = [f"{OPERATOR_KEY} operator", *(f"{key} caller {number}" for number, key in enumerate(keys))]
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)
    return path, keys


async def run_curl(*words: str) -> tuple[str, str]:
    """Returns the head and the body of a reply."""
    command = ("curl", "-sS", "-N", "-D", "/dev/stderr", "--max-time", "60", *words)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    body, head = await process.communicate()
    return head.decode(), body.decode()


async def count_active(server: ServeProcess) -> int:
    """Returns the rows in use."""
    key = f"Authorization: Bearer {OPERATOR_KEY}"
    _, text = await run_curl("-H", key, f"http://127.0.0.1:{server.port}/metrics")
    match = re.search(r"^asr33_batch_active (\d+)", text, re.MULTILINE)
    assert match, text
    return int(match[1])


async def measure_crowd(folder: Path, callers: int, rows: int, turns: int, slack_s: float, *speed: str) -> None:
    """`slack_s` is what the processes of the callers may take of the computer from the operator's."""
    path, keys = write_keys(folder, callers)
    with serve_process("--rows", str(rows), "--keys", str(path)) as server, open_sandbox(folder) as sandbox:
        await asyncio.to_thread(server.wait_until_open)
        crowd = [Caller(server.port, key) for key in keys]
        operator = await asyncio.to_thread(Operator, sandbox, folder, server.port, *speed)
        await operator.type_lines(1)
        alone = await operator.type_lines(turns)
        async with running_crowd(crowd):
            await wait_until(lambda: all(caller.first_s or caller.places or caller.wrong for caller in crowd), 60)
            beside = await operator.type_lines(turns)
            await wait_until(lambda: all(caller.texts or caller.wrong for caller in crowd), 240)
        for _ in range(100):  # all have gone away, in the middle of their texts
            if not (active := await count_active(server)):
                break
            await asyncio.sleep(0.05)
    assert not [caller.wrong for caller in crowd if caller.wrong]
    step = median(gap for caller in crowd for gap in caller.gaps_s)
    first = [time for caller in crowd for time in caller.first_s]
    refused = [time for caller in crowd for time in caller.refused_s]
    places = [caller.places[0] for caller in crowd if caller.places]
    sys.stdout.write(
        f"\n{callers} callers, {rows} rows: {sum(len(caller.texts) for caller in crowd)} texts, "
        f"{len(refused)} refusals, first places {sorted(places)}\n"
        f"first character: median {median(first):.2f} s, longest {max(first):.2f} s; "
        f"refusal: longest {max(refused, default=0):.2f} s; decode step {step * 1000:.0f} ms\n"
        f"first strike of the operator alone: {[round(time * 1000) for time in alone]} ms, "
        f"beside them: {[round(time * 1000) for time in beside]} ms\n"
    )
    assert active == 0
    assert max(first) < AT_ONCE_S
    assert max(refused, default=0) < AT_ONCE_S
    assert median(beside) <= median(alone) + step + slack_s


@pytest.mark.pace
async def test_a_few_callers_get_text_or_a_place_and_the_operator_comes_first(tmp_path: Path) -> None:
    await measure_crowd(tmp_path, 5, 4, 2, 2.0, "--fast")  # exact: test_server_say_engine


@pytest.mark.soak
async def test_a_hundred_callers_get_text_or_a_place_and_the_operator_comes_first(tmp_path: Path) -> None:
    await measure_crowd(tmp_path, 100, 64, 7, 0.05)
