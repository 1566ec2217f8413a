"""Recognises the markup of a text that is imported with it: wikis, BBCode, LaTeX, HTML, the turns of a chat. Pure.

No markup is parsed here; a warning names it, with the program that takes it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SAMPLE_CHARS = 1 << 16  # the start of a text that is examined
MIN_KINDS = 2  # of different marks where one alone occurs in prose


@dataclass(frozen=True, slots=True)
class MarkupKind:
    """A markup. A text has it with `min_count` of its marks; with `is_mixed` they must be different ones."""

    name: str
    marks: tuple[re.Pattern[str], ...]
    min_count: int
    cure: str
    is_mixed: bool = False


def _kind(name: str, min_count: int, cure: str, *marks: str, is_mixed: bool = False) -> MarkupKind:
    return MarkupKind(name, tuple(re.compile(mark, re.MULTILINE) for mark in marks), min_count, cure, is_mixed)


_PLAIN = "convert it first, as pandoc -t plain does"
KINDS: tuple[MarkupKind, ...] = (
    _kind(
        "the turns of a chat", 2, "write each turn as Name: words",
        r"<\|(?:im_start|im_end|user|assistant|system|start_header_id|end_header_id|eot_id|end)\|>",
        r"\[/?INST\]|<</?SYS>>|</?start_of_turn>|<\uff5c(?:User|Assistant)\uff5c>",
        r"^### (?:Instruction|Input|Response|Human|User|Assistant|System)\b",
        r"^\s*<(?:human|bot|user|assistant)>:?",
    ),
    _kind("XML", 1, "export it as text", r"\A\ufeff?\s*<\?xml\b|\A\ufeff?\s*<!DOCTYPE (?!html)"),
    _kind(
        "HTML", 3, "name the file with the ending .html",
        r"</?(?:p|b|i|u|em|strong|a|div|span|br|h[1-6]|li|ul|ol|table|tr|td|blockquote|font|img|sup)(?:\s[^<>\n]{0,300})?/?>",
    ),
    _kind(
        "BBCode", 2, "take out the words in brackets first",
        r"\[(b|i|u|s|url|quote|img|color|size|list|code|spoiler|center)(?:=[^\]\n]{0,200})?\](?=[^\0]{0,2000}?\[/\1\])",
    ),
    _kind(
        "LaTeX", 3, _PLAIN,
        r"\\(?:begin|end|chapter|(?:sub)*section|emph|text(?:bf|it)|cite|ref|label|footnote|documentclass)\*?[{\[]",
    ),
    _kind(
        "troff", 3, "print it with man or nroff into a file first",
        r"^\.(?:TH|SH|SS|PP|TP|IP|BR|Sh|Nm|Dd|Dt|Os|Pp)\b",
    ),
    _kind(
        "Org", 2, _PLAIN,
        r"^#\+[A-Za-z_]+:?", r"^[ \t]*:PROPERTIES:", r"^\*+ (?:TODO|DONE)\b",
        r"\[\[[^\[\]\n]{1,200}\]\[[^\[\]\n]{1,200}\]\]",
    ),
    _kind(
        "reStructuredText", 2, _PLAIN,
        r"^\s*\.\. [\w-]+::", r":[a-z:]{2,20}:`[^`\n]+`", r"``[^`\n]+``", r"^\.\. _[^:\n]+:",
    ),
    _kind(
        "AsciiDoc", 2, _PLAIN,
        r"^(?:image|include|video)::", r"^\[(?:source|NOTE|TIP|quote|abstract)[^\]\n]*\]$", r"^:[a-z][\w-]*: \S",
    ),
    _kind(
        "a wiki", 3, "export it as text, or " + _PLAIN,
        r"\[\[[^\[\]\n]{1,200}\]\]", r"'{2,3}[^'\n]{1,200}'{2,3}", r"^={2,5}[^=\n]+={2,5}[ \t]*$",
        r"\{\{[^{}\n]{1,300}\}\}", r"<ref[ >/]", r"^(?:\{\||\|\}|\|-)", is_mixed=True,
    ),
    _kind(
        "Markdown", 4, "name the file with the ending .md",
        r"^#{1,6} \S", r"(?<!\*)\*\*[^*\n]{1,300}\*\*(?!\*)", r"^```",
        r"\[[^\[\]\n]{1,200}\]\((?:https?:|#|/)[^)\n]*\)", r"!\[[^\[\]\n]{0,200}\]\(",
        is_mixed=True,
    ),
)  # fmt: skip


def describe_markup(text: str) -> str:
    """Returns a warning about the markup at the start of a text, with the cure; "" if there is none."""
    text = text[:SAMPLE_CHARS]
    for kind in KINDS:
        counts = [sum(1 for _ in mark.finditer(text)) for mark in kind.marks]
        if sum(counts) >= kind.min_count and (not kind.is_mixed or sum(map(bool, counts)) >= MIN_KINDS):
            return f"the marks of {kind.name} stay in the text; to be rid of them: {kind.cure}"
    return ""
