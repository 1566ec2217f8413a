"""The whole command on a corpus, from the hub's files, with adapters, with its samples on the paper."""

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
from fakes_room import opened, until
from safetensors.numpy import save_file

from model.build import export
from model.errors import ModelDamaged, TextDamaged
from model.store import store
from tools.corpus import storage
from tools.corpus.record import Record
from tools.model import make, score
from tools.train import command, run_config
from tools.train.errors import MemoryShort, OptionRefused, OtherRun
from tools.train.print_samples import TeletypeSamplePrinter, open_sample_printer

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


def chat(threads: int = 20, lines: int = 12) -> str:
    """Ann and Bob, in many conversations."""
    draw = Random(1)
    with storage.open_draft("chat") as draft:
        for thread in range(threads):
            for line in range(lines):
                said = f"{draw.choice(fakes.WHO)} {draw.choice(fakes.DOES)} {draw.choice(fakes.WHAT)}."
                draft.add_record(
                    Record("f", f"thread {thread}", said, ("Ann", "Bob")[line % 2], float(line), "message")
                )
        draft.write_kept_records(draft.all_records())
        draft.commit()
    return "chat"


def test_a_corpus_becomes_a_voice_that_knows_who_speaks_and_how_much_it_copies(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (chat(), "--name", "voice", "--steps", 40, *fakes.SIZE[:-2], "--copied", 60)
    assert run_train(*words) == 0
    told = capsys.readouterr().out
    training = store.verify_model(home / "voice").training
    assert training["personas"] == {"Ann": 108, "Bob": 108}  # of 20 threads two are held out
    assert (len(training["held_out_documents"]), training["step_taken"]) == (2, 40)
    assert training["command"].startswith("asr33 train chat --name voice --hold-out 10% --steps 40 --seed 33")
    assert "--patience 3" in training["command"]
    assert 60 <= training["copied_words"] < 200
    assert 0 <= training["copied_percent"] <= 100 >= training["copied_percent_of_held_out"] > 0
    assert "it ends when 75 steps bring nothing better" in told
    assert "the weights are those after step 40 of 40, the best" in told
    assert "% of" in told.splitlines()[-2]
    readme = (home / "voice" / store.CARD_FILE).read_text("utf-8")
    assert "Who speaks in it, in so many lines: Ann (108), Bob (108)." in readme
    assert '    [conversation]\n    persona = "Ann"\n    you = "Bob"\n' in readme
    assert "stand in runs of 8 words or more that its texts have too; of the documents held out" in readme
    assert "| weights | those after step 40, the best on the text held out |" in readme
    assert run_train(*words) == 0  # the same run, which is over
    with storage.open_draft("chat") as draft:
        draft.write_kept_records([Record("f", "t", "Changed.", "Ann", 0.0, "message")] * 2000)
        draft.commit()
    with pytest.raises(OtherRun, match="begun with another content of chat"):
        run_train(*words, "--hold-out", "0%")


def test_a_chat_of_two_people_has_a_tenth_held_out_and_its_figure_can_be_had_again(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train(chat(threads=1, lines=400), "--name", "voice", "--steps", 20, *fakes.SIZE) == 0
    told = capsys.readouterr().out
    training = store.verify_model(home / "voice").training
    assert training["hold_out"] == "10%"
    assert training["held_out_documents"]
    assert "bits per byte on the text held out" in told
    assert "    Bob:" in told  # a sample begins as one of those who speak there
    assert told.rstrip().endswith("try: asr33 ask Bob: --model voice")
    again = "asr33 model score chat --model voice --held-out"
    assert f"\n    {again}\n" in (home / "voice" / store.CARD_FILE).read_text("utf-8")
    parser = argparse.ArgumentParser()
    score.add_arguments(parser)
    assert score.main(parser.parse_args([*again.split()[3:], "--json"])) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["documents"] == len(training["held_out_documents"])
    assert found["bits_per_byte"] == pytest.approx(training["bits_per_byte"], abs=1e-4)
    chat(threads=1, lines=500)
    with pytest.raises(TextDamaged, match=r"^chat: not what it was trained on; give chat as they were then[^\n]*$"):
        score.main(parser.parse_args(again.split()[3:]))


def test_a_run_from_a_base_that_gets_worse_ends_soon_and_with_the_best(
    text: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train(text, "--name", "base", "--steps", 60, *fakes.SIZE) == 0
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
    assert f"the weights are those after step {taken} of {taken + 15}, the best" in capsys.readouterr().out
    assert "Before the first step:" in (home / "worse" / store.CARD_FILE).read_text("utf-8")


def hub_folder(parent: Path) -> Path:
    """GPT-2 as the hub has it, small."""
    (folder := parent / "hub-gpt2").mkdir()
    shape = fakes_model.TINY
    save_file(
        {f"transformer.{name}": value for name, value in fakes_model.tiny_weights().items()},
        folder / "model.safetensors",
    )
    sizes = {key: getattr(shape, key) for key in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")}
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", **sizes}))
    (folder / "tokenizer.json").write_text(fakes_model.tiny_tokenizer().to_json(), "utf-8")
    return folder


def test_a_base_may_be_a_folder_of_the_hubs_and_adapters_learn_beside_it(
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
    with pytest.raises(OtherRun, match="begun with --lora 4, not --lora 8"):
        run_train(*words[:-2], "--copied", 0, "--lora", 8)
    with (folder / "model.safetensors").open("ab"):
        pass
    save_file(fakes_model.tiny_weights(seed=34), folder / "model.safetensors")
    with pytest.raises(OtherRun, match="begun with another content of --base hub-gpt2"):
        run_train(*words)


def test_a_model_rounded_to_few_bits_is_no_base(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(export.MAX_PERPLEXITY_RATIO, "int8", 9.0)  # noise has no perplexity worth the name
    parser = argparse.ArgumentParser()
    make.add_arguments(parser)
    folder = fakes_model.tiny_folder(tmp_path)
    assert make.main(parser.parse_args([str(folder), "--name", "few", "--text", str(text)])) == 0
    with pytest.raises(ModelDamaged, match=r"^[^\n]*rounded to few bits; take the model that it was made from[^\n]*$"):
        run_train(text, "--name", "m", "--base", "few", "--steps", 1, *SMALL)


def test_dropout_average_and_decay_are_part_of_the_run(text: Path, home: Path) -> None:
    words = (text, "--name", "m", "--steps", 20, "--dropout", 0.1, "--average", 20, "--decay", 0.1, *fakes.SIZE)
    assert run_train(*words) == 0
    training = store.verify_model(home / "m").training
    assert training["command"].endswith("--dropout 0.1 --decay 0.1 --average 20")
    assert "the mean over the last 20 % of the run" in (home / "m" / store.CARD_FILE).read_text("utf-8")
    kept, length = run_config.from_json((home / ".training" / "m" / "run.json").read_text("utf-8"))
    assert (kept.dropout, kept.average, kept.decay, length.steps) == (0.1, 0.2, 0.1, 20)
    with pytest.raises(OtherRun, match=r"begun with --dropout 0\.1, not --dropout 0\.2"):
        run_train(*words[:5], "--dropout", 0.2, "--average", 20, "--decay", 0.1, *fakes.SIZE)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--dropout", 1), "--dropout 1: give a number from 0 to 0.9"),
        (("--average", 60), "--average 60: give from 0 to the 50 per cent of --fall"),
        (("--average", 5, "--patience", 2), "--average with --patience"),
        (("--lora", 4), "--lora 4: adapters stand beside a model; name one with --base"),
        (("--base", "m2", "--lora", 4, "--decay", 0.1), "--decay 0.1 with --lora: adapters have no decay"),
        (("--look-every", 0), "--look-every 0: give a number above zero"),
        (("--patience", -1), "--patience -1: give a number from 0 to 1,000,000$"),
        (("--hold-out", "100%"), "--hold-out 100%: give numbers of documents, as in --hold-out 10,14, or a share"),
    ],
)
def test_what_no_run_can_be_is_one_line(text: Path, words: tuple[object, ...], complaint: str) -> None:
    with pytest.raises(OptionRefused, match=f"^{complaint}[^\n]*$"):
        run_train(text, "--name", "m", "--steps", 2, *words)


def test_patience_with_nothing_held_out_is_told_and_left(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_train(text, "--name", "m", "--steps", 2, "--patience", 2, *fakes.SIZE) == 0
    assert "nothing is held out, so there is no early end: --patience needs --hold-out" in capsys.readouterr().out


def test_a_run_that_cannot_fit_is_refused_before_it_begins(
    text: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.train.device.free_memory", lambda where: 100 << 20)
    monkeypatch.setattr("tools.train.prepare.Gpt2", lambda shape: pytest.fail("the net was made"))
    with pytest.raises(MemoryShort, match=r"of memory, and can have 94 MB: take a smaller base"):
        run_train(text, "--name", "m", "--steps", 2, *fakes.SIZE)
    assert not list(home.rglob("*.json"))


def test_ctrl_c_while_torch_loads_is_no_torch_that_is_missing(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded() -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return lambda asked: pytest.fail("the run began")

    monkeypatch.setattr(command, "_import_run", loaded)
    assert run_train(text, "--name", "m", "--steps", 2, *fakes.SIZE) == 130


def test_each_sample_is_struck_on_the_machine(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    struck: list[str] = []
    monkeypatch.setattr("tools.train.print_samples.make_print_function", lambda port: struck.append)
    assert run_train(text, "--name", "m", "--steps", 3, "--line", "/dev/none", *fakes.SIZE) == 0
    assert len(struck) == 1
    assert struck[0].startswith("-- STEP 3 --\nIt was")


def test_a_machine_that_is_away_is_told_of_and_stops_nothing(
    text: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_train(text, "--name", "m", "--steps", 3, "--line", tmp_path / "gone", *fakes.SIZE) == 0
    assert "the sample is not on the paper: " in capsys.readouterr().out


def test_paper_that_is_slow_takes_the_next_sample_when_it_is_free() -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Event

    free, struck = Event(), list[str]()

    def strike(text: str) -> None:
        assert free.wait(30)
        struck.append(text)

    with ThreadPoolExecutor(1) as pool:
        sheet = TeletypeSamplePrinter(strike, struck.append, pool)
        sheet.print_sample(1, "one")
        sheet.print_sample(2, "two")
        free.set()
        sheet.wait_and_report()
        sheet.print_sample(3, "three")
        sheet.wait_and_report()
    assert struck == ["-- STEP 1 --\none\n\n", "-- STEP 3 --\nthree\n\n"]
    with open_sample_printer(None, struck.append) as none:
        none.print_sample(4, "four")
    assert len(struck) == 2


def test_a_sample_stands_on_the_paper_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASR33_CORPORA")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    with opened(tmp_path) as room:
        room.machine("--fast")
        with open_sample_printer(str(room.link), pytest.fail) as sheet:
            sheet.print_sample(3, "It was")
        until(lambda: "-- STEP 3 --\nIT WAS\n" in room.paper())
