"""Text from elsewhere (servers, models, files, clients), made safe for a terminal, a journal and a message. Pure.

The text of a server may clear a screen, answer for the operator, hide a line, or add a false line to a log. So every
character that acts on a terminal or on the order of the others is written as an escape.
"""

from __future__ import annotations

import re

MAX_QUOTED_CHARS = 100  # of a name or another short text in a message

# C0 and C1 controls and DEL; marks that turn the direction of text (Unicode TR 9) or join no word; line and paragraph
# separators; half characters. Joiners and soft hyphens, which words and emoji need, stay.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape_controls(text: str, keep: str = "") -> str:
    """Returns the text with each unsafe character as `\\x1b` or `\\u202e`; those in `keep` stay.

    A text may be escaped in pieces and a second time. JSON stays JSON: it has no raw character below a blank.
    """
    return _UNSAFE.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def quote_briefly(text: str, max_chars: int = MAX_QUOTED_CHARS) -> str:
    """Returns a short text on one line, for a message: without controls, and cut."""
    shown = escape_controls(" ".join(text[: 4 * max_chars].split()))
    return shown if len(shown) <= max_chars else shown[: max_chars - 3] + "..."


def drop_half_characters(text: str) -> str:
    """Returns a model's text without U+FFFD: many servers send it for bytes that are not a whole character."""
    return text.replace("\ufffd", "")


def _escape(char: str) -> str:
    code = ord(char)
    return _NAMED.get(char) or (f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}")
