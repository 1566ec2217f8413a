"""Options, config, folder, model card and display of a run."""

# ruff: noqa: E402  torch may be missing

import io
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

import fakes_training as fakes

from model.build.bits_per_byte import TextScore
from model.errors import ModelDamaged
from tools.cli.progress import format_duration
from tools.train import model_card, options, run_config, run_folder
from tools.train.checkpoint import TrainState
from tools.train.display import TrainDisplay
from tools.train.holdout import HoldOut
from tools.train.loop import StepReport
from tools.train.run_config import HashedSource, ModelSize, RunConfig, RunLength
from tools.train.schedule import LEARNING_RATES
from tools.train.signals import StoppedBySignal, StopSignals

CONFIG = RunConfig(
    (HashedSource("a b.txt", "11" * 32), HashedSource("c.txt.xz", "22" * 32)), (2, 5), None, 7, 8, ModelSize()
)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--steps 0", "--steps 0: give a number above zero"),
        ("--minutes -3", "--minutes -3: give a number above zero"),
        ("--minutes nan", "--minutes nan: give a number above zero"),
        ("--minutes inf", "--minutes inf: give a number above zero"),
        ("--steps 9 --batch 0", "--batch 0: give"),
        ("--steps 9 --fall 0", "--fall 0: give a number above zero"),
        ("--steps 9 --fall 101", "--fall 101: give at most 100 per cent, the whole run"),
        ("--steps 9 --fall nan", "--fall nan: give a number above zero"),
        ("--steps 9 --threads -1", "--threads -1: give"),
        ("--steps 9 --threads 257", "--threads 257: give at most 256"),
        ("--steps 9 --layers 0", "--layers 0: give"),
        ("--steps 9 --heads 0", "--heads 0: give"),
        ("--steps 9 --rate 0", "--rate 0: give a number above zero"),
        ("--steps 9 --rate 501", "--rate 501: give a number from 0 to 500"),
        ("--steps 9 --times 1,2", "--times 1,2: give a number from 1 to 1,000 for each of the 1 texts"),
        ("--steps 9 --times 0", "--times 0: give a number from 1"),
        ("--steps 9 --seed -1", "--seed -1: give a number from 0"),
        (f"--steps 9 --seed {2**63}", f"--seed {2**63}: give a number from 0 to below"),
        ("--steps 9 --vocabulary 256", "--vocabulary 256: give at least 257"),
        ("--steps 9 --width 100 --heads 3", "--width 100 --heads 3: each head needs .* as with --width 96"),
        ("--steps 9 --hold-out 1,x", "--hold-out 1,x: give numbers of documents"),
        ("--steps 9 --name ../x", r"--name \.\./x: a name has letters"),
        ("--steps 9 --base m --width 64", "--width with --base m: the base has its shape"),
        ("--steps 9 --base new", "--name new: a model cannot be its own base"),
    ],
)
def test_an_invalid_option_gives_a_one_line_error_with_a_cure(words: str, complaint: str) -> None:
    with fakes.raises("usage", match=f"^{complaint}[^\n]*$") as refused:
        options.parse_options(fakes.parse_train_args("t.txt", "--name", "new", *words.split()))
    assert refused.value.exit_code == 2


def test_standard_input_is_refused_as_a_text() -> None:
    with fakes.raises("usage", match="-: a run may have to read its texts again, so give files"):
        options.parse_options(fakes.parse_train_args("-", "--name", "new", "--steps", 9))


def test_the_defaults_are_those_of_the_embedded_model() -> None:
    words = ("t.txt", "--name", "new", "--minutes", 112, "--hold-out", "26,10,10")
    train_options = options.parse_options(fakes.parse_train_args(*words))
    assert train_options.size == ModelSize(4096, 512, 256, 5, 4)
    assert (train_options.batch, train_options.threads, train_options.seed) == (8, 2, 33)
    assert train_options.length.fall == 0.5
    assert (train_options.length, train_options.hold_out) == (RunLength(None, 112.0), HoldOut((10, 26)))


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, base=HashedSource("b", "33" * 32), hold_out=())])
def test_a_config_is_read_back_from_its_file(config: RunConfig) -> None:
    for length in (RunLength(500, None), RunLength(None, 1.5), RunLength(500, None, 0.2)):
        assert run_config.from_json(run_config.to_json(config, length)) == (config, length)


