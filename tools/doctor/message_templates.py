"""Keeps of a message only the words that the program itself has for it. Pure.

The program's strings are the templates: `f"{port}: held by {name}"` is two holes and a text. Of a message that one of
them fits, the text stays and each hole becomes `*`, unless a template fits the hole too. All else becomes `*`. So no
name, path, host, key or typed text can pass, in any spelling: nothing of the message is copied that is not in the
source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

HOLE = "*"
MIN_LETTERS = 8  # of a template: a shorter one would fit by chance
_NAME_OF_DEVICE = re.compile(r"[a-z]+[a-z-]*[\d_][\w-]{1,20}")  # ftdi_sio, ch341-uart: an exact string of the source
MAX_MESSAGE_CHARS = 2_000
MAX_FITTING = 8  # of the templates with most letters, which are compared
MAX_DEPTH = 4  # of templates in the holes of others
_LOGGING_HOLE = re.compile(r"%[-+0 #]*\d*(?:\.\d+)?[srdifgx]")
_SAFE = re.compile(
    r"/dev/tty[A-Za-z]{0,6}\d{0,3}|[0-9a-f]{4}:[0-9a-f]{4}"
)  # a kernel's tty; the number of a USB device


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """The texts of a string of the source; between two of them, and before and after an empty one, is a hole."""

    texts: tuple[str, ...]

    @property
    def letters(self) -> int:
        return sum(char.isalpha() for text in self.texts for char in text)

    def find_holes(self, message: str) -> list[str] | None:
        """Returns what the holes have in this message; None if the template does not fit."""
        first, *others = self.texts
        if not message.startswith(first):
            return None
        if not others:
            return [] if message == first else None
        holes, at = [], len(first)
        for text in others[:-1]:
            found = message.find(text, at)
            if found < 0:
                return None
            holes.append(message[at:found])
            at = found + len(text)
        end = len(message) - len(others[-1])
        if end < at or not message.endswith(others[-1]):
            return None
        return [*holes, message[at:end]]


def collect_templates(sources: Iterable[str]) -> list[MessageTemplate]:
    """Returns the templates of Python sources, those with most letters first; docstrings are none."""
    found = {template for source in sources for template in _templates_of(ast.parse(source))}
    return sorted(found, key=lambda template: (-template.letters, template.texts))


def _templates_of(tree: ast.AST) -> Iterator[MessageTemplate]:
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts = tuple(_LOGGING_HOLE.split(node.value))
        elif isinstance(node, ast.JoinedStr):
            texts = _texts_of(node)
        else:
            continue
        template = MessageTemplate(texts)
        is_device = len(texts) == 1 and _NAME_OF_DEVICE.fullmatch(texts[0])
        if template.letters >= MIN_LETTERS or is_device:
            yield template


def _texts_of(node: ast.JoinedStr) -> tuple[str, ...]:
    texts = [""]
    for value in node.values:
        if isinstance(value, ast.Constant):
            texts[-1] += str(value.value)
        else:
            texts.append("")
    return tuple(texts)


def redact_message(message: str, templates: Sequence[MessageTemplate], depth: int = MAX_DEPTH) -> str:
    """Returns the message with `*` for all that is not the program's own text; most of that stays."""
    message = message.strip()
    if not message or _SAFE.fullmatch(message):
        return message
    if not depth or len(message) > MAX_MESSAGE_CHARS:
        return HOLE
    kept = [HOLE]
    fitting = ((each, holes) for each in templates if (holes := each.find_holes(message)) is not None)
    for template, holes in islice(fitting, MAX_FITTING):
        kept.append(_join(template.texts, [redact_message(hole, templates, depth - 1) for hole in holes]))
    head, colon, rest = message.partition(": ")
    if colon:  # as a message that quotes another one, or names its place first
        kept.append(f"{redact_message(head, templates, 0)}: {redact_message(rest, templates, depth - 1)}")
    return max(kept, key=len)


def _join(texts: tuple[str, ...], holes: list[str]) -> str:
    parts = [texts[0]]
    for hole, text in zip(holes, texts[1:], strict=True):
        parts += [hole, text]
    return "".join(parts)
