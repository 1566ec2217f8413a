"""Models on disk: one folder each, found by name or path, listed and removed.

It imports only the standard library, so that `asr33 model list` is quick. It does not know what the files contain. A
folder has `model.onnx`, sometimes `model.data` (weights outside the graph), `tokenizer.json`, `manifest.json` (size
and hash of these) and `README.md` (the model card).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from model.errors import ModelError, ModelNotFound
from model.store.atomic_file import fsync_path as fsync_path
from model.store.draft import commit_draft as commit_draft
from model.store.draft import lock_folder, sibling_folder
from model.store.draft import open_draft as open_draft
from model.store.draft import try_lock as try_lock
from model.store.manifest import CARD_FILE as CARD_FILE
from model.store.manifest import DATA_FILE as DATA_FILE
from model.store.manifest import EMBEDDED as EMBEDDED
from model.store.manifest import GRAPH_FILE as GRAPH_FILE
from model.store.manifest import MANIFEST_FILE as MANIFEST_FILE
from model.store.manifest import TOKENIZER_FILE as TOKENIZER_FILE
from model.store.manifest import Manifest as Manifest
from model.store.manifest import read_manifest as read_manifest
from model.store.manifest import verify_model as verify_model

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # a corpus has such a name too
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+(/\S*)?")  # a server's URL without the scheme
_OLD_FOLDER = re.compile(r"\.(.+)\.old")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model in the list; `manifest` is None if `fault` says why it cannot be read.

    `find_model(name)` returns its folder: the name is a path if the embedded model has the same name.
    """

    name: str
    folder: Path
    manifest: Manifest | None
    fault: str = ""


def models_folder() -> Path:
    """The folder of the models: $ASR33_MODELS, $XDG_DATA_HOME/asr33/models or ~/.local/share/asr33/models."""
    configured = os.environ.get("ASR33_MODELS")
    return Path(configured) if configured else data_folder() / "models"


def data_folder() -> Path:
    """The folder of all data that asr33 keeps for this user: $XDG_DATA_HOME/asr33 or ~/.local/share/asr33."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "asr33"


def find_model(name_or_path: str | Path) -> Path:
    """The folder of a model: `embedded`, a name in `models_folder()`, a folder, or its `model.onnx`.

    Raises ModelNotFound.
    """
    wanted = str(name_or_path)
    if re.match(r"https?://", wanted):
        raise ModelNotFound(f"{wanted}: a server's model is not on this disk; name one of: {_list_names()}")
    if wanted == EMBEDDED:
        if not _has_manifest(_embedded_folder()):
            raise ModelNotFound("the embedded model is not in this installation; install asr33 again")
        return _embedded_folder()
    if MODEL_NAME.fullmatch(wanted) and (folder := _find_current(models_folder() / wanted)):
        return folder
    path = Path(wanted)
    with suppress(RuntimeError):  # ~ of a user that the system does not know
        path = path.expanduser()
    if folder := _find_current(path.parent if path.name == GRAPH_FILE else path):
        return folder
    if _HOST_AND_PORT.fullmatch(wanted):
        raise ModelNotFound(f"no model {wanted!r}; if that is a server, write http://{wanted}")
    here = f"neither a name in {models_folder()} nor a folder with a {MANIFEST_FILE}"
    raise ModelNotFound(f"no model {wanted!r}: {here}; there are: {_list_names()}")


def name_of_folder(folder: Path) -> str:
    """The name of a model's folder, also for the path `.` and for the old model while a new one is written."""
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    old = _OLD_FOLDER.fullmatch(name)
    return old[1] if old else name


def list_models() -> list[ModelEntry]:
    """The embedded model, if it is installed, and the models in `models_folder()` by name, damaged ones included."""
    models = [_read_entry(EMBEDDED, _embedded_folder())] if _embedded_folder().is_dir() else []
    paths = list(models_folder().iterdir()) if models_folder().is_dir() else []
    names = {name_of_folder(path) for path in paths if path.name[0] != "." or _OLD_FOLDER.fullmatch(path.name)}
    for name in sorted(names):
        if folder := _find_current(models_folder() / name):
            models.append(_read_entry(str(folder) if name == EMBEDDED else name, folder))
    return models


def find_removable_folders(name: str) -> list[Path]:
    """The folder of a model and its hidden siblings. Raises ModelNotFound, and ModelError for the embedded model."""
    if name == EMBEDDED:
        raise ModelError("the embedded model is a part of asr33 and stays; asr33 model list has the others", "denied")
    if not MODEL_NAME.fullmatch(name):
        raise ModelNotFound(f"{name!r} is no name of a model; take a name that asr33 model list shows")
    folder = models_folder() / name
    siblings = [sibling_folder(folder, suffix) for suffix in ("pull", "new", "old", "gone")]
    folders = [path for path in siblings if path.is_dir()]
    if (folder / MANIFEST_FILE).is_file():
        folders.append(folder)
    if not folders:
        names = ", ".join(entry.name for entry in list_models() if entry.name != EMBEDDED)
        where = f"{folder.parent}; there are: {names or 'none but the embedded model'}"
        raise ModelNotFound(f"no model {name!r} in {where}")
    return folders


def count_bytes(folders: Sequence[Path]) -> int:
    return sum(file.lstat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())


def remove_model(name: str) -> None:
    """Deletes a model and the files of an unfinished pull, whole or not at all.

    Raises ModelNotFound, and ModelError while another process pulls or writes the model, or if the disk refuses.
    """
    find_removable_folders(name)
    folder = models_folder() / name
    gone, pulled = sibling_folder(folder, "gone"), sibling_folder(folder, "pull")
    try:
        with lock_folder(pulled, pull_is_busy(pulled)):
            try:
                with open_draft(folder):  # this also restores the old model after an interrupted write
                    _delete_folder(gone)
                    if folder.is_symlink():
                        folder.unlink()
                    elif folder.exists():
                        folder.rename(gone)  # from now on no other process finds the model
                    _delete_folder(gone)
                    _delete_folder(pulled)
            finally:
                with suppress(OSError):
                    pulled.rmdir()  # if only the lock created it
    except OSError as error:
        raise ModelError(f"{error.filename or folder}: {error.strerror}; see to its folder", "denied") from None


def pull_is_busy(folder: Path) -> str:
    """The message of the lock that a pull holds."""
    return f"{folder}: another process pulls this model; let it end, or stop it"


def _delete_folder(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _read_entry(name: str, folder: Path) -> ModelEntry:
    try:
        return ModelEntry(name, folder, read_manifest(folder))
    except ModelError as error:
        return ModelEntry(name, folder, None, str(error))


def _list_names() -> str:
    return ", ".join(entry.name for entry in list_models()) or "none at all"


def _embedded_folder() -> Path:
    return Path(__file__).parents[1] / EMBEDDED


def _find_current(folder: Path) -> Path | None:
    """The folder if it has a manifest; else the old model, which is set aside while a new one is written; else None.

    A reader restores nothing: the writer may be at work.
    """
    places = [folder]
    if folder.name not in ("", ".."):
        places += [sibling_folder(folder, "old"), folder]  # the new model may have arrived between the two looks
    return next((place for place in places if _has_manifest(place)), None)


def _has_manifest(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_FILE).is_file()
    except (OSError, ValueError):  # the path is too long, or cannot be a path
        return False
