"""`manifest.json`: the size and hash of a model's files, its shape and its training.

It knows one folder. It does not know where the models are, nor what the other files contain.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.errors import ModelDamaged, ModelNotFound
from model.interface import GPT2Config
from model.store.regular_file import open_regular, read_regular

EMBEDDED = "embedded"
GRAPH_FILE, DATA_FILE, TOKENIZER_FILE = "model.onnx", "model.data", "tokenizer.json"
MANIFEST_FILE, CARD_FILE = "manifest.json", "README.md"
MANIFEST_FORMAT = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_TOKENIZER_BYTES = 64 << 20  # a vocabulary of 50,000 tokens has 4 MB
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TYPE_NAMES: dict[type, str] = {str: "a text", dict: "a table", int: "a whole number"}


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Hash and size of a file when it was written."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`manifest.json`. `training` is a free table: the origin of the weights, and measurements."""

    name: str
    shape: GPT2Config
    files: dict[str, FileRecord]
    training: dict[str, Any]

    @property
    def total_bytes(self) -> int:
        return sum(record.bytes for record in self.files.values())

    @property
    def graph_bytes(self) -> int:
        """Size of the graph and of its weights, in the same file or beside it."""
        return sum(record.bytes for name, record in self.files.items() if name in (GRAPH_FILE, DATA_FILE))

    @property
    def graph_sha256(self) -> str:
        """Hash of the graph and of its weights; if the graph contains them, the hash of its file."""
        hashes = [self.files[name].sha256 for name in (GRAPH_FILE, DATA_FILE) if name in self.files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def verify_model(folder: Path) -> Manifest:
    """Checks every byte of the files against the manifest. Raises ModelNotFound and ModelDamaged."""
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not _is_inside(path):
            raise ModelDamaged(f"{path}: a link that leads out of its folder; copy the file to its place")
        try:
            size = path.stat().st_size
            actual = record_file(path) if size == expected.bytes else None
        except OSError as error:
            raise ModelDamaged(f"{path}: {error.strerror}; {_cure_for(folder)}") from None
        if actual is None:
            raise ModelDamaged(f"{path}: {size} bytes where {expected.bytes} should be; {_cure_for(folder)}")
        if actual != expected:
            raise ModelDamaged(f"{path}: damaged, its sha256 is not the manifest's; {_cure_for(folder)}")
    if DATA_FILE not in manifest.files and os.path.lexists(folder / DATA_FILE):
        raise ModelDamaged(f"{folder / DATA_FILE}: its manifest does not list it; {_cure_for(folder)}")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest, and no other file. Raises ModelNotFound and ModelDamaged."""
    path = folder / MANIFEST_FILE
    try:
        data = json.loads(read_regular(path, MAX_MANIFEST_BYTES).decode("utf-8"))
        number = data["format"]
        if number != MANIFEST_FORMAT:
            raise ModelDamaged(f"{path}: format {number}, this asr33 reads {MANIFEST_FORMAT}; install a newer asr33")
        manifest = _parse_manifest(data)
    except FileNotFoundError:
        raise ModelNotFound(f"{path}: no such file, so {folder} is no model; {_cure_for(folder)}") from None
    except OSError as error:
        raise ModelDamaged(f"{path}: {error.strerror}; {_cure_for(folder)}") from None
    except RecursionError:
        raise ModelDamaged(f"{path}: not a manifest (it is nested without end); {_cure_for(folder)}") from None
    except ModelDamaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelDamaged(f"{path}: not a manifest ({error}); {_cure_for(folder)}") from None
    if manifest.files.keys() - {DATA_FILE} != {GRAPH_FILE, TOKENIZER_FILE}:
        listed = ", ".join(map(repr, manifest.files))
        raise ModelDamaged(f"{path}: lists {listed}, not {GRAPH_FILE}, {TOKENIZER_FILE}; {_cure_for(folder)}")
    for name, record in manifest.files.items():
        if not _SHA256.fullmatch(record.sha256) or not 0 <= record.bytes < 1 << 63:
            raise ModelDamaged(f"{path}: the hash or the size of {name} is none; {_cure_for(folder)}")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    fields = {"format": MANIFEST_FORMAT, **asdict(manifest)}
    (folder / MANIFEST_FILE).write_bytes((json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


def _parse_manifest(data: dict[str, Any]) -> Manifest:
    """Raises ValueError, KeyError, TypeError, AttributeError."""
    files = {name: FileRecord(**fields) for name, fields in data["files"].items()}
    manifest = Manifest(data["name"], GPT2Config(**data["shape"]), files, data["training"])
    expected: list[tuple[str, object, type]] = [("name", manifest.name, str), ("training", manifest.training, dict)]
    for name, record in files.items():
        expected += [(f"sha256 of {name}", record.sha256, str), (f"bytes of {name}", record.bytes, int)]
    if isinstance(manifest.name, str) and not manifest.name.isprintable():
        raise ValueError("its name has control characters")
    for key, value, kind in expected:
        if not isinstance(value, kind):
            raise ValueError(f"{key} is {value!r}, not {_TYPE_NAMES[kind]}")
    return manifest


def record_file(path: Path) -> FileRecord:
    """Computes the hash and the size of a file."""
    with open_regular(path) as file:
        return FileRecord(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())


def _is_inside(path: Path) -> bool:
    """Whether a file of a model is in its folder. An installation of asr33 itself may consist of links."""
    if not path.is_symlink() or _is_installed(path.parent):
        return True
    try:
        return path.parent.resolve() in path.resolve().parents
    except (OSError, RuntimeError):  # a link that leads to itself
        return False


def _is_installed(folder: Path) -> bool:
    """Whether the folder is that of the embedded model; a user's model may have its name."""
    return folder.resolve() == Path(__file__).resolve().parents[1] / EMBEDDED


def _cure_for(folder: Path) -> str:
    return "install asr33 again" if _is_installed(folder) else "train or fetch it again, or see: asr33 model list"
