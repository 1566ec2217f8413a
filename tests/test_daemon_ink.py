"""Certainty as ink: from the probabilities of tokens to glyphs that are struck twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from math import log
from pathlib import Path

import pytest
from fakes_completion_server import FakeBatchModel, running_server
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import PROSE, TeletypeBench, on_jumping_loop, overstruck_cells, run_jumping
from hypothesis import given, settings
from hypothesis import strategies as st
from test_drivers_golden import GOLDEN, wire_as_text, wire_of

from daemon.exchange import exchange
from daemon.ink import InkMarker
from drivers.profile import Profile
from drivers.text.printer import Printer
from model.client.remote_model import RemoteModel
from model.interface import CompletionRequest, Sampling, TextChunk
from model.openai_api.request import OpenAIRequest


class CertainModel(ScriptedModel):
    """Is sure of each chunk in `sure`; tells it only when it is asked, and if it `tells`."""

    sure: frozenset[int] = frozenset()
    tells = True
    last_sampling: Sampling | None = None

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        self.last_sampling = sampling
        async for chunk in super().stream(prompt, sampling):
            number = log(0.9 if chunk.tokens[0] in self.sure else 0.1)
            has_number = self.tells and sampling.logprobs
            yield TextChunk(chunk.text, chunk.tokens, 0.0, chunk.finish_reason, (number,) if has_number else ())


def assert_struck_twice_at_most(bench: TeletypeBench) -> None:
    """Each cell has one glyph, once or twice."""
    assert bench.typing_unit.driver_errors == []
    cells = [cell.replace(" ", "") for cell in overstruck_cells(bench.typing_unit.paper)]
    assert [cell for cell in cells if cell != 2 * cell[0]] == []


def make_model(words: list[str], sure: set[int], **fields: int) -> CertainModel:
    model = CertainModel(words, **fields)
    model.sure = frozenset(sure)
    return model


CHUNKS = [" The", " tel", "etype", " prints", " what", " it is sure", " of", " twice", ",", " and", " the", " rest"]
CHUNKS += [" once", ".\n", "No", " word", " is", " torn", ":", " a", " long", " line", " of", " the", " paper", " ends"]
CHUNKS += [" where", " it", " must", ", “to", "-", "day”", " —", " at", " 10", "²", " characters", " a", " second", "."]
SURE = {0, 2, 3, 6, 7, 8, 13, 14, 16, 18, 22, 23, 24, 28, 30, 31, 32, 34, 35, 38, 39}


def test_an_answer_is_the_golden_wire_and_paper() -> None:
    async def main() -> bytes:
        bench = TeletypeBench()
        await exchange(bench.tty, make_model(CHUNKS, SURE), "", Sampling(logprobs=True), lambda chunk: None)
        await bench.tty.finish()
        assert_struck_twice_at_most(bench)
        return bytes(byte & 0x7F for byte in bench.line.written)

    written = wire_as_text(run_jumping(main()))
    assert written.removeprefix("<CR><LF>\n") == wire_as_text(wire_of((GOLDEN / "ink.wire").read_text("ascii")))


@on_jumping_loop
async def test_the_operator_switches_ink_on_and_off(tmp_path: Path) -> None:
    model = make_model([" sure", " unsure"], {0}, context=400)
    daemon = DaemonBench(tmp_path, model)
    assert await daemon.ask("GO") == "SURE UNSURE\n"
    assert model.last_sampling is not None
    assert not model.last_sampling.logprobs  # no softmax is computed
    assert await daemon.ask(".INK") == "WHAT THE MODEL IS SURE OF IS STRUCK TWICE NOW.\n"
    before = len(daemon.bench.line.written)
    await daemon.ask("GO")
    assert b"SURE UNSURE\rSURE\r\n" in bytes(byte & 0x7F for byte in daemon.bench.line.written[before:])
    assert model.last_prompt == "Go sure unsure\nGo"
    assert await daemon.ask(".INK") == "EACH GLYPH ONCE NOW.\n"
    assert await daemon.ask("GO") == "SURE UNSURE\n"
    assert not model.last_sampling.logprobs
    assert_struck_twice_at_most(daemon.bench)
    daemon.running.cancel()


@on_jumping_loop
async def test_the_second_strikes_of_the_last_line_belong_to_the_answer_in_the_log(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, make_model([" sure", " unsure"], {0}, context=400))
    await daemon.ask(".INK")
    await daemon.ask("GO")
    daemon.running.cancel()
    await asyncio.sleep(1)
    text = daemon.log.path.read_text()
    answer = text[text.index('"ev":"prompt"') : text.index('"ev":"end"')]
    assert answer.count('"ev":"tx"') == len("SURE UNSURE\rSURE\r\n")


@on_jumping_loop
async def test_a_model_that_does_not_tell_is_named_in_one_line(tmp_path: Path) -> None:
    model = make_model([" a", " word"], {0}, context=400)
    model.tells = False
    daemon = DaemonBench(tmp_path, model)
    await daemon.ask(".INK")
    assert await daemon.ask("GO") == "A WORD\nSCRIPT DOES NOT TELL HOW SURE IT IS.\n"
    assert await daemon.ask("GO") == "A WORD\n"
    assert await daemon.ask(".INK") == "SCRIPT DOES NOT TELL HOW SURE IT IS.\n"
    daemon.running.cancel()


@on_jumping_loop
async def test_a_machine_whose_return_feeds_strikes_nothing_twice(tmp_path: Path) -> None:
    daemon = DaemonBench(tmp_path, make_model([" a"], {0}), profile=Profile(duplex="full", return_feeds=True))
    await daemon.ask(".INK")
    assert "RETURN FEEDS THE PAPER ON THIS MACHINE: NOTHING IS STRUCK TWICE." in daemon.paper
    daemon.running.cancel()


@pytest.mark.parametrize("seed", range(12))
def test_after_a_break_the_carriage_and_the_conversation_are_right(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        model = make_model(split_words(PROSE), set(rng.sample(range(60), 30)), context=4000)
        daemon = DaemonBench(tmp_path, model)
        await daemon.ask(".INK")
        await daemon.type("GO")
        await asyncio.sleep(rng.uniform(1, 40))
        daemon.bench.line.press_break()
        await daemon.session.listening.wait()
        await asyncio.sleep(1)
        assert_struck_twice_at_most(daemon.bench)
        struck = " ".join(daemon.paper.partition("\nGO\n")[2].partition("^C")[0].split())
        memory = daemon.session.turns.conversation.memory.removeprefix("Go")
        assert " ".join(memory.upper().split()) == struck
        model.words, model.sure = [" ok."], frozenset()
        assert await daemon.ask(".NEW") == "ALL FORGOTTEN.\n"
        assert await daemon.ask("GO") == "OK.\n"
        daemon.running.cancel()

    run_jumping(main())


def test_a_page_that_is_sure_throughout_takes_twice_the_time() -> None:
    async def main(sure: bool) -> float:
        bench = TeletypeBench()
        words = split_words(PROSE)
        model = make_model(words, set(range(len(words))) if sure else set())
        await exchange(bench.tty, model, "", Sampling(logprobs=True), lambda chunk: None)
        await bench.tty.finish()
        return bench.clock.now()

    once, twice = (run_jumping(main(sure)) for sure in (False, True))
    assert 1.9 * once < twice < 2.02 * once


# The mask of a model lets no control character through but the end of a line.
TEXT = st.one_of(st.just("\n"), st.characters(exclude_categories=("Cc", "Cs")))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(TEXT, max_size=8), st.booleans()), max_size=20))
def test_ink_never_changes_the_first_strikes(chunks: list[tuple[str, bool]]) -> None:
    chunks = [(text.replace("\b", "").replace("_", "-"), is_sure) for text, is_sure in chunks]
    marker, plain, inked = InkMarker(), Printer(column=0), Printer(column=0)
    plain_strokes, inked_strokes = [], []
    for text, is_sure in chunks:
        marker.note_chunk(TextChunk(text, (1,), 0.0, logprobs=(0.0 if is_sure else -5.0,)))
        plain_strokes += plain.feed(text)
        for run, is_twice in marker.mark_text(text):
            inked_strokes += inked.feed(run, overstrike=is_twice)
    first = bytes(stroke.byte for stroke in [*inked_strokes, *inked.flush()] if not stroke.is_overprint)
    expected = bytes(stroke.byte for stroke in [*plain_strokes, *plain.flush()])
    assert first.replace(b"\r", b"") == expected.replace(b"\r", b"")


def test_another_server_is_asked_for_the_probabilities() -> None:
    body = OpenAIRequest("m", CompletionRequest("x", Sampling(logprobs=True))).to_json()
    assert body["logprobs"] == 0  # of the drawn token alone
    assert "logprobs" not in OpenAIRequest("m", CompletionRequest("x", Sampling())).to_json()


async def test_our_own_server_tells_the_probabilities() -> None:
    served = FakeBatchModel("Yes.")
    served.with_logprobs = True
    async with running_server(served) as (_, port):
        model = RemoteModel(f"http://127.0.0.1:{port}/v1")
        chunks = [chunk async for chunk in model.stream("Is it?", Sampling(logprobs=True))]
        await model.close()
    assert "".join(chunk.text for chunk in chunks) == "Yes."
    assert [number for chunk in chunks for number in chunk.logprobs] == [-1.0] * 4
