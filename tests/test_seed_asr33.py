"""An evening of asr33: a model of Teletype manuals at the machine and in a chat room, as its author had it on camera.

His command printed nothing, his bot froze the chat while the model worked, and neither saw the other. Here his file of
manuals becomes the model, a person at the machine talks to it, and so does the room, while the operator comes first.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fakes_irc import ChatPerson, find_free_port, needs, running_irc_server
from fakes_sandbox import Sandbox, open_sandbox
from fakes_teletype import wait_until
from fakes_training import make_documents

from model.interface import END_OF_TEXT

SIZE = (
    *("--vocabulary", "400", "--context", "768", "--width", "32", "--layers", "1", "--heads", "2"),
    *("--batch", "1", "--threads", "1", "--copied", "0"),
)
SLOW_S = 120.0  # two busy cores train in this time too
MANUAL = """\
574-122-100TC — KEYBOARD

§ 1.01 The keyboard is at the front of the set. When a key is pressed the codebars move, and the distributor sends the
character at 110 baud. A return of the carriage takes up to 0.3 s at 20°.

1.02 The operator keeps the machine clean. Oil every felt washer once in 1,500 hours, and never the type wheel.
"""


def write_manuals(folder: Path) -> Path:
    """Writes a file as the author's `training.txt`: documents divided by a line with the end-of-text mark alone."""
    folder.mkdir()
    path = folder / "training.txt"
    path.write_text(f"{END_OF_TEXT}\n".join([MANUAL, *make_documents(3, sentences=80)]), "utf-8")
    return path


def read_records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def read_log(folder: Path, ev: str) -> list[dict[str, Any]]:
    [path] = folder.rglob("asr33/sessions/*.jsonl")
    return [record for record in read_records(path) if record["ev"] == ev]


async def run(sandbox: Sandbox, *words: str) -> str:
    code, message = await asyncio.to_thread(sandbox.run_command, *words, seconds=SLOW_S)
    assert code == 0, message
    return message


@needs("ngircd")
async def test_the_evening(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    port = find_free_port()
    with open_sandbox(tmp_path) as sandbox, running_irc_server("ngircd", tmp_path, port):
        sandbox.environ["ASR33_CORPORA"] = str(tmp_path / "corpora")
        sandbox.environ["ASR33_MODELS"] = str(tmp_path / "models")

        # The manuals become a corpus: four documents in mixed case, with their dashes and degrees.
        await run(sandbox, "corpus", "add", str(write_manuals(tmp_path / "gpt2")), "--name", "manuals")
        kept = read_records(tmp_path / "corpora/manuals/kept-1.jsonl")
        text = "\n".join(record["text"] for record in kept)
        assert "574-122-100TC — KEYBOARD" in text
        assert "takes up to 0.3 s at 20°." in text
        assert END_OF_TEXT not in text

        # The corpus becomes a model, in one command.
        await run(sandbox, "train", "manuals", "--name", "manuals", "--steps", "8", *SIZE)

        config = tmp_path / "evening.toml"
        config.write_text(
            f'[irc]\nserver = "127.0.0.1:{port}"\ntls = false\nnick = "asr33bot"\nchannels = ["#teletype"]\n'
            "length = 60\n[spool]\nidle_s = 0.2\n[answer]\nseed = 33\nlength = 60\nmax_tokens = 60\n"
        )
        hugh, ann = ChatPerson("hugh", "#teletype"), ChatPerson("ann", "#teletype")
        await asyncio.gather(hugh.connect(port), ann.connect(port))
        machine = await asyncio.to_thread(sandbox.start_machine, "--fast")
        await asyncio.to_thread(sandbox.start_daemon, "--fast", "--config", str(config), "--model", "embedded")
        await wait_until(lambda: any(b":asr33bot!" in line and b"JOIN" in line for line in hugh.lines), SLOW_S)

        def press(keys: str) -> None:
            assert machine.stdin is not None
            machine.stdin.write(keys.encode())
            machine.stdin.flush()

        async def type_line(line: str) -> str:
            """Types a line; returns what came to the paper until the machine was ready again."""
            before = len(sandbox.paper_text())
            press(f"{line}\n")
            await wait_until(lambda: sandbox.paper_text()[before:].endswith("\nREADY\n"), SLOW_S)
            return sandbox.paper_text()[before:].removeprefix(f"{line}\n").removesuffix("\nREADY\n")

        # At the machine, without another screen: the manuals answer from here on.
        assert await type_line(".MODEL") == "MODEL EMBEDDED; THERE ARE MANUALS\n"
        assert await type_line(".MODEL CHESS") == "NO MODEL CHESS HERE; THERE ARE EMBEDDED MANUALS\n"
        chosen = await type_line(".MODEL MANUALS")
        assert chosen.endswith("MANUALS GOES ON WITH YOUR TEXT, TEMPERATURE 0.7, SEED 33\n"), chosen
        first = await type_line("THE KEYBOARD IS")
        second = await type_line(".AGAIN")
        assert first.strip()
        assert first != second
        await type_line(".SEED 33")
        assert await type_line(".AGAIN") == first, "the same seed gives the same text"
        prompts = read_log(tmp_path, "prompt")
        assert [prompt["text"] for prompt in prompts] == ["The keyboard is"] * 3
        assert [prompt["seed"] for prompt in prompts] == [33, 34, 33]

        # The room comes to paper, and is answered by the same model while it goes on.
        ann.say("is that a real one?")
        await wait_until(lambda: hugh.heard_from("ann") == ["is that a real one?"], SLOW_S)  # before he answers it
        hugh.say("it is. 10 characters a second.")
        hugh.say("!gpt2 what does it weigh?")
        await wait_until(lambda: len(ann.heard_from("hugh")) == 2, SLOW_S)
        ann.say("look at it go")
        await wait_until(lambda: hugh.heard_from("asr33bot"), SLOW_S)
        await wait_until(lambda: "\nASR33BOT: " in sandbox.paper_text(), SLOW_S)
        await wait_until(lambda: "\nANN: LOOK AT IT GO\n" in sandbox.paper_text(), SLOW_S)
        assert "\nANN: IS THAT A REAL ONE?\nHUGH: IT IS. 10 CHARACTERS A SECOND.\n" in sandbox.paper_text()
        [chat] = read_log(tmp_path, "chat")
        assert chat["text"] == hugh.heard_from("asr33bot")[0] == ann.heard_from("asr33bot")[0]
        assert chat["prompt"].endswith("hugh: what does it weigh?\nasr33bot:")  # the cue whose turn it is, and no blank
        assert "ann: is that a real one?\nhugh: it is. 10 characters a second.\n" in chat["prompt"]

        # The operator begins a line: the bell rings, and nothing else is printed until it is done.
        await wait_until(lambda: sandbox.paper_text().endswith("\nREADY\n"), SLOW_S)
        press("THE ")
        await wait_until(lambda: sandbox.paper_text().endswith("THE "), SLOW_S)
        ann.say("!bell")
        hugh.say("hello operator")
        await wait_until(lambda: sandbox.paper_text().endswith("THE \a"), SLOW_S)
        press("TYPE WHEEL\n")
        await wait_until(lambda: "\nHUGH: HELLO OPERATOR\n" in sandbox.paper_text(), SLOW_S)
        assert "THE \aTYPE WHEEL\n" in sandbox.paper_text()
        assert read_log(tmp_path, "prompt")[-1]["text"].endswith("\nThe type wheel")

        # The evening is kept under a name.
        assert await type_line(".SAVE CAMERA") == "SAVED AS CAMERA.\n"
        await asyncio.gather(hugh.leave(), ann.leave())
