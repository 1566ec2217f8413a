"""A real daemon is killed between an answer and its record, again and again: each mention is answered once.

The network's server kills the daemon: before it takes the post, after it has taken it and before its reply, or a moment
after the reply.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from pathlib import Path

import pytest
from fakes_mention_servers import FakeBluesky, ask, make_server, make_settings, running_network
from fakes_sandbox import open_sandbox
from fakes_teletype import wait_until

MOMENTS = ("after", "later", "before")


def read_all_files(folder: Path) -> bytes:
    """Reads what the daemons have written, without the files that are there for secrets."""
    kept = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".secret", ".session")]
    return b"".join(path.read_bytes() for path in kept)


async def kill_between_answer_and_record(name: str, kills: int, folder: Path) -> None:
    server, rng = make_server(name), random.Random(18)
    async with running_network(server):
        config, state_file = folder / "mentions.toml", folder / f"asr33/mentions-{name}.json"
        settings = make_settings(name, server, folder).items()
        lines = [f"{key} = {json.dumps(value if isinstance(value, bool) else str(value))}" for key, value in settings]
        rest = "poll_s = 1\nlength = 40\nperson_hour = 9\n[spool]\nidle_s = 0.2\n[answer]\nseed = 7\nmax_tokens = 24\n"
        config.write_text("\n".join(["[mentions]", *lines, rest]))
        with open_sandbox(folder) as sandbox:
            await asyncio.to_thread(sandbox.start_machine, "--fast")
            ask(server, "old", "said before the first run")

            def start() -> subprocess.Popen[bytes]:
                return sandbox.start("run", "--line", str(sandbox.link), "--fast", "--config", str(config))

            daemon = start()
            await wait_until(lambda: state_file.exists() and '"last_id": null' not in state_file.read_text(), 60.0)
            daemon.kill()
            asked, logs = [], [daemon.communicate()[1]]
            for number in range(kills):
                moment = MOMENTS[number % len(MOMENTS)]
                asked.append(ask(server, f"p{number}", f"line {number}"))
                daemon = start()

                def die(daemon: subprocess.Popen[bytes] = daemon, moment: str = moment) -> None:
                    if moment == "later":
                        asyncio.get_running_loop().call_later(rng.uniform(0.0, 0.03), daemon.kill)
                    else:
                        daemon.kill()
                    if moment == "before":
                        raise OSError("the daemon dies before the server takes the post")

                server.before_post, server.after_post = (
                    (die, lambda: None) if moment == "before" else (lambda: None, die)
                )
                await wait_until(lambda: daemon.poll() is not None, 120.0)  # noqa: B023
                logs.append(daemon.communicate()[1])
            server.before_post = server.after_post = lambda: None
            daemon = start()
            await wait_until(lambda: len(server.answered()) == kills, 120.0)
            await wait_until(lambda: not json.loads(state_file.read_text())["pending"], 60.0)
            await wait_until(lambda: f"LINE {kills - 1}\n" in sandbox.paper_text(), 60.0)
            daemon.terminate()
            logs.append((await asyncio.to_thread(daemon.communicate))[1])
        assert sorted(server.answered()) == sorted(asked)
        assert all(sandbox.paper_text().count(f": LINE {number}\n") == 1 for number in range(kills))
        if isinstance(server, FakeBluesky):
            assert server.sessions == 1
    assert b"3cr3t" not in b"".join([*logs, read_all_files(folder)])


async def test_a_daemon_that_is_killed_between_answer_and_record_answers_once(tmp_path: Path) -> None:
    await kill_between_answer_and_record("mastodon", 2, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize(("name", "kills"), [("bluesky", 50), ("mastodon", 50), ("x", 6)])  # X waits a minute each time
async def test_fifty_kills_between_answer_and_record(name: str, kills: int, tmp_path: Path) -> None:
    await kill_between_answer_and_record(name, kills, tmp_path)
