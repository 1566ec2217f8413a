"""The manifest of what `asr33 install` wrote: each path with its hash. A file that its owner changed is never touched.

The manifest is written before the files, with the old and the new hash of each: after a power cut in between, the next
run still knows all of its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from model.store.atomic_file import replace_atomically
from tools.cli.errors import ToolError
from tools.cli.output import write_error

# In a folder of root: the service user must not name what root deletes.
MANIFEST_PATH = "/usr/local/lib/asr33/install.json"
_VERSION = 1


@dataclass(frozen=True)
class InstallManifest:
    """What was installed: program, adapter, the hashes of each file, and the folders that were made."""

    program: str = ""
    adapter: str = ""
    hashes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileChange:
    """What happens to one path: write, replace, unchanged, keep (its owner changed it), remove, gone."""

    path: str
    action: str


def read_manifest(root: Path) -> InstallManifest | None:
    """Returns the manifest in the root, None if there is none. Raises ToolError for a damaged one."""
    path = place_in(root, MANIFEST_PATH)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["version"] != _VERSION:
            raise ToolError(f"{path} is of a newer asr33: use that one", "damaged")
        hashes = {str(name): tuple(map(str, values)) for name, values in data["hashes"].items()}
        return InstallManifest(str(data["program"]), str(data["adapter"]), hashes, tuple(map(str, data["folders"])))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ToolError(f"{path} is damaged: delete it, then run asr33 install again", "damaged") from None
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror}", "denied") from None


def plan_installation(files: Mapping[str, bytes], old: InstallManifest, root: Path) -> list[FileChange]:
    """Returns a change for each new file, and for each file of the old manifest that is no longer wanted."""
    changes = []
    for path, data in files.items():
        present = hash_file(place_in(root, path))
        if present is None:
            action = "write"
        elif present == hash_of(data):
            action = "unchanged"
        else:
            action = "replace" if present in old.hashes.get(path, ()) else "keep"
        changes.append(FileChange(path, action))
    unwanted = InstallManifest(hashes={path: hashes for path, hashes in old.hashes.items() if path not in files})
    return changes + plan_removal(unwanted, root)


def plan_removal(manifest: InstallManifest, root: Path) -> list[FileChange]:
    """Returns a change for each file of the manifest."""
    changes = []
    for path, hashes in sorted(manifest.hashes.items()):
        present = hash_file(place_in(root, path))
        changes.append(FileChange(path, "gone" if present is None else "remove" if present in hashes else "keep"))
    return changes


def install_files(
    files: Mapping[str, bytes], changes: Iterable[FileChange], old: InstallManifest, new: InstallManifest, root: Path
) -> InstallManifest:
    """Writes the planned files and the manifest; returns the manifest. Raises ToolError."""
    changes = list(changes)
    ours = [change.path for change in changes if change.path in files and change.action != "keep"]
    folders = {*old.folders, *_missing_folders([*ours, MANIFEST_PATH], root)}
    during = {path: tuple(dict.fromkeys((*old.hashes.get(path, ()), hash_of(files[path])))) for path in ours}
    still = {change.path: old.hashes[change.path] for change in changes if change.path in old.hashes}
    _write_manifest(InstallManifest(new.program, new.adapter, {**still, **during}, tuple(sorted(folders))), root)
    for change in changes:
        if change.action in ("write", "replace"):
            _write_file(place_in(root, change.path), files[change.path])
        elif change.action == "remove":
            _remove_file(place_in(root, change.path))
    kept = {
        change.path: old.hashes[change.path]
        for change in changes
        if change.action == "keep" and change.path in old.hashes
    }
    hashes = kept | {path: (hash_of(files[path]),) for path in ours}
    manifest = InstallManifest(new.program, new.adapter, hashes, tuple(sorted(folders)))
    if manifest != old:
        _write_manifest(manifest, root)
    return manifest


def remove_files(manifest: InstallManifest, changes: Iterable[FileChange], root: Path) -> None:
    """Removes the planned files, the manifest, and the folders made for them that are empty now. Raises ToolError."""
    for path in [*(change.path for change in changes if change.action == "remove"), MANIFEST_PATH]:
        _remove_file(place_in(root, path))
    for folder in sorted(manifest.folders, key=len, reverse=True):
        with contextlib.suppress(OSError):  # the owner has put something into it, or has removed it
            place_in(root, folder).rmdir()


def _remove_file(place: Path) -> None:
    try:
        place.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(place, error) from None


def place_in(root: Path, path: str) -> Path:
    """Returns where the absolute path is in the root. Raises ToolError if a link leads out of the root."""
    place = root / path.lstrip("/")
    if not place.parent.resolve().is_relative_to(root.resolve()):
        raise ToolError(f"{place.parent} leads out of {root}: replace the link", "denied")
    return place


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def hash_file(path: Path) -> str | None:
    """Returns the hash of a file, None if there is none. A link to a file elsewhere counts as changed by its owner."""
    if path.is_symlink():
        return "link"
    return hash_of(path.read_bytes()) if path.is_file() else None


def _missing_folders(paths: Iterable[str], root: Path) -> Iterator[str]:
    for path in paths:
        for folder in Path(path).parents:
            if not (root / str(folder).lstrip("/")).exists():
                yield str(folder)


def _write_manifest(manifest: InstallManifest, root: Path) -> None:
    text = json.dumps({"version": _VERSION, **asdict(manifest)}, indent=1, sort_keys=True)
    _write_file(place_in(root, MANIFEST_PATH), text.encode() + b"\n")


def _write_file(place: Path, data: bytes) -> None:
    """Makes the folders and replaces the file; both are readable by every user, with any umask."""
    try:
        for folder in reversed(place.parents):
            if not folder.exists():
                folder.mkdir()
                folder.chmod(0o755)
        with replace_atomically(place) as temporary:
            temporary.write_bytes(data)
            temporary.chmod(0o644)
    except OSError as error:
        raise write_error(place, error) from None
