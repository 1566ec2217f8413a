"""Takes texts out of the cells of a table: out of Python's lists and bytes, single quotes, and HTML. Pure."""

from __future__ import annotations

import ast
import re

MAX_LITERAL_CHARS = 100_000  # of a cell that is parsed
NO_VALUES = frozenset({"nan", "none", "null", "n/a", "#n/a", "na", "nil", "\\n", "[deleted]", "[removed]"})

_HTML_BREAK = re.compile(r"<br\s*/?>\n?|</(?:p|div|li|h\d|tr|blockquote)>\s*", re.IGNORECASE)
_HTML_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?-->", re.DOTALL)
_BYTES_PREFIXES = ("b'", 'b"')


def unwrap_texts(cell: str) -> list[str]:
    """Returns the texts in `['one', 'two']`, `b'one'` and `'one'`; any other cell is one text.

    A list of anything but texts has none.
    """
    text = cell.strip()
    if not is_wrapped(text):
        return [cell]
    if text[0] == "'":
        return [text[1:-1].replace("''", "'")]
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
    """Whether a cell looks like Python's list of strings, like bytes, or is in single quotes."""
    text = cell.strip()
    if len(text) > MAX_LITERAL_CHARS:
        return False
    if text.startswith(_BYTES_PREFIXES):
        return len(text) > 2 and text[-1] == text[1]
    if text.startswith("'"):
        return len(text) > 2 and text.endswith("'")
    return text[:2] in ("['", '["') and text[-2:] in ("']", '"]')


def is_no_value(cell: str) -> bool:
    """Whether a cell stands for a value that is missing, as programs write it."""
    return cell.strip().casefold() in NO_VALUES


def remove_tags(cell: str) -> str:
    """Returns the text of HTML with its paragraphs; entities stay."""
    return _HTML_TAG.sub("", _HTML_BREAK.sub("\n", cell)).strip()
