"""Models on disk: a folder each, found by name or path, verified by hash, written whole or not at all.

Standard library alone, so that `asr33 model list` is quick; what is in the files is for others to know. A folder has
`model.onnx`, `tokenizer.json`, `manifest.json` (what the two must be) and `README.md` (the model card).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.base import Shape
from model.errors import ModelDamaged, ModelError, ModelNotFound

EMBEDDED = "embedded"
GRAPH, TOKENIZER, MANIFEST, CARD = "model.onnx", "tokenizer.json", "manifest.json", "README.md"
FORMAT = 1
_KINDS: dict[type, str] = {str: "a text", dict: "a table", int: "a whole number"}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ASIDE = re.compile(r"\.(.+)\.old")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file was when it was written."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`manifest.json`. `training` is free: where the weights come from and what was measured."""

    name: str
    shape: Shape
    files: dict[str, FileRecord]
    training: dict[str, Any]


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
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "asr33" / "models"


def find(name_or_path: str | Path) -> Path:
    """The folder of a model: `embedded`, a name in `home()`, a folder, or its `model.onnx`. Raises ModelNotFound."""
    wanted = str(name_or_path)
    if re.match(r"https?://", wanted):
        raise ModelNotFound(f"{wanted}: a model at a URL cannot be used yet; name one of: {_names()}")
    if wanted == EMBEDDED:
        return _existing(_embedded(), "the embedded model is not in this installation; install asr33 again")
    if _NAME.fullmatch(wanted) and (folder := _standing(home() / wanted)):
        return folder
    path = Path(wanted)
    with suppress(RuntimeError):  # ~ of somebody whom the system does not know
        path = path.expanduser()
    if folder := _standing(path.parent if path.name == GRAPH else path):
        return folder
    here = f"neither a name in {home()} nor a folder with a {MANIFEST}"
    raise ModelNotFound(f"no model {wanted!r}: {here}; there are: {_names()}")


def name_of(folder: Path) -> str:
    """What a model's folder is called, also when it was reached as `.`, or is set aside while a new one is written."""
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    aside = _ASIDE.fullmatch(name)
    return aside[1] if aside else name


def verify(folder: Path) -> Manifest:
    """Check the files against the manifest, every byte. Raises ModelNotFound and ModelDamaged."""
    manifest = read_manifest(folder)
    for name, record in manifest.files.items():
        path = folder / name
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                digest = hashlib.file_digest(file, "sha256").hexdigest() if size == record.bytes else ""
        except OSError as error:
            raise ModelDamaged(f"{path}: {error.strerror}; {_cure(manifest.name)}") from None
        if size != record.bytes:
            raise ModelDamaged(f"{path}: {size} bytes where {record.bytes} should be; {_cure(manifest.name)}")
        if digest != record.sha256:
            raise ModelDamaged(f"{path}: damaged, its sha256 is not the manifest's; {_cure(manifest.name)}")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, the files unseen. Raises ModelNotFound and ModelDamaged."""
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text("utf-8"))
        number = data["format"]
        if number != FORMAT:
            raise ModelDamaged(f"{path}: format {number}, this asr33 reads {FORMAT}; install a newer asr33")
        manifest = _manifest(data)
    except FileNotFoundError:
        raise ModelNotFound(f"{path}: no such file, so {folder} is no model; {_cure(folder.name)}") from None
    except OSError as error:
        raise ModelDamaged(f"{path}: {error.strerror}; {_cure(folder.name)}") from None
    except RecursionError:
        raise ModelDamaged(f"{path}: not a manifest (it is nested without end); {_cure(folder.name)}") from None
    except ModelDamaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelDamaged(f"{path}: not a manifest ({error}); {_cure(folder.name)}") from None
    if manifest.files.keys() != {GRAPH, TOKENIZER}:
        told = ", ".join(map(repr, manifest.files))
        raise ModelDamaged(f"{path}: tells of {told}, not of {GRAPH}, {TOKENIZER}; {_cure(folder.name)}")
    return manifest


def _manifest(data: dict[str, Any]) -> Manifest:
    """Raises ValueError, KeyError, TypeError, AttributeError."""
    files = {name: FileRecord(**record) for name, record in data["files"].items()}
    manifest = Manifest(data["name"], Shape(**data["shape"]), files, data["training"])
    wanted: list[tuple[str, object, type]] = [("name", manifest.name, str), ("training", manifest.training, dict)]
    for name, record in files.items():
        wanted += [(f"sha256 of {name}", record.sha256, str), (f"bytes of {name}", record.bytes, int)]
    for key, value, kind in wanted:
        if not isinstance(value, kind):
            raise ValueError(f"{key} is {value!r}, not {_KINDS[kind]}")
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
    """Write a model, in place of one that may be there. Killed at any moment it leaves the old one or the new."""
    contents = {GRAPH: onnx_bytes, TOKENIZER: tokenizer_json.encode("utf-8")}
    files = {key: FileRecord(hashlib.sha256(value).hexdigest(), len(value)) for key, value in contents.items()}
    manifest = Manifest(name, shape, files, dict(training))
    fields = {"format": FORMAT, **asdict(manifest)}
    contents[MANIFEST] = (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
    contents[CARD] = card.encode("utf-8")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _mend(folder)
    new, old = _beside(folder, "new"), _beside(folder, "old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir()
    for key, value in contents.items():
        with (new / key).open("wb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
    _sync(new)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return manifest


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


def _cure(name: str) -> str:
    return "install asr33 again" if name == EMBEDDED else "train or fetch it again, or see: asr33 model list"


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
