"""Guess the human: the choice of lines, the pairs and the score, and the game at the machine."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from pathlib import Path

from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import on_jumping_loop
from hypothesis import given
from hypothesis import strategies as st

from daemon.config import GameConfig, HallConfig
from daemon.guess_commands import CURE, MAX_TRIES, MODEL_IS_SILENT, NO_LINES
from daemon.guess_game import LINE_CHARS, GuessGame, choose_lines, cut_alike
from model.interface import Sampling, TextChunk

TRUE_LINES = [f"the old machine number {word} stood in the hall." for word in ("one", "two", "three", "four", "five")]
WORDS = ["paper", "moves", "and", "a", "bell", "rings", "while", "it", "turns", "again", "at", "noon"]
texts = st.text(st.sampled_from("aB .,!\n\u00e9"), max_size=200)


class LineModel(ScriptedModel):
    """Makes a line that follows from the prompt and the seed."""

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        rng = random.Random(f"{prompt} {sampling.seed}")
        self.words = split_words(" ".join(rng.choices(WORDS, k=12)) + ".")
        async for chunk in super().stream(prompt, sampling):
            yield chunk


def write_lines(folder: Path) -> GameConfig:
    path = folder / "lines.txt"
    path.write_text("\n".join(TRUE_LINES))
    return GameConfig(path)


@given(texts)
def test_the_lines_are_whole_lines_of_the_text_each_once(text: str) -> None:
    lines = choose_lines(text)
    own = {" ".join(line.split()) for line in text.splitlines()}
    assert all(line in own and LINE_CHARS[0] <= len(line) <= LINE_CHARS[1] for line in lines)
    assert len({line.casefold() for line in lines}) == len(lines)


@given(texts)
def test_a_line_of_the_model_begins_alike_and_has_a_like_length_or_is_refused(continuation: str) -> None:
    truth, beginning = TRUE_LINES[0], "the old machine"
    line = cut_alike(beginning, continuation, truth)
    assert not line or (line.startswith(beginning) and 0.6 * len(truth) <= len(line) <= len(truth) + 1)
    assert "\n" not in line
    assert line.casefold() != truth.casefold()


def test_the_true_line_is_never_the_models() -> None:
    assert cut_alike("the old", TRUE_LINES[0][len("the old") :].upper(), TRUE_LINES[0]) == ""


@given(st.integers(0, 2**31), st.lists(st.integers(1, 2), max_size=5))
def test_the_same_seed_gives_the_same_game_and_no_line_comes_twice(seed: int, guesses: list[int]) -> None:
    games = [GuessGame([*TRUE_LINES], random.Random(seed).randrange) for _ in range(2)]
    seen = []
    for guess in guesses:
        one, other = (game.draw() for game in games)
        assert one is not None
        assert one == other
        assert one.truth.startswith(one.beginning)
        assert 2 <= len(one.beginning.split()) <= 4
        assert games[0].guess(one, guess) == (guess == one.place)
        seen.append(one.truth)
    assert len(set(seen)) == len(seen)
    assert games[0].guessed == len(guesses)


@on_jumping_loop
async def test_a_game_keeps_its_score_and_leaves_the_conversation_alone(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, LineModel([]), game=write_lines(tmp_path))
    await daemon.ask(".GUESS")
    assert await daemon.ask("THE FIRST") == CURE
    first = daemon.log_records("pair")[0]
    assert first["human"] in TRUE_LINES
    right = str(first["place"])
    assert f"RIGHT: {right} IS THE HUMAN'S. 1 OF 1\n1 " in await daemon.ask(right)
    second = daemon.log_records("pair")[1]
    assert f"WRONG: {second['place']} IS THE HUMAN'S. 1 OF 2\n" in await daemon.ask(str(3 - int(str(second["place"]))))
    assert await daemon.ask("") == "THE GAME IS OVER: 1 OF 2\n"
    assert [record["right"] for record in daemon.log_records("guess")] == [True, False]
    assert daemon.session.turns.conversation.memory == ""
    assert not daemon.log_records("prompt")
    assert len({str(record["human"]) for record in daemon.log_records("pair")}) == 3
    daemon.running.cancel()


@on_jumping_loop
async def test_without_lines_or_with_a_silent_model_one_line_names_the_cure(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, LineModel([]))
    assert await daemon.ask(".GUESS") == NO_LINES
    daemon.running.cancel()
    (tmp_path / "silent").mkdir()
    model = ScriptedModel([" "])
    daemon = DaemonBench(tmp_path / "silent", model, game=write_lines(tmp_path))
    assert await daemon.ask(".GUESS") == MODEL_IS_SILENT
    assert model.prompts == MAX_TRIES
    daemon.running.cancel()


@on_jumping_loop
async def test_in_a_hall_the_score_is_forgotten_with_the_visit(tmp_path: Path) -> None:
    hall = HallConfig(forget_after=60.0)
    daemon = DaemonBench(tmp_path, LineModel([]), game=write_lines(tmp_path), hall=hall)
    await daemon.ask(".GUESS")
    assert daemon.session.commands.game.is_open
    await daemon.ask(".BYE")
    assert not daemon.session.commands.game.is_open
    daemon.running.cancel()
