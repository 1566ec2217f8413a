"""An evening of joe, the judicious observation emitter: choose a friend, seek enlightenment, and read.

Its author made the texts in bulk, and a page showed ten of them with a pause that looked like typing. He wished for
live generation, for messages with a beginning and an end, and for a temperature that does something.
"""

from __future__ import annotations

import asyncio
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fakes_irc import find_free_port
from fakes_sandbox import Sandbox, open_sandbox
from fakes_teletype import wait_until
from test_seed_meowbot import read_log
from test_server_say_crowd import run_curl

pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

JOE, SAM = "Joe Rivera", "Sam Ide"
SIZE = ("--vocabulary", "300", "--context", "64", "--width", "32", "--layers", "1", "--heads", "2", "--batch", "4")
WISDOM = [
    "the cat knows more than the mat",
    "tea is a kind of weather",
    "every door was a wall once",
    "soup is patience",
]


def write_signal(path: Path) -> Path:
    """Writes Signal's own export: a chat of two, a group, a photo without words."""
    frames: list[dict[str, Any]] = [
        {"version": "1", "backupTimeMs": "1604275200000"},
        {"account": {"givenName": "Sam", "familyName": "Ide"}},
        {"recipient": {"id": "1", "self": {}}},
        {"recipient": {"id": "2", "contact": {"profileGivenName": "Joe", "profileFamilyName": "Rivera"}}},
        {"recipient": {"id": "9", "group": {"snapshot": {"title": {"title": "Sunday Club"}}}}},
        {"chat": {"id": "1", "recipientId": "2"}},
        {"chat": {"id": "2", "recipientId": "9"}},
    ]
    for number in range(120):
        said = f"{WISDOM[number % len(WISDOM)]}, and {number} is a number."
        photo = {"attachments": [{"pointer": {"contentType": "image/jpeg"}}]}
        for author, body in ((1, f"what do you make of {number}?"), (2, said if number % 10 else None)):
            message = {"text": {"body": body}} if body else photo
            direction = {"outgoing": {}} if author == 1 else {"incoming": {"dateReceived": "1", "read": True}}
            sent = str(1_600_000_000_000 + number * 86_400_000 + author * 60_000)
            ids = {"chatId": "1" if number % 3 else "2", "authorId": str(author), "dateSent": sent}
            frames.append({"chatItem": {**ids, **direction, "standardMessage": message}})
    path.write_text("".join(f"{json.dumps(frame)}\n" for frame in frames))
    return path


def write_slack(path: Path) -> Path:
    """Writes Slack's export; its messages carry an id, no name of a person."""
    users = [{"id": "U1", "name": "joe", "profile": {"real_name": JOE}}, {"id": "U2", "profile": {"real_name": SAM}}]
    day = [
        {"type": "message", "user": "U2", "text": "any news <@U1>?", "ts": "1604000000.000100"},
        {"type": "message", "user": "U1", "text": "none &amp; all of it &lt;good&gt;", "ts": "1604000060.000100"},
        {"type": "message", "subtype": "channel_join", "user": "U1", "text": "<@U1> has joined", "ts": "1604000070.0"},
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("users.json", json.dumps(users))
        archive.writestr("channels.json", json.dumps([{"id": "C1", "name": "general"}]))
        archive.writestr("general/2020-10-29.json", json.dumps(day))
    return path


async def make_friend(sandbox: Sandbox, folder: Path) -> None:
    """From the exports to a model, by the commands alone."""
    sandbox.environ |= {"ASR33_CORPORA": str(folder / "corpora"), "ASR33_MODELS": str(folder / "models")}
    exports = (str(write_signal(folder / "main.jsonl")), str(write_slack(folder / "slack.zip")))
    added = ("corpus", "add", *exports, "--name", "friends", "--person", "Joe")
    code, message = await asyncio.to_thread(sandbox.run_command, *added)
    assert code == 0, message
    kept = [
        json.loads(line)
        for path in sorted((folder / "corpora/friends").glob("kept-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    joes = [record["text"] for record in kept if record["who"] == JOE]
    assert "none & all of it <good>" in joes  # of Slack, where the seed found nobody
    assert len(joes) == 120 - 12 + 1  # the group's too; a photo is no empty line; the join is no message
    assert all(joes)
    trained = ("train", "friends", "--name", "joe", "--steps", "4", "--threads", "1", "--copied", "0", *SIZE)
    code, message = await asyncio.to_thread(sandbox.run_command, *trained)
    assert code == 0, message


async def test_the_evening(tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        await make_friend(sandbox, tmp_path)
        port = find_free_port()
        config = tmp_path / "evening.toml"
        config.write_text(
            f'[model]\nname = "joe"\n[web]\nlisten = "127.0.0.1:{port}"\ntyping = true\n'
            "[answer]\nlength = 60\nmax_tokens = 60\nseed = 4\n"
        )
        machine = await asyncio.to_thread(sandbox.start_machine, "--fast")
        await asyncio.to_thread(sandbox.start_daemon, "--fast", "--config", str(config))
        url = f"http://127.0.0.1:{port}/say"
        question = ("-G", "--data-urlencode", "prompt=What is courage?")

        # Choose a friend and seek enlightenment: the text comes live, and a shared address cannot name a file.
        head, text = await run_curl(*question, "--data-urlencode", "persona=joe rivera", url)
        assert "200 OK" in head
        assert "x-robots-tag: noindex" in head.lower()
        assert text.endswith("\n")
        _, refused = await run_curl(*question, "-d", "persona=../friends", url)
        assert refused == "persona: the model knows no such persona\n"

        # Ten lines in the friend's voice, each with its end; the temperature does something.
        ask = (*question, "-H", "Accept: application/json", "-d", "seed=1")
        replies = [json.loads((await run_curl(*ask, *more, url))[1]) for more in (("-d", "n=10"), ("-d", "n=10"))]
        assert replies[0] == replies[1]
        assert replies[0]["persona"] == JOE
        assert replies[0]["place"] == 0
        assert len(replies[0]["answers"]) == 10
        assert all(answer["finish_reason"] and answer["tokens"] for answer in replies[0]["answers"])
        assert not any(f"{SAM}:" in answer["text"] or f"{JOE}:" in answer["text"] for answer in replies[0]["answers"])
        cold, hot = [
            json.loads((await run_curl(*ask, "-d", "n=3", "-d", f"temperature={temperature}", url))[1])["answers"]
            for temperature in (0, 2)
        ]
        assert len({answer["text"] for answer in cold}) == 1
        assert len({answer["text"] for answer in hot}) == 3

        # Then to the paper: the same friend answers at the machine; of the callers nothing is struck.
        assert "COURAGE" not in sandbox.paper_text()
        assert machine.stdin is not None
        machine.stdin.write(b"WHAT IS COURAGE?\n")
        machine.stdin.flush()
        await wait_until(lambda: sandbox.paper_text().count("\nREADY\n") == 2, 60)
        [turn] = sandbox.paper_text().split("\nREADY\n")[1:2]
        assert turn.startswith("WHAT IS COURAGE?\n")
        assert turn.removeprefix("WHAT IS COURAGE?\n").strip()
        [prompt] = [record["text"] for record in read_log(tmp_path) if record["ev"] == "prompt"]
        assert prompt == f"{SAM}: What is courage?\n{JOE}:"
