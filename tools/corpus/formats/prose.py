"""Recognises texts without sentences: source code, dumps, tables, lists, logs, settings. Pure.

Each kind is recognised by what most of its lines look like. A text that is none of them is taken, however short or odd
it is, since poems, plays and scanned manuals have few sentences too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

MIN_LINES = 5  # fewer lines show nothing, but for very long ones
MIN_SETTINGS_LINES = 8
MIN_LIST_LINES = 40  # of a word list; a poem has fewer lines of one word
LONG_LINE_CHARS = 1000  # in the mean: minified or encoded
MAX_LINE_CHARS = 300  # of a line examined
MIN_SHARE = 0.6  # of the lines that look like one kind
MIN_CODE_SHARE = 0.35  # prose has almost none; code has many comments and blank lines
MIN_WORDS_SHARE = 0.25  # of the lines of prose with four words in a row
MAX_SENTENCE_SHARE = 0.25  # of the lines of source code: long comments

_SENTENCE = re.compile(r"(?:[^\W\d_]{1,20}[,.;:’']? ){5}[^\W\d_]")
_WORDS = re.compile(r"(?:(?<![^\s\"“'‘(])[^\W\d_]{1,20}[,.;:’']?[ -]{1,3}){3}[^\W\d_]|[\u3040-\u9fff\uac00-\ud7af]{4}")
_HEX_LINE = re.compile(
    r":[0-9A-Fa-f]{8,}\s*$|S[0-9][0-9A-Fa-f]{6,}\s*$|(?:0x)?[0-9A-Fa-f]{4,16}[:h]?\s+(?:(?:0x)?[0-9A-Fa-f]{2,8}[,\s]+){4}"
    r"|(?:(?:0x)?[0-9A-Fa-f]{2}[,\s]+){8}|@[0-9A-Fa-f]{4}\s*$|[0-9A-Fa-f]{32,}\s*$|(?:[01]{8}[\s,]*){2,}$"
)
_CHECKSUM_LINE = re.compile(r"\S*\b[0-9a-f]{32,128}\b|.*\b(?:sha(?:1|256|384|512)|md5)[-:=]")
_ENCODED_LINE = re.compile(r"[A-Za-z0-9+/=_-]{40,}\s*$|[!-`]{50,62}\s*$|-----(?:BEGIN|END) ")
_LOG_LINE = re.compile(
    r"\W{0,2}(?:\d{4}[-/.]\d\d[-/.]\d\d|\d\d[-/.]\d\d[-/.]\d{2,4}|[A-Z][a-z]{2} +\d\d? )[T ,]*\d\d?:\d\d"
    r"|\W{0,2}\d\d:\d\d:\d\d[.,\] ]|\[? *\d+\.\d{4,}\] |(?:\[?(?:DEBUG|INFO|WARN(?:ING)?|ERROR|TRACE|FATAL)\]?[: ])"
    r"|\d{1,3}(?:\.\d{1,3}){3} - |\[[A-Z][a-z]{2} [A-Z][a-z]{2} +\d\d? \d\d:\d\d:\d\d|\[\d\d/[A-Z][a-z]{2}/\d{4}"
    r"|[IWEF]\d{4} \d\d:\d\d:\d\d\.|<\d{1,3}>\d? ?\w|(?:[a-z_]{1,20}=\S+ ){3}"
)
_SETTING_LINE = re.compile(
    r"[#;!]|\[[^\]]+\]\s*$|[\w.$/\"'-]+(?: [\w.-]+)?\s*(?:=|:=|\?=|\+=|==|>=|~=)"
    # a key and a value, but no speaker and his words
    r"|\s*[\"']?[A-Za-z_][\w.-]*[\"']?:\s*(?:$|[\d.]+\s*$|[\"'\[{|>&/~-]|(?:true|false|null|yes|no|on|off)\s*$)"
    r"|\s*[a-z]+[_.-][\w.-]*:"
    r"|\s*- [\w./-]+(?::.*)?$|\S+/\S+\s*$"
)
_CODE_LINE = re.compile(
    # C and its kin: line ends, comments, the preprocessor
    r"(?:.*[{}]|.*[()=\[\]{}<>_$*&#/\d\"].*;|\s*\w+;)\s*(?://.*|/\*.*\*/\s*)?$"
    r"|\s*(?://|/\*|\*/|\*(?: |$)|--\[\[|\"\"\")"
    r"|\s*#\s*(?:include|define|if|ifn?def|endif|pragma|undef|else)\b"
    # statements that begin with a keyword
    r"|\s*(?:def|class|import|from|return|if|elif|for|while|try|except|with|func|fn|function|var|let|const|use|module"
    r"|public|private|static|package|end|begin|sub|my|local|require|raise|assert|async|await)\b[^.!?]*[(:={\[\])]\s*.*$"
    r"|\s*(?:import|from|use|require|include|package|using|module|return|end|else:?|begin|fi|done|pass|break)"
    r"(?: [\w.:/<>\"'*-]+){0,4}\s*;?\s*$"
    # assignments, calls, closing brackets
    r"|\s*[\w.\[\]\"'>*&$@-]+(?:\([^)]*\))?\s*(?:[-+*/|&%.:]?=|=>|->|<-|:=)\s*\S|\s*[@\w.:>-]+\([^)]*\)\s*[;:{]?\s*$"
    r"|\s*[)\]}]+[;,]?\s*$"
    # assembly, patches
    r"|(?i:\s*(?:\w+:)?\s*(?:mov|ldr|str|add|sub|jmp|call|push|pop|ret|cmp|bne|beq|lda|sta|jsr|nop|dac|lac|tad|dca)\b)"
    r"|\s*\.(?:text|data|globl?|byte|word|section|align|org|equ)\b|(?:[-+]{3} |@@ |[-+][^-+ ]|diff --git )"
)
_MARKUP_LINE = re.compile(r"\s*</?[A-Za-z!?][^>]*>.*(?:>\s*)?$|\s*[^<>]*/?>\s*$")
_NUMBER = re.compile(r"[-+(]?[\d.,:/%$€£°'\"-]*\d[\d.,:/%°)eE+-]*")
_SENTENCE_MARKS = frozenset('.,;:!?—-"”’。．！？、」』｡')
_WORDS_LINE = re.compile(r"\s*\S{1,40}(?:[ \t]+[\d.]+|\t\S+)*\s*$")


def describe_non_prose(text: str) -> str:
    """Returns what a text without sentences is, such as "source code"; "" for any other text."""
    lines = [line[:MAX_LINE_CHARS] for line in text.split("\n") if line.strip()]
    if not lines:
        return ""
    is_latin = sum(map(str.isascii, text[:MAX_LINE_CHARS])) > len(text[:MAX_LINE_CHARS]) / 2
    if is_latin and len(text) / len(lines) > LONG_LINE_CHARS and _mean_word_chars(text) > 12:
        return "minified or encoded data"
    if len(lines) < MIN_LINES:
        return ""
    for description, is_line, share in _KINDS:
        if description == "settings" and len(lines) < MIN_SETTINGS_LINES:
            continue
        if sum(map(is_line, lines)) > share * len(lines):
            is_prose = share == MIN_CODE_SHARE and _has_sentences(lines)
            return "" if is_prose else description
    if _is_table_of_numbers(lines):
        return "a table of numbers"
    return "a word list" if _is_word_list(lines) else ""


def has_sentences(text: str) -> bool:
    """Whether a part of the lines has four words in a row, as sentences have."""
    lines = [line[:MAX_LINE_CHARS] for line in text.split("\n") if line.strip()]
    return bool(lines) and sum(_WORDS.search(line) is not None for line in lines) > MIN_WORDS_SHARE * len(lines)


def _mean_word_chars(text: str) -> float:
    return len(text) / max(1, len(text.split()))


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda line: pattern.match(line) is not None


_KINDS: tuple[tuple[str, Callable[[str], bool], float], ...] = (
    ("a hex dump", _matches(_HEX_LINE), MIN_SHARE),
    ("checksums", _matches(_CHECKSUM_LINE), MIN_CODE_SHARE),
    ("encoded data", _matches(_ENCODED_LINE), MIN_SHARE),
    ("a log of a program", _matches(_LOG_LINE), MIN_SHARE),
    ("markup", _matches(_MARKUP_LINE), MIN_SHARE),
    ("settings", _matches(_SETTING_LINE), MIN_SHARE),
    ("source code", _matches(_CODE_LINE), MIN_CODE_SHARE),
)


def _has_sentences(lines: Sequence[str]) -> bool:
    return sum(_SENTENCE.search(line) is not None for line in lines) > MAX_SENTENCE_SHARE * len(lines)


def _is_table_of_numbers(lines: Sequence[str]) -> bool:
    words = [word for line in lines for word in re.split(r"[\s,;|]+", line) if word]
    return sum(_NUMBER.fullmatch(word) is not None for word in words) > MIN_SHARE * len(words)


def _is_word_list(lines: Sequence[str]) -> bool:
    """Whether almost every line is a word, or a word and a number or another word, without marks of sentences."""
    if len(lines) < MIN_LIST_LINES:
        return False
    is_short = [_WORDS_LINE.match(line) is not None and line.rstrip()[-1] not in _SENTENCE_MARKS for line in lines]
    return sum(is_short) > 0.9 * len(lines)
