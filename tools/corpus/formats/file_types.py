"""Why a file is no text to train on, by its name and first bytes: documents of programs, source code, licences, data.

Documents of programs have a cure. This module knows no importer.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection
from pathlib import PurePosixPath

from tools.corpus.archive import Member
from tools.corpus.decoding.byte_signatures import MAX_NUL_SHARE
from tools.corpus.formats.prose import describe_non_prose, has_sentences
from tools.corpus.markdown_text import MARKDOWN_SUFFIXES, strip_markdown

HEAD_BYTES = 4096
SAMPLE_BYTES = 1 << 16
PROSE_SUFFIXES = frozenset({".txt", ".text", ".asc", ".log", ".rst", ".adoc", ".org", ".xz", *MARKDOWN_SUFFIXES})
# Files for programs and in markup, which other importers read, or `--as text` imports with their markup.
_DATA = "json jsonl ndjson csv tsv tab psv xml html htm xhtml xht svg vcf ics srt vtt tex sbf po pot opf ncx"
DATA_SUFFIXES = frozenset(f".{suffix}" for suffix in _DATA.split())
NO_SENTENCES = "no sentences"
LICENCE = "a licence"

_AS_TEXT = "save it as text or PDF"
_AS_EPUB = "convert it to EPUB, as Calibre does"
_DOCUMENTS: dict[str, tuple[str, str]] = {  # suffixes, what it is, cure
    ".rtf": ("a document in RTF", _AS_TEXT),
    ".doc .docx .docm .dot .dotx .wps": ("a document of Word", _AS_TEXT),
    ".odt .ott .sxw .fodt": ("a document of LibreOffice", _AS_TEXT),
    ".pages .wpd .hwp .abw .gdoc .one": ("a document of an office program", _AS_TEXT),
    ".xls .xlsx .xlsm .ods .numbers": ("a spreadsheet", "save it as CSV"),
    ".ppt .pptx .odp": ("slides", _AS_TEXT),
    ".mobi .azw .azw3 .kfx .prc .lit .pdb .fb2 .chm .lrf": ("an e-book", _AS_EPUB),
    ".djvu .djv .ps .eps .xps .dvi": ("a printed document", "convert it to PDF"),
    ".gz .tgz .bz2 .7z .rar .tar .zst": ("an archive", "extract it, or make a ZIP of it"),
    ".opml": ("an outline", "export it as text or Markdown"),
    ".mht .mhtml .webarchive": ("a saved web page", "save it as HTML"),
}
_DOCUMENT_BY_SUFFIX = {suffix: entry for suffixes, entry in _DOCUMENTS.items() for suffix in suffixes.split()}
_DOCUMENT_BY_MAGIC = {
    b"{\\rtf": ".rtf",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ".doc",
    b"%!PS": ".ps",
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"7z\xbc\xaf\x27\x1c": ".7z",
    b"Rar!": ".rar",
}
_TEXT_DOCUMENTS = frozenset(
    {".rtf", ".fb2", ".opml", ".fodt", ".ps", ".eps", ".mht", ".mhtml"}
)  # others have binary data
MIN_BOOK_WORDS = 20  # at the start of a text that has the ending of an e-book
_E_BOOKS = frozenset({".mobi", ".azw", ".azw3", ".kfx", ".prc", ".lit", ".pdb", ".chm", ".lrf"})
_KINDLE = (b"BOOKMOBI", b"TEXtREAd")
_KINDLE_OFFSET = 60
_OFFICE_PARTS = {"word/": ".docx", "xl/": ".xlsx", "ppt/": ".pptx", "Index/": ".pages"}

_SUFFIXES = {
    "source code": "py pyi pyx pxd js mjs cjs ts tsx jsx c h cc cpp cxx hpp hh hxx tcc inc ino java kt kts go rs rb pl"
    " pm php cs fs swift scala lua r jl m mm sh bash zsh fish bat cmd ps1 vb vbs asm s f f77 f90 f95 for pas bas cob hs"
    " ml mli ex exs erl clj cljs lisp el scm tcl awk sed vim v vhd vhdl sv cmake mk m4 proto graphql gradle groovy dart"
    " zig nim coffee ipynb sql diff patch css scss sass less wat ll td y lex sty cls bst mac",
    "firmware": "hex ihx ihex srec s19 s28 s37 mot uf2 elf rom bin img o a obj lib sym",
    "settings": "yml yaml toml ini cfg conf lock properties plist env service socket desktop editorconfig gitignore",
    "keys": "pem key crt cer csr pub gpg sig",
}
_REASON_BY_SUFFIX = {f".{suffix}": reason for reason, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
CODE_SUFFIXES = frozenset(_REASON_BY_SUFFIX)
_LICENCE_NAME = re.compile(
    r"(?:.*[._-])?(?:un)?licen[cs]es?(?:[._-].*)?|copying(?:[._-].*)?|copyright(?:[._-].*)?|notice(?:\.\w+)?|ofl(?:[._-].*)?"
    r"|(?:a?l?gpl|apache|mit|bsd|mpl|cc0?|cc-by.*)[-_. ]?[\d.]*(?:\.\w+)?|patents|eula(?:[._-].*)?|legal(?:\.\w+)?",
    re.IGNORECASE,
)
_LICENCE_START = re.compile(
    r"\W*(?:(?:The )?(?:MIT|BSD|ISC|Apache|Mozilla Public|Boost Software|GNU [A-Z ]*?General Public|SIL Open Font)"
    r"[^\n]{0,20}Licen[cs]e|Permission is hereby granted|Redistribution and use in source and binary forms"
    r"|Creative Commons (?:Legal Code|Attribution|CC0)|END[ -]USER LICEN[CS]E)",
    re.IGNORECASE,
)
_CONTROL = re.compile("[\1-\6\x0e-\x19\x1c-\x1f]")  # BEL, BS, TAB, LF, VT, FF, CR, SUB and ESC occur in texts
_LISTS = re.compile(r"(?:requirements.*|robots|cmakelists|sources|top_level|manifest)\.(?:txt|in)", re.IGNORECASE)


def describe_document(member: Member) -> str:
    """Returns what a document of a program is, with the cure; "" for any other file."""
    suffix = PurePosixPath(member.name).suffix.lower()
    head = member.peek_head(_KINDLE_OFFSET + 8)
    found = next((name for magic, name in _DOCUMENT_BY_MAGIC.items() if head.startswith(magic)), suffix)
    found = ".mobi" if head[_KINDLE_OFFSET:] in _KINDLE else found
    words = member.peek_head(HEAD_BYTES).split() if found in _E_BOOKS else []
    is_book = found in _E_BOOKS and len(words) < MIN_BOOK_WORDS
    is_sure = found != suffix or found in _TEXT_DOCUMENTS or is_book or b"\0" in head
    return _describe(found) if found in _DOCUMENT_BY_SUFFIX and is_sure else ""


def describe_office_zip(names: Collection[str]) -> str:
    """Returns what the ZIP of an office program is, from the names inside, with the cure; "" for any other ZIP."""
    is_open_document = {"mimetype", "content.xml"} <= set(names)  # some programs write no manifest
    marks = {"[Content_Types].xml", "META-INF/manifest.xml", "Index/Document.iwa", "word/document.xml"}
    if not is_open_document and marks.isdisjoint(names):
        return ""
    parts = (suffix for part, suffix in _OFFICE_PARTS.items() if any(name.startswith(part) for name in names))
    return _describe(next(parts, ".odt" if "content.xml" in names else ".pages"))


def _describe(suffix: str) -> str:
    what, cure = _DOCUMENT_BY_SUFFIX[suffix]
    return f"{what}: {cure}"


def is_licence(member: Member) -> bool:
    """Whether a file is a licence: by its name, or because it begins as one."""
    name = PurePosixPath(member.name).name
    if _LICENCE_NAME.fullmatch(name):
        return True
    return bool(_LICENCE_START.match(member.peek_head(400).decode("utf-8", "replace").lstrip("\ufeff\r\n ")))


def has_binary_data(member: Member, max_control_share: float = 0.005) -> bool:
    """Whether a file is no text: its head is not UTF-8, to which texts are decoded, or has many controls."""
    head = member.peek_head(HEAD_BYTES)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return True
    too_many_nuls = text.count("\0") > MAX_NUL_SHARE * len(text)
    return too_many_nuls or len(_CONTROL.findall(text)) > max_control_share * len(text)


def describe_left(member: Member) -> str:
    """Returns why a text is left, such as "source code" or "a word list"; "" for prose."""
    path = PurePosixPath(member.name)
    suffix = path.suffix.lower()
    if suffix in _REASON_BY_SUFFIX or suffix in DATA_SUFFIXES:
        return _REASON_BY_SUFFIX.get(suffix, "")
    if _LISTS.fullmatch(path.name):
        return "settings"
    text = member.peek_head(SAMPLE_BYTES).decode("utf-8", "ignore").replace("\r\n", "\n")
    if suffix in MARKDOWN_SUFFIXES:
        text = strip_markdown(text)
    if reason := describe_non_prose(text):
        return reason
    is_prose = suffix in PROSE_SUFFIXES or path.name.lower().startswith("readme") or has_sentences(text)
    return "" if is_prose else NO_SENTENCES
