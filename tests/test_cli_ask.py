from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_model import TINY, tiny_folder
from fakes_teletype import terminal
from hypothesis import given
from hypothesis import strategies as st

from daemon.config import AnswerConfig
from model.dialogue import stop_sequences_for
from model.interface import ANSWER_LENGTH

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models"))


Done = subprocess.CompletedProcess[bytes]


def asr33(*words: str | bytes | Path, stdin: bytes = b"", home: Path | None = None) -> Done:
    settings = os.environ | {"ASR33_MODELS": str(home or "/nowhere")}
    command = [sys.executable, "-m", "tools.main", *words]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=ROOT, env=settings, timeout=60)


def error_line(done: Done) -> str:
    """Returns the single line on standard error."""
    text = done.stderr.decode()
    assert text.startswith("asr33: "), text
    assert text.count("\n") == 1, text
    assert done.stdout == b""
    return text


def test_the_same_seed_gives_the_same_text_and_another_does_not(folder: Path) -> None:
    ask = ("ask", "The operator", "--max-tokens", "20", "--model")
    first, second = asr33(*ask, folder, "--seed", "7"), asr33(*ask, "tiny", "--seed", "7", home=folder.parent)
    assert (first.returncode, first.stderr) == (0, b"")
    assert first.stdout == second.stdout
    assert len(first.stdout) > 10
    assert first.stdout.endswith(b"\n")
    assert asr33(*ask, folder, "--seed", "8").stdout != first.stdout


def test_an_answer_ends_as_at_the_machine_unless_told_otherwise() -> None:
    """The embedded model: after 600 characters the sentence ends the answer; --run-on goes on to --max-tokens."""
    ask = ("ask", "The old telegraph office", "--model", "embedded", "--seed", "7")
    usual, short, endless = [
        asr33(*ask, *words).stdout.decode().rstrip("\n")
        for words in ((), ("--length", "60"), ("--run-on", "--max-tokens", "400"))
    ]
    assert AnswerConfig().length == ANSWER_LENGTH <= len(usual) < ANSWER_LENGTH + 400
    assert usual[-1] in ".!?…”’"
    assert 60 <= len(short) < 400
    assert usual.startswith(short)
    assert len(endless) > len(usual) + 300
    assert endless.startswith(usual)


@given(st.lists(st.sampled_from(["Ann: Hi.", "Bob: Oh?\n  Ann: no", "It was", "", "Bob:", " Ann:", "Annette: a"])))
def test_an_answer_ends_before_the_tag_of_every_other_speaker(lines: list[str]) -> None:
    """A reference: the speaker of a prompt is the tag of its last line at the margin."""
    prompt = "\n".join(lines)
    margin = [line for line in prompt.split("\n") if line and line[0] != " "]
    speaker = margin[-1].partition(":")[0] if margin else ""
    names = ("Ann", "Bob", "Cleo")
    assert stop_sequences_for(prompt, names) == tuple(f"\n{name}:" for name in names if name != speaker)
    assert stop_sequences_for(prompt, ()) == ()


def test_blanks_at_the_end_of_a_piped_prompt_are_removed(folder: Path) -> None:
    ask = ("--max-tokens", "20", "--model", folder)
    typed = asr33("ask", "“The” operator", *ask).stdout
    assert asr33("ask", *ask, stdin="“The” operator \n\n".encode()).stdout == typed
    assert asr33("ask", "-", *ask, stdin="“The” operator".encode()).stdout == typed
    assert asr33("ask", *ask, stdin="\ufeff“The” operator\r\n".encode()).stdout == typed
    assert asr33("ask", "The operator", *ask).stdout != typed


def test_text_is_printed_while_it_is_generated_and_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    """The context of 16,384 tokens makes the answer take more than ten seconds."""
    long = tiny_folder(tmp_path, shape=replace(TINY, n_positions=16_384))
    command = [sys.executable, "-m", "tools.main", "ask", "The", "--model", str(long), "--max-tokens", "16000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout
        assert os.read(child.stdout.fileno(), 1)
        child.send_signal(signal.SIGINT)
        _, complaints = child.communicate(timeout=20)
    assert (child.returncode, complaints) == (130, b"")


@pytest.mark.parametrize("prompt", [b"caf\xe9", None])
def test_a_prompt_that_is_not_utf8_gives_a_one_line_error(folder: Path, prompt: bytes | None) -> None:
    typed = (prompt,) if prompt else ()
    done = asr33("ask", *typed, "--model", folder, stdin=b"caf\xe9")
    assert "the prompt is not UTF-8 at byte 3" in error_line(done)
    assert done.returncode == 65


def test_a_prompt_longer_than_the_context_gives_a_one_line_error(folder: Path) -> None:
    done = asr33("ask", "-", "--model", folder, stdin=b"A line that is long.\n" * 30)
    assert "the model takes 48 (64 less 16 for the answer): shorten it by" in error_line(done)
    assert done.returncode == 65


def test_a_missing_model_gives_a_one_line_error_that_lists_the_others(folder: Path) -> None:
    done = asr33("ask", "Hi", "--model", "nix", home=folder.parent)
    assert "there are: " in error_line(done)
    assert "tiny" in error_line(done)
    assert done.returncode == 66


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "manifest.json"])
def test_a_damaged_model_gives_a_one_line_error(tmp_path: Path, name: str) -> None:
    folder = tiny_folder(tmp_path)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    done = asr33("ask", "Hi", "--model", folder)
    assert name in error_line(done)
    assert done.returncode == 65


