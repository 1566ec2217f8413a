from __future__ import annotations

import io
import os
import random
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.corpus import archive as membership
from tools.corpus.archive import Member
from tools.corpus.importers import pdf
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"
PICTURE = b"<</Type/XObject/Subtype/Image/Width 1/Height 1/BitsPerComponent 8/ColorSpace/DeviceGray/Length 1>>"
SCAN = None  # a page that is a picture


def made(pages: Sequence[Sequence[str] | None]) -> bytes:
    """A PDF of such lines, a page each, as in PDF 32000-1:2008, 7.5."""
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
    return assembled(objects)


def assembled(objects: Sequence[bytes]) -> bytes:
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    end = b"xref\n0 %d\n%strailer<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF\n"
    return out + end % (size, table, size, len(out))


def member(data: bytes, name: str = "a.pdf") -> Member:
    return Member(name, name, len(data), lambda: io.BytesIO(data))


def found(data: bytes) -> list[ImportItem]:
    return list(pdf.read_items([member(data)]))


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs are: none so far."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    return path


def program(path: Path, script: str) -> None:
    (path / "ocrmypdf").write_text(f"#!/bin/sh\n{script}\n")
    (path / "ocrmypdf").chmod(0o755)


def test_each_page_is_a_record_of_the_documents_thread() -> None:
    assert found(made([["THE QUICK", "BROWN FOX"], ["café — “so”"]])) == [
        Record("a.pdf", "a.pdf", "THE QUICK\nBROWN FOX"),
        Record("a.pdf", "a.pdf", "café — “so”"),
    ]


def test_a_pdf_is_known_by_its_name_or_its_beginning(tmp_path: Path) -> None:
    these = [member(made([["a"]]), "a"), member(b"rubbish", "b.PDF"), member(b"text about %PDF-1.4", "c.txt")]
    assert [one.name for one in pdf.claim(these)] == ["a", "b.PDF"]


def test_a_pdf_in_a_zip_is_read_without_unpacking(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("books/a.pdf", made([["one"], ["two"]]))
    (one,) = [each for each in membership.iter_members(tmp_path / "all.zip") if isinstance(each, Member)]
    assert [each.text for each in pdf.read_items([one]) if isinstance(each, Record)] == ["one", "two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.zip"]


def test_pages_without_text_are_counted_by_what_can_be_done(bare_path: Path) -> None:
    assert found(made([["one"], SCAN, [], SCAN])) == [
        Record("a.pdf", "a.pdf", "one"),
        SkippedItem("a.pdf", "a page without text: apt install ocrmypdf, then add the file to a new corpus"),
        SkippedItem("a.pdf", "a blank page"),
        SkippedItem("a.pdf", "a page without text: apt install ocrmypdf, then add the file to a new corpus"),
    ]


def test_pages_that_are_pictures_go_through_ocrmypdf_once_and_stay_in_their_places(bare_path: Path) -> None:
    recognised = bare_path / "recognised.pdf"
    recognised.write_bytes(made([["not this"], ["two"], ["nor this"], []]))
    program(bare_path, f'echo "$@" >> {bare_path}/calls\n/bin/cp {recognised} "$6"')
    assert found(made([["one"], SCAN, ["three"], SCAN])) == [
        Record("a.pdf", "a.pdf", "one"),
        Record("a.pdf", "a.pdf", "two"),
        Record("a.pdf", "a.pdf", "three"),
        SkippedItem("a.pdf", "a page in which ocrmypdf saw no text"),
    ]
    (call,) = (bare_path / "calls").read_text().splitlines()
    assert call.startswith("--skip-text --quiet --output-type pdf ")
    assert not Path(call.split()[-1]).parent.exists()  # what it was given is gone


@pytest.mark.parametrize(
    "script", ["echo first >&2; echo InputFileError: no pages >&2; exit 2", "echo InputFileError: no pages >&2"]
)
def test_an_ocrmypdf_that_fails_is_told_in_its_own_last_words(bare_path: Path, script: str) -> None:
    program(bare_path, script)
    one, warned, *skipped = found(made([["one"], SCAN, SCAN]))
    assert one == Record("a.pdf", "a.pdf", "one")
    assert isinstance(warned, SourceWarning)
    assert warned.message.endswith("InputFileError: no pages")
    assert skipped == [SkippedItem("a.pdf", "a page without text, in a document that ocrmypdf could not read")] * 2


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("ocrmypdf") is None, reason="ocrmypdf is not installed (apt-get install ocrmypdf)")
def test_a_page_that_was_scanned_is_read_as_the_advice_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "pillow is not installed: pip install '.[test]'"
    names = ("PIL.Image", "PIL.ImageDraw", "PIL.ImageFont")
    image, draw, fonts = (pytest.importorskip(name, reason=why) for name in names)
    page = image.new("L", (1700, 1100), 255)
    for number, line in enumerate(["The motor drives the main shaft", "through two gears of steel."]):
        draw.Draw(page).text((200, 300 + 90 * number), line, fill=0, font=fonts.load_default(56))
    page.save(tmp_path / "scan.pdf", resolution=200)
    raw, path = (tmp_path / "scan.pdf").read_bytes(), os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found(raw) == [SkippedItem("a.pdf", pdf.NO_OCR_PROGRAM)]
    monkeypatch.setenv("PATH", path)
    (record,) = found(raw)
    assert isinstance(record, Record)
    assert record.text.split() == [
        "The",
        "motor",
        "drives",
        "the",
        "main",
        "shaft",
        "through",
        "two",
        "gears",
        "of",
        "steel.",
    ]


