"""The whole command on a corpus, from files of the hub, with adapters, and with samples on a Teletype."""

# ruff: noqa: E402  torch may be missing

import argparse
import json
import os
import signal
from pathlib import Path
from random import Random

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_model
import fakes_training as fakes
from fakes_sandbox import open_sandbox, wait_for
from safetensors.numpy import save_file

from model.build import formats
from model.errors import ModelDamaged
from model.store import store
from tools.corpus import storage
from tools.corpus.record import Record
from tools.model import make, score
from tools.train import command, run_config
from tools.train.samples import TeletypeSamplePrinter, open_sample_printer

SMALL = ("--batch", 4, "--threads", 1, "--copied", 0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    return tmp_path / "models"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return fakes.write_text(tmp_path / "text.txt")


def run_train(*words: object) -> int:
    return command.main(fakes.parse_train_args(*words))


def chat(threads: int = 20, lines: int = 12, **changes: object) -> str:
    """Makes a corpus of conversations between Ann and Bob; returns its name. `changes` are those of the metadata."""
    rng = Random(1)
    with storage.open_draft("chat") as draft:
        for thread in range(threads):
            for line in range(lines):
                text = f"{rng.choice(fakes.SUBJECTS)} {rng.choice(fakes.VERBS)} {rng.choice(fakes.OBJECTS)}."
                speaker = ("Ann", "Bob")[line % 2]
                draft.add_record(Record("f", f"thread {thread}", text, speaker, float(line), "message"))
        draft.write_kept_records(draft.all_records())
        draft.commit(**changes)
    return "chat"


def test_a_corpus_becomes_a_model_with_personas_and_copied_share(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (chat(), "--name", "voice", "--steps", 40, *fakes.SIZE[:-2], "--copied", 60)
    assert run_train(*words) == 0
    output = capsys.readouterr().out
    training = store.verify_model(home / "voice").training
    assert training["personas"] == {"Ann": 108, "Bob": 108}  # of 20 threads two are held out
    assert (len(training["held_out_documents"]), training["step_taken"]) == (2, 40)
    assert training["command"].startswith("asr33 train chat --name voice --hold-out 10% --steps 40 --seed 33")
    assert "--patience 3" in training["command"]
    assert 60 <= training["copied_words"] < 200
    assert 0 <= training["copied_percent"] <= 100 >= training["copied_percent_of_held_out"] > 0
    assert "the run ends after 75 steps without improvement" in output
    assert "the weights are those after step 40 of 40, the best" in output
    assert "% of" in output.splitlines()[-3]
    assert output.splitlines()[-2] == "at the machine: asr33 run --model voice --persona Ann"
    readme = (home / "voice" / store.CARD_FILE).read_text("utf-8")
    assert "Speakers, with their number of lines: Ann (108), Bob (108)." in readme
    assert '    [conversation]\n    persona = "Ann"\n    you = "Bob"\n' in readme
    assert "stand in runs of 8 words or more that its texts have too; of the held-out documents" in readme
    assert "| weights | those after step 40 of 40, the best on the held-out text |" in readme
    assert run_train(*words) == 0  # the same run, which has ended
    with storage.open_draft("chat") as draft:
        draft.write_kept_records([Record("f", "t", "Changed.", "Ann", 0.0, "message")] * 2000)
        draft.commit()
    with fakes.raises("usage", match="begun with another content of chat"):
        run_train(*words, "--hold-out", "0%")


def test_a_chat_has_a_tenth_held_out_and_is_scored_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_train(chat(threads=1, lines=400), "--name", "voice", "--steps", 20, *fakes.SIZE) == 0
    output = capsys.readouterr().out
    training = store.verify_model(home / "voice").training
    assert training["hold_out"] == "10%"
    assert training["held_out_documents"]
    assert "bits per byte on the held-out text" in output
    assert "    Bob:" in output  # a sample begins as a speaker of the corpus
    assert output.rstrip().endswith("try: asr33 ask Bob: --model voice")
    again = "asr33 model score chat --model voice --held-out"
    assert f"\n    {again}\n" in (home / "voice" / store.CARD_FILE).read_text("utf-8")
    parser = argparse.ArgumentParser()
    score.add_arguments(parser)
    assert score.main(parser.parse_args([*again.split()[3:], "--json"])) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["documents"] == len(training["held_out_documents"])
    assert scores["bits_per_byte"] == pytest.approx(training["bits_per_byte"], abs=1e-4)
    chat(threads=1, lines=500)
    with fakes.raises("damaged", match=r"^chat: the model was not trained on it; give chat as they were then[^\n]*$"):
        score.main(parser.parse_args(again.split()[3:]))


def test_a_run_that_gets_worse_ends_early_with_the_best_weights(
    text: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train(text, "--name", "base", "--steps", 20, *fakes.SIZE) == 0
    other = tmp_path / "other.txt"
    same = text.read_text("utf-8").split("<|endoftext|>\n")[0]
    noise = "".join(Random(1).choice("qxzjk ") for _ in range(4000))
    other.write_text(f"{noise}\n<|endoftext|>\n{same}", "utf-8")
    words = (other, "--name", "worse", "--base", "base", "--steps", 200, "--hold-out", 2, "--look-every", 5)
    assert run_train(*words, *SMALL) == 0
    training = store.verify_model(home / "worse").training
    taken = training["step_taken"]
    assert training["steps"] == taken + 15 < 100
    assert training["bits_per_byte"] == pytest.approx(training["bits_per_byte_before"], abs=0.1)
    assert taken > 0
    assert f"the weights are those after step {taken} of {taken + 15}, the best" in capsys.readouterr().out
    assert "at a quick look " in (home / "worse" / store.CARD_FILE).read_text("utf-8")


def test_a_run_that_is_worse_than_its_base_is_not_called_the_best(
    text: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training on noise harms a base that knows the held-out text already."""
    assert run_train(text, "--name", "base", "--steps", 200, *fakes.SIZE) == 0
    same = text.read_text("utf-8").split("<|endoftext|>\n")[0]
    noise = "".join(Random(1).choice("qxzjk ") for _ in range(4000))
    (other := tmp_path / "other.txt").write_text(f"{noise}\n<|endoftext|>\n{same}", "utf-8")
    words = (other, "--base", "base", "--steps", 60, "--hold-out", 2, "--look-every", 5)
    capsys.readouterr()

    assert run_train(*words, "--name", "same", *SMALL) == 0
    output, card = capsys.readouterr().out, (home / "same" / store.CARD_FILE).read_text("utf-8")
    training = store.verify_model(home / "same").training
    assert training["step_taken"] == 0
    assert training["bits_per_byte_after"] == training["bits_per_byte_before"]
    assert ", the best" not in output + card
    assert "the weights are those after step 0 of 15: no later step was better on the held-out text\n" in output
    assert "\nit is base, unchanged; add texts, or keep the last weights all the same: --patience 0 --fresh\n" in output
    assert "So it is base, unchanged." in card

    assert run_train(*words, "--name", "worse", "--patience", 0, *SMALL) == 0
    output, card = capsys.readouterr().out, (home / "worse" / store.CARD_FILE).read_text("utf-8")
    training = store.verify_model(home / "worse").training
    assert training["bits_per_byte_after"] > training["bits_per_byte_before"]
    assert ", the best" not in output + card
    assert "\non the held-out text it is worse than base; add texts, or take fewer steps: --patience 3" in output
    assert "So on the held-out text it is worse than base." in card


def test_too_little_held_out_text_chooses_no_step(
    text: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (other := tmp_path / "other.txt").write_text(f"{text.read_text('utf-8')}\n<|endoftext|>\nShort.\n", "utf-8")
    words = (other, "--name", "m", "--steps", 3, "--hold-out", 7, "--patience", 2)
    assert run_train(*words, *fakes.SIZE) == 0
    assert "the weights are those after step 3 of 3, the last: too little is held out" in capsys.readouterr().out
    assert store.verify_model(home / "m").training["step_taken"] == 3


def hub_folder(parent: Path) -> Path:
    """A small GPT-2 as the hub has it."""
    (folder := parent / "hub-gpt2").mkdir()
    shape = fakes_model.TINY
    weights = {f"transformer.{name}": value for name, value in fakes_model.tiny_weights().items()}
    save_file(weights, folder / "model.safetensors")
    sizes = {key: getattr(shape, key) for key in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")}
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", **sizes}))
    (folder / "tokenizer.json").write_text(fakes_model.tiny_tokenizer().to_json(), "utf-8")
    return folder


def test_adapters_are_trained_on_a_base_from_the_hub(
    text: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = hub_folder(tmp_path)
    words = (text, "--name", "voice", "--base", folder, "--lora", 4, "--steps", 60, "--hold-out", "20%", *SMALL)
    assert run_train(*words) == 0
    training = store.verify_model(home / "voice").training
    assert training["base"]["name"] == "hub-gpt2"
    assert training["bits_per_byte"] < training["bits_per_byte_before"] - 0.2
    assert "--lora 4" in training["command"]
    assert "AdamW 0.002 for adapters of rank 4, merged" in (home / "voice" / store.CARD_FILE).read_text("utf-8")
    assert run_train(*words) == 0
    with fakes.raises("usage", match="begun with --lora 4, not --lora 8"):
        run_train(*words[:-2], "--copied", 0, "--lora", 8)
    save_file(fakes_model.tiny_weights(seed=34), folder / "model.safetensors")
    with fakes.raises("usage", match="begun with another content of --base hub-gpt2"):
        run_train(*words)


def test_a_quantised_model_is_refused_as_a_base(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.LIMITS, "int8", formats.QualityLimits(9.0, 0.03))  # noise has a random perplexity
    parser = argparse.ArgumentParser()
    make.add_arguments(parser)
    folder = fakes_model.tiny_folder(tmp_path)
    assert make.main(parser.parse_args([str(folder), "--name", "few", "--text", str(text)])) == 0
    refusal = r"^[^\n]*its weights are quantised; take the model that it was made from[^\n]*$"
    with pytest.raises(ModelDamaged, match=refusal):
        run_train(text, "--name", "m", "--base", "few", "--steps", 1, *SMALL)


def test_dropout_average_and_decay_are_part_of_the_run(text: Path, home: Path) -> None:
    words = (text, "--name", "m", "--steps", 20, "--dropout", 0.1, "--average", 20, "--decay", 0.1, *fakes.SIZE)
    assert run_train(*words) == 0
    training = store.verify_model(home / "m").training
    assert training["command"].endswith("--dropout 0.1 --decay 0.1 --average 20")
    assert "the mean over the last 20 % of the run" in (home / "m" / store.CARD_FILE).read_text("utf-8")
    config, length = run_config.from_json((home / ".training" / "m" / "run.json").read_text("utf-8"))
    assert (config.dropout, config.average, config.decay, length.steps) == (0.1, 0.2, 0.1, 20)
    with fakes.raises("usage", match=r"begun with --dropout 0\.1, not --dropout 0\.2"):
        run_train(*words[:5], "--dropout", 0.2, "--average", 20, "--decay", 0.1, *fakes.SIZE)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--dropout", 1), "--dropout 1: give a number from 0 to 0.9"),
        (("--average", 60), "--average 60: give from 0 to the 50 per cent of --fall"),
        (("--average", 5, "--patience", 2), "--average with --patience"),
        (("--lora", 4), "--lora 4: adapters need a base; name one with --base"),
        (("--base", "m2", "--lora", 4, "--decay", 0.1), "--decay 0.1 with --lora: adapters have no decay"),
        (("--look-every", 0), "--look-every 0: give a number above zero"),
        (("--patience", -1), "--patience -1: give a number from 0 to 1,000,000$"),
        (("--hold-out", "100%"), "--hold-out 100%: give numbers of documents, as in --hold-out 10,14, or a share"),
    ],
)
def test_impossible_options_give_a_one_line_error(text: Path, words: tuple[object, ...], complaint: str) -> None:
    with fakes.raises("usage", match=f"^{complaint}[^\n]*$"):
        run_train(text, "--name", "m", "--steps", 2, *words)


def test_patience_without_a_held_out_text_is_ignored_with_a_note(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train(text, "--name", "m", "--steps", 2, "--patience", 2, *fakes.SIZE) == 0
    assert "nothing is held out, so there is no early end: --patience needs --hold-out" in capsys.readouterr().out


def test_a_run_that_does_not_fit_the_memory_is_refused_first(
    text: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.train.device.free_memory", lambda where: 100 << 20)
    monkeypatch.setattr("tools.train.prepare.Gpt2", lambda shape: pytest.fail("the net was made"))
    with fakes.raises("system", match=r"of memory, and can have 94 MB: take a smaller base"):
        run_train(text, "--name", "m", "--steps", 2, *fakes.SIZE)
    assert not list(home.rglob("*.json"))


def test_ctrl_c_while_torch_loads_exits_130(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def import_run() -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return lambda options: pytest.fail("the run began")

    monkeypatch.setattr(command, "_import_run", import_run)
    assert run_train(text, "--name", "m", "--steps", 2, *fakes.SIZE) == 130


def test_each_sample_is_printed_on_the_machine(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr("tools.train.samples.make_print_function", lambda port: printed.append)
    assert run_train(text, "--name", "m", "--steps", 3, "--line", "/dev/none", *fakes.SIZE) == 0
    assert len(printed) == 1
    assert printed[0].startswith("-- STEP 3 --\nIt was")


def test_a_missing_machine_is_reported_and_training_goes_on(
    text: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_train(text, "--name", "m", "--steps", 3, "--line", tmp_path / "gone", *fakes.SIZE) == 0
    assert "the sample was not printed: " in capsys.readouterr().out


def test_a_slow_machine_skips_samples() -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Event

    free, printed = Event(), list[str]()

    def print_text(text: str) -> None:
        assert free.wait(30)
        printed.append(text)

    with ThreadPoolExecutor(1) as pool:
        printer = TeletypeSamplePrinter(print_text, printed.append, pool)
        printer.print_sample(1, "one")
        printer.print_sample(2, "two")
        free.set()
        printer.wait_and_report()
        printer.print_sample(3, "three")
        printer.wait_and_report()
    assert printed == ["-- STEP 1 --\none\n\n", "-- STEP 3 --\nthree\n\n"]
    with open_sample_printer(None, printed.append) as printer:
        printer.print_sample(4, "four")
    assert len(printed) == 2


def test_a_sample_is_printed_by_a_virtual_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASR33_CORPORA")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    with open_sandbox(tmp_path) as room:
        room.start_machine("--fast")
        with open_sample_printer(str(room.link), pytest.fail) as printer:
            printer.print_sample(3, "It was")
        wait_for(lambda: "-- STEP 3 --\nIT WAS\n" in room.paper_text())
