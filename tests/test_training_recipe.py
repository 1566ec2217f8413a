"""What was asked, what makes a run the same run, its folder, its card, and what the operator sees."""

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
from rich.console import Console

from model.build.bits_per_byte import TextScore
from model.errors import ModelDamaged
from tools.train import card, options, run_config, run_folder
from tools.train.checkpoint import TrainState
from tools.train.display import TrainDisplay, format_duration
from tools.train.errors import OptionRefused, OtherRun, RunUnwritten
from tools.train.holdout import HoldOut
from tools.train.loop import StepReport
from tools.train.run_config import HashedSource, ModelSize, RunConfig, RunLength
from tools.train.signals import StoppedBySignal, StopSignals

RECIPE = RunConfig(
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
        ("--steps 9 --fall 101", "--fall 101: 100 per cent are the whole run, and the most"),
        ("--steps 9 --fall nan", "--fall nan: give a number above zero"),
        ("--steps 9 --threads -1", "--threads -1: give"),
        ("--steps 9 --threads 257", "--threads 257: 256 are the most"),
        ("--steps 9 --layers 0", "--layers 0: give"),
        ("--steps 9 --heads 0", "--heads 0: give"),
        ("--steps 9 --seed -1", "--seed -1: a seed is 0 or more"),
        (f"--steps 9 --seed {2**63}", f"--seed {2**63}: a seed is 0 or more, and below"),
        ("--steps 9 --vocabulary 256", "--vocabulary 256: at least 257"),
        ("--steps 9 --width 100 --heads 3", "--width 100 --heads 3: each head needs .* as with --width 96"),
        ("--steps 9 --hold-out 1,x", "--hold-out 1,x: give numbers of documents"),
        ("--steps 9 --name ../x", r"--name \.\./x: letters"),
        ("--steps 9 --base m --width 64", "--width with --base m: the base has its shape"),
        ("--steps 9 --base new", "--name new: a model cannot be its own base"),
    ],
)
def test_a_number_that_no_run_can_have_is_one_line_with_its_cure(words: str, complaint: str) -> None:
    with pytest.raises(OptionRefused, match=f"^{complaint}[^\n]*$") as refused:
        options.parse_options(fakes.parse_train_args("t.txt", "--name", "new", *words.split()))
    assert refused.value.exit_code == 2


def test_a_pipe_is_no_text_to_train_on() -> None:
    with pytest.raises(OptionRefused, match="-: a run may have to read its texts again, so give files"):
        options.parse_options(fakes.parse_train_args("-", "--name", "new", "--steps", 9))


def test_the_defaults_are_those_of_the_embedded_model() -> None:
    asked = options.parse_options(
        fakes.parse_train_args("t.txt", "--name", "new", "--minutes", 112, "--hold-out", "26,10,10")
    )
    assert (asked.size, asked.batch, asked.threads, asked.seed) == (ModelSize(4096, 512, 256, 5, 4), 8, 2, 33)
    assert asked.length.fall == 0.5
    assert (asked.length, asked.hold_out) == (RunLength(None, 112.0), HoldOut((10, 26)))


@pytest.mark.parametrize("made", [RECIPE, replace(RECIPE, base=HashedSource("b", "33" * 32), hold_out=())])
def test_a_recipe_comes_back_from_its_file(made: RunConfig) -> None:
    for length in (RunLength(500, None), RunLength(None, 1.5), RunLength(500, None, 0.2)):
        assert run_config.from_json(run_config.to_json(made, length)) == (made, length)


def test_a_record_from_before_the_fall_could_be_set_has_the_fall_of_then() -> None:
    text = run_config.to_json(RECIPE, RunLength(500, None)).replace(',\n    "fall": 0.5', "")
    assert "fall" not in text
    assert run_config.from_json(text) == (RECIPE, RunLength(500, None, 0.5))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 2}', '{"format": 1, "recipe": 3}'])
def test_a_file_that_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(ModelDamaged):
        run_config.from_json(text)


@pytest.mark.parametrize(
    ("other", "change"),
    [
        (replace(RECIPE, seed=8), "begun with --seed 7, not --seed 8"),
        (replace(RECIPE, batch=4), "begun with --batch 8, not --batch 4"),
        (replace(RECIPE, size=ModelSize(width=128)), "begun with --width 256, not --width 128"),
        (replace(RECIPE, hold_out=()), "begun with --hold-out 2,5, not nothing held out"),
        (replace(RECIPE, base=HashedSource("b", "")), "begun with no --base, not --base b"),
        (replace(RECIPE, texts=RECIPE.texts[1:]), "begun with 'a b.txt' c.txt.xz, not c.txt.xz"),
        (replace(RECIPE, texts=RECIPE.texts[::-1]), "begun with 'a b.txt' c.txt.xz, not c.txt.xz 'a b.txt'"),
        (
            replace(RECIPE, texts=(RECIPE.texts[0], HashedSource("c.txt.xz", "23" * 32))),
            "begun with another content of 'a b.txt' c.txt.xz",
        ),
    ],
)
def test_another_recipe_for_the_same_name_is_refused_by_what_differs(other: RunConfig, change: str) -> None:
    run_config.require_same("m", RECIPE, RECIPE)
    with pytest.raises(OtherRun, match=f"^the run m was {change}: take that, another --name, or --fresh[^\n]*$"):
        run_config.require_same("m", RECIPE, other)