def test_an_old_record_without_a_fall_has_the_default_fall() -> None:
    text = run_config.to_json(CONFIG, RunLength(500, None)).replace(',\n    "fall": 0.5', "")
    assert "fall" not in text
    assert run_config.from_json(text) == (CONFIG, RunLength(500, None, 0.5))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 2}', '{"format": 1, "recipe": 3}'])
def test_a_file_that_is_no_run_record_is_refused(text: str) -> None:
    with pytest.raises(ModelDamaged):
        run_config.from_json(text)


@pytest.mark.parametrize(
    ("requested", "change"),
    [
        (replace(CONFIG, seed=8), "begun with --seed 7, not --seed 8"),
        (replace(CONFIG, batch=4), "begun with --batch 8, not --batch 4"),
        (replace(CONFIG, size=ModelSize(width=128)), "begun with --width 256, not --width 128"),
        (replace(CONFIG, times=(1, 9)), "begun with each text once, not --times 1,9"),
        (replace(CONFIG, hold_out=()), "begun with --hold-out 2,5, not nothing held out"),
        (replace(CONFIG, base=HashedSource("b", "")), "begun with no --base, not --base b"),
        (replace(CONFIG, texts=CONFIG.texts[1:]), "begun with 'a b.txt' c.txt.xz, not c.txt.xz"),
        (replace(CONFIG, texts=CONFIG.texts[::-1]), "begun with 'a b.txt' c.txt.xz, not c.txt.xz 'a b.txt'"),
        (
            replace(CONFIG, texts=(CONFIG.texts[0], HashedSource("c.txt.xz", "23" * 32))),
            "begun with another content of 'a b.txt' c.txt.xz",
        ),
    ],
)
def test_another_config_for_the_same_name_is_refused_with_the_difference(requested: RunConfig, change: str) -> None:
    run_config.require_same("m", CONFIG, CONFIG)
    with fakes.raises("usage", match=f"^the run m was {change}: take that, another --name, or --fresh[^\n]*$"):
        run_config.require_same("m", CONFIG, requested)


def test_the_train_command_has_all_options_that_are_not_defaults() -> None:
    start, train_command = "asr33 train 'a b.txt' c.txt.xz --name m", run_config.train_command
    command = train_command("m", CONFIG, RunLength(None, 112.0))
    assert command == f"{start} --hold-out 2,5 --minutes 112 --seed 7"
    based = replace(CONFIG, base=HashedSource("gpt2", ""), hold_out=(), batch=2, size=ModelSize(width=768, layers=12))
    command = train_command("m", based, RunLength(40, None))
    assert command == f"{start} --base gpt2 --steps 40 --seed 7 --batch 2"
    smaller = replace(CONFIG, size=ModelSize(layers=2))
    assert train_command("m", smaller, RunLength(4, None)).endswith("--seed 7 --layers 2")
    assert train_command("m", CONFIG, RunLength(4, None, 0.07)).endswith("--steps 4 --fall 7 --seed 7")


@pytest.mark.parametrize(
    ("config", "ending"),
    [
        (RunConfig(CONFIG.texts, corpus=True), " --seed 33 --hold-out 0%"),
        (RunConfig(CONFIG.texts, hold_share=10, corpus=True), " --seed 33 --patience 0"),
        (RunConfig(CONFIG.texts, (2,), HashedSource("gpt2", "")), " --seed 33 --patience 0"),
        (RunConfig(CONFIG.texts, (2,), HashedSource("gpt2", ""), average=0.1), " --seed 33 --average 10"),
        (RunConfig(CONFIG.texts, (2,), HashedSource("gpt2", ""), patience=3), " --seed 33 --patience 3"),
        (RunConfig(CONFIG.texts, (), HashedSource("gpt2", "")), " --seed 33"),
        (RunConfig(CONFIG.texts, rate=50, times=(1, 9)), " --seed 33 --times 1,9 --rate 50"),
    ],
)
def test_the_train_command_disables_defaults_of_bases_and_corpora(config: RunConfig, ending: str) -> None:
    assert run_config.train_command("m", config, RunLength(9, None)).partition("--steps 9")[2] == ending
    assert run_config.from_json(run_config.to_json(config, RunLength(9, None)))[0] == config


