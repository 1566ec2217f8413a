"""Which model is taken where nobody says: a word in `.in-use`, in the folder of the models; without it the embedded.

Standard library alone, since every command that answers asks it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from model.client.server_url import is_url, parse_server_url
from model.errors import ModelError
from model.store import store

DEFAULT_MODEL_FILE = ".in-use"
MAX_PATH_BYTES = 4096  # bytes of a path


class NotKept(ModelError):
    """There is no writing down what was chosen."""

    exit_code = 73


def get_default() -> str:
    """The name, the path or the URL of the model in use; whether it is there is for others to see."""
    try:
        with (store.models_folder() / DEFAULT_MODEL_FILE).open("rb") as file:
            return file.read(MAX_PATH_BYTES).decode("utf-8").strip() or store.EMBEDDED
    except (OSError, RuntimeError, UnicodeDecodeError):
        return store.EMBEDDED


def set_default(wanted: str) -> str:
    """From now on this one; gives it as it is remembered. Raises ModelError if there is none, or no remembering it.

    A server need not be there yet.
    """
    chosen = wanted if is_url(wanted) and parse_server_url(wanted) else _resolve_on_disk(wanted)
    if "\n" in chosen:
        raise NotKept(f"{chosen!r}: a path of two lines cannot be remembered; move the model")
    try:
        if chosen == store.EMBEDDED:
            (store.models_folder() / DEFAULT_MODEL_FILE).unlink(missing_ok=True)
        else:
            _write_atomically(store.models_folder() / DEFAULT_MODEL_FILE, chosen)
    except OSError as error:
        raise NotKept(
            f"{store.models_folder() / DEFAULT_MODEL_FILE}: cannot be written ({error.strerror}); see to its folder"
        ) from None
    return chosen


def is_default(folder: Path) -> bool:
    """Whether the model in this folder is the one in use."""
    try:
        return store.find_model(get_default()).samefile(folder)
    except (ModelError, OSError):
        return False


def _resolve_on_disk(name_or_path: str) -> str:
    folder = store.find_model(name_or_path)
    store.read_manifest(folder)
    return name_or_path if _is_found_by_name(name_or_path, folder) else str(folder.resolve())


def _is_found_by_name(name_or_path: str, folder: Path) -> bool:
    return name_or_path == store.EMBEDDED or (folder.parent == store.models_folder() and folder.name == name_or_path)


def _write_atomically(path: Path, chosen: str) -> None:
    """All or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        beside.write_text(chosen + "\n", "utf-8")
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
