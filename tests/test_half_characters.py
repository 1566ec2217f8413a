"""No part of a character is printed: a token may end inside one, and an answer may end there too."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes_batch_engine import Floats
from fakes_daemon import DaemonBench, ScriptedModel
from fakes_model import ScriptedSession, tiny_folder
from fakes_teletype import run_jumping

from model.generate.local_model import LocalModel
from model.interface import Sampling, TextChunk

ROOT = Path(__file__).resolve().parents[1]
HALVES = "“Aha".encode() + "€".encode()[:2]  # the whole answer ends inside a character


async def collect(model: LocalModel, sampling: Sampling) -> list[TextChunk]:
    chunks = [chunk async for chunk in model.stream("It", sampling)]
    await model.close()
    return chunks


@pytest.mark.parametrize("max_tokens", [len(HALVES), len(HALVES) - 1, len(HALVES) + 1])
def test_an_answer_that_ends_inside_a_character_ends_before_it(max_tokens: int) -> None:
    chunks = asyncio.run(
        collect(LocalModel(ScriptedSession(HALVES).make_engine), Sampling(max_tokens=max_tokens, temperature=0))
    )
    assert "".join(chunk.text for chunk in chunks) == "“Aha"


def test_ask_prints_no_part_of_a_character(tmp_path: Path) -> None:
    """The model's text is noise: of its tokens a third are single bytes."""
    folder = tiny_folder(tmp_path)
    command = [sys.executable, "-m", "tools.main", "ask", "“The", "--model", str(folder), "--logprobs"]
    for seed in range(3):
        words = ["--max-tokens", str(200 + seed), "--length", "10000", "--seed", str(seed), "--temperature", "1"]
        env = os.environ | {"PYTHONIOENCODING": "utf-8"}
        done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, timeout=60, env=env)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.decode("utf-8").split()) > 10
        assert "\ufffd" not in done.stdout.decode("utf-8")
        assert "\ufffd" not in done.stderr.decode("utf-8")
        assert b" b'\\x" in done.stderr


def test_the_daemon_prints_no_half_character_of_a_foreign_server(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = DaemonBench(tmp_path, ScriptedModel([" so\ufffd am", "\ufffd\ufffd", " I.\ufffd"]))
        await daemon.type("I AM LATE")
        await daemon.session.listening.wait()
        assert "SO AM I.\n" in daemon.paper
        assert "?" not in daemon.paper
        daemon.running.cancel()

    run_jumping(main())


class ByteNet:
    """A net that writes these bytes, one token each, then the end of text."""

    def __init__(self, data: bytes) -> None:
        self.data, self.written = data, 0

    def next_logits(self) -> Floats:
        logits = np.zeros(257, np.float32)
        logits[self.data[self.written] if self.written < len(self.data) else 256] = 99.0
        self.written += 1
        return logits


@pytest.mark.train
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (HALVES, "It: “Aha"),
        (b"\x80a\xff" + "€".encode()[:1] + "é".encode(), "It: aé"),
        (b"Fine." + "€".encode() * 200, "It: Fine." + "€" * 145),
        (b"Done.<|endoftext|> and more", "It: Done."),
    ],
)
def test_a_sample_of_training_has_whole_characters(data: bytes, text: str) -> None:
    torch = pytest.importorskip("torch")
    from types import SimpleNamespace

    from tools.train.samples import write_sample

    script, vocabulary = ByteNet(data), ScriptedSession("")
    net = SimpleNamespace(
        shape=SimpleNamespace(n_positions=1000),
        wte=SimpleNamespace(weight=torch.zeros(1)),
        logits=lambda window: torch.from_numpy(script.next_logits())[None, None],
    )
    tokens = SimpleNamespace(end_of_text=256, encode=lambda prompt: [*prompt.encode()], bytes_of=vocabulary.bytes_of)
    assert write_sample(net, tokens, seed=1, prompt="It: ") == text  # type: ignore[arg-type]
