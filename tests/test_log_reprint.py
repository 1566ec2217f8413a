"""`asr33 log reprint`: whether an answer comes out the same, and what is printed in any case."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_kept_session import KeptSession
from fakes_model import tiny_folder
from fakes_sandbox import ROOT, Sandbox, open_sandbox, wait_for

from daemon import model_factory
from daemon.archive.session_reader import ArchivedSession
from daemon.config import Config, ModelConfig
from drivers.profile import Profile
from model.interface import Sampling
from model.store import store
from tools.log.answer_printer import check_answer, make_job
from tools.log.regeneration import compare_answers, find_obstacle, restore_sampling
from tools.main import main

SAMPLING = Sampling(length=60, max_tokens=40, temperature=0.9, seed=71, opening="new word", stop=("\nBob:",))
PARAMETERS = {"length": 60, "max_tokens": 40, "temperature": 0.9, "opening": "new word", "stop": ["\nBob:"]}
PROMPT = "The operator sat"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def answer(model: Path) -> str:
    async def generate() -> str:
        opened = model_factory.open_model(Config(model=ModelConfig(name=str(model))))
        try:
            return "".join([chunk.text async for chunk in opened.stream(PROMPT, SAMPLING)])
        finally:
            await opened.close()

    text = asyncio.run(generate())
    assert len(text) > 20
    return text


def session(model: Path, answer: str, finish: str = "sentence", /, **header: object) -> ArchivedSession:
    fields = {"model": str(model), "model_hash": store.read_manifest(model).graph_sha256, **header}
    kept = KeptSession(**fields)
    kept.type("THE OPERATOR SAT")
    kept.answer(answer, PROMPT, finish, seed=71, parameters=PARAMETERS)
    return kept.read()


def verdict(kept: ArchivedSession) -> str:
    return asyncio.run(check_answer(kept, kept.turns[0], Config()))


def test_the_same_seed_and_model_give_the_same_answer(model: Path, answer: str) -> None:
    kept = session(model, answer)
    assert restore_sampling(kept.turns[0], kept.header) == SAMPLING
    assert re.fullmatch(rf"\w{{4}} came out the same: model .*, seed 71, {len(answer)} characters", verdict(kept))


def test_an_answer_that_break_cut_short_is_the_same_as_far_as_it_came(model: Path, answer: str) -> None:
    assert "came out the same" in verdict(session(model, answer[:12], "break"))
    assert "came out otherwise after 12 of 12" in verdict(session(model, answer[:12]))


def test_another_text_is_told_with_the_place(model: Path, answer: str) -> None:
    changed = answer[:15] + ("x" if answer[15] != "x" else "y") + answer[16:]
    assert f"came out otherwise after 15 of {len(answer)} characters" in verdict(session(model, changed))
    assert "which may have changed" in verdict(session(model, changed, model_hash=""))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "no-such-model"}, "no-such-model"),
        ({"model": "http://127.0.0.1:1"}, "its model is on a server"),
        ({"model_hash": "0" * 64}, "has changed since"),
    ],
)
def test_an_answer_that_cannot_be_made_again_is_printed_from_the_log(
    model: Path, answer: str, change: dict[str, str], reason: str
) -> None:
    message = verdict(session(model, answer, **change))
    assert re.match(r"\w{4} is printed from the log: ", message)
    assert reason in message


def test_a_log_without_a_prompt_or_a_seed_says_so(model: Path, answer: str) -> None:
    kept = session(model, answer)
    assert find_obstacle(replace(kept.turns[0], prompt=""), kept.header) == "its log has no prompt"
    assert find_obstacle(replace(kept.turns[0], seed=None), kept.header) == "its log has no seed"


def test_parameters_that_an_old_log_lacks_come_from_its_settings(model: Path, answer: str) -> None:
    kept = session(model, answer, settings={"length": 99, "top_k": 5, "min_p": "x", "seed": None}, persona="Ada")
    turn = replace(kept.turns[0], parameters={})
    restored = restore_sampling(turn, kept.header)
    assert (restored.length, restored.top_k, restored.min_p, restored.seed) == (99, 5, 0.0, 71)
    assert (restored.opening, restored.stop) == ("message", ("\nYou:",))


def test_texts_of_different_lengths_are_not_the_same(model: Path, answer: str) -> None:
    turn = session(model, answer).turns[0]
    assert not compare_answers(turn, answer[:-3], True).is_same
    assert not compare_answers(turn, answer + " more", False).is_same
    assert compare_answers(turn, answer, True).is_same


def test_an_answer_is_printed_in_the_columns_that_it_had() -> None:
    kept = KeptSession()
    kept.type("Y" * 100)
    kept.answer("A word that is long. " * 8)
    job = make_job(kept.read(), kept.read().turns[0], Profile())
    assert job.raw
    lines = job.text.split("\n")
    assert lines[:2] == ["Y" * 72, "Y" * 28]
    assert lines[2].startswith("A WORD")
    assert max(map(len, lines)) <= 72
    narrow = make_job(kept.read(), kept.read().turns[0], Profile(columns=40))
    assert (narrow.raw, narrow.text.split("\n")[1][:12]) == (False, "A word that ")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


def test_a_daemon_lends_its_machine_for_a_reprint(sandbox: Sandbox, tmp_path: Path) -> None:
    kept = KeptSession()
    kept.type("WHO IS IT?")
    kept.answer("It is she.")
    kept.write(tmp_path / "kept")
    code = kept.read().turns[0].code
    sandbox.start_machine("--fast")
    sandbox.start_daemon("--fast")
    wait_for(lambda: sandbox.paper_text().endswith("READY\n"))
    words = ["log", "reprint", code, "--log", str(tmp_path / "kept")]
    assert sandbox.run_command(*words) == (0, f"asr33: {code} is printed from the log: its log has no prompt\n")
    wait_for(lambda: sandbox.paper_text().endswith("READY\nWHO IS IT?\nIT IS SHE.\n\nREADY\n"))


def test_standard_output_gets_the_line_and_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = KeptSession()
    kept.type("WHO IS IT?")
    kept.answer("It is she.")
    kept.write(tmp_path)
    assert main(["log", "reprint", "LAST", "-", "--unchecked", "--log", str(tmp_path)]) == 0
    assert capsys.readouterr() == ("WHO IS IT?\nIT IS SHE.\n", "")
    assert main(["log", "reprint", "ZZZZ", "-", "--log", str(tmp_path)]) == 66


@pytest.mark.soak
def test_an_answer_of_the_demo_comes_out_the_same(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tools.main"]
    demo = [*words, "demo", "--fast", "--prompt", "the old telegraph office", "--log", str(tmp_path)]
    subprocess.run(demo, check=True, capture_output=True, cwd=ROOT)
    reprint = [*words, "log", "reprint", "LAST", "-", "--log", str(tmp_path)]
    done = subprocess.run(reprint, check=True, capture_output=True, text=True, cwd=ROOT)
    assert "came out the same: model embedded" in done.stderr
    records = [json.loads(line) for line in next(tmp_path.glob("*.jsonl")).read_text().splitlines()]
    assert any(record["ev"] == "prompt" and "opening" in record["parameters"] for record in records)
