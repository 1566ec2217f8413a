"""The copied-from-training mark: on paper, and in a real daemon with a real model and index."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from fakes_daemon import DaemonBench, ScriptedModel
from fakes_daemon import split_words as words_of
from fakes_sandbox import ROOT, wait_for
from fakes_teletype import on_jumping_loop, run_jumping, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from test_daemon_processes import Pair, start_pair  # noqa: F401 - a fixture
from test_drivers_golden import GOLDEN, wire_as_text, wire_of

from daemon.config import AnswerConfig
from daemon.copied_mark import CopiedMark, CopiedMarker, RunLookup, find_copied
from drivers.profile import Profile
from drivers.text.charset import fold_text
from model.errors import ModelError
from model.store import store
from model.store.manifest import read_manifest, write_manifest
from model.words import split_words

ANSWER = "The operator waits for an old tape. It was a bright cold day in the town, and the bell rang twice for nobody."


@dataclass
class RunsOf:
    """The runs of a text, without hashes."""

    text: str
    run_length: int = 6

    def has_run(self, words: list[str]) -> bool:
        assert len(words) == self.run_length
        return f" {' '.join(words)} " in f" {' '.join(split_words(self.text))} "


class FixedMark(CopiedMark):
    """The mark of a model with this index; None: it has none."""

    def __init__(self, index: RunLookup | None, profile: Profile, print_line: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(lambda: "voice", profile, print_line)
        self.index = index

    def _open_index(self) -> RunLookup:
        if self.index is None:
            raise ModelError("voice has no index of its training text: asr33 model index voice TEXT|CORPUS", "missing")
        return self.index


def bench(folder: Path, text: str | None, answer: str = ANSWER, profile: Profile | None = None) -> DaemonBench:
    profile = profile or Profile(duplex="full")
    daemon = DaemonBench(folder, ScriptedModel(words_of(answer), context=4000), profile=profile)
    daemon.session.turns.copied_mark = FixedMark(
        None if text is None else RunsOf(text), profile, daemon.session.print_message
    )
    return daemon


TOWN = "Then it was a bright, cold day in the town; and all the clocks were slow."


def test_an_evening_with_the_mark_is_the_golden_pair(tmp_path: Path) -> None:
    """The run begins on one line of paper and ends on the next; it is underlined on both."""

    async def main() -> bytes:
        daemon = bench(tmp_path, TOWN)
        await daemon.session.listening.wait()
        await daemon.tty.finish()
        start = len(daemon.bench.line.written)
        for line in (".COPIED", "ONCE", ".COPIED", ".BACK", "ONCE"):
            await daemon.type(line)
        await daemon.session.listening.wait()
        await daemon.tty.finish()
        assert daemon.bench.typing_unit.driver_errors == []
        daemon.running.cancel()
        return bytes(byte & 0x7F for byte in daemon.bench.line.written[start:])

    written = run_jumping(main())
    assert (
        wire_as_text(written).splitlines() == wire_as_text(wire_of((GOLDEN / "copied.wire").read_text())).splitlines()
    )


def overprinted(daemon: DaemonBench) -> list[str]:
    return [line for line in daemon.line.typing_unit.paper.overprint_lines() if "\r" in line]


@on_jumping_loop
async def test_the_wheel_of_1963_strikes_copied_words_twice(tmp_path: Path) -> None:
    daemon = bench(tmp_path, TOWN, profile=Profile(duplex="full", wheel="1963"))
    assert "STRUCK TWICE" in await daemon.ask(".COPIED")
    await daemon.ask("ONCE")
    passes = " ".join(line.partition("\r")[2] for line in overprinted(daemon))
    assert passes.split() == ["IT", "WAS", "A", "BRIGHT", "COLD", "DAY", "IN", "THE", "TOWN", "AND"]
    daemon.running.cancel()


def test_a_machine_whose_cr_feeds_the_paper_counts_and_strikes_no_mark() -> None:
    mark = FixedMark(RunsOf(TOWN), Profile(return_feeds=True), lambda line: asyncio.sleep(0))
    assert "SO THEY HAVE NO MARK" in mark.describe()
    marker = mark.open_marker()
    assert marker.feed(ANSWER) + marker.release() == fold_text(ANSWER)
    assert marker.describe_copied(ANSWER) == "43 % OF 23 WORDS ARE COPIED\n"


@on_jumping_loop
async def test_a_model_without_an_index_says_so_once_and_answers(tmp_path: Path) -> None:
    daemon = bench(tmp_path, None)
    cure = "-- VOICE HAS NO INDEX OF ITS TRAINING TEXT: ASR33 MODEL INDEX VOICE\nTEXT!CORPUS --\n"
    assert await daemon.ask(".COPIED") == cure
    daemon.session.turns.settings = replace(daemon.session.turns.settings, mark_copied=True)
    assert (await daemon.ask("ONCE")).startswith(cure + "THE OPERATOR")
    assert (await daemon.ask("AND")).startswith("THE OPERATOR")
    daemon.running.cancel()


@on_jumping_loop
async def test_a_break_counts_the_words_that_were_struck_and_remembers_no_other(tmp_path: Path) -> None:
    daemon = bench(tmp_path, TOWN)
    await daemon.ask(".COPIED")
    await daemon.type("ONCE")
    await wait_until(lambda: "BRIGHT" in daemon.paper)
    daemon.line.press_break()
    await daemon.session.listening.wait()
    await daemon.tty.finish()
    said = daemon.session.turns.conversation.memory
    assert said.startswith("Once The operator waits for an old tape. It was a bright")
    assert len(said.split()) in (12, 13)
    percent = {12: "0 % OF 11", 13: "0 % OF 12"}[len(said.split())]  # four or five words are no run of six
    assert f"{percent} WORDS ARE COPIED" in daemon.paper
    daemon.running.cancel()


@on_jumping_loop
async def test_after_a_marked_line_a_break_still_knows_what_was_struck(tmp_path: Path) -> None:
    """The second pass over a line strikes glyphs that are no characters of the answer."""
    answer = f"{TOWN} {ANSWER} " * 3
    daemon = bench(tmp_path, TOWN, answer)
    await daemon.ask(".COPIED")
    await daemon.type("ONCE")
    await wait_until(lambda: daemon.paper.count("OPERATOR") > 1, 300.0)
    daemon.line.press_break()
    await daemon.session.listening.wait()
    await daemon.tty.finish()
    said = daemon.session.turns.conversation.memory
    lines = [line.partition("\r")[0] for line in daemon.line.typing_unit.paper.overprint_lines()]
    shown = " ".join(" ".join(lines).split("READY ONCE ")[1].partition("^C")[0].split())
    assert fold_text(said.removeprefix("Once ")) == shown
    daemon.running.cancel()


@on_jumping_loop
async def test_new_ends_the_mark_unless_the_configuration_wants_it(tmp_path: Path) -> None:
    daemon = bench(tmp_path, TOWN)
    await daemon.ask(".COPIED")
    await daemon.ask(".NEW")
    assert "COPIED" not in await daemon.ask("ONCE")
    assert AnswerConfig().mark_copied is False
    daemon.running.cancel()


WORDS = st.lists(st.sampled_from(["a", "b", "c", "It", "it's"]), max_size=40)
GAPS = st.sampled_from([" ", ", ", "\n", " - ", "  "])
TEXTS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "It", "it's", "é", "ß"]), GAPS), max_size=40).map(
    lambda pairs: "".join(map("".join, pairs))
)


@given(TEXTS, WORDS, st.integers(3, 6), st.lists(st.integers(0, 200)), st.sampled_from(["1963", "1968"]))
def test_the_marked_words_are_those_of_a_naive_search(
    answer: str, text: list[str], length: int, cuts: list[int], wheel: str
) -> None:
    profile = Profile(wheel="1963" if wheel == "1963" else "1968")
    index = RunsOf(" ".join(text), length)
    marker = CopiedMarker(index, profile)
    places = sorted({0, len(answer), *(cut for cut in cuts if cut <= len(answer))})
    marked = "".join(marker.feed(answer[a:b]) for a, b in pairwise(places)) + marker.release()
    assert re.sub("\b.", "", marked) == fold_text(answer, wheel=profile.wheel)
    # A word is marked if a run of so many words around it stands in the text.
    words = split_words(answer)
    naive = {
        at
        for at in range(len(words))
        if any(
            start >= 0 and start + length <= len(words) and index.has_run(words[start : start + length])
            for start in range(at - length + 1, at + 1)
        )
    }
    assert find_copied(words, index) == naive
    shown = [word for word in re.split(r"[^A-Z'\b_]+", marked) if word.strip("-_")]
    assert len(shown) == len(words)
    assert {at for at, word in enumerate(shown) if "\b" in word} == naive


@settings(max_examples=30)
@given(TEXTS, WORDS)
def test_each_piece_leaves_at_most_the_run_behind(answer: str, text: list[str]) -> None:
    marker = CopiedMarker(RunsOf(" ".join(text), 4), Profile())
    shown = "".join(map(marker.feed, answer))
    behind = len(split_words(answer)) - len(split_words(re.sub("\b.", "", shown)))
    assert behind <= 4


def test_a_real_daemon_underlines_what_its_model_copies(
    start_pair: Callable[..., Pair],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model answers; a part of the answer becomes its training text; the same seed gives the answer with marks."""
    models = tmp_path / "models"
    monkeypatch.setenv("ASR33_MODELS", str(models))
    shutil.copytree(store.find_model("embedded"), models / "voice")
    manifest = read_manifest(models / "voice")
    write_manifest(models / "voice", replace(manifest, training={}))
    pair = start_pair("--model", "voice", "--length", "120")
    pair.type(".COPIED\n")
    wait_for(lambda: "ASR33 MODEL INDEX VOICE" in pair.paper())
    pair.type(".SEED 5\nTHE TELETYPE IS\n")
    wait_for(lambda: len(pair.log("end")) == 1)
    answer = "".join(str(piece["text"]) for piece in pair.log("piece"))
    words = split_words(answer)
    (tmp_path / "text.txt").write_text("Before it: " + " ".join(words[2:10]) + ". After it.")
    indexing = [sys.executable, "-m", "tools.main", "model", "index", "voice", str(tmp_path / "text.txt")]
    subprocess.run(indexing, cwd=ROOT, check=True, capture_output=True)
    pair.type(".NEW\n.COPIED\n.SEED 5\nTHE TELETYPE IS\n")
    footer = f"{round(800 / len(words))} % OF {len(words)} WORDS ARE COPIED"
    wait_for(lambda: footer in pair.paper())
    wire = "".join(chr(int(strike["byte"])) for strike in pair.struck()).split("SEED 5")[-1]
    passes = "".join(re.findall(r"\r( *_[ _]*)(?=\r)", wire))
    assert passes.count("_") == sum(map(len, words[2:10]))
    answers = ["".join(str(piece["text"]) for piece in pair.log("piece")[at:]) for at in (0,)]
    assert answers == [answer + answer]  # the mark changes no token
