"""The whole command: text in, a model in the store out, whatever happens on the way."""

# ruff: noqa: E402  torch may be missing

import json
import os
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
from model.errors import ModelDamaged, ModelError, ModelNotFound, TextDamaged, TextNotFound
from model.onnx import tokenizer
from model.onnx.session import OnnxSession
from model.store import store
from tools.train import checkpoint, command, data
from tools.train.errors import OptionRefused, OtherRun, RunHalted
from tools.train.signals import StoppedBySignal

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import argparse, sys
from model.errors import ModelError
from tools.train import command
parser = argparse.ArgumentParser()
command.add_arguments(parser)
try:
    sys.exit(command.main(parser.parse_args()))
except ModelError as error:
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
    """The command in this process."""
    return command.main(
        fakes.parse_train_args(*words, *(fakes.SIZE if sized else ("--batch", 4, "--threads", 1, "--copied", 0)))
    )


def start_training(*words: object, program: str = PROGRAM) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    line = [sys.executable, "-c", program, *map(str, words), *fakes.SIZE]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def score(name: str, documents: list[str]) -> float:
    folder = store.find_model(name)
    words = tokenizer.from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
    return score_documents(OnnxSession(folder / store.GRAPH_FILE, threads=1), words, documents).bits_per_byte


def test_a_disk_that_takes_no_first_checkpoint_keeps_nothing_and_says_so(text: Path, home: Path) -> None:
    small = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n{PROGRAM}"
    process = start_training(text, "--name", "m", "--steps", 5, program=small)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 74, err
    assert err.endswith("make room, then give the command again: nothing of this run is kept yet, and it begins anew\n")
    assert not list(home.rglob("*.safetensors"))