def test_parsing_the_train_command_gives_the_same_run() -> None:
    smaller = replace(CONFIG, batch=4, size=ModelSize(layers=2))
    words = run_config.train_command("m", smaller, RunLength(40, None)).replace("'a b.txt'", "a").split()
    train_options = options.parse_options(fakes.parse_train_args(*words[2:]))
    assert (train_options.hold_out, train_options.seed, train_options.batch) == (HoldOut((2, 5)), 7, 4)
    assert train_options.size == ModelSize(layers=2)


def test_one_process_at_a_time_locks_a_run_folder(tmp_path: Path) -> None:
    folder = run_folder.run_folder_for(tmp_path, "m")
    refused = fakes.raises("usage", match="another process trains this model")
    with run_folder.lock_folder(folder), refused, run_folder.lock_folder(folder):
        pass
    with run_folder.lock_folder(folder):
        folder.checkpoint.write_text("numbers")
    assert folder.checkpoint.exists()


def test_a_run_folder_without_a_checkpoint_is_removed(tmp_path: Path) -> None:
    folder = run_folder.run_folder_for(tmp_path, "m")
    with run_folder.lock_folder(folder):
        run_folder.write_text(folder.tokenizer, "{}")
    assert not folder.path.exists()


def test_an_unwritable_run_folder_gives_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / ".training").write_text("a file where the folder should be")
    folder = run_folder.run_folder_for(tmp_path, "m")
    with fakes.raises("output", match=r"\.training/m: cannot be written"), run_folder.lock_folder(folder):
        pass


def test_clearing_a_run_folder_removes_the_old_run(tmp_path: Path) -> None:
    folder = run_folder.run_folder_for(tmp_path, "m")
    with run_folder.lock_folder(folder):
        folder.checkpoint.write_text("numbers")
        run_folder.write_text(folder.config, run_config.to_json(CONFIG, RunLength(5, None)))
        assert run_folder.read_run_length(folder, "m", CONFIG) == RunLength(5, None)
        run_folder.clear_folder(folder)
        assert not folder.checkpoint.exists()
        assert run_folder.read_run_length(folder, "m", replace(CONFIG, seed=99)) is None
        run_folder.write_text(folder.config, "{")
        with pytest.raises(ModelDamaged, match=r"run\.json: not the record of a run.*--fresh"):
            run_folder.read_run_length(folder, "m", CONFIG)


RESULT = model_card.TrainResult(
    name="m",
    config=CONFIG,
    length=RunLength(None, 112.0),
    rates=LEARNING_RATES,
    shape=fakes.SHAPE,
    state=TrainState(step=2900, tokens=11_878_400, elapsed_s=6720.0),
    documents=6,
    train_tokens=10_000_000,
    held_out_score=TextScore(1.60512, 4.3, 677_000, 2_600_000),
    about="A model of prose.",
    licence="CC0",
    held_out_numbers=(2, 5),
)


def test_the_model_card_has_data_steps_seed_time_score_and_command() -> None:
    text = model_card.model_card(RESULT)
    expected = ["# m", "A model of prose.", "c.txt.xz", "22" * 32, "held out: 2, 5.", "Licence: CC0"]
    expected += ["| seed | 7 |", "2,900 of 8 x 64", "11,878,400: 1.19 times", "112.0 minutes"]
    expected += ["**1.6051 bits per byte**"]
    expected += ["    asr33 train 'a b.txt' c.txt.xz --name m --hold-out 2,5 --minutes 112 --seed 7\n"]
    assert [part for part in expected if part not in text] == []
    assert "flat, then falling over the last 50 % of the run" in text
    assert "Nothing was held out" in model_card.model_card(replace(RESULT, held_out_score=None))


