"""The lines before and after an answer, and the sheet that is made again from them."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_teletype import PROSE, on_jumping_loop, run_jumping
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.answer_header import FINISH_WORDS, AnswerMeter, format_header
from daemon.archive.log_records import parse_record
from daemon.archive.session_reader import read_header
from daemon.archive.transcript import Transcript
from daemon.archive.turn_spans import find_spans
from daemon.config import AnswerConfig
from drivers.text.charset import fold_text
from model.engine_errors import prepare_for_libraries
from model.errors import ModelDamaged
from model.interface import Sampling, TextChunk
from model.store import store

ROOT = Path(__file__).parent.parent
HEADER = re.compile(r"MODEL (\S+) ([0-9A-F]{4})  SEED (\d+)  TEMP ([\d.]+)\n")


class DiceModel(ScriptedModel):
    """Draws its words by prompt, seed and temperature."""

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        dice = random.Random(f"{prompt} {sampling.seed} {sampling.temperature}")
        self.words = split_words(" ".join(dice.choices(PROSE.split(), k=12)))
        async for chunk in super().stream(prompt, sampling):
            yield chunk


async def answer_with_header(daemon: DaemonBench, line: str) -> tuple[str, str, str]:
    printed = await daemon.ask(line)
    header, _, rest = printed.partition("\n")
    answer, _, footer = rest.rstrip("\n").rpartition("\n")
    return f"{header}\n", answer, footer


@on_jumping_loop
async def test_another_machine_makes_the_sheet_again_from_its_header(tmp_path: Path) -> None:
    first = DaemonBench(tmp_path, DiceModel([], context=400), seed=33)
    first.session.turns.model_hash = "3f2a" * 16
    await first.ask(".HEADER")
    await first.ask(".TEMP .7")
    header, answer, footer = await answer_with_header(first, "THE TELETYPE IS")
    assert header == "MODEL SCRIPT 3F2A  SEED 33  TEMP .7\n"
    assert re.fullmatch(r"12 TOKENS  (9\.\d|10\.0) CPS  ENDED: FULL LENGTH, AT A SENTENCE", footer)
    match = HEADER.fullmatch(header)
    assert match is not None
    (tmp_path / "other").mkdir()
    other = DaemonBench(tmp_path / "other", DiceModel([], context=400), seed=1)
    await other.ask(f".SEED {match[3]}")
    await other.ask(f".TEMP {match[4]}")
    assert await other.ask("THE TELETYPE IS") == f"{answer}\n"
    assert (await answer_with_header(first, "THE TELETYPE IS"))[1] != answer
    for daemon in (first, other):
        daemon.running.cancel()


class EmbeddedModel(ScriptedModel):
    """The embedded model, computed in the event loop: the jumping clock knows no threads."""

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        prepare_for_libraries()
        from model.generate.generate import generate
        from model.onnx.model_loader import load_model

        session, tokenizer = load_model(store.find_model(store.EMBEDDED), 1, "cpu")
        for step in generate(session, [tokenizer.end_of_text, *tokenizer.encode_lines(prompt)], sampling, tokenizer):
            await asyncio.sleep(0.01)
            yield TextChunk(step.text, step.tokens, 0.0, step.finish_reason)


def test_ask_makes_the_sheet_of_the_embedded_model_again(tmp_path: Path) -> None:
    async def main() -> tuple[str, str]:
        daemon = DaemonBench(tmp_path, EmbeddedModel([], context=512, name="embedded"), seed=33)
        turns = daemon.session.turns
        turns.model_hash = store.read_manifest(store.find_model(store.EMBEDDED)).graph_sha256
        turns.settings = replace(turns.settings, header=True, length=40, top_k=20)
        header, answer, _ = await answer_with_header(daemon, "IT WAS")
        daemon.running.cancel()
        return header, answer

    header, answer = run_jumping(main())
    match = re.fullmatch(r"MODEL (EMBEDDED) [0-9A-F]{4}  SEED (\d+)  TEMP (\S+)  LENGTH (\d+)  TOP-K (\d+)\n", header)
    assert match is not None, header
    options = ("--model", "--seed", "--temperature", "--length", "--top-k")
    pairs = [word.lower() for pair in zip(options, match.groups(), strict=True) for word in pair]
    command = [sys.executable, "-m", "tools.main", "ask", "It was", "--threads", "1", *pairs]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert fold_text(asked).split() == answer.split() != []


@on_jumping_loop
async def test_the_conversation_and_the_log_do_not_have_the_lines(tmp_path: Path) -> None:
    model = ScriptedModel(split_words("a machine."), context=400)
    daemon = DaemonBench(tmp_path, model)
    await daemon.ask(".HEADER")
    assert "TOKENS" in await daemon.ask("IT IS")
    await daemon.ask("AND")
    assert model.last_prompt == "It is a machine.\nAnd"
    assert await daemon.ask(".HEADER") == "NO LINES ABOUT THE ANSWERS NOW.\n"
    assert await daemon.ask("SO") == "A MACHINE.\n"
    daemon.running.cancel()
    await asyncio.sleep(1)
    assert [record["text"] for record in daemon.log_records("piece")] == model.words * 3
    lines = daemon.log.path.read_bytes().splitlines(keepends=True)
    records = [record for line in lines if (record := parse_record(line))]
    transcript = Transcript("20260101-000000", read_header(records[0]))
    shown = "".join(transcript.format_record(record) for record in records)
    assert shown.count(" a machine.\n") == 3
    assert "TOKENS" not in shown
    ends = [number for number, line in enumerate(lines) if b'"ev":"end"' in line[:40]]
    assert [span.last for span in find_spans(lines).turns] == ends  # `asr33 log forget` takes the header, too


@on_jumping_loop
async def test_an_answer_that_fails_or_is_stopped_says_so(tmp_path: Path) -> None:
    model = ScriptedModel(split_words(PROSE), context=4000)
    daemon = DaemonBench(tmp_path, model)
    await daemon.ask(".HEADER")
    await daemon.type("GO")
    await asyncio.sleep(12)
    daemon.bench.line.press_break()
    await daemon.session.listening.wait()
    await asyncio.sleep(1)
    assert re.search(r"\^C\n\d+ TOKENS  [\d.]+ CPS  ENDED: BREAK KEY\n", daemon.paper)
    struck = daemon.session.turns.conversation.memory
    assert struck
    assert "MODEL" not in struck.upper()
    assert PROSE.replace("\n", " ").startswith(struck[3:].strip()[:20])
    model.failure = ModelDamaged("broken")
    assert "0 TOKENS  ENDED: THE MODEL FAILED" in await daemon.ask("ON")
    daemon.running.cancel()


@on_jumping_loop
async def test_break_in_the_header_stops_the_answer_too(tmp_path: Path) -> None:
    model = ScriptedModel(split_words(PROSE), context=4000)
    daemon = DaemonBench(tmp_path, model)
    await daemon.ask(".HEADER")
    await daemon.type("GO")
    await asyncio.sleep(1)
    daemon.bench.line.press_break()
    await daemon.session.listening.wait()
    assert model.prompts == 0
    assert daemon.session.turns.conversation.memory == ""
    model.words = [" ok."]
    assert "OK." in await daemon.ask(".AGAIN")
    assert model.last_prompt == "Go"
    daemon.bench.assert_clean()
    daemon.running.cancel()


@settings(max_examples=40)
@given(
    st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=200),
    st.integers(0, 2**63 - 1),
    st.floats(0, 100),
    st.floats(0.01, 1),
    st.integers(0, 10**6),
)
def test_the_header_fits_in_the_columns_and_tells_all(
    name: str, seed: int, temperature: float, top_p: float, top_k: int
) -> None:
    config = replace(AnswerConfig(), temperature=temperature, top_p=top_p, top_k=top_k)
    text = format_header(name, "3f2a" * 16, config.make_sampling(seed, (), "any"), 72)
    assert max(map(len, text.splitlines())) <= 72
    fields = dict(field.rsplit(" ", 1) for field in re.split("  |\n", text.rstrip("\n")))
    assert int(fields["SEED"]) == seed
    assert float(fields["TEMP"]) == temperature
    assert float(fields.get("TOP-P", 1)) == top_p
    assert int(fields.get("TOP-K", 40)) == top_k


@pytest.mark.parametrize("finish", sorted(FINISH_WORDS))
def test_the_footer_fits_in_the_columns(finish: str) -> None:
    meter = AnswerMeter()
    meter.note_chunk(TextChunk("A", tuple(range(999_999)), 0.0), 10.0, 5)
    text = meter.format_footer(finish, 1e6, 10**7, 72)
    assert text.endswith(f"ENDED: {FINISH_WORDS[finish]}\n")
    assert len(text) <= 73
    assert meter.format_footer("end", 10.0, 5, 72) == "999999 TOKENS  ENDED: THE TEXT WAS COMPLETE\n"
