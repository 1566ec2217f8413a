"""A conversation with a persona: the prompt it gives, where its answers end, and who there is to talk to."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from fakes import run_jumping
from fakes_daemon import Daemon, ScriptedModel, words_of
from fakes_model import ScriptedSession, tiny_folder
from hypothesis import given
from hypothesis import strategies as st

from daemon import config
from daemon.build import load_speakers
from daemon.errors import ConfigError
from daemon.speakers import Speakers, SpeakerTagFilter
from model.generate.generate import generate
from model.interface import Sampling, TextChunk
from model.store import store

ANN = Speakers("Ann", "You", ("Ann", "Bob Stone"))


@dataclass
class Asked(ScriptedModel):
    """Knows where it was to stop."""

    stop: tuple[str, ...] = ()

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        self.stop = sampling.stop
        async for piece in super().stream(prompt, sampling):
            yield piece


def test_what_is_typed_is_said_to_the_persona_and_her_answer_is_remembered(tmp_path: Path) -> None:
    async def main() -> None:
        model = Asked(words_of("so am I."))
        daemon = Daemon(tmp_path, model, cast=ANN)
        await daemon.type("I AM LATE")
        assert model.last_prompt == "You: I am late\nAnn:"
        assert model.stop == ("\nYou:", "\nBob Stone:")
        await daemon.type("WHY")
        assert model.last_prompt == "You: I am late\nAnn: so am I.\nYou: Why\nAnn:"
        assert not any("\nAnn:" in prompt[-5:] for _, prompt in model.heard)  # the cue comes when the line is whole
        assert any(prompt.endswith("You: I am") for _, prompt in model.heard)
        await daemon.app.listening.wait()
        assert "SO AM I." in daemon.paper
        assert "YOU:" not in daemon.paper
        daemon.running.cancel()

    run_jumping(main())


def test_an_answer_ends_where_another_begins_to_speak() -> None:
    script = ScriptedSession(" Fine.\n  Really.\nBob Stone: No.\nYou: Oh.\n")
    steps = list(generate(script, [script.end_of_text], Sampling(stop=ANN.stop_sequences, temperature=0), script))
    assert "".join(step.text for step in steps) == " Fine.\n  Really."
    assert steps[-1].finish_reason == "stop"


@pytest.mark.parametrize("cut", range(1, 9))
def test_on_paper_no_message_of_hers_has_a_tag(cut: int) -> None:
    said = " Fine.\n  Really.\nAnn: Anne: a\nAnnette came.\nAnn: Good\nAn"
    answer = SpeakerTagFilter(ANN.persona_tag)
    pieces = [said[at : at + cut] for at in range(0, len(said), cut)]
    paper = "".join(map(answer.feed, pieces)) + answer.flush()
    assert paper == "Fine.\n  Really.\nAnne: a\nAnnette came.\nGood\nAn"
    silent = SpeakerTagFilter(ANN.persona_tag)
    assert silent.feed(" \nAnn:") + silent.feed(" Well\nAnn:") + silent.flush() == "Well\n"


@given(st.text("\nAn: x"), st.lists(st.integers(0, 40)))
def test_however_an_answer_comes_the_paper_is_the_same(said: str, cuts: list[int]) -> None:
    whole, pieces = SpeakerTagFilter(ANN.persona_tag), SpeakerTagFilter(ANN.persona_tag)
    places = [0, *sorted(cuts), len(said) + 40]
    parts = [said[one:two] for one, two in pairwise(places)]
    assert "".join(map(pieces.feed, parts)) + pieces.flush() == whole.feed(said) + whole.flush()
    bare = SpeakerTagFilter()
    assert bare.feed(said) + bare.flush() == said.lstrip()


def test_several_messages_of_hers_are_remembered_with_their_tags(tmp_path: Path) -> None:
    async def main() -> None:
        model = Asked([" so", " am I.", "\n", "Ann", ":", " Really."])
        daemon = Daemon(tmp_path, model, cast=ANN)
        await daemon.type("I AM LATE")
        await daemon.type("WHY")
        assert model.last_prompt == "You: I am late\nAnn: so am I.\nAnn: Really.\nYou: Why\nAnn:"
        await daemon.app.listening.wait()
        assert "SO AM I.\nREALLY." in daemon.paper
        assert "ANN:" not in daemon.paper
        daemon.running.cancel()

    run_jumping(main())


def configured(tmp_path: Path, toml: str) -> config.Config:
    (named := tmp_path / "config.toml").write_text(toml, "utf-8")
    return config.load_config({}, {}, named, system_folder=tmp_path)


def test_the_persona_is_one_of_those_in_the_models_manifest(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    manifest = json.loads((folder / store.MANIFEST_FILE).read_text("utf-8"))
    manifest["training"]["personas"] = {"Ann": 9, "Bob Stone": 2}
    (folder / store.MANIFEST_FILE).write_text(json.dumps(manifest), "utf-8")
    model = f'[model]\nname = "{folder}"\n[conversation]\n'
    assert load_speakers(configured(tmp_path, f'{model}persona = "ANN"\n')) == ANN
    assert load_speakers(configured(tmp_path, f'{model}persona = "ANN"\nyou = "bob stone"\n')).stop_sequences == (
        "\nBob Stone:",
    )
    assert load_speakers(configured(tmp_path, model)) == Speakers()
    with pytest.raises(ConfigError, match="did you mean 'Bob Stone'"):
        load_speakers(configured(tmp_path, f'{model}persona = "BOB STONES"\n'))
    assert load_speakers(configured(tmp_path, '[model]\nname = "gone"\n[conversation]\npersona = "Zoe"\n')) == Speakers(
        "Zoe"
    )
