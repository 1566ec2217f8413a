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

from model.base import Shape
from model.errors import ModelBusy, ModelError, ModelNotFound
from model.manifest import CARD as CARD
from model.manifest import DATA as DATA
from model.manifest import EMBEDDED as EMBEDDED
from model.manifest import FORMAT, record
from model.manifest import GRAPH as GRAPH
from model.manifest import MANIFEST as MANIFEST
from model.manifest import TOKENIZER as TOKENIZER
from model.manifest import Manifest as Manifest
from model.manifest import read_manifest as read_manifest
from model.manifest import verify as verify

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of a model, and of whatever else is kept in a folder by its name
_PLACE = re.compile(r"[\w.-]+:\d+(/\S*)?")  # of a server, without its scheme
_ASIDE = re.compile(r"\.(.+)\.old")


@dataclass(frozen=True, slots=True)
class Listed:
    """A model as it lies there; `manifest` is None where `fault` says why it cannot be read.

    `name` is what finds it: for one that the embedded model's name hides, its path.
    """

    name: str
    folder: Path
    manifest: Manifest | None
    fault: str = ""


def home() -> Path:
    """The folder of the models: $ASR33_MODELS, $XDG_DATA_HOME/asr33/models or ~/.local/share/asr33/models."""
    if own := os.environ.get("ASR33_MODELS"):
        return Path(own)
    return data_home() / "models"


def data_home() -> Path:
    """The folder of all that asr33 keeps for this user: $XDG_DATA_HOME/asr33 or ~/.local/share/asr33."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "asr33"


def find(name_or_path: str | Path) -> Path:
    """The folder of a model: `embedded`, a name in `home()`, a folder, or its `model.onnx`. Raises ModelNotFound."""
    wanted = str(name_or_path)
    if re.match(r"https?://", wanted):
        raise ModelNotFound(f"{wanted}: a server's model is not on this disk, where this wants one: {_names()}")
    if wanted == EMBEDDED:
        return _existing(_embedded(), "the embedded model is not in this installation; install asr33 again")
    if NAME.fullmatch(wanted) and (folder := _standing(home() / wanted)):
        return folder
    path = Path(wanted)
    with suppress(RuntimeError):  # ~ of somebody whom the system does not know
        path = path.expanduser()
    if folder := _standing(path.parent if path.name == GRAPH else path):
        return folder
    if _PLACE.fullmatch(wanted):
        raise ModelNotFound(f"no model {wanted!r}; if that is a server, write http://{wanted}")
    here = f"neither a name in {home()} nor a folder with a {MANIFEST}"
    raise ModelNotFound(f"no model {wanted!r}: {here}; there are: {_names()}")


def name_of(folder: Path) -> str:
    """What a model's folder is called, also when it was reached as `.`, or is set aside while a new one is written."""
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    aside = _ASIDE.fullmatch(name)
    return aside[1] if aside else name


@contextmanager
def draft(folder: Path) -> Iterator[Path]:
    """A new folder for the files of a graph that is to be a model's, gone afterwards unless `settle` took it.

    Raises ModelBusy while another process writes the same model.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = _beside(folder, "new")
    new.mkdir(exist_ok=True)
    handle = os.open(new, os.O_RDONLY)
    try:
        _hold(new, handle)
    except ModelBusy:
        os.close(handle)
        raise
    try:
        _mend(folder)
        shutil.rmtree(_beside(folder, "old"), ignore_errors=True)
        for leftover in new.iterdir():
            leftover.unlink()
        yield new
    finally:
        if _stands(new, handle):
            shutil.rmtree(new, ignore_errors=True)
        os.close(handle)


def settle(
    new: Path, folder: Path, *, name: str, shape: Shape, tokenizer_json: str, training: Mapping[str, object], card: str
) -> Manifest:
    """Make a draft the model, in place of one that may be there. Killed at any moment it leaves the old or the new."""
    (new / TOKENIZER).write_bytes(tokenizer_json.encode("utf-8"))
    paths = [path for path in (new / GRAPH, new / DATA, new / TOKENIZER) if path.exists()]
    manifest = Manifest(name, shape, {path.name: record(path) for path in paths}, dict(training))
    fields = {"format": FORMAT, **asdict(manifest)}
    (new / MANIFEST).write_bytes((json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))
    (new / CARD).write_bytes(card.encode("utf-8"))
    for path in (*paths, new / MANIFEST, new / CARD, new):
        sync(path)
    old = _beside(folder, "old")
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return manifest


def write(
    folder: Path,
    *,
    name: str,
    shape: Shape,
    onnx_bytes: bytes,
    tokenizer_json: str,
    training: Mapping[str, object],
    card: str,
) -> Manifest:
    """A draft and its settling, for a graph with its weights inside."""
    with draft(folder) as new:
        (new / GRAPH).write_bytes(onnx_bytes)
        return settle(new, folder, name=name, shape=shape, tokenizer_json=tokenizer_json, training=training, card=card)


def list_models() -> list[Listed]:
    """The embedded model, if it is there, and those in `home()` by name; a damaged one with its fault."""
    models = [_listed(EMBEDDED, _embedded())] if _embedded().is_dir() else []
    paths = list(home().iterdir()) if home().is_dir() else []
    names = {name_of(path) for path in paths if path.name[0] != "." or _ASIDE.fullmatch(path.name)}
    for name in sorted(names):
        if folder := _standing(home() / name):
            models.append(_listed(str(folder) if name == EMBEDDED else name, folder))
    return models


def _listed(name: str, folder: Path) -> Listed:
    try:
        return Listed(name, folder, read_manifest(folder))
    except ModelError as error:
        return Listed(name, folder, None, str(error))


def _names() -> str:
    return ", ".join(listed.name for listed in list_models()) or "none at all"


def _embedded() -> Path:
    return Path(__file__).parent / EMBEDDED


def _existing(folder: Path, otherwise: str) -> Path:
    if not _has_manifest(folder):
        raise ModelNotFound(otherwise)
    return folder


def _standing(folder: Path) -> Path | None:
    """The folder, or the old model that is set aside for the moment, or because a `write` was killed; None if there
    is neither. A reader mends nothing: the writer may be at work."""
    places = [folder]
    if folder.name not in ("", ".."):
        places += [_beside(folder, "old"), folder]  # the new one may have come while we looked
    return next((place for place in places if _has_manifest(place)), None)


def _has_manifest(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file()
    except (OSError, ValueError):  # a path too long, or none
        return False


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _mend(folder: Path) -> None:
    """Finish a `write` that was killed between its two renames: the old model goes back to its place."""
    old = _beside(folder, "old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)


def _hold(new: Path, handle: int) -> None:
    """Keep others out of a draft until the handle is closed. Raises ModelBusy."""
    if not locked(handle) or not _stands(new, handle):  # or another has ended meanwhile
        raise ModelBusy(f"{new}: another process writes this model; let it end, or stop it")


def _stands(new: Path, handle: int) -> bool:
    """Whether the draft is still what was opened."""
    try:
        return os.path.samestat(os.fstat(handle), new.stat())
    except OSError:
        return False


def locked(handle: int) -> bool:
    """Whether a folder is ours until the handle is closed; False while another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # some file servers lock no folders
    return True


def sync(path: Path) -> None:
    """What is written in a file, or the names in a folder, is on the disk from now on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
