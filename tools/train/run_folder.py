"""The folder of a run, beside the models: checkpoint, vocabulary, and the record of the run.

`<store>/.training/<name>/` has `checkpoint.safetensors`, `tokenizer.json` and `run.json`. The user may remove it when
the model is written. The module knows neither torch nor steps.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.errors import ModelDamaged
from model.store.atomic_file import replace_atomically
from tools.cli.errors import ToolError
from tools.train import run_config
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
    """Locks the folder for this process. Afterwards a folder without a checkpoint is removed.

    Raises ToolError if another process has the lock, or if the folder cannot be made.
    """
    with convert_disk_errors(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = (folder.path / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fault = "another process trains this model"
            raise ToolError(f"{folder.path}: {fault}; let it end, or stop it", "usage") from None
        try:
            yield
        finally:
            if not folder.checkpoint.exists():
                shutil.rmtree(folder.path)  # no step was taken; perhaps an option was wrong


def read_run_length(folder: RunFolder, name: str, requested: RunConfig) -> RunLength | None:
    """The length of the run in the folder; None if there is no record.

    Raises ToolError if the run has another config, ModelDamaged if its record cannot be read.
    """
    try:
        config, length = run_config.from_json(folder.config.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ModelDamaged, UnicodeDecodeError) as error:
        raise ModelDamaged(f"{folder.config}: {error}; --fresh begins the run again") from None
    run_config.require_same(name, config, requested)
    return length


def clear_folder(folder: RunFolder) -> None:
    """Removes the run, but not the lock, which this process holds."""
    # The checkpoint is removed first: without its record it would look like the checkpoint of a new run.
    folder.checkpoint.unlink(missing_ok=True)
    for path in folder.path.iterdir() if folder.path.exists() else ():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(path: Path, text: str) -> None:
    """Replaces the whole file, or none of it. Raises ToolError."""
    with convert_disk_errors(path), replace_atomically(path, path.with_suffix(".part")) as temporary:
        temporary.write_text(text, "utf-8")


@contextmanager
def convert_disk_errors(path: Path) -> Iterator[None]:
    """Turns OSError into ToolError."""
    try:
        yield
    except OSError as error:
        cure = "make room there, then give the command again"
        raise ToolError(f"{path}: cannot be written ({error.strerror}); {cure}", "output") from None
