"""An evening of meowbot: a friend's messages become a persona, and the persona a bot, as its author wished.

The models of the friend and the bot that posts "meow" each day were never joined. Here they are one account in a room:
it answers in the friend's voice, there and on paper, and the operator at the machine comes first.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from fakes_irc import ChatPerson, find_free_port, needs, running_irc_server
from fakes_sandbox import Sandbox, open_sandbox
from fakes_teletype import wait_until

SAM, KIM = "Sam Beispiel", "Kim Müller"
TALK = [  # the export has the newest message first
    (KIM, "did the cat café open"),
    (SAM, "it did. the cats are asleep."),
    (SAM, None),  # a photo: the seed made an empty line of it
    (KIM, "all of them?"),
    (SAM, "all but one. she says meow."),
]


def write_export(folder: Path) -> Path:
    """Writes a thread as Messenger exports it, with its wrong encoding."""
    thread = folder / "your_activity_across_facebook/messages/inbox/sam_1"
    thread.mkdir(parents=True)
    messages = [
        {"sender_name": who, "timestamp_ms": 1_600_000_000_000 + 60_000 * number} | ({"content": text} if text else {})
        for number, (who, text) in enumerate(TALK)
    ]
    export = {"participants": [{"name": SAM}, {"name": KIM}], "messages": messages[::-1], "title": KIM}
    text = json.dumps(export, ensure_ascii=False).encode().decode("latin-1")
    (thread / "message_1.json").write_text(json.dumps(json.loads(text)))
    return folder


def read_records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_log(folder: Path) -> list[dict[str, Any]]:
    [path] = folder.rglob("asr33/sessions/*.jsonl")
    return read_records(path)


def shown(sandbox: Sandbox) -> str:
    return sandbox.paper_text()


@needs("ngircd")
async def test_the_evening(tmp_path: Path) -> None:
    port = find_free_port()
    with open_sandbox(tmp_path) as sandbox, running_irc_server("ngircd", tmp_path, port):
        sandbox.environ["ASR33_CORPORA"] = str(tmp_path / "corpora")

        # The friend's messages become a corpus: none is empty, none is lost, and the café has its accent.
        export = write_export(tmp_path / "facebook")
        added = ("corpus", "add", str(export), "--name", "friend", "--person", "Sam")
        code, message = await asyncio.to_thread(sandbox.run_command, *added)
        assert code == 0, message
        kept = read_records(tmp_path / "corpora/friend/kept-1.jsonl")
        assert [(record["who"], record["text"]) for record in kept] == [(who, text) for who, text in TALK if text]

        # The machine, its daemon, and a room of three people.
        config = tmp_path / "evening.toml"
        config.write_text(
            f'[irc]\nserver = "127.0.0.1:{port}"\ntls = false\nnick = "meowbot"\nchannels = ["#cats"]\n'
            'persona = "Sam"\nlength = 120\n[spool]\nidle_s = 0.2\n[answer]\nseed = 7\n'
        )
        kim, jo, lee = (ChatPerson(nick, "#cats") for nick in ("kim", "[jo]", "lee"))
        await asyncio.gather(*(person.connect(port) for person in (kim, jo, lee)))
        machine = await asyncio.to_thread(sandbox.start_machine, "--fast")
        await asyncio.to_thread(sandbox.start_daemon, "--fast", "--config", str(config))
        await wait_until(lambda: any(b":meowbot!" in line and b"JOIN" in line for line in kim.lines))

        # Their talk comes to paper, and the friend answers while it goes on.
        kim.say("is the cat here?")
        jo.say("\x01ACTION opens a tin\x01")
        lee.say(b"the caf\xe9 is closed")
        await wait_until(lambda: "LEE: THE CAFE" in shown(sandbox).replace("'", ""))
        kim.say("!gpt2 what does the cat say?")
        lee.say("it says nothing.")
        await wait_until(lambda: kim.heard_from("meowbot"))
        await wait_until(lambda: "\nSAM: " in shown(sandbox))
        await wait_until(lambda: "\nLEE: IT SAYS NOTHING." in shown(sandbox))
        await wait_until(lambda: "\nKIM: IS THE CAT HERE?\n" in shown(sandbox))
        await wait_until(lambda: "\n* [JO] OPENS A TIN\n" in shown(sandbox))
        assert kim.heard_from("meowbot") == jo.heard_from("meowbot")
        assert kim.heard_from("meowbot")[0].rstrip("\"'")[-1] in ".!?"

        # The operator comes: while a line is begun nothing else is printed, and it is printed later.
        assert machine.stdin is not None
        machine.stdin.write(b"HOW ")
        machine.stdin.flush()
        await wait_until(lambda: shown(sandbox).endswith("HOW "))
        jo.say("meow")
        lee.say("!bell")  # the bell passes: it disturbs no line
        await wait_until(lambda: shown(sandbox).endswith("HOW \a"))
        await asyncio.sleep(1.0)
        machine.stdin.write(b"LATE IS IT?\n")
        machine.stdin.flush()
        await wait_until(lambda: "\n[JO]: MEOW\n" in shown(sandbox))
        assert "HOW \aLATE IS IT?\n" in shown(sandbox)
        assert shown(sandbox).index("LATE IS IT") < shown(sandbox).index("[JO]: MEOW")

        # And each day the cron job says meow, once.
        for _ in range(2):
            daily = ("print", "--spool", "--once", "meow-2026-11-30", "--from", "cron/meowbot")
            code, message = await asyncio.to_thread(sandbox.run_command, *daily, stdin=b"good morning, meow")
            assert code == 0, message
        await wait_until(lambda: "GOOD MORNING, MEOW\n" in shown(sandbox))
        assert shown(sandbox).count("GOOD MORNING, MEOW") == 1

        # The log can say of what was posted from which prompt and seed it came.
        [chat] = [record for record in read_log(tmp_path) if record["ev"] == "chat"]
        assert chat["text"] == kim.heard_from("meowbot")[0]
        assert chat["prompt"].endswith("kim: what does the cat say?\nSam:")
        assert {"source", "channel", "nick", "seed"} <= chat.keys()
        await asyncio.gather(*(person.leave() for person in (kim, jo, lee)))
