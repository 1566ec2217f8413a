"""The whole command, from a text to a model in the store, with kills, signals and errors on the way."""

# ruff: noqa: E402  torch may be missing

import json
import os
import platform
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_model
import fakes_training as fakes
from safetensors.torch import load_file

from model.build import graph
from model.build.bits_per_byte import score_documents
from model.errors import ModelDamaged, ModelNotFound
from model.onnx import tokenizer
from model.onnx.session import OnnxSession
from model.store import store
from tools.train import checkpoint, command, data
from tools.train.signals import StoppedBySignal

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import argparse, sys
from model.errors import ModelError
from tools.cli.errors import ToolError
from tools.train import command
parser = argparse.ArgumentParser()
command.add_arguments(parser)
try:
    sys.exit(command.main(parser.parse_args()))
except (ModelError, ToolError) as error:
    print(f"asr33: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return fakes.write_text(tmp_path / "text.txt")


def run_train(*words: object, sized: bool = True) -> int:
    """Runs the command in this process."""
    size = fakes.SIZE if sized else ("--batch", 4, "--threads", 1, "--copied", 0)
    return command.main(fakes.parse_train_args(*words, *size))


def start_training(*words: object, program: str = PROGRAM) -> subprocess.Popen[str]:
    """Starts the command in another process."""
    line = [sys.executable, "-c", program, *map(str, words), *fakes.SIZE]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def score(name: str, documents: list[str]) -> float:
    folder = store.find_model(name)
    encoder = tokenizer.from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
    return score_documents(OnnxSession(folder / store.GRAPH_FILE, threads=1), encoder, documents).bits_per_byte


def test_a_full_disk_at_the_first_checkpoint_keeps_nothing_and_exits_74(text: Path, home: Path) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n{PROGRAM}"
    process = start_training(text, "--name", "m", "--steps", 5, program=limited)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 74, err
    hint = "make room, then give the command again: nothing of this run is kept yet, and it begins from the start\n"
    assert err.endswith(hint)
    assert not list(home.rglob("*.safetensors"))


def wait_for_step(path: Path, step: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 300
    while not path.exists() or checkpoint.read_state(path).step < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_text_becomes_a_model_with_manifest_and_card(text: Path, home: Path) -> None:
    words = ("--steps", 40, "--hold-out", "2,5", "--seed", 7, "--about", "Short prose.")
    process = start_training(text, "--name", "prose", *words)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    manifest = store.verify_model(store.find_model("prose"))
    assert (manifest.shape, manifest.training["steps"], manifest.training["tokens_seen"]) == (fakes.SHAPE, 40, 40 * 256)
    assert manifest.training["held_out_documents"] == [2, 5]
    session = OnnxSession(home / "prose" / store.GRAPH_FILE, threads=1)
    assert session.forward([1, 2, 3]).shape == (300,)
    documents = fakes.make_documents()
    bits_per_byte = score("prose", [documents[1], documents[4]])
    assert manifest.training["bits_per_byte"] == pytest.approx(bits_per_byte, abs=1e-3)
    assert 1 < bits_per_byte < 4.5
    assert f"{manifest.training['bits_per_byte']:.4f} bits per byte on the held-out text" in out
    assert "    It was" in out  # a sample
    readme = (home / "prose" / store.CARD_FILE).read_text("utf-8")
    assert "Short prose." in readme
    assert "asr33 train text.txt --name prose --hold-out 2,5 --steps 40 --seed 7 --batch 4 --vocabulary 300" in readme


def test_a_killed_and_resumed_run_gives_the_same_model(text: Path, home: Path) -> None:
    assert run_train(text, "--steps", 150, "--name", "whole") == 0
    words = (text, "--steps", 150, "--save-every", 0.02)
    saved = home / ".training" / "parts" / "checkpoint.safetensors"

    process = start_training(*words, "--name", "parts")
    wait_for_step(saved, 5, process)
    process.kill()
    process.communicate()
    assert checkpoint.read_state(saved).step < 150
    assert not (home / "parts").exists()

    process = start_training(*words, "--name", "parts")
    wait_for_step(saved, checkpoint.read_state(saved).step + 5, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)  # a second signal has no effect
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert out.splitlines()[-1] == "stopped; the same command goes on from here"
    assert checkpoint.read_state(saved).step < 150

    assert run_train(*words, "--name", "parts") == 0
    whole, parts = (load_file(home / ".training" / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    assert set(whole) == set(parts)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert store.verify_model(home / "whole").files == store.verify_model(home / "parts").files


def test_steps_from_a_base_lower_the_loss_of_the_held_out_text(text: Path, tmp_path: Path, home: Path) -> None:
    assert run_train(text, "--name", "base", "--steps", 80) == 0
    other = fakes.write_text(tmp_path / "other.txt", seed=2)
    other.write_text(other.read_text("utf-8").replace("machine", "engine").replace(" ", "  "), "utf-8")
    held_out = [other.read_text("utf-8").split("<|endoftext|>\n")[2]]
    assert run_train(other, "--name", "more", "--base", "base", "--steps", 40, "--hold-out", 3, sized=False) == 0
    assert score("more", held_out) < score("base", held_out) - 0.2
    more, base = store.verify_model(home / "more"), store.verify_model(home / "base")
    assert more.shape == base.shape
    assert more.files[store.TOKENIZER_FILE] == base.files[store.TOKENIZER_FILE]
    assert more.training["base"] == {"name": "base", "sha256": base.graph_sha256}
    assert "Muon 0.004" in (home / "more" / store.CARD_FILE).read_text("utf-8")
    with pytest.raises(ModelNotFound, match="no model 'gone'"):
        run_train(text, "--name", "x", "--base", "gone", "--steps", 1, sized=False)


def test_an_endless_run_is_shortened_while_its_rate_is_flat(text: Path, home: Path) -> None:
    saved = home / ".training" / "m" / "checkpoint.safetensors"
    process = start_training(text, "--name", "m", "--steps", 1_000_000, "--save-every", 0.02)
    wait_for_step(saved, 5, process)
    process.kill()
    process.communicate()
    steps = checkpoint.read_state(saved).step + 4
    assert run_train(text, "--name", "m", "--steps", steps, "--fall", 100 * 3 / steps) == 0
    assert store.verify_model(home / "m").training["steps"] == steps
    with fakes.raises("usage", match="its rate falls by then"):
        run_train(text, "--name", "m", "--steps", 1_000_000)


def test_with_nothing_held_out_the_quality_is_not_measured(
    text: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train(text, "--name", "m", "--steps", 2) == 0
    assert "none held out: the quality will not be measured" in capsys.readouterr().out
    assert store.verify_model(home / "m").training["bits_per_byte"] is None


def test_the_same_command_rewrites_the_model_and_another_run_is_refused(text: Path, home: Path) -> None:
    words = (text, "--name", "m", "--steps", 4)
    assert run_train(*words) == 0
    files = store.verify_model(home / "m").files
    shutil.rmtree(home / "m")
    assert run_train(*words) == 0
    assert store.verify_model(home / "m").files == files
    with fakes.raises("usage", match="begun with --seed 33, not --seed 34"):
        run_train(*words, "--seed", 34)
    with fakes.raises("usage", match=r"--steps 9: the run is at step 4, .* length --steps 4 stays"):
        run_train(text, "--name", "m", "--steps", 9)
    text.write_text(text.read_text("utf-8") + "More.\n", "utf-8")
    with fakes.raises("usage", match=r"another content of text\.txt"):
        run_train(*words)
    assert store.verify_model(home / "m").files == files
    assert run_train(*words, "--fresh", "--seed", 34) == 0
    assert store.verify_model(home / "m").training["seed"] == 34


def test_a_model_without_a_run_is_not_overwritten(text: Path, home: Path) -> None:
    assert run_train(text, "--name", "m", "--steps", 1) == 0
    shutil.rmtree(home / ".training")
    with fakes.raises("usage", match="--name m: it is there already; take another --name, or --fresh"):
        run_train(text, "--name", "m", "--steps", 1)


def test_a_checkpoint_without_a_record_is_taken_over(
    text: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home / ".training" / "m"
    assert run_train(text, "--name", "m", "--steps", 3) == 0
    (folder / "run.json").unlink()
    assert run_train(text, "--name", "m", "--steps", 3) == 0
    assert "it has no run.json: it is taken for a run of this command" in capsys.readouterr().out
    assert json.loads((folder / "run.json").read_text())["length"] == {"steps": 3, "minutes": None, "fall": 0.5}
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelDamaged, match=r"tokenizer\.json: missing beside its checkpoint; --fresh"):
        run_train(text, "--name", "m", "--steps", 3)


@pytest.mark.parametrize(
    ("content", "words", "kind", "complaint"),
    [
        (b"caf\xe9\n", (), "damaged", "byte 3 is not UTF-8"),
        (b"", (), "damaged", "no text to train on"),
        (b" \n<|endoftext|>\n\n", (), "damaged", "no text to train on"),
        (b"One.\n<|endoftext|>\nTwo.\n", ("--hold-out", "1,2"), "damaged", "no text to train on"),
        (b"One.\n<|endoftext|>\nTwo.\n", ("--hold-out", "3"), "damaged", "only 2 documents"),
        (b"One.\n<|endoftext|>\nTwo.\n", (), "damaged", "tokens to train on are too few for 4 windows of 64"),
        (None, (), "missing", r"text\.txt"),
    ],
)
def test_an_unusable_text_gives_a_one_line_error(
    text: Path, home: Path, content: bytes | None, words: tuple[str, ...], kind: str, complaint: str
) -> None:
    text.unlink() if content is None else text.write_bytes(content)
    with fakes.raises(kind, match=f"^[^\n]*{complaint}[^\n]*$") as raised:
        run_train(text, "--name", "m", "--steps", 2, *words)
    assert raised.value.exit_code in (65, 66)
    assert not list(home.rglob("*.json"))


def test_a_failed_fresh_run_keeps_the_old_run(text: Path, home: Path) -> None:
    folder = home / ".training" / "m"
    assert run_train(text, "--name", "m", "--steps", 3) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    short = text.with_name("short.txt")
    short.write_text("One.\n", "utf-8")
    with fakes.raises("damaged", match="too few"):
        run_train(short, "--name", "m", "--steps", 3, "--fresh")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert run_train(text, "--name", "m", "--steps", 3) == 0


def test_a_fresh_run_with_a_failing_export_keeps_the_old_run(text: Path, home: Path) -> None:
    """The base has weights that half precision can hold, and logits that overflow."""
    assert run_train(text, "--name", "m", "--steps", 3) == 0
    weights = {name: value * 1e4 for name, value in fakes_model.tiny_weights().items()}
    fakes_model.write_model(home / "wild", graph.build_gpt2(weights, fakes_model.TINY))
    folder = home / ".training" / "m"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with fakes.raises("failed", match="the export differs"):
        run_train(text, "--name", "m", "--steps", 3, "--base", "wild", "--fresh", sized=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_whose_terminal_closes_saves_and_exits_129(text: Path, home: Path) -> None:
    """The pty is closed, and the kernel sends SIGHUP: no output can be written any more."""
    program = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{PROGRAM}"
    controller, terminal = pty.openpty()
    words = (text, "--name", "m", "--steps", 100_000, "--save-every", 0.02, *fakes.SIZE)
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    command_line = [sys.executable, "-c", program, *map(str, words)]
    process = subprocess.Popen(command_line, cwd=ROOT, start_new_session=True, **streams)
    os.close(terminal)
    output = b""
    while b"loss" not in output:
        output += os.read(controller, 65536)
    saved = home / ".training" / "m" / "checkpoint.safetensors"
    os.close(controller)
    assert process.wait(300) == 129
    assert checkpoint.read_state(saved).step > 0
    assert not list(saved.parent.glob("*.part"))


def test_a_stop_ends_the_training_of_the_vocabulary() -> None:
    def stop(_: int) -> None:
        raise StoppedBySignal(signal.SIGINT)

    with pytest.raises(StoppedBySignal):
        tokenizer.train_tokenizer(data.iter_lines(fakes.make_documents(), stop), 300)


def test_without_torch_the_error_names_the_cure(text: Path) -> None:
    program = f"import sys; sys.modules['torch'] = None\n{PROGRAM}"
    process = start_training(text, "--name", "m", "--steps", 2, program=program)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 69
    assert err == "asr33: training needs torch, which is not installed: pip install '.[cpu,train]'\n"


def test_the_c_library_of_a_pi_keeps_freed_memory() -> None:
    """In a process of its own, since it stays so. What it saves is measured by `asr33 bench --train`."""
    code = "from tools.train.device import keep_freed_memory as keep; print(keep())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=120)
    assert done.stdout == b"True\n" or platform.libc_ver()[0] != "glibc"
