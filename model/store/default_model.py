"""The default model of the commands: `.in-use` in the models' folder names it; without that file it is `embedded`.

It imports only the standard library, because every command that answers needs it.
"""

from __future__ import annotations

from pathlib import Path

from model.errors import ModelError
from model.server_url import is_url, parse_server_url
from model.store import store
from model.store.atomic_file import replace_atomically

DEFAULT_MODEL_FILE = ".in-use"
MAX_PATH_BYTES = 4096


def get_default() -> str:
    """The name, the path or the URL of the default model. The model itself may be absent."""
    try:
        with (store.models_folder() / DEFAULT_MODEL_FILE).open("rb") as file:
            return file.read(MAX_PATH_BYTES).decode("utf-8").strip() or store.EMBEDDED
    except (OSError, RuntimeError, UnicodeDecodeError):
        return store.EMBEDDED


def set_default(wanted: str) -> str:
    """Makes a model the default; returns the name, path or URL that is stored.

    A server need not answer yet. Raises ModelError if the model is absent, or the file cannot be written.
    """
    chosen = wanted if is_url(wanted) and parse_server_url(wanted) else _resolve_on_disk(wanted)
    if "\n" in chosen:
        raise ModelError(f"{chosen!r}: a path of two lines cannot be stored; move the model", "create")
    path = store.models_folder() / DEFAULT_MODEL_FILE
    try:
        if chosen == store.EMBEDDED:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_atomically(path) as temporary:
                temporary.write_text(chosen + "\n", "utf-8")
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error.strerror}); see to its folder", "create") from None
    return chosen


def is_default(folder: Path) -> bool:
    """Whether this folder holds the default model."""
    try:
        return store.find_model(get_default()).samefile(folder)
    except (ModelError, OSError):
        return False


def _resolve_on_disk(name_or_path: str) -> str:
    """The name if `find_model` needs no more; else the absolute path."""
    folder = store.find_model(name_or_path)
    store.read_manifest(folder)
    is_name = folder.parent == store.models_folder() and folder.name == name_or_path
    return name_or_path if is_name or name_or_path == store.EMBEDDED else str(folder.resolve())
