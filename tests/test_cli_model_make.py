from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

import pytest
from fakes_model import TEXT, TINY, tiny_folder

from model.build import formats
from model.errors import ModelError, ModelNotFound
from model.onnx.runtime import OnnxModel
from model.onnx.session import OnnxSession
from model.store import store
from tools.cli import progress
from tools.cli.errors import ToolError
from tools.model import make


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(progress, "QUIET_S", 3600.0)
    (tmp_path / "text.txt").write_text(TEXT * 8)
    return tmp_path


def run_make(home: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    make.add_arguments(parser)
    return make.main(parser.parse_args([*words, "--text", str(home / "text.txt")]))


def test_a_made_model_is_found_and_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_int8_is_the_default_format(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.LIMITS, "int8", formats.QualityLimits(9.0, 0.03))  # the perplexity of noise varies
    assert run_make(home, str(tiny_folder(home)), "--name", "eight") == 0
    training = store.read_manifest(store.find_model("eight")).training
    assert (training["as"], training["rounding"]["bits"], training["rounding"]["block"]) == ("int8", 8, 0)


def test_half_and_cache_options_set_the_precision(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.LIMITS, "int8", formats.QualityLimits(9.0, 9.0))
    monkeypatch.setitem(formats.LIMITS, "half", formats.QualityLimits(9.0, 0.003))
    source, kinds = str(tiny_folder(home)), {}
    options = {"half": ["--as", "half"], "float16": ["--as", "float16"], "narrow": ["--cache", "int8"], "wide": []}
    for name, words in options.items():
        run_make(home, source, "--name", name, *words)
        kinds[name] = str(OnnxModel(store.find_model(name) / store.GRAPH_FILE, threads=1).inputs["past_key_0"].dtype)
    assert kinds == {"half": "float16", "float16": "float32", "narrow": "int8", "wide": "float32"}


@pytest.mark.parametrize("option", [["--cache", "int8"], ["--block", "32"]])
@pytest.mark.parametrize("store_as", ["float16", "float32", "half"])
def test_options_of_quantised_formats_are_refused_for_others(home: Path, store_as: str, option: list[str]) -> None:
    with pytest.raises(ToolError, match=f"{' '.join(option)} goes with --as int8 or int4") as error:
        run_make(home, str(tiny_folder(home)), "--name", "mine", "--as", store_as, *option)
    assert error.value.kind == "argument"
    assert not (home / "models").exists()


def test_a_taken_name_is_refused_without_replace(home: Path) -> None:
    source = str(tiny_folder(home))
    run_make(home, source, "--name", "mine", "--as", "float32")
    with pytest.raises(ToolError, match="choose another --name, or --replace") as error:
        run_make(home, source, "--name", "mine", "--as", "float16")
    assert error.value.kind == "create"
    assert store.read_manifest(store.find_model("mine")).training["as"] == "float32"
    run_make(home, source, "--name", "mine", "--as", "float16", "--replace")
    assert store.read_manifest(store.find_model("mine")).training["as"] == "float16"


def test_a_model_that_is_not_good_enough_is_not_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.LIMITS, "int4", formats.QualityLimits(0.5, 0.2))
    with pytest.raises(ModelError, match=r"bad: perplexity") as caught:
        run_make(home, str(tiny_folder(home)), "--name", "bad", "--as", "int4")
    assert caught.value.kind == "damaged"
    assert not (home / "models").exists() or not list((home / "models").iterdir())


def test_an_absent_source_and_a_short_text_are_errors(home: Path) -> None:
    with pytest.raises(ModelNotFound, match="no model 'nowhere'"):
        run_make(home, "nowhere", "--name", "mine")
    (home / "text.txt").write_text("Short.\n")
    with pytest.raises(ModelError, match="tokens") as error:
        run_make(home, str(tiny_folder(home)), "--name", "mine")
    assert error.value.kind == "damaged"


@pytest.mark.parametrize("name", ["embedded", "../mine", "", ".mine", "a b"])
def test_an_invalid_name_is_refused(home: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_make(home, "tiny", "--name", name)
    assert "make a name" in capsys.readouterr().err


def test_an_unwritable_disk_is_a_one_line_error(home: Path) -> None:
    (home / "models").write_text("a file where the folder should be")
    with pytest.raises(ToolError, match="cannot be written") as caught:
        run_make(home, str(tiny_folder(home)), "--name", "mine", "--as", "float32")
    assert (caught.value.kind, "\n" in str(caught.value)) == ("create", False)


def test_progress_shows_the_share_and_the_time_left_of_long_work(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with make.show_progress(lambda: now) as on_progress:
        for moment, stage, done, total in (
            (0.0, "quantising", 0, 100),
            (1.0, "quantising", 15, 100),
            (3.0, "quantising", 25, 100),
            (20.0, "quantising", 30, 100),
            (33.0, "quantising", 40, 100),
            (400.0, "comparing", 1, 17),
            (700.0, "comparing", 2, 17),
        ):
            now = moment
            on_progress(stage, done, total)
    assert capsys.readouterr().err == (
        "quantising: 25%, 9 s left\nquantising: 40%, 50 s left\ncomparing: 12%, 1 h 15 min left\n"
    )


def test_an_interrupted_make_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("quantising", "comparing"):

        def stop(current: str, done: int, total: int, stage: str = stage) -> None:
            if current == stage:
                raise KeyboardInterrupt

        monkeypatch.setattr(make, "show_progress", lambda stop=stop: nullcontext(stop))
        with pytest.raises(KeyboardInterrupt):
            run_make(home, str(tiny_folder(home)), "--name", "mine", "--as", "int8")
        assert not (home / "models").exists() or not list((home / "models").iterdir())