def test_the_command_says_all_that_is_not_the_default() -> None:
    assert (
        run_config.train_command("m", RECIPE, RunLength(None, 112.0))
        == "asr33 train 'a b.txt' c.txt.xz --name m --hold-out 2,5 --minutes 112 --seed 7"
    )
    based = replace(RECIPE, base=HashedSource("gpt2", ""), hold_out=(), batch=2, size=ModelSize(width=768, layers=12))
    assert run_config.train_command("m", based, RunLength(40, None)) == (
        "asr33 train 'a b.txt' c.txt.xz --name m --base gpt2 --steps 40 --seed 7 --batch 2"
    )
    assert run_config.train_command("m", replace(RECIPE, size=ModelSize(layers=2)), RunLength(4, None)).endswith(
        "--seed 7 --layers 2"
    )
    assert run_config.train_command("m", RECIPE, RunLength(4, None, 0.07)).endswith("--steps 4 --fall 7 --seed 7")


@pytest.mark.parametrize(
    ("made", "ending"),
    [
        (RunConfig(RECIPE.texts, corpus=True), " --seed 33 --hold-out 0%"),
        (RunConfig(RECIPE.texts, hold_share=10, corpus=True), " --seed 33 --patience 0"),
        (RunConfig(RECIPE.texts, (2,), HashedSource("gpt2", "")), " --seed 33 --patience 0"),
        (RunConfig(RECIPE.texts, (2,), HashedSource("gpt2", ""), average=0.1), " --seed 33 --average 10"),
        (RunConfig(RECIPE.texts, (2,), HashedSource("gpt2", ""), patience=3), " --seed 33 --patience 3"),
        (RunConfig(RECIPE.texts, (), HashedSource("gpt2", "")), " --seed 33"),
    ],
)
def test_the_command_says_what_a_base_or_a_corpus_would_have_brought(made: RunConfig, ending: str) -> None:
    assert run_config.train_command("m", made, RunLength(9, None)).partition("--steps 9")[2] == ending
    assert run_config.from_json(run_config.to_json(made, RunLength(9, None)))[0] == made


def test_a_command_that_is_given_again_is_the_same_run() -> None:
    words = run_config.train_command(
        "m", replace(RECIPE, batch=4, size=ModelSize(layers=2)), RunLength(40, None)
    ).replace("'a b.txt'", "a")
    asked = options.parse_options(fakes.parse_train_args(*words.split()[2:]))
    assert (asked.hold_out, asked.seed, asked.batch, asked.size) == (HoldOut((2, 5)), 7, 4, ModelSize(layers=2))


def test_a_folder_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    place = run_folder.run_folder_for(tmp_path, "m")
    with (
        run_folder.lock_folder(place),
        pytest.raises(OtherRun, match="another process trains this model"),
        run_folder.lock_folder(place),
    ):
        pass
    with run_folder.lock_folder(place):
        place.checkpoint.write_text("numbers")
    assert place.checkpoint.exists()


def test_a_folder_in_which_no_step_was_kept_goes(tmp_path: Path) -> None:
    place = run_folder.run_folder_for(tmp_path, "m")
    with run_folder.lock_folder(place):
        run_folder.write_text(place.tokenizer, "{}")
    assert not place.path.exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".training").write_text("a file where the folder should be")
    with (
        pytest.raises(RunUnwritten, match=r"\.training/m: cannot be written"),
        run_folder.lock_folder(run_folder.run_folder_for(tmp_path, "m")),
    ):
        pass


def test_a_fresh_run_forgets_the_one_before(tmp_path: Path) -> None:
    place = run_folder.run_folder_for(tmp_path, "m")
    with run_folder.lock_folder(place):
        place.checkpoint.write_text("numbers")
        run_folder.write_text(place.config, run_config.to_json(RECIPE, RunLength(5, None)))
        assert run_folder.read_run_length(place, "m", RECIPE) == RunLength(5, None)
        run_folder.clear_folder(place)
        assert not place.checkpoint.exists()
        assert run_folder.read_run_length(place, "m", replace(RECIPE, seed=99)) is None
        run_folder.write_text(place.config, "{")
        with pytest.raises(ModelDamaged, match=r"run\.json: not the record of a run.*--fresh"):
            run_folder.read_run_length(place, "m", RECIPE)


