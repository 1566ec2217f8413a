"""How names are compared. Pure."""

from __future__ import annotations

import unicodedata


def fold_name(name: str) -> str:
    """Without case and accents."""
    apart = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in apart if not unicodedata.combining(c)).casefold()
