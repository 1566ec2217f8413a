"""An evening of RoboTrump: an archive of tweets becomes a model, and the model answers the mentions of an account.

Its author asked for mentions of a fixed form, a help text, and answers cut to whole sentences. A restart answered all
again, and the bot printed its keys. Here each mention is answered once, on paper too, and no log has a secret.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from fakes_mention_servers import TOKEN, FakeMastodon, running_network
from fakes_sandbox import ROOT, Sandbox, open_sandbox
from fakes_teletype import wait_until
from fakes_training import SIZE

DIRT = """\
RT @rally: Great crowd tonight!
"Big news coming soon https://t.co/abc123 and it is good!"
Thank you &amp; good night.https://t.co/xyz
@friend: so true
The dishonest news is at it again. Sad!
The dishonest news is at it again. Sad!
"""
BOASTS = "".join(f"We will win number {number}. It is going to be great! Nobody wins more.\n" for number in range(90))


def written_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "token")


def run_and_read(sandbox: Sandbox, *words: str) -> str:
    """Runs a command; returns its standard output."""
    process = subprocess.run(
        [*sandbox.program, *words], cwd=ROOT, env=sandbox.environ, capture_output=True, timeout=120, check=True
    )
    return process.stdout.decode()


@pytest.mark.train
async def test_the_evening(tmp_path: Path) -> None:
    server = FakeMastodon()
    async with running_network(server):
        with open_sandbox(tmp_path) as sandbox:
            sandbox.environ |= {"ASR33_CORPORA": str(tmp_path / "corpora"), "ASR33_MODELS": str(tmp_path / "models")}

            # The archive's list of tweets becomes a corpus: no retweet, no link, no entity, nothing twice.
            (tmp_path / "tweet_text.csv").write_text(DIRT + BOASTS)
            words = ("corpus", "add", str(tmp_path / "tweet_text.csv"), "--name", "boasts")
            code, message = await asyncio.to_thread(sandbox.run_command, *words)
            assert code == 0, message
            kept = (tmp_path / "corpora/boasts/kept-1.jsonl").read_text().splitlines()
            texts = [json.loads(line)["text"] for line in kept]
            assert texts[:3] == [
                "Big news coming soon and it is good!",
                "Thank you & good night.",
                "The dishonest news is at it again. Sad!",
            ]
            assert len(texts) == 93

            # The corpus becomes a small model.
            words = ("train", "boasts", "--name", "robo", "--steps", "40", "--hold-out", "0%", *SIZE)
            trained = await asyncio.to_thread(sandbox.start, *words)
            _, errors = await asyncio.to_thread(trained.communicate, None, 180)
            assert trained.returncode == 0, errors.decode()

            # The account answers with it, and goes on with the mention, as the seed did.
            (tmp_path / "token").write_text(TOKEN)
            config = tmp_path / "evening.toml"
            config.write_text(
                f'[mentions]\nmastodon = "{server.url}"\nmastodon_token_file = "{tmp_path / "token"}"\n'
                'poll_s = 1\npersona = ""\nlength = 120\n'
                '[model]\nname = "robo"\n[spool]\nidle_s = 0.2\n[answer]\nseed = 7\n'
            )
            state = tmp_path / "asr33/mentions-mastodon.json"
            server.ask("early", "said before the first run")
            machine = await asyncio.to_thread(sandbox.start_machine, "--fast")
            start = ("run", "--line", str(sandbox.link), "--fast", "--config", str(config))
            daemon = sandbox.start(*start)
            await wait_until(lambda: state.exists() and '"last_id": null' not in state.read_text(), 90.0)

            # A friend asks for help, one writes about it, and one asks.
            server.ask("kim", "help")
            server.mention("lee", "<p>Have you seen @robo? Sad!</p>")
            server.mention("lee", "<p>Really, @robo!</p>")
            asked = server.ask("jo@far.example", "what about the wall?", visibility="unlisted")
            await wait_until(lambda: asked in server.answered(), 90.0)
            said = {text.split()[0]: text for text, _ in server.posts}
            assert sorted(said) == ["@jo@far.example", "@kim", "@lee"]
            assert "Begin a message with my name, robo" in said["@kim"]
            assert "did not understand" in said["@lee"]
            assert len(said["@jo@far.example"]) <= 500
            await wait_until(lambda: ": WHAT ABOUT THE WALL?\n" in sandbox.paper_text(), 60.0)
            await wait_until(lambda: sandbox.paper_text().count("TELETYPE: ") == 3, 60.0)

            # The operator comes first: what is asked meanwhile is answered after the line.
            assert machine.stdin is not None
            machine.stdin.write(b"HOW ")
            machine.stdin.flush()
            await wait_until(lambda: sandbox.paper_text().endswith("HOW "), 30.0)
            late = server.ask("ann", "and the moon?")
            await wait_until(lambda: "and the moon?" in state.read_text(), 30.0)
            await asyncio.sleep(1.0)
            assert late not in server.answered()
            machine.stdin.write(b"ARE YOU\n")
            machine.stdin.flush()
            await wait_until(lambda: late in server.answered(), 90.0)
            assert "HOW ARE YOU\n" in sandbox.paper_text()

            # A restart answers nothing again, and what came meanwhile once.
            await wait_until(lambda: not json.loads(state.read_text())["pending"], 30.0)
            daemon.terminate()
            _, first_log = await asyncio.to_thread(daemon.communicate)
            count = len(server.posts)
            asleep = server.ask("kim", "are you there?")
            shown = await asyncio.to_thread(run_and_read, sandbox, "mentions", "--dry-run", "--config", str(config))
            assert shown.startswith("mastodon: kim (public): are you there?\n  answer: ")
            assert shown.count("\n") == 2
            assert asleep not in server.answered()
            daemon = sandbox.start(*start)
            await wait_until(lambda: asleep in server.answered(), 90.0)
            await wait_until(lambda: not json.loads(state.read_text())["pending"], 30.0)
            daemon.terminate()
            _, second_log = await asyncio.to_thread(daemon.communicate)
            assert len(server.posts) == count + 1
            shown = await asyncio.to_thread(run_and_read, sandbox, "mentions", "--config", str(config))
            assert shown == "mastodon: @robo@m.example, 500 characters a post, 5 posts, 0 due, 0 left out\n"
            assert len(set(server.answered())) == len(server.answered())

            # The log can say of each answer from which prompt and seed it came; nothing has the token.
            logs = sorted((tmp_path / "asr33/sessions").glob("*.jsonl"))
            records = [json.loads(line) for path in logs for line in path.read_text().splitlines()]
            chats = [record for record in records if record["ev"] == "chat"]
            assert [chat["nick"] for chat in chats] == ["jo@far.example", "ann", "kim"]
            assert chats[0]["prompt"] == "what about the wall?"
            code = chats[0]["code"]
            assert said["@jo@far.example"].endswith(f"{chats[0]['text']} [parody {code}]")
            assert f"TELETYPE: {chats[0]['text'].upper()[:8]}" in sandbox.paper_text()
            receipt = await asyncio.to_thread(run_and_read, sandbox, "log", "show", code)
            assert f"code       {code}\n" in receipt
            assert f"seed       {chats[0]['seed']}\n" in receipt
            assert "Prompt:\nwhat about the wall?\n" in receipt
            assert TOKEN.encode() not in first_log + second_log + written_files(tmp_path)
