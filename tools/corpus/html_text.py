"""Takes the text out of a page of HTML or XHTML: paragraphs, headings, lists; no scripts, menus and hidden parts. Pure.

Any page is read, well-formed or not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VOID = _names("area base br col embed hr img input link meta param source track wbr")
_SKIPPED = _names(
    "head script style template noscript nav svg math iframe object audio video canvas button select textarea form "
    "dialog menu rp rt datalist"
)
_PAGE_PARTS = _names("header footer aside")  # of the page, where no article is around them
_ARTICLES = _names("article main section")
_PARAGRAPHS = _names(
    "address article aside blockquote body center details dl div fieldset figure figcaption footer h1 h2 h3 h4 h5 h6 "
    "header hgroup hr html main ol p pre section summary table ul"
)
_LINES = _names("br caption dd dt li tr")
_CELLS = _names("td th")
_SKIPPED_CLASSES = _names(
    "pagenum pageno page-number pagenumber pg-boilerplate noprint mw-editsection reference navbox breadcrumb "
    "breadcrumbs sr-only visually-hidden cookie cookies sidebar"
)
_SKIPPED_TYPES = _names("pagebreak doc-pagebreak noteref doc-noteref backlink doc-backlink")
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_BLANKS = re.compile(r"[ \t\n\r\f]+")
_EMPTY_LINES = re.compile(r"\n{3,}")
_LINE_BORDERS = re.compile(r"[ \t]*\n[ \t]*")


def html_to_text(page: str, is_book: bool = False) -> str:
    """Returns the text of a page. In a book, headers, footers and asides belong to the text."""
    parser = _PageParser(is_book)
    parser.feed(page)
    parser.close()
    return parser.text()


class _PageParser(HTMLParser):
    """Collects the text of a page. A separator waits until text follows it."""

    def __init__(self, is_book: bool) -> None:
        super().__init__(convert_charrefs=True)
        self._is_book = is_book
        self._parts: list[str] = []
        self._separator = ""
        self._article_depth = 0
        self._pre_depth = 0
        self._skipped_tag = ""
        self._skipped_depth = 0

    def text(self) -> str:
        return _EMPTY_LINES.sub("\n\n", "".join(self._parts)).strip("\n ")

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self._start(tag)  # `<p/>` and `<script/>` of XHTML have no content
        self._end(tag)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if self._skipped_tag:
            if tag == self._skipped_tag:
                self._skipped_depth += 1
            elif tag == "body" and self._skipped_tag == "head":
                self._skipped_tag = ""
            return
        if tag not in _VOID and self._is_skipped(tag, dict(attrs)):
            self._skipped_tag, self._skipped_depth = tag, 1
            return
        self._start(tag)
        self._article_depth += tag in _ARTICLES
        self._pre_depth += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if self._skipped_tag:
            self._skipped_depth -= tag == self._skipped_tag
            if not self._skipped_depth:
                self._skipped_tag = ""
            return
        self._end(tag)
        self._article_depth = max(0, self._article_depth - (tag in _ARTICLES))
        self._pre_depth = max(0, self._pre_depth - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if self._skipped_tag:
            return
        if self._pre_depth:
            self._append(data)
            return
        text = _BLANKS.sub(" ", data)
        if text.startswith(" ") and not self._separator and self._parts:
            self._separator = " "
        if bare := text.strip(" "):
            self._append(bare)
            self._separator = " " if text.endswith(" ") else ""

    def unknown_decl(self, data: str) -> None:
        """`<![CDATA[...]]>` of XHTML."""
        if data.startswith("CDATA["):
            self.handle_data(data.removeprefix("CDATA["))

    def _is_skipped(self, tag: str, attributes: dict[str, str | None]) -> bool:
        if tag in _SKIPPED or (tag in _PAGE_PARTS and not self._is_book and not self._article_depth):
            return True
        if tag in ("body", "html"):
            return False
        if "hidden" in attributes or attributes.get("aria-hidden") == "true":
            return True
        names = f"{attributes.get('epub:type') or ''} {attributes.get('role') or ''}"
        classes = (attributes.get("class") or "").lower().split()
        return (
            not _SKIPPED_TYPES.isdisjoint(names.split())
            or not _SKIPPED_CLASSES.isdisjoint(classes)
            or bool(_HIDDEN_STYLE.search(attributes.get("style") or ""))
        )

    def _start(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._separator = "\n\n"
        elif tag in _LINES:
            self._separator = self._separator + "\n" if tag == "br" else max(self._separator, "\n", key=_strength)
        elif tag in _CELLS:
            self._separator = max(self._separator, "  ", key=_strength)

    def _end(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._separator = "\n\n"
        elif tag in _LINES and tag != "br":
            self._separator = max(self._separator, "\n", key=_strength)

    def _append(self, text: str) -> None:
        if self._parts:
            self._parts.append(self._separator)
        self._parts.append(text)
        self._separator = ""


def _strength(separator: str) -> tuple[int, int]:
    return separator.count("\n"), len(separator)


def page_types(page: str) -> frozenset[str]:
    """Returns what an e-book says that a page is, such as `chapter` or `imprint`: the types of its outer elements."""
    outer = re.findall(r"<(?:body|section|div|article|nav)\b[^>]{0,500}\bepub:type=[\"']([^\"']{0,200})", page[:4000])
    return frozenset(word for types in outer[:3] for word in types.lower().split())
