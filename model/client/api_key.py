"""The key that a server wants: from a file or from systemd, never from a command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from model.errors import KeyRefused

CREDENTIAL_NAME = "api-key"  # LoadCredential=api-key:/etc/asr33/key in the unit
MAX_KEY_BYTES = 4096


def read_api_key(file: Path | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The key in the file, or else in systemd's credential; empty if there is neither. Raises KeyRefused."""
    if file is None and (folder := environ.get("CREDENTIALS_DIRECTORY")):
        file = Path(folder) / CREDENTIAL_NAME
        if not file.exists():
            return ""
    if file is None:
        return ""
    try:
        key = file.expanduser().read_bytes()[: MAX_KEY_BYTES + 1].decode("ascii").strip()
    except OSError as error:
        raise KeyRefused(f"{file}: {error.strerror}: key_file names a file with the server's key in it") from None
    except UnicodeDecodeError:
        key = ""
    if not key or len(key) > MAX_KEY_BYTES or not key.isprintable() or " " in key:
        raise KeyRefused(f"{file}: no key in it: it should be one line of letters, digits and signs")
    return key