RESULT = card.TrainResult(
    name="m",
    config=RECIPE,
    length=RunLength(None, 112.0),
    rates=(0.02, 3e-3),
    shape=fakes.SHAPE,
    state=TrainState(step=2900, tokens=11_878_400, elapsed_s=6720.0),
    documents=6,
    train_tokens=10_000_000,
    held_out_score=TextScore(1.60512, 4.3, 677_000, 2_600_000),
    about="A model of prose.",
    licence="CC0",
    held_out_numbers=(2, 5),
)


def test_the_card_says_data_steps_seed_time_figure_and_command() -> None:
    text = card.model_card(RESULT)
    wanted = ["# m", "A model of prose.", "c.txt.xz", "22" * 32, "held out: 2, 5.", "Licence: CC0"]
    wanted += ["| seed | 7 |", "2,900 of 8 x 64", "11,878,400: 1.19 times", "112.0 minutes", "**1.6051 bits per byte**"]
    wanted += ["    asr33 train 'a b.txt' c.txt.xz --name m --hold-out 2,5 --minutes 112 --seed 7\n"]
    assert [part for part in wanted if part not in text] == []
    assert "flat, then falling over the last 50 % of the run" in text
    assert "Nothing was held out" in card.model_card(replace(RESULT, held_out_score=None))


def test_a_base_has_its_licence_on_the_card() -> None:
    based = replace(RESULT, config=replace(RECIPE, base=HashedSource("gpt2", "33" * 32)))
    assert "the weights of gpt2 in it, and its licence holds too: it tells none" in card.model_card(based)
    told = replace(based, base_licence="mit")
    assert "the weights of gpt2 in it, and its licence holds too: mit" in card.model_card(told)
    assert card.training_record(told)["base_licence"] == "mit"
    assert "its licence holds too" not in card.model_card(RESULT)


def test_the_manifest_has_the_same_as_plain_json() -> None:
    kept = json.loads(json.dumps(card.training_record(RESULT)))
    assert (kept["bits_per_byte"], kept["tokens_seen"], kept["seed"]) == (1.6051, 11_878_400, 7)
    assert kept["held_out_documents"] == [2, 5]
    assert card.training_record(replace(RESULT, held_out_score=None))["bits_per_byte"] is None


def test_a_signal_waits_for_a_place_where_it_does_no_harm_and_a_second_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stopping:
        stopping.raise_if_stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StoppedBySignal) as stopped:
            stopping.raise_if_stopped()
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


REPORT = StepReport(TrainState(50, 0, 0.0), 0.25, 5000.0, 4.5, 1234.5, False, None)


def make_display(terminal: bool, clock: list[float]) -> tuple[TrainDisplay, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80)
    return TrainDisplay(console, check_stop=lambda: None, clock=lambda: clock[0]), out


def test_where_there_is_no_terminal_a_line_comes_now_and_then() -> None:
    clock = [0.0]
    display, out = make_display(terminal=False, clock=clock)
    with display.show_training() as show:
        for second in range(0, 70, 10):
            clock[0] = float(second)
            show(REPORT, None)
        show(replace(REPORT, is_evaluated=True), 1.9)
    line = " 25.0 %  step 50  loss 4.50  1,234 tok/s"
    assert out.getvalue().splitlines() == [
        "training ...",
        *[f"{line}  1 h 23 min left"] * 3,
        f"{line}  1.900 bits/byte  1 h 23 min left",
    ]


def test_slow_work_shows_how_far_it_is_and_how_long_it_took() -> None:
    clock = [0.0]
    display, out = make_display(terminal=False, clock=clock)
    with display.show_work("reading", 200) as advance:
        for clock[0] in (10.0, 31.0, 40.0):
            advance(50)
    assert out.getvalue().splitlines() == ["reading ...", "reading: 50 %", "reading: 40 s"]


def test_on_a_terminal_there_is_a_bar_and_samples_stand_above_it() -> None:
    display, out = make_display(terminal=True, clock=[0.0])
    with display.show_training() as show:
        show(replace(REPORT, state=TrainState(29_000, 0, 0.0)), 1.9)
        display.print_sample("It was [bold]so[/bold]\x1b[2J :smile:\nand more")
    assert "    It was [bold]so[/bold] [2J :smile:" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()
    assert "step 29000  loss 4.50  1,234 tok/s  1.900 bits/byte  1 h 23 min left" in out.getvalue()
    assert " 25%" in out.getvalue()


def test_a_stop_is_heard_at_every_sign_of_progress() -> None:
    def stop() -> None:
        raise StoppedBySignal(signal.SIGINT)

    display = TrainDisplay(Console(file=io.StringIO(), force_terminal=True), check_stop=stop)
    with pytest.raises(StoppedBySignal), display.show_work("reading", 1) as advance:
        advance(1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.4, "9 s"), (59.6, "1 min 0 s"), (3599.4, "59 min 59 s"), (6720, "1 h 52 min")]
)
def test_durations_have_two_figures(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