def wait_for_step(path: Path, step: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 300
    while not path.exists() or checkpoint.read_state(path).step < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def test_text_becomes_a_model_that_runs_and_says_what_it_is(text: Path, home: Path) -> None:
    process = start_training(
        text, "--name", "prose", "--steps", 40, "--hold-out", "2,5", "--seed", 7, "--about", "Short prose."
    )
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    manifest = store.verify_model(store.find_model("prose"))
    assert (manifest.shape, manifest.training["steps"], manifest.training["tokens_seen"]) == (fakes.SHAPE, 40, 40 * 256)
    assert manifest.training["held_out_documents"] == [2, 5]
    session = OnnxSession(home / "prose" / store.GRAPH_FILE, threads=1)
    assert session.forward([1, 2, 3]).shape == (300,)
    documents = fakes.documents()
    figure = score("prose", [documents[1], documents[4]])
    assert manifest.training["bits_per_byte"] == pytest.approx(figure, abs=1e-3)
    assert 1 < figure < 4.5
    assert f"{manifest.training['bits_per_byte']:.4f} bits per byte on the text held out" in out
    assert "    It was" in out  # a sample
    readme = (home / "prose" / store.CARD_FILE).read_text("utf-8")
    assert "Short prose." in readme
    assert "asr33 train text.txt --name prose --hold-out 2,5 --steps 40 --seed 7 --batch 4 --vocabulary 300" in readme


def test_killed_and_stopped_and_continued_it_comes_to_the_same_model(text: Path, home: Path) -> None:
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
    process.send_signal(signal.SIGINT)  # impatience harms nothing
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert out.splitlines()[-1] == "stopped; the same command goes on from here"
    assert checkpoint.read_state(saved).step < 150

    assert run_train(*words, "--name", "parts") == 0
    whole, parts = (load_file(home / ".training" / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    assert set(whole) == set(parts)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert store.verify_model(home / "whole").files == store.verify_model(home / "parts").files


def test_from_a_base_a_few_dozen_steps_lower_the_loss_on_text_held_out(text: Path, tmp_path: Path, home: Path) -> None:
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


def test_a_run_begun_without_an_end_is_given_one_while_its_rate_is_flat(text: Path, home: Path) -> None:
    saved = home / ".training" / "m" / "checkpoint.safetensors"
    process = start_training(text, "--name", "m", "--steps", 1_000_000, "--save-every", 0.02)
    wait_for_step(saved, 5, process)
    process.kill()
    process.communicate()
    steps = checkpoint.read_state(saved).step + 4
    assert run_train(text, "--name", "m", "--steps", steps, "--fall", 100 * 3 / steps) == 0
    assert store.verify_model(home / "m").training["steps"] == steps
    with pytest.raises(OtherRun, match="its rate falls by then"):
        run_train(text, "--name", "m", "--steps", 1_000_000)


def test_with_nothing_held_out_it_says_that_there_is_no_figure(
    text: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train(text, "--name", "m", "--steps", 2) == 0
    assert "none held out: there will be no figure of quality" in capsys.readouterr().out
    assert store.verify_model(home / "m").training["bits_per_byte"] is None


def test_the_same_command_again_writes_the_same_model_and_another_run_is_refused(text: Path, home: Path) -> None:
    words = (text, "--name", "m", "--steps", 4)
    assert run_train(*words) == 0
    files = store.verify_model(home / "m").files
    shutil.rmtree(home / "m")
    assert run_train(*words) == 0
    assert store.verify_model(home / "m").files == files
    with pytest.raises(OtherRun, match="begun with --seed 33, not --seed 34"):
        run_train(*words, "--seed", 34)
    with pytest.raises(OtherRun, match=r"--steps 9: the run is at step 4, .* length --steps 4 stays"):
        run_train(text, "--name", "m", "--steps", 9)
    text.write_text(text.read_text("utf-8") + "More.\n", "utf-8")
    with pytest.raises(OtherRun, match=r"another content of text\.txt"):
        run_train(*words)
    assert store.verify_model(home / "m").files == files
    assert run_train(*words, "--fresh", "--seed", 34) == 0
    assert store.verify_model(home / "m").training["seed"] == 34


def test_a_model_of_that_name_that_no_run_here_made_is_not_written_over(text: Path, home: Path) -> None:
    assert run_train(text, "--name", "m", "--steps", 1) == 0
    shutil.rmtree(home / ".training")
    with pytest.raises(OptionRefused, match="--name m: it is there already; take another --name, or --fresh"):
        run_train(text, "--name", "m", "--steps", 1)


def test_a_checkpoint_without_a_record_is_taken_over(
    text: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = home / ".training" / "m"
    assert run_train(text, "--name", "m", "--steps", 3) == 0
    (place / "run.json").unlink()
    assert run_train(text, "--name", "m", "--steps", 3) == 0
    assert "it has no run.json: taken for a run of this very command" in capsys.readouterr().out
    assert json.loads((place / "run.json").read_text())["length"] == {"steps": 3, "minutes": None, "fall": 0.5}
    (place / "tokenizer.json").unlink()
    with pytest.raises(ModelDamaged, match=r"tokenizer\.json: missing beside its checkpoint; --fresh"):
        run_train(text, "--name", "m", "--steps", 3)


@pytest.mark.parametrize(
    ("content", "words", "error", "complaint"),
    [
        (b"caf\xe9\n", (), TextDamaged, "byte 3 is not UTF-8"),
        (b"", (), TextDamaged, "no text to train on"),
        (b" \n<|endoftext|>\n\n", (), TextDamaged, "no text to train on"),
        (b"One.\n<|endoftext|>\nTwo.\n", ("--hold-out", "1,2"), TextDamaged, "no text to train on"),
        (b"One.\n<|endoftext|>\nTwo.\n", ("--hold-out", "3"), TextDamaged, "only 2 documents"),
        (b"One.\n<|endoftext|>\nTwo.\n", (), TextDamaged, "tokens to train on are too few for 4 windows of 64"),
        (None, (), TextNotFound, r"text\.txt"),
    ],
)
def test_text_that_cannot_be_trained_on_is_one_clear_line(
    text: Path, home: Path, content: bytes | None, words: tuple[str, ...], error: type[ModelError], complaint: str
) -> None:
    text.unlink() if content is None else text.write_bytes(content)
    with pytest.raises(error, match=f"^[^\n]*{complaint}[^\n]*$") as raised:
        run_train(text, "--name", "m", "--steps", 2, *words)
    assert raised.value.exit_code in (65, 66)
    assert not list(home.rglob("*.json"))


def test_a_fresh_run_that_cannot_be_leaves_the_one_before_as_it_was(text: Path, home: Path) -> None:
    place = home / ".training" / "m"
    assert run_train(text, "--name", "m", "--steps", 3) == 0
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    short = text.with_name("short.txt")
    short.write_text("One.\n", "utf-8")
    with pytest.raises(TextDamaged, match="too few"):
        run_train(short, "--name", "m", "--steps", 3, "--fresh")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert run_train(text, "--name", "m", "--steps", 3) == 0


def test_a_fresh_run_whose_export_cannot_be_leaves_the_one_before_as_it_was(text: Path, home: Path) -> None:
    """The base has weights that half precision holds, and logits that no number holds."""
    assert run_train(text, "--name", "m", "--steps", 3) == 0
    weights = {name: value * 1e4 for name, value in fakes_model.tiny_weights().items()}
    (base := home / "wild").mkdir()
    store.write_model(
        base,
        name="wild",
        shape=fakes_model.TINY,
        onnx_bytes=graph.build_gpt2(weights, fakes_model.TINY),
        tokenizer_json=fakes_model.tiny_tokenizer().to_json(),
        training={},
        card="",
    )
    place = home / ".training" / "m"
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    with pytest.raises(RunHalted, match="the export differs"):
        run_train(text, "--name", "m", "--steps", 3, "--base", "wild", "--fresh", sized=False)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_run_whose_terminal_goes_away_keeps_its_steps_and_says_129(text: Path, home: Path) -> None:
    """The far end of a pty is closed, and the kernel sends SIGHUP: nothing that is printed has a place to go."""
    line = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{PROGRAM}"
    ours, theirs = pty.openpty()
    words = (text, "--name", "m", "--steps", 100_000, "--save-every", 0.02, *fakes.SIZE)
    process = subprocess.Popen(
        [sys.executable, "-c", line, *map(str, words)],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    while b"loss" not in seen:
        seen += os.read(ours, 65536)
    saved = home / ".training" / "m" / "checkpoint.safetensors"
    os.close(ours)
    assert process.wait(300) == 129
    assert checkpoint.read_state(saved).step > 0
    assert not list(saved.parent.glob("*.part"))


def test_a_stop_while_the_vocabulary_is_learnt_is_obeyed() -> None:
    def stop(_: int) -> None:
        raise StoppedBySignal(signal.SIGINT)

    with pytest.raises(StoppedBySignal):
        tokenizer.train_tokenizer(data.iter_lines(fakes.documents(), stop), 300)


def test_without_torch_one_line_names_the_cure(text: Path) -> None:
    program = f"import sys; sys.modules['torch'] = None\n{PROGRAM}"
    process = start_training(text, "--name", "m", "--steps", 2, program=program)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (
        69,
        "asr33: training needs torch, which is not installed: pip install '.[cpu,train]'\n",
    )
