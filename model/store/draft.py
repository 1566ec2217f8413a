"""Writes a model's folder whole or not at all, one process at a time. Knows folders and locks, but no model list.

A model NAME has hidden siblings while it is written: `.NAME.new` (the draft), `.NAME.old` (the model that the draft
replaces), `.NAME.pull` (files of an unfinished pull) and `.NAME.gone` (a model that is being removed).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from model.errors import ModelError
from model.interface import GPT2Config
from model.store.atomic_file import fsync_path
from model.store.manifest import CARD_FILE, DATA_FILE, GRAPH_FILE, TOKENIZER_FILE, Manifest, record_file, write_manifest


def sibling_folder(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}.{suffix}")


@contextmanager
def open_draft(folder: Path) -> Iterator[Path]:
    """Yields an empty folder for a model's graph files; deletes it afterwards unless `commit_draft` renamed it.

    Raises ModelError while another process writes the same model.
    """
    draft = sibling_folder(folder, "new")
    busy = f"{draft}: another process writes this model; let it end, or stop it"
    with lock_folder(draft, busy) as handle:
        if not _is_same_folder(draft, handle):  # the other process ended after the folder was opened here
            raise ModelError(busy, "busy")
        try:
            _restore_old(folder)
            shutil.rmtree(sibling_folder(folder, "old"), ignore_errors=True)
            for leftover in draft.iterdir():
                leftover.unlink()
            yield draft
        finally:
            if _is_same_folder(draft, handle):
                shutil.rmtree(draft, ignore_errors=True)


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
    """Makes a draft the model and replaces the old model. A kill at any moment leaves the old model or the new one."""
    (draft / TOKENIZER_FILE).write_bytes(tokenizer_json.encode("utf-8"))
    paths = [path for path in (draft / GRAPH_FILE, draft / DATA_FILE, draft / TOKENIZER_FILE) if path.exists()]
    manifest = Manifest(name, shape, {path.name: record_file(path) for path in paths}, dict(training))
    write_manifest(draft, manifest)
    (draft / CARD_FILE).write_bytes(card.encode("utf-8"))
    for path in (*draft.iterdir(), draft):
        fsync_path(path)
    old = sibling_folder(folder, "old")
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    fsync_path(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return manifest


@contextmanager
def lock_folder(folder: Path, busy: str) -> Iterator[int]:
    """Makes and locks a folder; yields its open handle. Raises ModelError with the text `busy` while it is locked."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not try_lock(handle):
            raise ModelError(busy, "busy")
        yield handle
    finally:
        os.close(handle)


def try_lock(handle: int) -> bool:
    """Locks an open folder until its handle is closed; False while another process holds the lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # some file servers cannot lock folders
    return True


def _is_same_folder(folder: Path, handle: int) -> bool:
    """Whether the path still leads to the folder that was opened."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except OSError:
        return False


def _restore_old(folder: Path) -> None:
    """Moves the old model back to its place after a `commit_draft` that was killed between its two renames."""
    old = sibling_folder(folder, "old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)
