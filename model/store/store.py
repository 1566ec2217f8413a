"""Models on disk: a folder each, found by name or path, verified by hash, written whole or not at all.

Standard library alone, so that `asr33 model list` is quick; what is in the files is for others to know. A folder has
`model.onnx`, maybe `model.data` with the weights that are not in it, `tokenizer.json`, `manifest.json` (what these
must be) and `README.md` (the model card).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from model.errors import ModelBusy, ModelError, ModelNotFound
from model.interface import GPT2Config
from model.store.manifest import CARD_FILE as CARD_FILE
from model.store.manifest import DATA_FILE as DATA_FILE
from model.store.manifest import EMBEDDED as EMBEDDED
from model.store.manifest import GRAPH_FILE as GRAPH_FILE
from model.store.manifest import MANIFEST_FILE as MANIFEST_FILE
from model.store.manifest import MANIFEST_FORMAT, record_file
from model.store.manifest import TOKENIZER_FILE as TOKENIZER_FILE
from model.store.manifest import Manifest as Manifest
from model.store.manifest import read_manifest as read_manifest
from model.store.manifest import verify_model as verify_model

MODEL_NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*"
)  # of a model, and of whatever else is kept in a folder by its name
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+(/\S*)?")  # of a server, without its scheme
_OLD_FOLDER = re.compile(r"\.(.+)\.old")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model as it lies there; `manifest` is None where `fault` says why it cannot be read.

    `name` is what finds it: for one that the embedded model's name hides, its path.
    """

    name: str
    folder: Path
    manifest: Manifest | None
    fault: str = ""


def models_folder() -> Path:
    """The folder of the models: $ASR33_MODELS, $XDG_DATA_HOME/asr33/models or ~/.local/share/asr33/models."""
    if own := os.environ.get("ASR33_MODELS"):
        return Path(own)
    return data_folder() / "models"


def data_folder() -> Path:
    """The folder of all that asr33 keeps for this user: $XDG_DATA_HOME/asr33 or ~/.local/share/asr33."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "asr33"


def find_model(name_or_path: str | Path) -> Path:
    """The folder of a model: `embedded`, a name in `home()`, a folder, or its `model.onnx`. Raises ModelNotFound."""
    wanted = str(name_or_path)
    if re.match(r"https?://", wanted):
        raise ModelNotFound(f"{wanted}: a server's model is not on this disk, where this wants one: {_list_names()}")
    if wanted == EMBEDDED:
        return _require_manifest(
            _embedded_folder(), "the embedded model is not in this installation; install asr33 again"
        )
    if MODEL_NAME.fullmatch(wanted) and (folder := _find_current(models_folder() / wanted)):
        return folder
    path = Path(wanted)
    with suppress(RuntimeError):  # ~ of somebody whom the system does not know
        path = path.expanduser()
    if folder := _find_current(path.parent if path.name == GRAPH_FILE else path):
        return folder
    if _HOST_AND_PORT.fullmatch(wanted):
        raise ModelNotFound(f"no model {wanted!r}; if that is a server, write http://{wanted}")
    here = f"neither a name in {models_folder()} nor a folder with a {MANIFEST_FILE}"
    raise ModelNotFound(f"no model {wanted!r}: {here}; there are: {_list_names()}")


def name_of_folder(folder: Path) -> str:
    """What a model's folder is called, also when it was reached as `.`, or is set aside while a new one is written."""
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    aside = _OLD_FOLDER.fullmatch(name)
    return aside[1] if aside else name