def encrypted(password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(made([["secret"]])))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_an_encrypted_pdf_is_one_line_and_one_with_an_empty_password_is_read() -> None:
    assert found(encrypted("sesame")) == [DamagedItem("a.pdf", "encrypted; save it without a password")]
    assert found(encrypted("")) == [Record("a.pdf", "a.pdf", "secret")]


def test_damaged_pdfs_are_one_line_each_and_the_next_is_read() -> None:
    bad = [member(b"", "empty.pdf"), member(b"%PDF-1.4\n%%EOF", "no.pdf"), member(bytes(9999), "zeros.pdf")]
    told = list(pdf.read_items([*bad, member(made([["good"]]), "good.pdf")]))
    assert [one.source for one in told if isinstance(one, DamagedItem)] == ["empty.pdf", "no.pdf", "zeros.pdf"]
    assert told[-1] == Record("good.pdf", "good.pdf", "good")
    assert len(told) == 4


def test_a_page_that_cannot_be_read_is_told_by_its_number() -> None:
    whole = made([["one"], ["two"], ["three"]])
    broken = whole.replace(b"/Resources<</Font<</F 3 0 R>>>>/Contents 7 0 R", b"/Resources 12345/Contents 7 0 R      ")
    assert broken != whole
    told = found(broken)
    assert [one.text for one in told if isinstance(one, Record)] == ["one", "three"]
    assert [one.reason for one in told if isinstance(one, DamagedItem)] == ["1 of its 3 pages cannot be read: 2"]


def test_what_pypdf_can_mend_is_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    whole = made([["one"]])
    assert found(whole.replace(b"startxref\n", b"startxref\n9")) == [Record("a.pdf", "a.pdf", "one")]
    assert caplog.records == []


@settings(max_examples=60)
@given(data=st.data())
def test_no_damage_raises_and_no_page_is_empty(data: st.DataObject) -> None:
    raw = bytearray(made([["one", "two"], SCAN, ["three"]]))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")  # a real ocrmypdf would take a second for each
        told = found(bytes(raw))
    for one in told:
        assert not isinstance(one, Record) or one.text.strip()


def test_a_large_one_waits_in_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_MEMORY_BYTES", 100)
    noise = random.Random(1).randbytes(500).hex().encode()
    assert [one.text for one in found(made([["a"]]) + b"%" + noise) if isinstance(one, Record)] == ["a"]
