"""A model off the disk, whole or not at all, and what a pull or a making of it may have left beside it.

What a training run keeps to go on from is not its business: that is not the model.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from model.build import download_folder
from model.errors import ModelError, ModelNotFound
from model.store import store


class NotRemoved(ModelError):
    """The model stays: it is not ours to remove, or the disk refuses."""

    exit_code = 77


def find_model_folders(name: str) -> list[Path]:
    """What there is of a model, or was left of one. Raises ModelNotFound, and NotRemoved for the embedded one."""
    if name == store.EMBEDDED:
        raise NotRemoved("the embedded model is a part of asr33 and stays; asr33 model list has the others")
    if not store.MODEL_NAME.fullmatch(name):
        raise ModelNotFound(f"{name!r} is no name of a model; what is removed has a name that asr33 model list shows")
    home = store.models_folder()
    left = [
        download_folder.download_folder_path(home, name),
        *(home / f".{name}.{what}" for what in ("new", "old", "gone")),
    ]
    there = [path for path in left if path.is_dir()]
    if (home / name / store.MANIFEST_FILE).is_file():
        there.append(home / name)
    if not there:
        names = ", ".join(listed.name for listed in store.list_models() if listed.name != store.EMBEDDED)
        raise ModelNotFound(f"no model {name!r} in {home}; there are: {names or 'none but the embedded one'}")
    return there


def total_bytes(paths: Sequence[Path]) -> int:
    """Bytes that they take."""
    return sum(file.lstat().st_size for path in paths for file in path.rglob("*") if file.is_file())


def remove_model(name: str) -> None:
    """Raises ModelBusy while it is pulled or made, ModelNotFound and NotRemoved."""
    find_model_folders(name)
    home = store.models_folder()
    folder, gone, pulled = home / name, home / f".{name}.gone", download_folder.download_folder_path(home, name)
    try:
        # Held as those hold them who pull or make it; to begin a draft also mends what another left.
        with download_folder.open_download_folder(home, name), store.open_draft(folder):
            _delete_folder(gone)
            if folder.is_symlink():
                folder.unlink()
            elif folder.exists():
                folder.rename(gone)  # in one stroke it is no model any more
            _delete_folder(gone)
            _delete_folder(pulled)
    except OSError as error:
        raise NotRemoved(f"{error.filename or folder}: {error.strerror}; see to its folder") from None


def _delete_folder(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
