"""Imports PDFs by their text layer, a record for each page. Scanned pages go through ocrmypdf if it is installed.

Only this module imports pypdf. Lines stay as they are on the page; cleaning joins divided words and removes running
heads. No password is guessed.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from tools.corpus.archive import Member, MemberError
from tools.corpus.fields import format_numbers
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

MAGIC = b"%PDF-"
OCR_PROGRAM = "ocrmypdf"
# A new corpus, because a known file is not imported again.
NO_OCR_PROGRAM = f"a page without text: apt install {OCR_PROGRAM}, then add the file to a new corpus"
MAX_MEMORY_BYTES = 32 << 20  # a larger PDF goes to a temporary file
MAX_REPORTED = 8  # page numbers in a message


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the members that are named or begin like a PDF."""
    claimed = [member for member in members if _is_pdf(member)]
    if claimed:
        import pypdf  # noqa: F401 (fails at once if it is not installed)
    return claimed


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields the pages of each file in order."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it logs every fault that it can repair
    for member in members:
        with ExitStack() as open_files:
            yield from catch_damage(_PdfDocument(member, open_files).read_items(), member)


def _is_pdf(member: Member) -> bool:
    return PurePosixPath(member.name).suffix.lower() == ".pdf" or member.peek_head(len(MAGIC)) == MAGIC


class _PdfDocument:
    """A PDF while it is read; `open_files` closes the files that it opens."""

    def __init__(self, member: Member, open_files: ExitStack) -> None:
        self._member = member
        self._open_files = open_files
        self._unreadable_pages: list[int] = []  # page numbers from 1
        self._ocr_result: PdfReader | None = None
        self._ocr_fault = ""  # why scanned pages have no text

    def read_items(self) -> Iterator[ImportItem]:
        """Yields the pages. Raises MemberError if the PDF cannot be opened."""
        with tempfile.SpooledTemporaryFile(MAX_MEMORY_BYTES) as spool, self._member.open() as source:
            shutil.copyfileobj(source, spool)
            file = cast(IO[bytes], spool)
            reader = _open_pdf(file, self._member.location)
            for number in range(len(reader.pages)):
                yield from self._read_page(reader, number, file)
        if self._unreadable_pages:
            numbers = format_numbers(self._unreadable_pages, MAX_REPORTED)
            message = f"{len(self._unreadable_pages)} of its {len(reader.pages)} pages cannot be read: {numbers}"
            yield DamagedItem(self._member.location, message)

    def _read_page(self, reader: PdfReader, number: int, file: IO[bytes]) -> Iterator[ImportItem]:
        location = self._member.location
        try:
            text, has_images = _extract_text(reader.pages[number])
        except Exception:  # pypdf raises various exceptions for a damaged page
            self._unreadable_pages.append(number + 1)
            return
        if not text.strip() and has_images:
            if self._ocr_result is None and not self._ocr_fault:
                yield from self._run_ocr(file)
            text = self._ocr_text(number)
        if text.strip():
            yield Record(location, self._member.name, text)
        elif has_images:
            yield SkippedItem(location, self._ocr_fault or f"a page in which {OCR_PROGRAM} found no text")
        else:
            yield SkippedItem(location, "a blank page")

    def _ocr_text(self, number: int) -> str:
        try:
            return "" if self._ocr_result is None else _extract_text(self._ocr_result.pages[number])[0]
        except Exception:  # as above
            return ""

    def _run_ocr(self, file: IO[bytes]) -> Iterator[ImportItem]:
        """Recognises the text of all scanned pages at once; ocrmypdf does not change pages with text."""
        program = shutil.which(OCR_PROGRAM)
        if program is None:
            self._ocr_fault = NO_OCR_PROGRAM
            return
        folder = Path(self._open_files.enter_context(tempfile.TemporaryDirectory()))
        file.seek(0)
        with (folder / "in.pdf").open("wb") as copy:
            shutil.copyfileobj(file, copy)
        command = [program, "--skip-text", "--quiet", "--output-type", "pdf", copy.name, str(folder / "out.pdf")]
        process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        try:
            if process.returncode:
                raise MemberError(f"exit code {process.returncode}")
            out = self._open_files.enter_context((folder / "out.pdf").open("rb"))
            self._ocr_result = _open_pdf(out, self._member.location)
        except (OSError, MemberError):
            self._ocr_fault = f"a page without text in a document that {OCR_PROGRAM} could not read"
            last_line = process.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            message = f"{OCR_PROGRAM} failed with exit code {process.returncode}: {last_line or 'no message'}"
            yield SourceWarning(self._member.location, message)


def _open_pdf(file: IO[bytes], location: str) -> PdfReader:
    """Opens a PDF. Raises MemberError."""
    import pypdf

    file.seek(0)
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):  # many PDFs only forbid printing, with an empty password
            raise MemberError(f"{location}: encrypted; save it without a password")
        len(reader.pages)  # raises if the list of pages is damaged
    except MemberError:
        raise
    except pypdf.errors.DependencyError:
        raise MemberError(f"{location}: encrypted; save it without a password, or pip install cryptography") from None
    except Exception as error:  # pypdf raises various exceptions for a damaged file
        reason = str(error) or type(error).__name__
        raise MemberError(f"{location}: not a complete PDF ({reason}); fetch it again") from None
    return reader


def _extract_text(page: PageObject) -> tuple[str, bool]:
    """Returns the text of a page, and whether it has images instead. Raises any exception of pypdf."""
    text = page.extract_text()
    if text.strip():
        return text, False
    resources = page.get("/Resources")
    objects = None if resources is None else resources.get_object().get("/XObject")
    return "", bool(objects is not None and objects.get_object())
