from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from corpus_items import damaged_of, make_folder, make_zip, records_of, skip_reasons, texts_of

from tools.corpus import detect
from tools.corpus.record import ImportItem

CONTAINER = '<container><rootfiles><rootfile full-path="OEBPS/content.opf"/></rootfiles></container>'
PACKAGE = """<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf"><metadata><dc:title id="t">The Pump &amp; the Oar</dc:title></metadata>
<manifest>
 <item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
 <item href="text/ch10.xhtml" id="c10"/>
 <item id="c2" href="text/ch%202.xhtml" />
 <item id='im' href='text/im.xhtml'/>
 <item id="css" href="a.css"/>
</manifest>
<spine toc="ncx"><itemref idref="im"/><itemref idref="nav"/><itemref idref="c10"/><itemref idref='c2'/></spine>
</package>"""


def page(text: str, types: str = "") -> str:
    attribute = f' epub:type="{types}"' if types else ""
    return f"<?xml version='1.0'?><html><head><title>x</title></head><body{attribute}><p>{text}</p></body></html>"


BOOK = {
    "mimetype": "application/epub+zip",
    "META-INF/container.xml": CONTAINER,
    "OEBPS/content.opf": PACKAGE,
    "OEBPS/nav.xhtml": page("Contents"),
    "OEBPS/text/ch10.xhtml": page("Tenth, but first."),
    "OEBPS/text/ch 2.xhtml": page("Second."),
    "OEBPS/text/im.xhtml": page("Printed by Odo.", "frontmatter imprint"),
    "OEBPS/a.css": "p { margin: 0 }",
}


def import_items(path: Path) -> list[ImportItem]:
    return [item for group in detect.detect_kinds(path).groups for item in detect.read_items(group)]


def test_chapters_come_in_the_order_of_the_spine_without_the_publishers_pages(tmp_path: Path) -> None:
    items = import_items(make_zip(tmp_path / "a.epub", BOOK))
    (record,) = records_of(items)
    assert record.text == "Tenth, but first.\n\nSecond.\n"
    assert record.thread == "The Pump & the Oar"
    assert record.source == str(tmp_path / "a.epub")
    assert skip_reasons(items) == ["a page of the publisher"] * 2


@pytest.mark.parametrize("damaged", ["META-INF/container.xml", "OEBPS/content.opf", "OEBPS/text/ch 2.xhtml"])
def test_a_damaged_file_of_a_book_is_named_and_the_pages_are_read(tmp_path: Path, damaged: str) -> None:
    path = make_zip(tmp_path / "a.epub", BOOK, zipfile.ZIP_STORED)
    content = BOOK[damaged].encode()
    path.write_bytes(path.read_bytes().replace(content, content.replace(b"<", b"[", 1)))
    items = import_items(path)
    (item,) = damaged_of(items)
    assert item.source.endswith(damaged)
    assert item.reason.startswith("Bad CRC-32")
    (record,) = records_of(items)
    assert "Tenth, but first." in record.text
    assert record.source == str(path)


def test_books_in_a_folder_packed_and_unpacked_are_books_of_their_own(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.epub", BOOK)
    make_folder(tmp_path / "b", BOOK)
    make_folder(tmp_path / "c/src", {**BOOK, "notes.txt": "inside a book"})
    make_folder(tmp_path, {"c/LICENSE.md": "Public domain.", "read.txt": "It was stuck since Monday."})
    result = detect.detect_kinds(tmp_path)
    kinds = [(group.kind, len(group.members)) for group in result.groups]
    assert sorted(kinds) == [("epub", 7), ("epub", 14), ("text", 1)]
    texts = [text for group in result.groups for text in texts_of(detect.read_items(group))]
    assert sorted(texts) == ["It was stuck since Monday.", *["Tenth, but first.\n\nSecond.\n"] * 3]
    assert result.unclaimed[".md (a licence)"] == 1


@pytest.mark.parametrize("package", ["", "<package/>", "not xml <item id= href"])
def test_without_a_spine_pages_come_in_the_order_of_their_numbers(tmp_path: Path, package: str) -> None:
    files = {"META-INF/container.xml": "<container/>", **({"x.opf": package} if package else {})}
    files |= {f"ch{n}.xhtml": page(f"Chapter {n}.") for n in (10, 9, 1)} | {"toc.xhtml": page("Contents")}
    assert texts_of(import_items(make_zip(tmp_path / "a.epub", files))) == ["Chapter 1.\n\nChapter 9.\n\nChapter 10.\n"]


def test_an_encrypted_or_empty_book_is_reported(tmp_path: Path) -> None:
    files = {**BOOK, "OEBPS/text/ch10.xhtml": b"\x8f\x01\xd4" * 50}
    items = import_items(make_zip(tmp_path / "a.epub", files))
    assert [item.reason for item in damaged_of(items)] == [
        "encrypted: a book with digital rights management cannot be read"
    ]
    assert texts_of(items) == ["Second.\n"]
    assert texts_of(import_items(make_zip(tmp_path / "b.epub", {"META-INF/container.xml": CONTAINER}))) == []


def test_a_book_inside_a_zip_has_the_cure(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "a.epub", BOOK).read_bytes()
    result = detect.detect_kinds(make_zip(tmp_path / "all.zip", {"a.epub": inner, "b.docx": b"PK\x03\x04\0\0"}))
    assert [item.reason for item in result.damaged] == [
        "a ZIP inside a ZIP, which is not opened: extract it and add it separately",
        "a document of Word: save it as text or PDF",
    ]


def test_a_repeated_book_is_known(tmp_path: Path) -> None:
    (group,) = detect.detect_kinds(make_zip(tmp_path / "a.epub", BOOK)).groups
    first, _ = detect.drop_known_files(group, ())
    (unpacked,) = detect.detect_kinds(make_folder(tmp_path / "b", BOOK)).groups
    assert detect.drop_known_files(unpacked, first.digests) == (detect.replace(unpacked, members=()), 7)
