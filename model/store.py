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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.base import Shape
from model.errors import ModelDamaged, ModelError, ModelNotFound

EMBEDDED = "embedded"
GRAPH, TOKENIZER, MANIFEST, CARD = "model.onnx", "tokenizer.json", "manifest.json", "README.md"
FORMAT = 1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
    """A model as it lies there; `manifest` is None where `fault` says why it cannot be read."""

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
    if _NAME.fullmatch(wanted):
        _mend(home() / wanted)
        if (home() / wanted / MANIFEST).exists():
            return home() / wanted
    path = Path(wanted)
    folder = path.parent if path.name == GRAPH else path
    here = f"neither a name in {home()} nor a folder with a {MANIFEST}"
    return _existing(folder, f"no model {wanted!r}: {here}; there are: {_names()}")


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
        files = {name: FileRecord(**record) for name, record in data["files"].items()}
        manifest = Manifest(data["name"], Shape(**data["shape"]), files, data["training"])
    except FileNotFoundError:
        raise ModelNotFound(f"{path}: no such file, so {folder} is no model; {_cure(folder.name)}") from None
    except OSError as error:
        raise ModelDamaged(f"{path}: {error.strerror}; {_cure(folder.name)}") from None
    except ModelDamaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelDamaged(f"{path}: not a manifest ({error}); {_cure(folder.name)}") from None
    if files.keys() != {GRAPH, TOKENIZER}:
        raise ModelDamaged(f"{path}: tells of {', '.join(files)}, not of {GRAPH}, {TOKENIZER}; {_cure(folder.name)}")
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
    folders = [_embedded()] if _embedded().is_dir() else []
    if home().is_dir():
        for old in home().glob(".*.old"):
            _mend(home() / old.name[1:-4])
        folders += sorted(path for path in home().iterdir() if (path / MANIFEST).exists() and path.name[0] != ".")
    return [_listed(folder) for folder in folders]


def _listed(folder: Path) -> Listed:
    try:
        return Listed(folder.name, folder, read_manifest(folder))
    except ModelError as error:
        return Listed(folder.name, folder, None, str(error))


def _names() -> str:
    return ", ".join(listed.name for listed in list_models()) or "none at all"


def _embedded() -> Path:
    return Path(__file__).parent / EMBEDDED


def _existing(folder: Path, otherwise: str) -> Path:
    if not (folder / MANIFEST).is_file():
        raise ModelNotFound(otherwise)
    return folder


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