@pytest.mark.parametrize(
    "words",
    [
        *("--max-tokens 0", "--max-tokens 1000001", "--length 0", "--top-k x", "--top-k 1000001", "--seed -1"),
        *("--temperature -1", "--temperature nan", "--top-p 1.5", "--top-p 0", "--repetition-penalty 0.001"),
        "--threads 257",
    ],
)
def test_a_bad_number_is_named_in_the_error(words: str) -> None:
    done = asr33("ask", "Hi", *words.split())
    assert re.search(rf"'{re.escape(words.split()[1])}' is not a (whole )?number from .* to ".encode(), done.stderr)
    assert done.returncode == 2


def test_with_a_device_option_the_device_in_use_is_reported(folder: Path) -> None:
    done = asr33("ask", "The", "--max-tokens", "2", "--device", "cpu", "--threads", "1", "--model", folder)
    assert (done.returncode, done.stderr) == (0, b"asr33: asked for cpu; the model runs on: CPU, 1 thread\n")
    assert done.stdout.endswith(b"\n")


def test_a_missing_gpu_gives_a_one_line_error(folder: Path) -> None:
    done = asr33("ask", "The", "--device", "cuda", "--model", folder)
    assert re.search("asked for CUDA|float16 alone", error_line(done))
    assert done.returncode in (69, 71)


def test_a_closed_standard_input_gives_a_one_line_error(folder: Path) -> None:
    line = f"exec {sys.executable} -m tools.main ask --model {folder} <&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, cwd=ROOT, timeout=60)
    assert "no prompt: say asr33 ask PROMPT, or pipe one in" in error_line(done)
    assert done.returncode == 66


def test_at_a_terminal_it_asks_for_the_prompt(folder: Path) -> None:
    with terminal() as (hand, tty):
        command = [sys.executable, "-m", "tools.main", "ask", "--max-tokens", "3", "--model", str(folder)]
        with subprocess.Popen(command, cwd=ROOT, stdin=tty, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stderr
            assert b"type the prompt here; Ctrl-D" in child.stderr.readline()
            os.write(hand, b"The operator\n\x04")
            answer, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    assert answer


def test_a_reader_that_closes_the_pipe_is_no_error(folder: Path) -> None:
    left, pipe = os.pipe()
    os.close(left)
    command = [sys.executable, "-m", "tools.main", "ask", "The", "--model", str(folder)]
    done = subprocess.run(command, cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, timeout=60)
    os.close(pipe)
    assert (done.returncode, done.stderr) == (141, b"")


def test_models_are_listed_verified_and_scored(folder: Path, tmp_path: Path) -> None:
    home = folder.parent
    listed = asr33("model", "list", home=home)
    (row,) = [line.split() for line in listed.stdout.decode().splitlines() if line.startswith("tiny")]
    assert row == ["tiny", "0.0", "M", "0.1", "64", "7.500", str(folder)]
    assert b"tiny: verified\n" in asr33("model", "verify", "tiny", home=home).stdout

    text = tmp_path / "text.txt"
    text.write_text("One.\n<|endoftext|>\nTwo, which is longer.\n")
    both, second = [
        asr33("model", "score", text, "--model", "tiny", *words, home=home) for words in ((), ("--hold-out", "2"))
    ]
    assert b"bits per byte" in both.stdout
    assert b"2 documents" in both.stdout
    assert b"22 bytes, 1 documents" in second.stdout
    beyond = asr33("model", "score", text, "--model", "tiny", "--hold-out", "3", home=home)
    assert "there are only 2 documents" in error_line(beyond)
    assert beyond.returncode == 65


def test_verify_names_every_damaged_model_and_fails(tmp_path: Path) -> None:
    tiny_folder(tmp_path, "good")
    for name in ("bad", "worse"):
        (tiny_folder(tmp_path, name) / "model.onnx").write_bytes(b"")
    done = asr33("model", "verify", home=tmp_path)
    assert b"good: verified" in done.stdout
    assert done.stderr.count(b"asr33: ") == 2
    assert done.returncode == 65
    done = asr33("model", "verify", "gone", "bad", tmp_path / "good", home=tmp_path)
    assert done.stdout == b"good: verified\n"
    assert [line.split(b":")[1][:14] for line in done.stderr.splitlines()] == [
        b" no model 'gon",
        f" {tmp_path}"[:14].encode(),
    ]
    assert done.returncode == 66


def test_verify_always_checks_the_embedded_model(tmp_path: Path) -> None:
    """The embedded model is missing here; a model of the same name in the models' folder does not replace it."""
    program = f"""
import sys, pathlib
from model.store import store
store._embedded_folder = lambda: pathlib.Path({str(tmp_path / "nowhere")!r})
from tools.main import main
sys.exit(main(["model", "verify"]))
"""
    tiny_folder(tmp_path, "embedded")
    settings = os.environ | {"ASR33_MODELS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=settings)
    assert done.stdout == f"{tmp_path / 'embedded'}: verified\n"
    assert done.stderr == "asr33: the embedded model is not in this installation; install asr33 again\n"
    assert done.returncode == 66


@pytest.mark.parametrize("damage", [{"training": None}, {"shape": {"vocab_size": 300, "n_embd": "x"}}])
def test_an_unusual_manifest_takes_one_line_of_the_list(tmp_path: Path, damage: dict[str, object]) -> None:
    tiny_folder(tmp_path, "good")
    path = tiny_folder(tmp_path, "odd") / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | damage), "utf-8")
    done = asr33("model", "list", home=tmp_path)
    rows = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    assert [row.split()[1] for row in rows if row.startswith("good")] == ["0.0"]
    assert ["not a manifest (" in row for row in rows if row.startswith("odd")] == [True]
