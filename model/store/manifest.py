"""`manifest.json`: what the files of a model must be, and whether they are.

It knows one folder, and not where models are kept; of what is in the files, nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import ModelDamaged, ModelNotFound
from model.interface import GPT2Config

EMBEDDED = "embedded"
GRAPH_FILE, DATA_FILE, TOKENIZER_FILE = "model.onnx", "model.data", "tokenizer.json"
MANIFEST_FILE, CARD_FILE = "manifest.json", "README.md"
MANIFEST_FORMAT = 1
_TYPE_NAMES: dict[type, str] = {str: "a text", dict: "a table", int: "a whole number"}


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file was when it was written."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`manifest.json`. `training` is free: where the weights come from and what was measured."""

    name: str
    shape: GPT2Config
    files: dict[str, FileRecord]
    training: dict[str, Any]

    @property
    def graph_bytes(self) -> int:
        """Of the graph with its weights, wherever these lie."""
        return sum(record.bytes for name, record in self.files.items() if name in (GRAPH_FILE, DATA_FILE))

    @property
    def graph_sha256(self) -> str:
        """Of the same: the graph's own hash where the weights are in it."""
        hashes = [self.files[name].sha256 for name in (GRAPH_FILE, DATA_FILE) if name in self.files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def verify_model(folder: Path) -> Manifest:
    """Check the files against the manifest, every byte. Raises ModelNotFound and ModelDamaged."""
    manifest = read_manifest(folder)
    for name, told in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            found = record_file(path) if size == told.bytes else None
        except OSError as error:
            raise ModelDamaged(f"{path}: {error.strerror}; {_cure_for(manifest.name)}") from None
        if found is None:
            raise ModelDamaged(f"{path}: {size} bytes where {told.bytes} should be; {_cure_for(manifest.name)}")
        if found != told:
            raise ModelDamaged(f"{path}: damaged, its sha256 is not the manifest's; {_cure_for(manifest.name)}")
    if DATA_FILE not in manifest.files and os.path.lexists(folder / DATA_FILE):
        raise ModelDamaged(f"{folder / DATA_FILE}: its manifest does not tell of it; {_cure_for(manifest.name)}")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, the files unseen. Raises ModelNotFound and ModelDamaged."""
    path = folder / MANIFEST_FILE
    try:
        data = json.loads(path.read_text("utf-8"))
        number = data["format"]
        if number != MANIFEST_FORMAT:
            raise ModelDamaged(f"{path}: format {number}, this asr33 reads {MANIFEST_FORMAT}; install a newer asr33")
        manifest = _parse_manifest(data)
    except FileNotFoundError:
        raise ModelNotFound(f"{path}: no such file, so {folder} is no model; {_cure_for(folder.name)}") from None
    except OSError as error:
        raise ModelDamaged(f"{path}: {error.strerror}; {_cure_for(folder.name)}") from None
    except RecursionError:
        raise ModelDamaged(f"{path}: not a manifest (it is nested without end); {_cure_for(folder.name)}") from None
    except ModelDamaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelDamaged(f"{path}: not a manifest ({error}); {_cure_for(folder.name)}") from None
    if manifest.files.keys() - {DATA_FILE} != {GRAPH_FILE, TOKENIZER_FILE}:
        told = ", ".join(map(repr, manifest.files))
        raise ModelDamaged(f"{path}: tells of {told}, not of {GRAPH_FILE}, {TOKENIZER_FILE}; {_cure_for(folder.name)}")
    return manifest


def _parse_manifest(data: dict[str, Any]) -> Manifest:
    """Raises ValueError, KeyError, TypeError, AttributeError."""
    files = {name: FileRecord(**told) for name, told in data["files"].items()}
    manifest = Manifest(data["name"], GPT2Config(**data["shape"]), files, data["training"])
    wanted: list[tuple[str, object, type]] = [("name", manifest.name, str), ("training", manifest.training, dict)]
    for name, told in files.items():
        wanted += [(f"sha256 of {name}", told.sha256, str), (f"bytes of {name}", told.bytes, int)]
    for key, value, kind in wanted:
        if not isinstance(value, kind):
            raise ValueError(f"{key} is {value!r}, not {_TYPE_NAMES[kind]}")
    return manifest


def record_file(path: Path) -> FileRecord:
    """Of a file as it is now."""
    with path.open("rb") as file:
        return FileRecord(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())


def _cure_for(name: str) -> str:
    return "install asr33 again" if name == EMBEDDED else "train or fetch it again, or see: asr33 model list"
