"""Two personas talk on the paper, and the operator says a line between two turns."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import on_jumping_loop
from hypothesis import given
from hypothesis import strategies as st

from daemon.config import HallConfig
from daemon.duologue import Duologue, DuologueRequest, choose_operator_name, parse_duologue
from daemon.duologue_commands import ASK_FOR_LINE, MAX_EMPTY_TURNS, TALK_ENDED
from daemon.privacy import Privacy
from model.dialogue import Speakers
from model.errors import ModelDamaged
from model.interface import Sampling, TextChunk

KNOWN = Speakers("Ann", "You", ("Ann", "Bob", "Mary Jane"))
WORDS = ["the", "paper", "moves", "and", "a", "bell", "rings", "while", "it", "turns", "again", "at", "noon"]


class TalkModel(ScriptedModel):
    """Says a sentence that follows from the prompt and the seed, and would go on in the other's person."""

    lengths: list[int | None]

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        self.lengths = [*getattr(self, "lengths", []), sampling.length]
        rng = random.Random(f"{prompt} {sampling.seed}")
        assert sampling.stop == ("\n",)
        self.words = split_words(" ".join(rng.choices(WORDS, k=6)) + ".")
        async for chunk in super().stream(prompt, sampling):
            yield chunk


def spoken(paper: str) -> list[str]:
    return re.findall(r"^([A-Z ]+): \S.*\.$", paper, re.MULTILINE)


@pytest.mark.parametrize(
    ("argument", "request_"),
    [
        ("ANN BOB", DuologueRequest(("Ann", "Bob"))),
        ("BOB, MARY JANE 12", DuologueRequest(("Bob", "Mary Jane"), 12)),
        ("MARY JANE AND ADA", DuologueRequest(("Mary Jane", "Ada"))),
        ("EVE ADAM 4 WHO ATE IT?", DuologueRequest(("Eve", "Adam"), 4, "WHO ATE IT?")),
        ("EVE ADAM BOB: HERE I AM.", DuologueRequest(("Eve", "Adam"), 0, "BOB: HERE I AM.")),
        ("JEAN-LUC ANNABEL", DuologueRequest(("Jean-Luc", "Annabel"))),
    ],
)
def test_a_talk_has_two_names_and_perhaps_turns_and_a_first_line(argument: str, request_: DuologueRequest) -> None:
    assert parse_duologue(argument, KNOWN.others) == request_


@pytest.mark.parametrize("argument", ["ANN", "ANN ANN", "ANN BOB 0", "ANN BOB 999", "?? !!", "A:B C", "X" * 21 + " B"])
def test_a_wrong_talk_names_the_cure(argument: str) -> None:
    with pytest.raises(ValueError, match=r"SUCH AS \.TALK ANN BOB"):
        parse_duologue(argument, KNOWN.others)


@given(st.text(max_size=60))
def test_any_argument_is_a_talk_or_an_error_with_a_cure(argument: str) -> None:
    try:
        names = parse_duologue(argument, KNOWN.others).names
    except ValueError:
        return
    assert all(re.fullmatch(r"[\w.' -]{1,20}", name) for name in names)


@given(
    st.lists(st.one_of(st.none(), st.sampled_from(["HELLO", "ANN: HI", "BOB:YES\nNO", ": ?", "YOU: ME"])), max_size=8)
)
def test_what_was_said_can_be_taken_back_line_by_line(steps: list[str | None]) -> None:
    talk, states = Duologue(("Ann", "Bob")), [("", 0)]
    for step in steps:
        if step is None:
            conversation = talk.begin_turn()
            prompt = conversation.build_prompt("")
            assert prompt.endswith(f"{talk.names[talk.next_speaker]}:")
            conversation.add_answer(prompt, " I see.")
            assert talk.end_turn(conversation.memory)
        else:
            talk.say(step)
        states.append((talk.memory, talk.next_speaker))
    while (memory_before := states.pop()) and talk.past:
        assert (talk.memory, talk.next_speaker) == memory_before
        talk.take_back()
    assert (talk.memory, talk.next_speaker) == ("", 0)


