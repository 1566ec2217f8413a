from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pypdf
import pytest
from corpus_items import damaged_of, make_zip, members_of, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.corpus.archive import Member
from tools.corpus.importers import pdf
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"
PICTURE = b"<</Type/XObject/Subtype/Image/Width 1/Height 1/BitsPerComponent 8/ColorSpace/DeviceGray/Length 1>>"
SCAN = None  # a scanned page


def make_pdf(pages: Sequence[Sequence[str] | None]) -> bytes:
    """Returns a PDF with a page for each list of lines, by PDF 32000-1:2008, 7.5."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", FONT, PICTURE + b"stream\nx\nendstream"]
    kids = []
    for lines in pages:
        if lines is SCAN:
            content, resources = b"q 600 0 0 800 0 0 cm /P Do Q", b"<</XObject<</P 4 0 R>>>>"
        else:
            shown = b" T* ".join(b"(" + line.encode("cp1252") + b") Tj" for line in lines or ())
            content, resources = b"BT /F 12 Tf 14 TL 72 720 Td " + shown + b" ET", b"<</Font<</F 3 0 R>>>>"
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(content), content))
        page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources%s/Contents %d 0 R>>"
        objects.append(page % (resources, len(objects)))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    return assemble_pdf(objects)


def assemble_pdf(objects: Sequence[bytes]) -> bytes:
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    end = b"xref\n0 %d\n%strailer<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF\n"
    return out + end % (size, table, size, len(out))


def pdf_member(data: bytes, name: str = "a.pdf") -> Member:
    return Member(name, name, len(data), lambda: io.BytesIO(data))


def import_items(data: bytes) -> list[ImportItem]:
    return list(pdf.read_items([pdf_member(data)]))


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of programs, set as PATH."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    return path


def write_program(path: Path, script: str) -> None:
    (path / "ocrmypdf").write_text(f"#!/bin/sh\n{script}\n")
    (path / "ocrmypdf").chmod(0o755)


def test_each_page_is_a_record_of_the_documents_thread() -> None:
    assert import_items(make_pdf([["THE QUICK", "BROWN FOX"], ["café — “so”"]])) == [
        Record("a.pdf", "a.pdf", "THE QUICK\nBROWN FOX"),
        Record("a.pdf", "a.pdf", "café — “so”"),
    ]


def test_a_pdf_is_claimed_by_name_or_first_bytes(tmp_path: Path) -> None:
    members = [pdf_member(make_pdf([["a"]]), "a"), pdf_member(b"rubbish", "b.PDF"), pdf_member(b"on %PDF-1.4", "c.txt")]
    assert [member.name for member in pdf.claim(members)] == ["a", "b.PDF"]


def test_a_pdf_in_a_zip_is_read_without_extraction(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "all.zip", {"books/a.pdf": make_pdf([["one"], ["two"]])})
    assert texts_of(pdf.read_items(members_of(path))) == ["one", "two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.zip"]


def test_pages_without_text_are_counted_with_a_cure(bare_path: Path) -> None:
    assert import_items(make_pdf([["one"], SCAN, [], SCAN])) == [
        Record("a.pdf", "a.pdf", "one"),
        SkippedItem("a.pdf", "a page without text: apt install ocrmypdf, then add the file to a new corpus"),
        SkippedItem("a.pdf", "a blank page"),
        SkippedItem("a.pdf", "a page without text: apt install ocrmypdf, then add the file to a new corpus"),
    ]


def test_scanned_pages_go_through_ocrmypdf_once_and_keep_their_order(bare_path: Path) -> None:
    recognised = bare_path / "recognised.pdf"
    recognised.write_bytes(make_pdf([["not this"], ["two"], ["nor this"], []]))
    write_program(bare_path, f'echo "$@" >> {bare_path}/calls\n/bin/cp {recognised} "$6"')
    assert import_items(make_pdf([["one"], SCAN, ["three"], SCAN])) == [
        Record("a.pdf", "a.pdf", "one"),
        Record("a.pdf", "a.pdf", "two"),
        Record("a.pdf", "a.pdf", "three"),
        SkippedItem("a.pdf", "a page in which ocrmypdf found no text"),
    ]
    (call,) = (bare_path / "calls").read_text().splitlines()
    assert call.startswith("--skip-text --quiet --output-type pdf ")
    assert not Path(call.split()[-1]).parent.exists()  # the temporary copy is removed


@pytest.mark.parametrize(
    "script", ["echo first >&2; echo InputFileError: no pages >&2; exit 2", "echo InputFileError: no pages >&2"]
)
def test_a_failing_ocrmypdf_is_reported_with_its_last_line(bare_path: Path, script: str) -> None:
    write_program(bare_path, script)
    record, warning, *skipped = import_items(make_pdf([["one"], SCAN, SCAN]))
    assert record == Record("a.pdf", "a.pdf", "one")
    assert isinstance(warning, SourceWarning)
    assert warning.message.endswith("InputFileError: no pages")
    assert skipped == [SkippedItem("a.pdf", "a page without text in a document that ocrmypdf could not read")] * 2


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("ocrmypdf") is None, reason="ocrmypdf is not installed (apt-get install ocrmypdf)")
def test_a_scanned_page_is_read_after_ocrmypdf_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "pillow is not installed: pip install '.[test]'"
    names = ("PIL.Image", "PIL.ImageDraw", "PIL.ImageFont")
    image, draw, fonts = (pytest.importorskip(name, reason=reason) for name in names)
    page = image.new("L", (1700, 1100), 255)
    for number, line in enumerate(["The motor drives the main shaft", "through two gears of steel."]):
        draw.Draw(page).text((200, 300 + 90 * number), line, fill=0, font=fonts.load_default(56))
    page.save(tmp_path / "scan.pdf", resolution=200)
    raw, path = (tmp_path / "scan.pdf").read_bytes(), os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert import_items(raw) == [SkippedItem("a.pdf", pdf.NO_OCR_PROGRAM)]
    monkeypatch.setenv("PATH", path)
    (record,) = import_items(raw)
    assert isinstance(record, Record)
    assert " ".join(record.text.split()) == "The motor drives the main shaft through two gears of steel."


def encrypt_pdf(password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(make_pdf([["secret"]])))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_an_encrypted_pdf_is_reported_and_an_empty_password_works() -> None:
    assert import_items(encrypt_pdf("sesame")) == [DamagedItem("a.pdf", "encrypted; save it without a password")]
    assert import_items(encrypt_pdf("")) == [Record("a.pdf", "a.pdf", "secret")]


def test_damaged_pdfs_are_reported_and_the_next_is_read() -> None:
    bad = [pdf_member(b"", "empty.pdf"), pdf_member(b"%PDF-1.4\n%%EOF", "no.pdf"), pdf_member(bytes(9999), "zeros.pdf")]
    items = list(pdf.read_items([*bad, pdf_member(make_pdf([["good"]]), "good.pdf")]))
    assert [item.source for item in damaged_of(items)] == ["empty.pdf", "no.pdf", "zeros.pdf"]
    assert items[-1] == Record("good.pdf", "good.pdf", "good")
    assert len(items) == 4


def test_an_unreadable_page_is_reported_by_number() -> None:
    intact = make_pdf([["one"], ["two"], ["three"]])
    resources = b"/Resources<</Font<</F 3 0 R>>>>/Contents 7 0 R"
    broken = intact.replace(resources, b"/Resources 12345/Contents 7 0 R      ")
    assert broken != intact
    items = import_items(broken)
    assert texts_of(items) == ["one", "three"]
    assert [item.reason for item in damaged_of(items)] == ["1 of its 3 pages cannot be read: 2"]


def test_faults_that_pypdf_repairs_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    intact = make_pdf([["one"]])
    assert import_items(intact.replace(b"startxref\n", b"startxref\n9")) == [Record("a.pdf", "a.pdf", "one")]
    assert caplog.records == []


@settings(max_examples=60)
@given(data=st.data())
def test_no_damage_raises_and_no_page_is_empty(data: st.DataObject) -> None:
    raw = bytearray(make_pdf([["one", "two"], SCAN, ["three"]]))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")  # a real ocrmypdf would take a second per page
        items = import_items(bytes(raw))
    for item in items:
        assert not isinstance(item, Record) or item.text.strip()


def test_a_large_pdf_goes_to_a_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_MEMORY_BYTES", 100)
    noise = random.Random(1).randbytes(500).hex().encode()
    assert texts_of(import_items(make_pdf([["a"]]) + b"%" + noise)) == ["a"]
