from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes_model import TEXT, TINY, tiny_folder

from model.build import export
from model.errors import ExportRefused, ModelNotFound, TextDamaged
from model.onnx.runtime import OnnxModel
from model.onnx.session import OnnxSession
from model.store import store
from tools.model import make


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(make, "QUIET_S", 3600.0)
    (tmp_path / "text.txt").write_text(TEXT * 8)
    return tmp_path


def run_make(home: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    make.add_arguments(parser)
    return make.main(parser.parse_args([*words, "--text", str(home / "text.txt")]))


def test_a_model_is_made_found_and_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tiny_folder(home)
    assert run_make(home, str(source), "--name", "half", "--as", "float16") == 0
    out, err = capsys.readouterr()
    assert out.startswith("half: 0.")
    assert out.count("\n") == 1
    assert "perplexity 1.0000 times that of float32" in out
    assert err == ""
    folder = store.find_model("half")
    assert store.verify_model(folder).training["from"] == "tiny"
    assert OnnxSession(folder / store.GRAPH_FILE, threads=1).forward([1, 2, 3]).shape == (TINY.vocab_size,)


def test_eight_bits_are_asked_for_when_nothing_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(export.MAX_PERPLEXITY_RATIO, "int8", 9.0)  # noise has no perplexity worth the name
    assert run_make(home, str(tiny_folder(home)), "--name", "eight") == 0
    training = store.read_manifest(store.find_model("eight")).training
    assert (training["as"], training["rounding"]["bits"], training["rounding"]["block"]) == ("int8", 8, 0)


def test_half_computes_in_half_precision_and_a_cache_is_as_wide_as_it_was_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(export.MAX_PERPLEXITY_RATIO, "int8", 9.0)
    monkeypatch.setitem(export.MAX_KL, "int8", 9.0)
    monkeypatch.setitem(export.MAX_PERPLEXITY_RATIO, "half", 9.0)
    source, kinds = str(tiny_folder(home)), {}
    asked = {
        "half": ["--as", "half"],
        "float16": ["--as", "float16"],
        "narrow": ["--cache", "int8"],
        "wide": [],
    }
    for name, words in asked.items():
        run_make(home, source, "--name", name, *words)
        kinds[name] = str(OnnxModel(store.find_model(name) / store.GRAPH_FILE, threads=1).inputs["past_key_0"].dtype)
    assert kinds == {"half": "float16", "float16": "float32", "narrow": "int8", "wide": "float32"}


@pytest.mark.parametrize("option", [["--cache", "int8"], ["--block", "32"]])
@pytest.mark.parametrize("store_as", ["float16", "float32", "half"])
def test_what_goes_with_few_bits_alone_is_refused_elsewhere(home: Path, store_as: str, option: list[str]) -> None:
    with pytest.raises(make.NothingRounded, match=f"{' '.join(option)} goes with --as int8 or int4"):
        run_make(home, str(tiny_folder(home)), "--name", "mine", "--as", store_as, *option)
    assert not (home / "models").exists()


def test_a_name_that_is_taken_stays_whose_it_was_unless_told(home: Path) -> None:
    source = str(tiny_folder(home))
    run_make(home, source, "--name", "mine", "--as", "float32")
    with pytest.raises(make.ModelUnwritten, match="choose another --name, or --replace"):
        run_make(home, source, "--name", "mine", "--as", "float16")
    assert store.read_manifest(store.find_model("mine")).training["as"] == "float32"
    run_make(home, source, "--name", "mine", "--as", "float16", "--replace")
    assert store.read_manifest(store.find_model("mine")).training["as"] == "float16"


def test_what_is_not_good_enough_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(export.MAX_PERPLEXITY_RATIO, "int4", 0.5)
    with pytest.raises(ExportRefused, match=r"bad: perplexity"):
        run_make(home, str(tiny_folder(home)), "--name", "bad", "--as", "int4")
    assert not (home / "models").exists() or not list((home / "models").iterdir())


def test_a_source_that_is_not_there_and_a_text_too_short_are_said(home: Path) -> None:
    with pytest.raises(ModelNotFound, match="no model 'nowhere'"):
        run_make(home, "nowhere", "--name", "mine")
    (home / "text.txt").write_text("Short.\n")
    with pytest.raises(TextDamaged, match="tokens"):
        run_make(home, str(tiny_folder(home)), "--name", "mine")


@pytest.mark.parametrize("name", ["embedded", "../mine", "", ".mine", "a b"])
def test_a_name_is_a_name(home: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_make(home, "tiny", "--name", name)
    assert "make a name" in capsys.readouterr().err


def test_a_disk_that_refuses_is_one_line(home: Path) -> None:
    (home / "models").write_text("a file where the folder should be")
    with pytest.raises(make.ModelUnwritten, match="cannot be written") as caught:
        run_make(home, str(tiny_folder(home)), "--name", "mine", "--as", "float32")
    assert "\n" not in str(caught.value)


def test_progress_says_how_long_it_will_still_take_when_it_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    tell: Callable[[str, int, int], None] = make._report_lines(lambda: now)
    for moment, what, done, whole in (
        (0.0, "rounding", 10, 100),
        (1.0, "rounding", 15, 100),
        (3.0, "rounding", 25, 100),
        (20.0, "rounding", 30, 100),
        (33.0, "rounding", 40, 100),
        (400.0, "judging", 1, 17),
        (700.0, "judging", 2, 17),
    ):
        now = moment
        tell(what, done, whole)
    assert capsys.readouterr().err == (
        "rounding: 25%, 15 s left\nrounding: 40%, 66 s left\njudging: 12%, 1 h 15 min left\n"
    )


def test_what_is_broken_off_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("rounding", "judging"):

        def stop(what: str, done: int, whole: int, stage: str = stage) -> None:
            if what == stage:
                raise KeyboardInterrupt

        monkeypatch.setattr(make, "_report_lines", lambda clock, stop=stop: stop)
        with pytest.raises(KeyboardInterrupt):
            run_make(home, str(tiny_folder(home)), "--name", "mine", "--as", "int8")
        assert not (home / "models").exists() or not list((home / "models").iterdir())
