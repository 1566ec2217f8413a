"""Makes an answer of the past again: the same model, prompt, seed and parameters give the same text, as a rule.

Another processor or number of threads may round otherwise, and then the texts part at some character.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast

from daemon import model_factory
from daemon.archive.session_reader import SessionHeader, Turn
from daemon.config import Config
from drivers.profile import Profile
from model.dialogue import choose_speakers, read_known_speakers
from model.engine_errors import engine_errors
from model.errors import ModelError
from model.interface import PARAMETERS, Model, Opening, Sampling
from model.opening import CLOSING_MARKS, choose_opening
from model.server_url import is_url
from model.store import store

CUT_SHORT = ("", "break", "stopped", "lost", "error")  # reasons for which an answer ends before the model's end

OnCharacters = Callable[[int, int], None]  # done, total


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether an answer came out the same; if not, `characters` are the same at its beginning."""

    is_same: bool
    characters: int


def find_obstacle(turn: Turn, header: SessionHeader) -> str:
    """Returns why the answer cannot be made again, with the cure; "" if it can."""
    if not turn.prompt:
        return "its log has no prompt"
    if turn.seed is None:
        return "its log has no seed"
    if is_url(turn.model):
        return "its model is on a server"
    try:
        graph_sha256 = store.read_manifest(store.find_model(turn.model)).graph_sha256
    except ModelError as error:
        return str(error)
    if header.model_hash and graph_sha256 != header.model_hash:
        return f"the model {turn.model} has changed since"
    return ""


async def generate_again(
    turn: Turn, header: SessionHeader, config: Config, profile: Profile, on_characters: OnCharacters
) -> Comparison:
    """Generates the answer as far as the log has it, and compares the two. Raises ModelError, ConfigError."""
    chosen = replace(config, machine=profile, model=replace(config.model, name=turn.model, otherwise=()))
    model = model_factory.open_model(chosen, character_s=0.0)
    try:
        with engine_errors():
            await model.wait_ready()
            text, is_complete = await _generate(model, turn, restore_sampling(turn, header), on_characters)
    finally:
        await model.close()
    return compare_answers(turn, text, is_complete)


async def _generate(model: Model, turn: Turn, sampling: Sampling, on_characters: OnCharacters) -> tuple[str, bool]:
    """Returns the text, and whether it came to its own end; it is cut off where it parts from that of the log."""
    text, wanted = "", turn.answer
    async with aclosing(model.stream(turn.prompt, sampling)) as chunks:
        async for chunk in chunks:
            text += chunk.text
            on_characters(min(len(text), len(wanted)), len(wanted))
            if len(text) > len(wanted) or not wanted.startswith(text):
                return text, False
    return text, True


def compare_answers(turn: Turn, text: str, is_complete: bool) -> Comparison:
    """Compares a new text with that of the log. An answer that was cut short need only begin the new text."""
    common = next((at for at, (a, b) in enumerate(zip(turn.answer, text, strict=False)) if a != b), None)
    if common is not None:
        return Comparison(False, common)
    if turn.finish_reason in CUT_SHORT:
        return Comparison(len(text) >= len(turn.answer), min(len(text), len(turn.answer)))
    return Comparison(is_complete and len(text) == len(turn.answer), min(len(text), len(turn.answer)))


def restore_sampling(turn: Turn, header: SessionHeader) -> Sampling:
    """Returns the parameters of an answer. A log that lacks some has those of its header's [answer], or the default."""
    kept = {**header.settings, **turn.parameters, "seed": turn.seed}
    numbers: dict[str, Any] = {
        name: parameter.kind(kept[name])
        for name, parameter in PARAMETERS.items()
        if name in kept and _is_in_range(kept[name], parameter.bounds)
    }
    stop: Any = turn.parameters.get("stop")
    if not isinstance(stop, list):
        stop = _stop_sequences_of(turn, header)
    opening: Any = turn.parameters.get("opening")
    if opening not in CLOSING_MARKS:
        opening = "message" if header.persona else choose_opening(turn.prompt)
    return Sampling(**numbers, stop=tuple(map(str, stop)), opening=cast(Opening, opening))


def _is_in_range(value: object, bounds: tuple[float, float]) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bounds[0] <= cast(float, value) <= bounds[1]


def _stop_sequences_of(turn: Turn, header: SessionHeader) -> tuple[str, ...]:
    try:
        names = read_known_speakers(store.read_manifest(store.find_model(turn.model)).training)[0]
        return choose_speakers(header.persona, header.you, names).stop_sequences
    except ModelError:
        return ()