def test_the_model_card_has_the_licence_of_the_base() -> None:
    based = replace(RESULT, config=replace(CONFIG, base=HashedSource("gpt2", "33" * 32)))
    assert "the weights of gpt2, whose licence applies too: not in its manifest" in model_card.model_card(based)
    licensed = replace(based, base_licence="mit")
    assert "the weights of gpt2, whose licence applies too: mit" in model_card.model_card(licensed)
    assert model_card.training_record(licensed)["base_licence"] == "mit"
    assert "whose licence applies too" not in model_card.model_card(RESULT)


def test_the_training_record_is_plain_json() -> None:
    record = json.loads(json.dumps(model_card.training_record(RESULT)))
    assert (record["bits_per_byte"], record["tokens_seen"], record["seed"]) == (1.6051, 11_878_400, 7)
    assert record["held_out_documents"] == [2, 5]
    assert model_card.training_record(replace(RESULT, held_out_score=None))["bits_per_byte"] is None


def test_a_signal_is_recorded_until_checked_and_a_second_is_ignored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        signals.raise_if_stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StoppedBySignal) as stopped:
            signals.raise_if_stopped()
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


REPORT = StepReport(TrainState(50, 0, 0.0), 0.25, 5000.0, 4.5, 1234.5, False, None)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def make_display(terminal: bool, clock: list[float]) -> tuple[TrainDisplay, io.StringIO]:
    out = Terminal() if terminal else io.StringIO()
    return TrainDisplay(out, check_stop=lambda: None, clock=lambda: clock[0]), out


def test_without_a_terminal_a_line_appears_every_30_s() -> None:
    clock = [0.0]
    display, out = make_display(terminal=False, clock=clock)
    with display.show_training() as show:
        for second in range(0, 70, 10):
            clock[0] = float(second)
            show(REPORT, None)
        show(replace(REPORT, is_evaluated=True), 1.9)
    step, left = " 25.0 %  step 50  loss 4.50  1,234 tok/s", "  1 h 23 min left"
    title, *lines = out.getvalue().splitlines()
    assert (title, lines) == ("training ...", [f"{step}{left}"] * 3 + [f"{step}  1.900 bits/byte{left}"])


def test_slow_work_shows_progress_and_duration() -> None:
    clock = [0.0]
    display, out = make_display(terminal=False, clock=clock)
    with display.show_work("reading", 200) as advance:
        for clock[0] in (10.0, 31.0, 40.0):
            advance(50)
    assert out.getvalue().splitlines() == ["reading ...", "reading: 50 %", "reading: 40 s"]


def test_on_a_terminal_samples_appear_above_the_progress_line() -> None:
    clock = [0.0]
    display, out = make_display(terminal=True, clock=clock)
    with display.show_training() as show:
        clock[0] = 1.0
        show(replace(REPORT, state=TrainState(29_000, 0, 0.0)), 1.9)
        display.print_sample("It was [bold]so[/bold]\x1b[2J :smile:\nand more")
    assert "    It was [bold]so[/bold] [2J :smile:" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()
    assert "step 29000  loss 4.50  1,234 tok/s  1.900 bits/byte  1 h 23 min left" in out.getvalue()
    assert "\r 25.0 %  step 29000" in out.getvalue()


def test_each_progress_checks_for_a_stop() -> None:
    def stop() -> None:
        raise StoppedBySignal(signal.SIGINT)

    display = TrainDisplay(Terminal(), check_stop=stop)
    with pytest.raises(StoppedBySignal), display.show_work("reading", 1) as advance:
        advance(1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.4, "9 s"), (59.6, "60 s"), (3599.4, "1 h 0 min"), (6720, "1 h 52 min")]
)
def test_durations_have_at_most_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