def test_the_operator_has_a_name_of_his_own() -> None:
    assert choose_operator_name("Bob", ("Ann", "bob")) == "You"
    assert choose_operator_name("You", ("You", "visitor")) == "Operator"


@on_jumping_loop
async def test_two_personas_talk_in_turn_and_the_log_has_who_spoke_with_which_seed(tmp_path: Path) -> None:
    model = TalkModel([])
    daemon = DaemonBench(tmp_path, model, speakers=KNOWN)
    paper = await daemon.ask(".TALK ann BOB")
    assert spoken(paper) == ["ANN", "BOB"] * 3
    assert "  " not in paper
    records = daemon.log_records("prompt")
    assert [record["speaker"] for record in records] == ["Ann", "Bob"] * 3
    assert [record["seed"] for record in records] == list(range(7, 13))
    texts = [str(record["text"]) for record in records]
    assert texts[0] == "Ann:"
    assert texts[5].startswith(texts[4])
    assert texts[5].endswith("\nBob:")
    assert texts[5].count("\n") == 5
    assert model.lengths == [200] * 6
    daemon.bench.assert_clean()
    daemon.running.cancel()


@pytest.mark.parametrize("known", [KNOWN, Speakers()])
@on_jumping_loop
async def test_the_same_seed_gives_the_same_talk(tmp_path: Path, known: Speakers) -> None:
    papers = []
    for folder, seed in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        model = TalkModel([])
        daemon = DaemonBench(tmp_path / folder, model, seed, other_speakers=known)
        await daemon.ask(".SEED 33")
        papers.append(await daemon.ask(".TALK ANN BOB 4 WHO IS THERE?"))
        assert ("talk with each other" in model.last_prompt) == (not known.others)
        assert "\nAnn: Who is there?\nBob: " in f"\n{model.last_prompt}"
        daemon.running.cancel()
    assert papers[0] == papers[1]
    assert spoken(papers[0]) == ["BOB", "ANN"] * 2


@on_jumping_loop
async def test_break_lets_the_operator_say_a_line_as_himself_or_as_a_speaker(tmp_path: Path) -> None:
    model = TalkModel([])
    daemon = DaemonBench(tmp_path, model, speakers=KNOWN)
    await daemon.type(".TALK ANN BOB 4")
    await asyncio.sleep(1.5)
    daemon.line.press_break()
    await daemon.session.listening.wait()
    assert daemon.paper.endswith(f"^C\n{ASK_FOR_LINE}\nREADY\n")
    struck = daemon.paper.rpartition("ANN: ")[2].partition("^C")[0]
    assert await daemon.ask(".SEED") == "SEED 8 IS NEXT; .SEED 33 SETS ANOTHER.\n"  # a command ends no talk
    await daemon.type("WHO ARE YOU?")
    await daemon.session.listening.wait()
    first = str(daemon.log_records("prompt")[1]["text"])
    assert first.upper() == f"ANN: {struck.strip()}\nYOU: WHO ARE YOU?\nBOB:"
    assert [record["speaker"] for record in daemon.log_records("prompt")] == ["Ann", "Bob", "Ann", "Bob"]
    await daemon.type(".MORE")
    await asyncio.sleep(2.0)
    daemon.line.press_break()
    await daemon.type("bob: NO.")
    await daemon.session.listening.wait()
    prompts = [str(record["text"]) for record in daemon.log_records("prompt")]
    assert prompts[5].endswith("\nBob: No.\nAnn:")
    assert [record["speaker"] for record in daemon.log_records("said")] == ["You", "Bob"]
    daemon.running.cancel()


