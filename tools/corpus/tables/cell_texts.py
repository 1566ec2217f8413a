"""Takes texts out of the cells of a table: out of lists and bytes of Python, JSON, quotes, HTML and e-mails. Pure."""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterable

from tools.corpus.fields import repair_surrogates
from tools.corpus.html_text import html_to_text

MAX_LITERAL_CHARS = 100_000  # of a cell that is parsed
ERRORS = frozenset({"#name?", "#ref!", "#value!", "#div/0!", "#null!", "#num!", "#error!", "#n/a"})  # of a spreadsheet
NO_VALUES = ERRORS | {"nan", "none", "null", "n/a", "na", "nil", "\\n", "[deleted]", "[removed]"}
MIN_MAIL_FIELDS = 3

_BYTES_PREFIXES = ("b'", 'b"')
_BLOCK_TAGS = r"blockquote|br|center|d[dlt]|div|figure|h[1-6]|hr|li|ol|p|pre|table|tbody|t[dhr]|ul"
_INLINE_TAGS = r"a|abbr|b|big|cite|code|del|em|font|i|img|ins|kbd|q|s|script|small|span|strike|strong|style|su[bp]|tt|u"
_BLOCK = re.compile(rf"</?(?:{_BLOCK_TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_MARKUP = re.compile(rf"</?(?:{_BLOCK_TAGS}|{_INLINE_TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_MARKDOWN = re.compile(
    r"(?<!\*)\*\*(?=[^\s*])([^*\n]{1,1000})(?<=\S)\*\*(?!\*)|(?<!~)~~(?=[^\s~])([^~\n]{1,1000})(?<=\S)~~(?!~)"
    r"|(?<!!)\[([^\[\]\n]{1,500})\]\((?:https?://|/)[^()\s]{0,1000}\)"
)
_ESCAPED_BREAK = re.compile(r"&lt;(?:br|/?p)\s*/?&gt;", re.IGNORECASE)
_FORMULA = re.compile(r"=\"(.*)\"", re.DOTALL)
_EXCEL_CHAR = re.compile(r"_x(000[9AaDd])_[ \n]?")
_ESCAPE = re.compile(r"((?:\\x[0-9a-fA-F]{2})+)|((?:\\u[0-9a-fA-F]{4})+)|\\([nrt\"'/\\])")
_PATH = re.compile(r"\b[A-Za-z]:\\|\\\\\w")
_CONTROLS = {"n": "\n", "r": "\n", "t": "\t"}
_MAIL_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,40}):(?:[ \t]|$)|[ \t]")
_MAIL_FIELDS = frozenset(("message-id", "from", "to", "date", "subject", "received", "return-path", "mime-version"))


def unwrap_texts(cell: str) -> list[str]:
    """Returns the texts in `['one', 'two']`, `b'one'`, `'one'` and `{"text": "one"}`; any other cell is one text.

    A list of anything but texts has none.
    """
    text = cell.strip()
    if not is_wrapped(text):
        return [cell]
    if text[0] == "'":
        return [text[1:-1].replace("''", "'")]
    if text[0] == "{":
        return [_join_parts(text) or cell]
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
    """Whether a cell looks like Python's list of strings, like bytes, like JSON, or is in single quotes."""
    text = cell.strip()
    if len(text) > MAX_LITERAL_CHARS:
        return False
    if text.startswith(_BYTES_PREFIXES):
        return len(text) > 2 and text[-1] == text[1]
    if text.startswith("'"):
        return len(text) > 2 and text.endswith("'")
    if text.startswith("{"):
        return text.startswith(('{"text"', '{"text":')) and text.endswith("}")
    return text[:2] in ("['", '["') and text[-2:] in ("']", '"]')


def is_no_value(cell: str, is_list: bool = False) -> bool:
    """Whether a cell stands for a value that is missing, as programs write it. In a list `None` may be a text."""
    return cell.strip().casefold() in (ERRORS if is_list else NO_VALUES)


def clean_cell(cell: str, has_html: bool = False, has_escapes: bool = False) -> str:
    """Returns the text of a cell without its markup: HTML, links and bold of Markdown, the header of an e-mail.

    What spreadsheets write for line ends and formulas goes too. `has_html`: the cells are HTML, whatever their tags.
    `has_escapes`: `\\n` and `\\u201c` stand for characters.
    """
    text = _EXCEL_CHAR.sub(lambda match: "\t" if match[1][-1] == "9" else "\n", cell)
    if match := _FORMULA.fullmatch(text.strip()):
        text = match[1].replace('""', '"')
    elif text.startswith(("'=", "'+", "'-", "'@")):
        text = text[1:]
    if has_escapes:
        text = _ESCAPE.sub(_decode_escape, text)
    text = _strip_mail_header(text)
    if _ESCAPED_BREAK.search(text):
        text = html.unescape(text)
    if has_html or _MARKUP.search(text):
        text = html_to_text(text if _BLOCK.search(text) else text.replace("\n", "<br>"))
    return _MARKDOWN.sub(lambda match: match[1] or match[2] or match[3], text)


def have_escapes(texts: Iterable[str]) -> bool:
    """Whether each backslash in the texts begins an escape of a programming language, and there are some."""
    escaped = [text for text in texts if "\\" in text]
    return bool(escaped) and not any("\\" in _ESCAPE.sub("", text) or _PATH.search(text) for text in escaped)


def _decode_escape(match: re.Match[str]) -> str:
    if match[1]:
        data = bytes.fromhex(match[1].replace("\\x", ""))
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data.decode("cp1252", "replace")
    if match[2]:
        return repair_surrogates("".join(chr(int(code, 16)) for code in match[2].split("\\u")[1:]))
    return _CONTROLS.get(match[3], match[3])


def _join_parts(cell: str) -> str:
    """Returns the text of `{"text": "one"},{"text": "two"}`, as YouTube writes a comment; "" for other JSON."""
    try:
        parts = json.loads(f"[{cell}]")
    except (ValueError, RecursionError):
        return ""
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else ""


def _strip_mail_header(text: str) -> str:
    header, border, body = text.replace("\r\n", "\n").partition("\n\n")
    fields = [_MAIL_FIELD.match(line) for line in header.split("\n")]
    names = {(match[1] or "").lower() for match in fields if match}
    is_mail = border and all(fields) and len(names & _MAIL_FIELDS) >= MIN_MAIL_FIELDS
    return body if is_mail else text
