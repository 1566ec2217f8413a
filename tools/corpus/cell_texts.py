"""Takes texts out of the cells of a table: Python's lists and bytes, which scripts write as they are. Pure."""

from __future__ import annotations

import ast

MAX_LITERAL_CHARS = 100_000  # of a cell that is parsed
NO_VALUES = frozenset({"nan", "none", "null", "n/a", "#n/a", "na", "nil", "\\n", "[deleted]", "[removed]"})

_BYTES_PREFIXES = ("b'", 'b"')


def unwrap_texts(cell: str) -> list[str]:
    """Returns the texts in `['one', 'two']` and `b'one'`; any other cell is one text.

    A list of anything but texts has none.
    """
    text = cell.strip()
    if not is_wrapped(text):
        return [cell]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [cell]
    if isinstance(value, bytes):
        return [value.decode("utf-8", "replace")]
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        return [cell]
    return [part for part in value if isinstance(part, str)]


def is_wrapped(cell: str) -> bool:
    """Whether a cell looks like Python's list of strings, or like bytes."""
    text = cell.strip()
    if len(text) > MAX_LITERAL_CHARS:
        return False
    if text.startswith(_BYTES_PREFIXES):
        return len(text) > 2 and text[-1] == text[1]
    return text[:2] in ("['", '["') and text[-2:] in ("']", '"]')


def is_no_value(cell: str) -> bool:
    """Whether a cell stands for a value that is missing, as programs write it."""
    return cell.strip().casefold() in NO_VALUES