@pytest.mark.parametrize("end", ["break", "", ".TALK"])
@on_jumping_loop
async def test_a_second_break_or_an_empty_line_or_talk_alone_ends_the_talk(tmp_path: Path, end: str) -> None:
    model = TalkModel([])
    daemon = DaemonBench(tmp_path, model, speakers=KNOWN)
    await daemon.type(".TALK ANN BOB")
    await asyncio.sleep(1.0)
    daemon.line.press_break()
    await daemon.session.listening.wait()
    if end == "break":
        daemon.line.press_break()
        await asyncio.sleep(8.0)
    else:
        await daemon.ask(end)
    assert daemon.paper.endswith(f"{TALK_ENDED}\nREADY\n")
    names = "THE MODEL KNOWS ANN, BOB, MARY JANE. .TALK ANN BOB LETS TWO SPEAKERS TALK."
    assert " ".join((await daemon.ask(".TALK")).split()) == names
    daemon.running.cancel()


@on_jumping_loop
async def test_again_back_and_more_are_about_the_talk_until_something_else_is_said(tmp_path: Path) -> None:
    model = TalkModel([])
    daemon = DaemonBench(tmp_path, model, speakers=Speakers("Teletype", "You", ends_with_line=True))
    await daemon.ask("GOOD MORNING")
    await daemon.ask(".TALK ANN BOB 2")
    before = model.last_prompt
    assert spoken(await daemon.ask(".AGAIN")) == ["BOB"]
    assert model.last_prompt == before
    assert (await daemon.ask(".BACK")).startswith("TAKEN BACK: BOB: ")
    assert spoken(await daemon.ask(".MORE")) == ["BOB"]
    assert model.last_prompt == before
    assert spoken(await daemon.ask(".MORE")) == ["ANN", "BOB"] * 3
    await daemon.ask("GOOD EVENING")
    assert model.last_prompt.startswith("You: Good morning\nTeletype: ")
    assert model.last_prompt.endswith("\nYou: Good evening\nTeletype:")
    assert (await daemon.ask(".BACK")) == "TAKEN BACK: GOOD EVENING\n"
    daemon.running.cancel()


@on_jumping_loop
async def test_in_a_public_place_a_talk_is_forgotten_and_no_longer_than_usual(tmp_path: Path) -> None:
    model = TalkModel([])
    daemon = DaemonBench(tmp_path, model, hall=HallConfig(forget_after=60.0), keeps_input=False)
    assert await daemon.ask(".TALK MUM DAD 60") == "THIS IS A PUBLIC PLACE: A TALK HAS UP TO 6 TURNS.\n"
    await daemon.type(".TALK MUM DAD")
    await asyncio.sleep(4.0)
    daemon.line.press_break()
    await asyncio.sleep(70.0)
    assert "FORGOTTEN" in daemon.paper
    assert await daemon.ask(".MORE") == await daemon.ask(".AGAIN") == "NOTHING WAS SAID YET: TYPE A LINE FIRST.\n"
    assert not re.search("mum|dad", daemon.log.path.read_text(), re.IGNORECASE)
    daemon.running.cancel()


@on_jumping_loop
async def test_a_private_talk_is_forgotten_with_the_private_time(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, TalkModel([]), privacy=Privacy(tmp_path / "state"), speakers=KNOWN)
    await daemon.ask(".PRIVATE")
    await daemon.ask(".TALK ANN BOB 2")
    await daemon.ask(".PUBLIC")
    assert await daemon.ask(".MORE") == "NOTHING WAS SAID YET: TYPE A LINE FIRST.\n"
    daemon.running.cancel()


@on_jumping_loop
async def test_a_speaker_without_words_and_a_model_that_fails_end_the_talk(tmp_path: Path) -> None:
    model = ScriptedModel([" ", " "])
    daemon = DaemonBench(tmp_path, model, speakers=KNOWN)
    assert await daemon.ask(".TALK ANN BOB") == "ANN:\n-- ANN HAS NOTHING TO SAY --\n"
    assert model.prompts == MAX_EMPTY_TURNS
    model.failure = ModelDamaged("it is broken")
    assert "BROKEN" in await daemon.ask(".TALK ANN BOB")
    assert model.prompts == MAX_EMPTY_TURNS + 1
    daemon.running.cancel()