@contextmanager
def open_draft(folder: Path) -> Iterator[Path]:
    """A new folder for the files of a graph that is to be a model's, gone afterwards unless `settle` took it.

    Raises ModelBusy while another process writes the same model.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = _sibling_folder(folder, "new")
    new.mkdir(exist_ok=True)
    handle = os.open(new, os.O_RDONLY)
    try:
        _lock_draft(new, handle)
    except ModelBusy:
        os.close(handle)
        raise
    try:
        _restore_old(folder)
        shutil.rmtree(_sibling_folder(folder, "old"), ignore_errors=True)
        for leftover in new.iterdir():
            leftover.unlink()
        yield new
    finally:
        if _is_same_folder(new, handle):
            shutil.rmtree(new, ignore_errors=True)
        os.close(handle)


def commit_draft(
    draft: Path,
    folder: Path,
    *,
    name: str,
    shape: GPT2Config,
    tokenizer_json: str,
    training: Mapping[str, object],
    card: str,
) -> Manifest:
    """Make a draft the model, in place of one that may be there. Killed at any moment it leaves the old or the new."""
    (draft / TOKENIZER_FILE).write_bytes(tokenizer_json.encode("utf-8"))
    paths = [path for path in (draft / GRAPH_FILE, draft / DATA_FILE, draft / TOKENIZER_FILE) if path.exists()]
    manifest = Manifest(name, shape, {path.name: record_file(path) for path in paths}, dict(training))
    fields = {"format": MANIFEST_FORMAT, **asdict(manifest)}
    (draft / MANIFEST_FILE).write_bytes((json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))
    (draft / CARD_FILE).write_bytes(card.encode("utf-8"))
    for path in (*paths, draft / MANIFEST_FILE, draft / CARD_FILE, draft):
        fsync_path(path)
    old = _sibling_folder(folder, "old")
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    fsync_path(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return manifest


def write_model(
    folder: Path,
    *,
    name: str,
    shape: GPT2Config,
    onnx_bytes: bytes,
    tokenizer_json: str,
    training: Mapping[str, object],
    card: str,
) -> Manifest:
    """A draft and its settling, for a graph with its weights inside."""
    with open_draft(folder) as new:
        (new / GRAPH_FILE).write_bytes(onnx_bytes)
        return commit_draft(
            new, folder, name=name, shape=shape, tokenizer_json=tokenizer_json, training=training, card=card
        )


def list_models() -> list[ModelEntry]:
    """The embedded model, if it is there, and those in `home()` by name; a damaged one with its fault."""
    models = [_read_entry(EMBEDDED, _embedded_folder())] if _embedded_folder().is_dir() else []
    paths = list(models_folder().iterdir()) if models_folder().is_dir() else []
    names = {name_of_folder(path) for path in paths if path.name[0] != "." or _OLD_FOLDER.fullmatch(path.name)}
    for name in sorted(names):
        if folder := _find_current(models_folder() / name):
            models.append(_read_entry(str(folder) if name == EMBEDDED else name, folder))
    return models


def _read_entry(name: str, folder: Path) -> ModelEntry:
    try:
        return ModelEntry(name, folder, read_manifest(folder))
    except ModelError as error:
        return ModelEntry(name, folder, None, str(error))


def _list_names() -> str:
    return ", ".join(listed.name for listed in list_models()) or "none at all"


def _embedded_folder() -> Path:
    return Path(__file__).parents[1] / EMBEDDED


def _require_manifest(folder: Path, message: str) -> Path:
    if not _has_manifest(folder):
        raise ModelNotFound(message)
    return folder


def _find_current(folder: Path) -> Path | None:
    """The folder, or the old model that is set aside for the moment, or because a `write` was killed; None if there
    is neither. A reader mends nothing: the writer may be at work."""
    places = [folder]
    if folder.name not in ("", ".."):
        places += [_sibling_folder(folder, "old"), folder]  # the new one may have come while we looked
    return next((place for place in places if _has_manifest(place)), None)


def _has_manifest(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_FILE).is_file()
    except (OSError, ValueError):  # a path too long, or none
        return False


def _sibling_folder(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}.{suffix}")


def _restore_old(folder: Path) -> None:
    """Finish a `write` that was killed between its two renames: the old model goes back to its place."""
    old = _sibling_folder(folder, "old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)


def _lock_draft(draft: Path, handle: int) -> None:
    """Keep others out of a draft until the handle is closed. Raises ModelBusy."""
    if not try_lock(handle) or not _is_same_folder(draft, handle):  # or another has ended meanwhile
        raise ModelBusy(f"{draft}: another process writes this model; let it end, or stop it")


def _is_same_folder(draft: Path, handle: int) -> bool:
    """Whether the draft is still what was opened."""
    try:
        return os.path.samestat(os.fstat(handle), draft.stat())
    except OSError:
        return False


def try_lock(handle: int) -> bool:
    """Whether a folder is ours until the handle is closed; False while another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # some file servers lock no folders
    return True


def fsync_path(path: Path) -> None:
    """What is written in a file, or the names in a folder, is on the disk from now on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
