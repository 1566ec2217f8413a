"""The folder of a run, beside the models: checkpoint, vocabulary, and the record of what run it is.

It knows neither torch nor what a step does. `<store>/.training/<name>/` has `checkpoint.safetensors`,
`tokenizer.json` and `run.json`; when the model is written the folder may go.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.errors import ModelDamaged
from tools.train import run_config as recipes
from tools.train.errors import OtherRun, RunUnwritten
from tools.train.run_config import RunConfig, RunLength

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class RunFolder:
    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT_FILE

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer.json"

    @property
    def config(self) -> Path:
        return self.path / "run.json"


def run_folder_for(store: Path, name: str) -> RunFolder:
    return RunFolder(store / ".training" / name)


@contextmanager
def lock_folder(folder: RunFolder) -> Iterator[None]:
    """Hold the folder for this process alone; without a checkpoint it is gone afterwards.

    Raises OtherRun when another process has it, RunUnwritten when there is no making it.
    """
    with convert_disk_errors(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = (folder.path / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OtherRun(f"{folder.path}: another process trains this model; let it end, or stop it") from None
        try:
            yield
        finally:
            if not folder.checkpoint.exists():
                shutil.rmtree(folder.path)  # no step was taken: a wrong word on the command line, as like as not


def read_run_length(folder: RunFolder, name: str, requested: RunConfig) -> RunLength | None:
    """The length that the run in the folder has so far; None if there is no record.

    Raises OtherRun when it is a run of another recipe, ModelDamaged when its record cannot be read.
    """
    try:
        recipe, length = recipes.from_json(folder.config.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ModelDamaged, UnicodeDecodeError) as error:
        raise ModelDamaged(f"{folder.config}: {error}; --fresh begins the run again") from None
    recipes.require_same(name, recipe, requested)
    return length


def clear_folder(folder: RunFolder) -> None:
    """Forget the run, the lock apart, which is held."""
    # First: a checkpoint without its record would be taken for that of another run.
    folder.checkpoint.unlink(missing_ok=True)
    for path in folder.path.iterdir() if folder.path.exists() else ():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(path: Path, text: str) -> None:
    """All of the text or none of it."""
    beside = path.with_suffix(".part")
    with convert_disk_errors(path):
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


@contextmanager
def convert_disk_errors(path: Path) -> Iterator[None]:
    """What the disk refuses becomes RunUnwritten."""
    try:
        yield
    except OSError as error:
        raise RunUnwritten(
            f"{path}: cannot be written ({error.strerror}); make room there, then give the command again"
        ) from None
