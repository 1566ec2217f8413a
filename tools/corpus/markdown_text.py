"""Takes the markup out of Markdown: front matter, code, images, links, emphasis, headings. Pure.

Words stay. Code is no prose, so fenced blocks go; code in a line stays without its quotes.
"""

from __future__ import annotations

import re

MARKDOWN_SUFFIXES = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx"})

_FRONT_MATTER = re.compile(
    r"\A\ufeff?(?:---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)|\+\+\+[ \t]*\n(?:.*\n)*?\+\+\+)[ \t]*(?:\n|\Z)"
)
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})(.*)")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)|\{%.*?%\}|\{\{[<%].*?[%>]\}\}", re.DOTALL)
_TARGET = r"(?:\([^()\n]{0,1000}(?:\([^()\n]{0,200}\)[^()\n]{0,1000})?\)|\[[^\]\n]{0,200}\])"
_IMAGE = re.compile(rf"!\[[^\]\n]{{0,500}}\]{_TARGET}")
_LINK = re.compile(rf"(?<!!)\[([^\[\]\n]{{0,500}})\]{_TARGET}")
_FOOTNOTE = re.compile(r"^[ ]{0,3}\[\^[^\]\s]{1,50}\]:[ \t]*(.*(?:\n(?:[ \t]*\n)*(?: {2,}|\t).*)*)", re.MULTILINE)
_FOOTNOTE_MARK = re.compile(r"(?<!^)\[\^[^\]\s]{1,50}\]", re.MULTILINE)
_INLINE_NOTE = re.compile(r"\^\[([^\[\]\n]{1,1000})\]")
_INDENT = re.compile(r"^(?: {1,4}|\t)", re.MULTILINE)
# Obsidian and wikis: `[[Pump|the pump]]`, `![[pump.png]]`, `%% hidden %%`, `==marked==`.
_WIKI_EMBED = re.compile(r"!\[\[[^\[\]\n]{1,300}\]\]")
_WIKI_LINK = re.compile(r"\[\[(?:[^\[\]|\n]{1,300}\|)?([^\[\]|\n]{1,300})\]\]")
_HIDDEN = re.compile(r"(?<![\w%])%%(?!%).{0,5000}?%%(?!\w)", re.DOTALL)
_HIGHLIGHT = re.compile(r"(?<![=\w])==(?=[^\s=])([^=\n]{1,500}?)(?<=\S)==(?![=\w])")
_BLOCK_NAME = re.compile(r"(?<=\S)[ \t]+\^[a-f0-9]{6}[ \t]*$", re.MULTILINE)
_CALLOUT = re.compile(r"^\[!\w{1,20}\][+-]?[ \t]*", re.MULTILINE)
_DEFINITION = re.compile(r"^[ ]{0,3}\[(?!\^)[^\]\n]{1,200}\]:[ \t]*\S.*\n?", re.MULTILINE)
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9-]{0,20}(?:[ \t\n][^<>]{0,500})?/?>")
_AUTOLINK = re.compile(r"<(?:https?|mailto|ftp):[^<>\s]{1,1000}>")
_HEADING = re.compile(r"^[ ]{0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$", re.MULTILINE)
_UNDERLINE = re.compile(r"(?<=\S\n)[ ]{0,3}(?:=+|-{2,})[ \t]*(?:\n|\Z)")
_RULE = re.compile(r"^[ ]{0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$", re.MULTILINE)
_QUOTE = re.compile(r"^(?:[ ]{0,3}>[ \t]?)+", re.MULTILINE)
_TABLE_RULE = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)+\|?[ \t]*\n?", re.MULTILINE)
_TABLE_ROW = re.compile(r"^[ \t]*\|(.*)\|[ \t]*$", re.MULTILINE)
_EMPHASIS = re.compile(
    r"(?<![\\*\w])(\*{1,3})(?=[^\s*])([^*\n]{1,1000}?)(?<=[^\s\\])\1(?![*\w])"
    r"|(?<![\\\w])(_{1,3})(?=[^\s_])([^_\n]{1,1000}?)(?<=[^\s\\])\3(?!\w)|(?<!~)(~~)(?=\S)([^~\n]{1,1000}?)\5"
)
_STRONG_IN_WORD = re.compile(r"(?<!\\)\*\*(?=\S)([^*\n]{1,1000}?)(?<=\S)\*\*")
_CODE = re.compile(r"(?<!`)(`{1,2})(?!`)[ ]?([^\n]{1,500}?)[ ]?(?<!`)\1(?!`)")
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!|<>~-])")
_EMPTY_LINES = re.compile(r"\n{3,}")


def strip_markdown(text: str) -> str:
    """Returns the words of a Markdown text, with its paragraphs and lists."""
    text = _drop_fences(_FRONT_MATTER.sub("", text, count=1))
    text = _WIKI_LINK.sub(r"\1", _WIKI_EMBED.sub("", _HIDDEN.sub("", _COMMENT.sub("", text))))
    text = _TABLE_RULE.sub("", _RULE.sub("", _UNDERLINE.sub("", text)))
    text = _CALLOUT.sub("", _HEADING.sub(r"\1", _QUOTE.sub("", text)))
    text = _FOOTNOTE.sub(lambda note: _INDENT.sub("", note[1]), text)
    text = _INLINE_NOTE.sub(r" (\1)", _FOOTNOTE_MARK.sub("", _BLOCK_NAME.sub("", text)))
    text = _LINK.sub(r"\1", _IMAGE.sub("", _DEFINITION.sub("", text)))
    text = _LINK.sub(r"\1", text)  # a link around an image
    text = _TAG.sub("", _AUTOLINK.sub("", text))
    text = _TABLE_ROW.sub(lambda row: "  ".join(cell.strip() for cell in row[1].split("|")), text)
    for _ in range(2):  # emphasis inside emphasis
        text = _EMPHASIS.sub(lambda match: match[2] or match[4] or match[6], text)
    text = _CODE.sub(r"\2", _HIGHLIGHT.sub(r"\1", _STRONG_IN_WORD.sub(r"\1", text)))
    lines = (line.rstrip() for line in _ESCAPE.sub(r"\1", text).split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip("\n") + "\n"


def _drop_fences(text: str) -> str:
    """Drops fenced blocks of code; a fence that is never closed drops nothing."""
    lines = text.split("\n")
    kept: list[str] = []
    unclosed: set[str] = set()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        end = 0
        if fence and "`" not in fence[2] and fence[1] not in unclosed:
            end = _find_closing_fence(lines, at, fence[1])
            unclosed |= {fence[1]} if not end else set()
        if end:
            at = end + 1
        else:
            kept.append(lines[at])
            at += 1
    return "\n".join(kept)


def _find_closing_fence(lines: list[str], start: int, fence: str) -> int:
    for at in range(start + 1, len(lines)):
        bare = lines[at].strip()
        if len(bare) >= len(fence) and set(bare) == {fence[0]}:
            return at
    return 0
