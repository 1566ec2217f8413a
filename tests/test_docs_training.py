"""The scripts of docs/training.md: each command is one that asr33 takes, and the soak runs them as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from corpus_items import make_folder, make_zip
from fakes_sandbox import open_sandbox, wait_for
from test_corpus_importer_messenger import message as messenger_message
from test_corpus_importer_messenger import thread_file
from test_corpus_importer_session_log import answer_events, typed_event, write_log
from test_corpus_importer_tweets import js_assignment, tweet_json
from test_docs import _blocks, _commands, _parser

from tools.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/training.md").read_text("utf-8")
SCRIPTS = [block.replace("\\\n", " ").splitlines() for block in _blocks(PAGE, "sh")]
# What the tests cannot wait for: the steps of a run, and the words that it writes to see how many it copies.
FAST_TRAINING = (re.compile(r"--steps \d+"), "--steps 2 --copied 0")
MESSAGES = 1200  # of a chat: enough tokens for a step of the embedded model


def test_there_are_four_scripts_of_at_most_four_commands() -> None:
    assert [len(script) for script in SCRIPTS] == [4, 4, 4, 4]
    for script in SCRIPTS:
        assert [" ".join(line.split()[:3]) for line in script[:2]] == ["asr33 corpus add", "asr33 corpus report"]
        assert [" ".join(line.split()[:2]) for line in script[2:]] == ["asr33 train", "asr33 run"]


@pytest.mark.parametrize("said", [said for said in _commands(PAGE) if "NAME" not in said])
def test_every_command_of_the_page_is_one_that_asr33_takes(said: str) -> None:
    command, *words = shlex.split(said)
    assert command in COMMANDS
    _parser(command).parse_args(words)


def sentence(number: int) -> str:
    return f"The {('motor', 'bell', 'tape', 'paper')[number % 4]} is number {number}, and it is the one that I meant."


def write_exports(folder: Path) -> None:
    """Writes the files that the scripts add, with the shapes of real exports."""
    prose = "\n\n".join(f"{sentence(number)} {sentence(number + 7)}" for number in range(500))
    make_folder(folder, {"manuals/teletype.txt": prose, "manuals/parts/typing-unit.md": f"# Parts\n\n{prose[::-1]}\n"})
    make_folder(folder, {"notes.txt": "\n\n".join(sentence(7 * number + 3) for number in range(300))})

    tweets = [tweet_json(f"{sentence(number)} So it goes.", 1000 + number) for number in range(600)]
    account = [{"account": {"username": "ann", "accountId": "1"}}]
    make_zip(
        folder / "twitter-archive.zip",
        {"data/account.js": js_assignment("account", account), "data/tweets.js": js_assignment("tweets", tweets)},
    )

    people = ("Ann Ames", "Bob Stone")
    thread = [messenger_message(people[n % 2], 1.5e9 + 60 * n, sentence(n)) for n in range(MESSAGES)]
    inbox = "your_facebook_activity/messages/inbox/bob_1/message_1.json"
    make_zip(folder / "facebook.zip", {inbox: thread_file(*reversed(thread), people=people, title="Bob Stone")})
    lines = (f"0{1 + n % 9}/0{1 + n % 7}/2021, 10:0{n % 10} - {people[n % 2]}: {sentence(3 * n)}\n" for n in range(200))
    (folder / "WhatsApp Chat with Bob.txt").write_text("".join(lines), "utf-8")

    users = [{"id": f"U{n}", "name": name.split()[0], "real_name": name} for n, name in enumerate(SLACK_PEOPLE)]
    days: dict[str, str | bytes] = {}
    for day in range(6):
        texts = [
            {
                "type": "message",
                "user": f"U{n % 3}",
                "text": sentence(200 * day + n),
                "ts": f"{1.6e9 + 86400 * day + n}",
            }
            for n in range(200)
        ]
        days[f"general/{time.strftime('%Y-%m-%d', time.gmtime(1.6e9 + 86400 * day))}.json"] = json.dumps(texts)
    listed = {"users.json": json.dumps(users), "channels.json": json.dumps([{"id": "C1", "name": "general"}])}
    make_zip(folder / "slack-export.zip", {**listed, **days})

    (folder / "sessions").mkdir()
    write_log(folder / "sessions", typed_event("WHO IS THERE"), *answer_events("Who is there", " A ghost."))


SLACK_PEOPLE = ("Ada Example", "Bob Test", "Cleo Sample")


def run_line(line: str, folder: Path, environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environ, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.soak
@pytest.mark.train
@pytest.mark.parametrize(
    ("script", "answers_as", "to"),
    [
        (SCRIPTS[0], "", ""),
        (SCRIPTS[1], "", ""),
        (SCRIPTS[2], "Ann Ames", "Bob Stone"),
        (SCRIPTS[3], "Ada Example", "Bob Test"),
    ],
    ids=["manual", "tweets", "chats", "slack"],
)
def test_a_script_leads_from_files_to_an_answer_on_paper(
    script: list[str], answers_as: str, to: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    write_exports(texts := tmp_path / "texts")
    (bin_folder := tmp_path / "bin").mkdir()
    (bin_folder / "asr33").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tools.main "$@"\n')
    (bin_folder / "asr33").chmod(0o755)
    with open_sandbox(tmp_path) as sandbox:
        sandbox.environ |= {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "ASR33_MODELS": str(tmp_path / "models"),
            "ASR33_CORPORA": str(tmp_path / "corpora"),
            "ASR33_LINE_PORT": str(sandbox.link),  # the line in the configuration
            "ASR33_LOG_FOLDER": str(tmp_path / "logs"),
            "ASR33_ANSWER_LENGTH": "20",
            "ASR33_ANSWER_MAX_TOKENS": "40",
        }
        *before, run = script
        for line in before:
            output = run_line(FAST_TRAINING[0].sub(FAST_TRAINING[1], line), texts, sandbox.environ)
            if " report " in line:
                assert "\nto train: asr33 train " in output

        machine = sandbox.start_machine("--fast")
        sandbox.program = ["sh", "-c", f'cd "{texts}" && exec {run} --fast "$@"', "run"]
        daemon = sandbox.start()
        wait_for(lambda: sandbox.paper_text().endswith("READY\n") or daemon.poll() is not None, 60.0)
        assert daemon.poll() is None, daemon.communicate()
        assert machine.stdin is not None
        machine.stdin.write(b"WHO ARE YOU\n")
        machine.stdin.flush()
        wait_for(lambda: sandbox.paper_text().count("READY\n") == 2, 120.0)

    [log] = (tmp_path / "logs").glob("*.jsonl")
    records = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    [prompt] = [record["text"] for record in records if record["ev"] == "prompt"]
    assert prompt == (f"{to}: Who are you\n{answers_as}:" if answers_as else "Who are you")
    [finish] = [record["finish"] for record in records if record["ev"] == "end"]
    assert finish in ("sentence", "stop", "length", "end")
    answer = sandbox.paper_text().split("WHO ARE YOU\n")[1].removesuffix("\nREADY\n")
    assert answer.strip()
    assert "\ufffd" not in "".join(str(record["text"]) for record in records if record["ev"] == "piece")
    if answers_as:
        assert not re.search(rf"^({answers_as}|{to}):", answer, re.MULTILINE | re.IGNORECASE)
