"""The commands about the conversation, as an operator without another screen uses them."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import PROSE, on_jumping_loop, run_jumping
from hypothesis import given
from hypothesis import strategies as st
from test_drivers_golden import GOLDEN, wire_as_text, wire_of

from daemon import commands
from daemon.config import Config, ModelConfig, WebConfig
from daemon.errors import DaemonError
from daemon.machine_address import MachineAddress
from daemon.saved_conversations import SavedConversation, SavedConversations, is_name
from model.dialogue import Speakers
from model.errors import ModelDamaged
from model.interface import Sampling, TextChunk


class SettingsModel(ScriptedModel):
    """Says with which seed and temperature it answers."""

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        self.words = split_words(f"seed {sampling.seed} at {sampling.temperature:g}.")
        async for chunk in super().stream(prompt, sampling):
            yield chunk


EVENING = """\
.BACK
.MORE
THE TELETYPE IS
.AGAIN
.MORE
.TEMP .9
.TEMP HOT
.SEED 33
IT PRINTS
.BACK
.SEED
.TEMP
.WHO
.SAVE ADA
.SAVE ../ADA
.NEW
.SAVE BOB
.WHO
.LOAD EVE
.LOAD
.LOAD ADA
AND
.TEAR
.MODEL
.AGAIN NOW
.AGIAN
"""


def test_an_evening_of_commands_is_the_wire_and_the_paper_that_a_person_can_read(tmp_path: Path) -> None:
    """`golden/commands.wire` and `golden/commands.paper` are this session, from the first READY on."""

    async def main() -> bytes:
        daemon = DaemonBench(tmp_path, SettingsModel([], context=400))
        await daemon.session.listening.wait()
        await daemon.tty.finish()
        start = len(daemon.bench.line.written)
        for line in EVENING.splitlines():
            await daemon.type(line)
        await daemon.session.listening.wait()
        await daemon.tty.finish()
        daemon.bench.assert_clean()
        daemon.running.cancel()
        return bytes(byte & 0x7F for byte in daemon.bench.line.written[start:])

    written = run_jumping(main())
    golden = (GOLDEN / "commands.wire").read_text("ascii")
    assert wire_as_text(written).splitlines() == wire_as_text(wire_of(golden)).splitlines()


@on_jumping_loop
async def test_again_answers_the_same_line_with_another_seed(tmp_path: Path) -> None:
    model = SettingsModel([], context=400)
    daemon = DaemonBench(tmp_path, model)
    await daemon.ask("FIRST")
    assert await daemon.ask("GO") == "SEED 8 AT 0.7.\n"
    prompt = model.last_prompt
    assert await daemon.ask(".AGAIN") == "SEED 9 AT 0.7.\n"
    assert model.last_prompt == prompt == "First seed 7 at 0.7.\nGo"
    await daemon.ask("ON")
    assert model.last_prompt == "First seed 7 at 0.7.\nGo seed 9 at 0.7.\nOn"
    daemon.running.cancel()


@on_jumping_loop
async def test_a_line_that_the_model_refused_is_answered_again(tmp_path: Path) -> None:
    model = ScriptedModel([" ok."], failure=ModelDamaged("the model is damaged"))
    daemon = DaemonBench(tmp_path, model)
    await daemon.ask("GO")
    model.failure = None
    assert await daemon.ask(".AGAIN") == "OK.\n"
    assert model.last_prompt == "Go"
    daemon.running.cancel()


@on_jumping_loop
async def test_back_takes_one_exchange_after_the_other(tmp_path: Path) -> None:
    model = ScriptedModel([" ok."])
    daemon = DaemonBench(tmp_path, model)
    for line in ("ONE", "TWO", "THREE"):
        await daemon.ask(line)
    assert await daemon.ask(".BACK") == "TAKEN BACK: THREE\n"
    assert await daemon.ask(".BACK") == "TAKEN BACK: TWO\n"
    await daemon.ask("FOUR")
    assert model.last_prompt == "One ok.\nFour"
    await daemon.ask(".BACK")
    await daemon.ask(".BACK")
    assert await daemon.ask(".BACK") == "NOTHING WAS SAID YET: TYPE A LINE FIRST.\n"
    await daemon.ask("FIVE")
    assert model.last_prompt == "Five"
    daemon.running.cancel()


@on_jumping_loop
async def test_the_settings_are_those_of_the_conversation(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, SettingsModel([], context=400))
    await daemon.ask(".TEMP 1,25")
    await daemon.ask(".SEED 9223372036854775806")
    assert await daemon.ask("GO") == "SEED 9223372036854775806 AT 1.25.\n"
    await daemon.ask(".NEW")
    assert await daemon.ask("GO") == "SEED 7 AT 0.7.\n"
    for wrong in ("-1", "101", "NAN", "1E3", ".", "0.1.2"):
        answer = await daemon.ask(f".TEMP {wrong}")
        assert answer == ".TEMP TAKES A NUMBER FROM 0 TO 100, SUCH AS .TEMP 0.7\n", wrong
    for wrong in ("-1", "1.5", "9223372036854775808", "SEED"):
        assert (await daemon.ask(f".SEED {wrong}")).startswith(".SEED TAKES A WHOLE NUMBER FROM 0 TO 2^63-1")
    assert await daemon.ask("GO") == "SEED 8 AT 0.7.\n"
    daemon.running.cancel()


@pytest.mark.parametrize("seed", range(30))
def test_after_a_break_the_model_goes_on_from_what_stands_on_the_paper(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        # A chunk of a server may have many words: most of the last one never comes to paper.
        chunks = [PROSE[start : start + 90] for start in range(0, len(PROSE), 90)]
        model = ScriptedModel(chunks if seed % 2 else split_words(PROSE), context=4000)
        daemon = DaemonBench(tmp_path, model)
        await daemon.type("LISTEN")
        await asyncio.sleep(rng.uniform(0.5, 20.0))
        daemon.bench.line.press_break()
        await daemon.session.listening.wait()
        await daemon.tty.finish()
        sheet = daemon.paper.split("LISTEN\n")[1].split("^C")[0]
        await daemon.type(".MORE")
        await asyncio.sleep(2.0)
        assert model.last_prompt.startswith("Listen")
        kept = model.last_prompt.removeprefix("Listen")
        assert "".join(kept.upper().split()) == "".join(sheet.split())
        daemon.running.cancel()

    run_jumping(main())


@on_jumping_loop
async def test_after_a_break_one_types_and_the_model_goes_on(tmp_path: Path) -> None:
    model = ScriptedModel(split_words(PROSE), context=4000)
    daemon = DaemonBench(tmp_path, model)
    await daemon.type("IT WAS")
    await asyncio.sleep(3.0)
    daemon.bench.line.press_break()
    await daemon.session.listening.wait()
    await daemon.tty.finish()
    struck = daemon.paper.split("IT WAS\n")[1].split("^C")[0]
    await daemon.type("NO, THE WORST")
    head, _, typed = model.last_prompt.partition("\n")
    assert "".join(head.upper().split()) == "ITWAS" + "".join(struck.split())
    assert typed == "No, the worst"
    daemon.running.cancel()


@on_jumping_loop
async def test_more_of_a_persona_is_its_next_message_or_the_rest_of_this_one(tmp_path: Path) -> None:
    model = ScriptedModel(split_words("a word that is long enough."), context=400)
    daemon = DaemonBench(tmp_path, model, speakers=Speakers("Ann", "You"), other_speakers=Speakers())
    await daemon.ask("HELLO")
    await daemon.ask(".MORE")
    said = "You: Hello\nAnn: a word that is long enough."
    assert model.last_prompt == f"{said}\nAnn:"
    await daemon.type(".MORE")
    await asyncio.sleep(0.7)
    daemon.bench.line.press_break()
    await daemon.ask(".MORE")
    assert model.last_prompt.startswith(f"{said}\nAnn: a word that is long enough.\nAnn: ")
    assert model.last_prompt.count("\n") == 3
    daemon.running.cancel()


@on_jumping_loop
async def test_a_private_time_is_not_answered_again_taken_back_or_saved(tmp_path: Path) -> None:
    model = ScriptedModel([" ok."])
    daemon = DaemonBench(tmp_path, model)
    await daemon.ask("FIRST")
    await daemon.ask(".PRIVATE")
    await daemon.ask("SECRET")
    assert await daemon.ask(".SAVE ADA") == "PRIVATE: NOTHING IS SAVED OR LOADED UNTIL .PUBLIC\n"
    await daemon.ask(".PUBLIC")
    assert await daemon.ask(".AGAIN") == commands_nothing()
    await daemon.ask("LAST")
    assert model.last_prompt == "First ok.\nLast"
    with pytest.raises(DaemonError, match="nothing is saved yet"):
        SavedConversations(tmp_path / "conversations").load("ada")
    daemon.running.cancel()


def commands_nothing() -> str:
    return "NOTHING WAS SAID YET: TYPE A LINE FIRST.\n"


@on_jumping_loop
async def test_a_conversation_is_kept_by_a_name_over_a_restart(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, ScriptedModel([" ok."]))
    await daemon.ask("ADA WAS HERE")
    await daemon.ask(".TEMP 1.5")
    assert await daemon.ask(".SAVE Ada-1843") == "SAVED AS ADA-1843.\n"
    await daemon.ask("ONCE MORE")
    assert await daemon.ask(".SAVE ADA-1843") == "SAVED AS ADA-1843.\n"
    daemon.running.cancel()
    [path] = (tmp_path / "conversations").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / "next").mkdir()
    (tmp_path / "next/conversations").symlink_to(tmp_path / "conversations")
    model = SettingsModel([], context=400)
    daemon = DaemonBench(tmp_path / "next", model)
    await daemon.ask("SOMETHING ELSE")
    taken = "-- ADA-1843 IS SAVED ALREADY: CHOOSE ANOTHER NAME --\n"
    assert await daemon.ask(".SAVE ADA-1843") == taken
    assert await daemon.ask(".LOAD ADA-1843") == "ADA-1843 ENDS: ADA WAS HERE OK. ONCE MORE OK.\n"
    assert await daemon.ask("AND") == "SEED 8 AT 1.5.\n"
    assert model.last_prompt == "Ada was here ok.\nOnce more ok.\nAnd"
    path.write_text('{"memory": 3}')
    assert await daemon.ask(".LOAD ADA-1843") == "-- ADA-1843 IS DAMAGED; SAVED: ADA-1843 --\n"
    await daemon.ask("SO")
    assert model.last_prompt.startswith("Ada was here")
    daemon.running.cancel()


@on_jumping_loop
async def test_a_conversation_with_a_persona_comes_back_in_its_mode(tmp_path: Path) -> None:
    ann = Speakers("Ann", "You")
    daemon = DaemonBench(tmp_path, ScriptedModel([" ok."]), speakers=ann, other_speakers=Speakers())
    await daemon.ask("HELLO")
    await daemon.ask(".SAVE ADA")
    await daemon.ask(".MODE")
    await daemon.ask(".LOAD ADA")
    assert daemon.session.turns.conversation.speakers == ann
    assert daemon.session.turns.conversation.memory == "You: Hello\nAnn: ok."
    daemon.running.cancel()
    other = DaemonBench(tmp_path, ScriptedModel([" ok."]))
    assert "ANN ANSWERED IN ADA, AND IS NOT HERE" in await other.ask(".LOAD ADA")
    other.running.cancel()


def test_a_full_disk_loses_no_saved_conversation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = SavedConversations(tmp_path / "kept")
    saved.save("ada", SavedConversation("first", "", 0.7), replaces=False)

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DaemonError, match="not saved: No space left on device"):
        saved.save("ada", SavedConversation("second", "", 0.7), replaces=True)
    monkeypatch.undo()
    assert saved.load("ADA").memory == "first"
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["ada.json"]


@given(st.text(max_size=30))
def test_a_name_is_a_part_of_a_path_and_nothing_else(name: str) -> None:
    if is_name(name):
        assert Path(name).name == name == name.strip()
        assert name.isascii()
        assert not name.startswith(".")
    else:
        with pytest.raises(DaemonError, match="a name has up to 20 letters"):
            SavedConversations(Path("/nowhere")).load(name)


def test_a_user_without_a_home_is_told() -> None:
    with pytest.raises(DaemonError, match="set STATE_DIRECTORY"):
        SavedConversations().save("ada", SavedConversation("", "", 0.7), replaces=False)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (Config(), "10.0.0.7"),
        (Config(web=WebConfig(listen="8034")), "10.0.0.7, page http://127.0.0.1:8034/ on this computer only"),
        (Config(web=WebConfig(listen="0.0.0.0:80")), "10.0.0.7, page http://10.0.0.7:80/"),
        (Config(web=WebConfig(listen="[::1]:80")), "10.0.0.7, page http://::1:80/ on this computer only"),
        (Config(model=ModelConfig(name="http://far:8033")), "10.0.0.7, server http://far:8033"),
    ],
)
def test_the_address_names_the_page_and_the_server(config: Config, line: str) -> None:
    address = MachineAddress(config, lambda: "10.0.0.7")
    assert address.describe().partition(" ")[2] == line
    assert MachineAddress(config, lambda: "").describe().partition(" ")[2].startswith("without a network")


def test_the_address_is_news_when_it_changes_and_when_there_is_one() -> None:
    now = [""]
    address = MachineAddress(Config(), lambda: now[0])
    assert address.find_change("") == ""
    now[0] = "10.0.0.7"
    first = address.find_change("")
    assert first.endswith(" 10.0.0.7")
    assert address.find_change(first) == ""
    now[0] = ""
    assert address.find_change(first) == ""
    now[0] = "10.0.0.8"
    assert address.find_change(first).endswith(" 10.0.0.8")


def test_every_command_says_what_it_does_within_the_margin() -> None:
    assert max(map(len, commands.HELP_TEXT.splitlines())) <= 72
    for name in (".MODEL", ".TEMP", ".SEED", ".AGAIN", ".MORE", ".BACK", ".WHO", ".SAVE", ".LOAD", ".TEAR", ".WHERE"):
        assert f"\n{name}" in commands.HELP_TEXT
    assert max(map(len, commands.format_unknown_command(".AGIAN").splitlines())) <= 72
