"""A conversation with a persona: its prompts, the end of its answers, and the known speakers."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_model import ScriptedSession, tiny_folder
from fakes_teletype import run_jumping
from hypothesis import given
from hypothesis import strategies as st

from daemon import config
from daemon.conversation import Conversation
from daemon.errors import ConfigError
from daemon.model_factory import load_conversation
from model.dialogue import MACHINE_PERSONA, Speakers, SpeakerTagFilter
from model.generate.generate import generate
from model.interface import Sampling, TextChunk
from model.store import store
from tools import demo, run

ANN = Speakers("Ann", "You", ("Ann", "Bob Stone"))


@dataclass
class RecordingModel(ScriptedModel):
    """Records the stop sequences."""

    stop: tuple[str, ...] = ()

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        self.stop = sampling.stop
        async for piece in super().stream(prompt, sampling):
            yield piece


def test_a_typed_line_is_a_message_to_the_persona_and_its_answer_is_remembered(tmp_path: Path) -> None:
    async def main() -> None:
        model = RecordingModel(split_words("so am I."))
        daemon = DaemonBench(tmp_path, model, speakers=ANN)
        await daemon.type("I AM LATE")
        assert model.last_prompt == "You: I am late\nAnn:"
        assert model.stop == ("\nYou:", "\nBob Stone:")
        await daemon.type("WHY")
        assert model.last_prompt == "You: I am late\nAnn: so am I.\nYou: Why\nAnn:"
        assert not any(
            "\nAnn:" in prompt[-5:] for _, prompt in model.prefills
        )  # the tag is added when the line is complete
        assert any(prompt.endswith("You: I am") for _, prompt in model.prefills)
        await daemon.session.listening.wait()
        assert "SO AM I." in daemon.paper
        assert "YOU:" not in daemon.paper
        daemon.running.cancel()

    run_jumping(main())


def test_an_answer_ends_before_another_speakers_tag() -> None:
    script = ScriptedSession(" Fine.\n  Really.\nBob Stone: No.\nYou: Oh.\n")
    steps = list(generate(script, [script.end_of_text], Sampling(stop=ANN.stop_sequences, temperature=0), script))
    assert "".join(step.text for step in steps) == " Fine.\n  Really."
    assert steps[-1].finish_reason == "stop"


@pytest.mark.parametrize("cut", range(1, 9))
def test_the_personas_tags_are_not_printed(cut: int) -> None:
    text = " Fine.\n  Really.\nAnn: Anne: a\nAnnette came.\nAnn: Good\nAn"
    answer = SpeakerTagFilter(ANN.persona_tag)
    pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
    paper = "".join(map(answer.feed, pieces)) + answer.flush()
    assert paper == "Fine.\n  Really.\nAnne: a\nAnnette came.\nGood\nAn"
    silent = SpeakerTagFilter(ANN.persona_tag)
    assert silent.feed(" \nAnn:") + silent.feed(" Well\nAnn:") + silent.flush() == "Well\n"


@given(st.text("\nAn: x"), st.lists(st.integers(0, 40)))
def test_the_paper_does_not_depend_on_how_an_answer_is_chunked(text: str, cuts: list[int]) -> None:
    whole, pieces = SpeakerTagFilter(ANN.persona_tag), SpeakerTagFilter(ANN.persona_tag)
    places = [0, *sorted(cuts), len(text) + 40]
    parts = [text[start:end] for start, end in pairwise(places)]
    assert "".join(map(pieces.feed, parts)) + pieces.flush() == whole.feed(text) + whole.flush()
    bare = SpeakerTagFilter()
    assert bare.feed(text) + bare.flush() == text.lstrip()


def test_several_messages_of_the_persona_are_remembered_with_their_tags(tmp_path: Path) -> None:
    async def main() -> None:
        model = RecordingModel([" so", " am I.", "\n", "Ann", ":", " Really."])
        daemon = DaemonBench(tmp_path, model, speakers=ANN)
        await daemon.type("I AM LATE")
        await daemon.type("WHY")
        assert model.last_prompt == "You: I am late\nAnn: so am I.\nAnn: Really.\nYou: Why\nAnn:"
        await daemon.session.listening.wait()
        assert "SO AM I.\nREALLY." in daemon.paper
        assert "ANN:" not in daemon.paper
        daemon.running.cancel()

    run_jumping(main())


def load_toml(tmp_path: Path, toml: str) -> config.Config:
    (named := tmp_path / "config.toml").write_text(toml, "utf-8")
    return config.load_config({}, {}, named, system_folder=tmp_path)


def speakers_of(tmp_path: Path, toml: str) -> Speakers:
    config = load_toml(tmp_path, toml)
    return load_conversation(config).speakers


def model_of(tmp_path: Path, **training: object) -> str:
    """Returns the start of a configuration whose model has this in its manifest."""
    folder = tiny_folder(tmp_path)
    manifest = json.loads((folder / store.MANIFEST_FILE).read_text("utf-8"))
    manifest["training"] |= training
    (folder / store.MANIFEST_FILE).write_text(json.dumps(manifest), "utf-8")
    return f'[model]\nname = "{folder}"\n[conversation]\n'


def test_the_persona_must_be_in_the_models_manifest(tmp_path: Path) -> None:
    model = model_of(tmp_path, personas={"Ann": 9, "Bob Stone": 2})
    assert speakers_of(tmp_path, f'{model}persona = "ANN"\nyou = "you"\n') == replace(ANN, you="you")
    assert speakers_of(tmp_path, f'{model}persona = "ANN"\n').stop_sequences == ("\nBob Stone:",)
    assert speakers_of(tmp_path, f'{model}persona = "bob stone"\n').you == "Ann"
    assert speakers_of(tmp_path, model) == Speakers()
    with pytest.raises(ConfigError, match="did you mean 'Bob Stone'"):
        speakers_of(tmp_path, f'{model}persona = "BOB STONES"\n')
    assert speakers_of(tmp_path, '[model]\nname = "gone"\n[conversation]\npersona = "Zoe"\n') == Speakers("Zoe")


def test_the_model_names_the_persona_that_answers_unless_another_is_configured(tmp_path: Path) -> None:
    known = ("Bob Stone", "Ann")
    model = model_of(tmp_path, personas={"Bob Stone": 9, "Ann": 2}, persona="Ann")
    assert speakers_of(tmp_path, model) == Speakers("Ann", "Bob Stone", known)
    assert speakers_of(tmp_path, f'{model}you = "Cleo"') == Speakers("Ann", "Cleo", known)
    assert speakers_of(tmp_path, f'{model}persona = "bob stone"') == Speakers("Bob Stone", "Ann", known)
    assert speakers_of(tmp_path, f'{model}persona = ""') == Speakers()

    toml = tmp_path / "config.toml"
    toml.write_text(f'{model}persona = "Ann"\nyou = "Ann"\n', "utf-8")

    def by_flags(*words: str, command: ModuleType = run, **environ: str) -> Speakers:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            config = run.config_from_arguments(parser.parse_args(["--config", str(toml), *words]))
            return load_conversation(config).speakers

    assert by_flags("--persona", "BOB STONE", "--you", "Cleo") == Speakers("Bob Stone", "Cleo", known)
    assert by_flags("--persona", "") == Speakers(you="Ann")
    assert by_flags("--you", "cleo", command=demo) == Speakers("Ann", "cleo", known)
    assert by_flags(ASR33_CONVERSATION_PERSONA="bob stone").persona == "Bob Stone"
    assert by_flags(ASR33_CONVERSATION_PERSONA="").persona == ""


@pytest.mark.parametrize("training", [{"persona": "Ann"}, {"personas": ["Ann"], "persona": "Ann"}])
@pytest.mark.parametrize("persona", ["Zoe", 3, None, ["Ann"], {"Ann": 1}, ""])
def test_a_manifest_with_an_impossible_persona_has_none(
    tmp_path: Path, training: dict[str, object], persona: object
) -> None:
    assert speakers_of(tmp_path, model_of(tmp_path, **training)) == Speakers()
    (tmp_path / "other").mkdir()
    model = model_of(tmp_path / "other", personas={"Ann": 1, "Bob": 2}, persona=persona)
    assert speakers_of(tmp_path, model) == Speakers()


def test_each_model_has_two_modes_and_a_model_of_the_hub_plays_the_machine_by_a_cue(tmp_path: Path) -> None:
    def modes(name: str, setting: str = "", **training: object) -> tuple[Speakers, Speakers]:
        (tmp_path / name).mkdir()
        model = model_of(tmp_path / name, **training)
        config = load_toml(tmp_path, model + setting)
        conversation = load_conversation(config)
        return conversation.speakers, conversation.other_speakers

    known = {"Bob": 9, "Ann": 2}
    assert modes("trained", personas=known, persona="Ann") == (Speakers("Ann", "Bob", ("Bob", "Ann")), Speakers())
    assert modes("all", personas=known) == (Speakers(), Speakers("Bob", "Ann", ("Bob", "Ann")))
    assert modes("plain") == (Speakers(), MACHINE_PERSONA)
    assert modes("hub", repository="openai-community/gpt2") == (MACHINE_PERSONA, Speakers())
    in_person = modes("you", 'you = "Ada"', repository="openai-community/gpt2")[0]
    assert (in_person.you, in_person.persona) == ("Ada", "Teletype")
    assert "\nAda: Good morning!\n" in in_person.cue
    assert "You:" not in in_person.cue
    assert modes("off", 'persona = ""', repository="gpt2") == (Speakers(), MACHINE_PERSONA)
    assert modes("own", 'cue = "Be brief."', repository="gpt2")[0] == replace(MACHINE_PERSONA, cue="Be brief.")
    assert modes("zoe", 'persona = "Zoe"\ncue = "Zoe sings."') == (Speakers("Zoe", cue="Zoe sings."), Speakers())


def test_mode_changes_between_a_persona_and_the_typed_text(tmp_path: Path) -> None:
    cued = Speakers("Ann", cue="Ann is kind.")

    async def main() -> None:
        model = RecordingModel(split_words("so am I."))
        daemon = DaemonBench(tmp_path, model, speakers=cued, other_speakers=Speakers())
        await daemon.type("I AM LATE")
        assert model.last_prompt == "Ann is kind.\nYou: I am late\nAnn:"
        await daemon.type("WHY")
        assert model.last_prompt == "Ann is kind.\nYou: I am late\nAnn: so am I.\nYou: Why\nAnn:"
        await daemon.type(".MODE")
        await daemon.type("ONCE UPON")
        assert model.last_prompt == "Once upon"
        assert model.stop == ()
        await daemon.type(".MODE")
        await daemon.type("HELLO")
        assert model.last_prompt == "Ann is kind.\nYou: Hello\nAnn:"
        assert "THE MACHINE GOES ON WITH YOUR TEXT." in daemon.paper
        assert "ANN ANSWERS YOU." in daemon.paper
        assert "KIND" not in daemon.paper
        daemon.running.cancel()

    run_jumping(main())


@given(st.lists(st.text(alphabet="AB .", min_size=1, max_size=30), max_size=6), st.integers(20, 80))
def test_the_cue_stays_however_long_the_conversation_grows(lines: list[str], limit: int) -> None:
    talk = Conversation("", Speakers("Ann", cue="Cue."))
    for line in lines:
        pending = replace(talk)
        pending.drop_oldest_lines(line, len, limit, limit // 2)
        prompt = pending.build_prompt(line)
        assert prompt.startswith("Cue.\n")
        assert prompt.endswith("\nAnn:")
        talk = pending
        talk.add_answer(prompt, " yes.")
        assert "Cue" not in talk.memory
